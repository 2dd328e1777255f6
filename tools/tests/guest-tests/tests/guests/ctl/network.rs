// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands by which programs that know nothing of the memory use it: between two machines, and a machine and the host.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use rustix::process::{kill_process, Pid};
use test_limit::limit;
use vmbench::{build, Guest, Region, Running, Signal, Status};

use super::PROGRAM;

/// A part of the memory that no other case uses.
const AREA: [&str; 4] = ["--offset", "1M", "--size", "2M"];

/// What is sent there and back: more than any ring.
const NUMBERS: u32 = 100_000;

/// `a` and `b` reach each other by IP: also after the program of one was killed, and after the device of one was away.
pub fn tunnel(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let address = |guest| -> Result<String, Failed> {
        Ok(format!("10.110.0.{}", super::peer_id(guest)? + 1))
    };
    let (here, there) = (address(a)?, address(b)?);
    let mut first = start(a, "tunnel", &["--overwrite"])?;
    // Before, the other one would refuse what cases before have left there.
    first.wait_for_output(r#""event":"up""#)?;
    let second = start(b, "tunnel", &[])?;
    reach(a, &there)?;
    reach(b, &here)?;
    a.shell(&format!("ping -c 3 -s 30000 {there}"))?.check()?;
    let echo = b.command(["nc", "-ll", "-p", "7", "-e", "cat"]).spawn()?;
    let script =
        format!("seq {NUMBERS} >/numbers && nc {there} 7 </numbers >/back && cmp /numbers /back");
    a.shell(&script)?.check()?;

    second.signal(Signal::KILL)?;
    second.wait()?;
    let mut second = start(b, "tunnel", &[])?;
    reach(a, &there)?;

    let bus_id = super::answer(b, "info")?["bus_id"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    super::unbind(b, &bus_id)?;
    second.wait_for_output(r#""event":"away""#)?;
    super::bind(b, &bus_id)?;
    reach(a, &there)?;
    a.shell(&script)?.check()?;
    first.signal(Signal::TERM)?;
    first.wait()?.check()?;
    b.shell("ip link del ivtun0")?.check()?;
    let ended = second.wait()?;
    assert_eq!(ended.status, Status::Code(1));
    assert!(ended.stderr_text().contains("ivtun0 is gone"), "{ended:?}");
    echo.signal(Signal::KILL)?;
    echo.wait()?;
    Ok(())
}

/// A program of the host uses a port of a guest through a socket.
pub fn forward(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let region: &Region = fleet.world.downcast_ref().ok_or("no region")?;
    a.shell("ip link set lo up")?.check()?;
    let echo = a.command(["nc", "-ll", "-p", "7", "-e", "cat"]).spawn()?;
    let mut guest = start(
        a,
        "forward",
        &["--overwrite", "--name", "a", "--allow", "127.0.0.1:7"],
    )?;
    guest.wait_for_output(r#""event":"joined""#)?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("echo");
    let mut host = Command::new(build::static_binary("ivshmemctl", "ivshmemctl")?)
        .args(["--json", "forward", "--join"])
        .arg(region.socket())
        .args(AREA)
        .arg("-L")
        .arg(format!("unix:{}:a:127.0.0.1:7", socket.display()))
        .stdout(Stdio::null())
        .spawn()?;
    guest.wait_for_output(r#""event":"here""#)?;
    let mut back = Vec::new();
    test_limit::wait_until("the host's end knows the guest's", || {
        echoed(&socket).is_ok_and(|bytes| {
            back = bytes;
            !back.is_empty()
        })
    });
    assert!(back == numbers(), "other bytes came back");
    kill_process(Pid::from_child(&host), rustix::process::Signal::TERM)?;
    assert!(host.wait()?.success());
    guest.signal(Signal::TERM)?;
    guest.wait()?.check()?;
    echo.signal(Signal::KILL)?;
    echo.wait()?;
    Ok(())
}

/// Sends all numbers through a socket, ends that direction, and returns what comes back.
fn echoed(socket: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit()))?;
    let mut writer = stream.try_clone()?;
    let writing = std::thread::spawn(move || {
        writer.write_all(&numbers())?;
        writer.shutdown(Shutdown::Write)
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    writing.join().map_err(|_| std::io::ErrorKind::Other)??;
    Ok(back)
}

fn numbers() -> Vec<u8> {
    (0..NUMBERS).flat_map(u32::to_le_bytes).collect()
}

/// Starts a command as an end in a guest.
fn start<'a>(guest: &'a Guest, command: &str, options: &[&str]) -> Result<Running<'a>, Failed> {
    let arguments = [&[PROGRAM, "--json", command], &AREA[..], options].concat();
    Ok(guest.command(arguments).spawn()?)
}

/// Waits until a guest reaches an address.
fn reach(guest: &Guest, address: &str) -> Result<(), Failed> {
    guest
        .shell(&format!("until ping -c 1 -W 1 {address}; do sleep 1; done"))?
        .check()?;
    Ok(())
}
