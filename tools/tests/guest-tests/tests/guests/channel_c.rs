// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests and the host on one region: programs in C with the library of channels. A guest without the module: the end for
//! an RTOS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory;
use ivshmem_channel::{Channel, Layout};
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use test_limit::limit;
use vmbench::build::static_c_program;
use vmbench::{boot_all, Device, Guest, Region};

/// The program: see there.
const SOURCE: &str = "tools/crates/ivshmem-channel-c/tests/c/peer.c";
const ROUNDS: &str = "2000";

struct World {
    region: Region,
    /// The program on the host.
    program: PathBuf,
    _directory: TempDir,
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let program = directory.path().join("peer");
        static_c_program("ivshmem-channel-c", SOURCE, "include", &program)?;
        let region = Region::start(1 << 20, 1)?;
        let guest = Guest::builder()
            .module(&module)
            .file(&program, "/test/peer")
            .device(Device::doorbell(&region));
        let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
        let world = Box::new(World {
            region,
            program,
            _directory: directory,
        });
        Ok(Fleet { guests, world })
    });
    let bare = Lab::new(move || {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let program = directory.path().join("echo");
        compile_rtos(&program);
        let region = Region::start(1 << 20, 1)?;
        let guest = Guest::builder()
            .name("bare")
            .file(&program, "/test/echo")
            .device(Device::doorbell(&region));
        let guests = vec![guest.boot()?];
        let world = Box::new(World {
            region,
            program,
            _directory: directory,
        });
        Ok(Fleet { guests, world })
    });
    Ok(vec![
        lab.trial("channel::c::talks_between_guests_and_the_host", talk),
        bare.trial("channel::c::an_rtos_echoes_and_rings_the_host", rtos),
    ])
}

/// Builds the sample for an RTOS with the board that Linux stands in for.
fn compile_rtos(output: &Path) {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let sources = ["echo.c", "board_linux.c"].map(|name| {
        let directory = checkout.join("samples/channels/rtos");
        directory.join(name)
    });
    let status = Command::new("cc")
        .args(["-std=gnu99", "-O2", "-static", "-I"])
        .arg(checkout.join("include"))
        .args(sources)
        .arg("-o")
        .arg(output)
        .status()
        .expect("cc, which cargo itself needs to link");
    assert!(status.success(), "the sample for an RTOS does not compile");
}

/// The guest's end has loads, stores and the register of the doorbell. The host's sleeps, and is rung.
fn rtos(fleet: &Fleet) -> Result<(), Failed> {
    const ROUNDS: u32 = 500;
    const FIND: &str = "for device in /sys/bus/pci/devices/*; do \
        if [ $(cat $device/device) = 0x1110 ]; then exec /test/echo $device; fi; done; exit 9";
    let world: &World = fleet.world.downcast_ref().ok_or("another set's world")?;
    let link = Arc::new(Peer::join(world.region.socket())?);
    let channel = Channel::create(Arc::clone(&link), 0, &Layout::duplex(4096))?;
    let me = channel.join(0, 0)?;
    let (mut to, mut from) = (me.sender(1)?, me.receiver(1)?);
    let echo = fleet.guests[0].command(["sh", "-c", FIND]).spawn()?;
    let mut got = Vec::new();
    for number in (1..=ROUNDS).chain([0]) {
        let len = number.wrapping_mul(2_654_435_761) % 900;
        let message = vec![number as u8; if number == 0 { 0 } else { len as usize + 1 }];
        to.send(&message, Some(limit()))?;
        if !from.receive(&mut got, Some(limit()))? || got != message {
            return Err(format!("message {number} does not come back").into());
        }
    }
    echo.wait()?.check()?;
    let rings = link.rings(0).unwrap_or(0);
    assert!(rings > 0, "the host was never rung");
    Ok(())
}

/// One in a guest and one on the host, both ways; then one in each guest.
fn talk(fleet: &Fleet) -> Result<(), Failed> {
    let world: &World = fleet.world.downcast_ref().ok_or("another set's world")?;
    let in_guest = |number: usize, words: &[&'static str]| {
        let line = ["/test/peer", "/dev/ivshmem0"].iter().chain(words);
        fleet.guests[number].command(line.copied()).spawn()
    };
    let on_host = |words: &[&str]| {
        let mut command = Command::new(&world.program);
        command.arg(world.region.socket()).args(words);
        match command.status()? {
            status if status.success() => Ok(()),
            status => Err(Failed::from(format!("on the host: {status}"))),
        }
    };
    let echo = in_guest(0, &["echo"])?;
    on_host(&["talk", ROUNDS])?;
    echo.wait()?.check()?;
    let talk = in_guest(1, &["talk", ROUNDS])?;
    on_host(&["echo"])?;
    talk.wait()?.check()?;
    let pass = in_guest(0, &["pass"])?;
    on_host(&["talk", ROUNDS])?;
    pass.wait()?.check()?;
    // The next channel has another layout.
    Peer::join(world.region.socket())?.write(0, &[0; 4096])?;
    let subscribe = in_guest(0, &["subscribe", ROUNDS])?;
    in_guest(1, &["publish", ROUNDS])?.wait()?.check()?;
    subscribe.wait()?.check()?;
    Ok(())
}
