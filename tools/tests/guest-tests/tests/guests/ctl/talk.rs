// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands by which two machines, or a machine and the host, exchange files and lines.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use serde_json::{json, Value};
use test_limit::limit_argument;
use vmbench::{build, Guest, Region, Running, Signal, Status};

use super::{run, PROGRAM};

/// MiB of the file that is copied: 4, or what the variable `IVSHMEM_COPY` says.
pub fn copy_mib() -> u32 {
    let variable = std::env::var("IVSHMEM_COPY");
    variable.map_or(4, |mib| {
        mib.parse().expect("IVSHMEM_COPY is no number of MiB")
    })
}

/// Makes the memory that chat and cp use zero: they refuse to write over what other cases have left there.
fn forget(guest: &Guest) -> Result<(), Failed> {
    let zeros = format!("head -c 1048576 /dev/zero | {PROGRAM} load -");
    guest.shell(&zeros)?.check()?;
    Ok(())
}

/// The end of `chat` in `a` is told who is there, and hears what is piped in on `b`.
pub fn lines(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let limit = limit_argument();
    forget(a)?;
    let listen = [PROGRAM, "--json", "chat", "--listen", "-t", &limit];
    let listener = a.command(listen).spawn()?;
    run(b, &format!("chat -t {limit} </etc/passwd"))?.check()?;
    let heard = listener.wait()?.check()?.stdout_text();
    let events: Vec<Value> = heard
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let all = |name: &str| -> Vec<&Value> {
        let wanted = events.iter().filter(|event| event["event"] == name);
        wanted.collect()
    };
    let lines: Vec<_> = all("line").iter().map(|e| &e["line"]).collect();
    assert_eq!(lines, super::PASSWD.lines().collect::<Vec<_>>(), "{heard}");
    let peer = super::peer_id(b)?;
    assert!(all("line").iter().all(|e| e["peer_id"] == peer), "{heard}");
    assert_eq!((all("here").len(), all("left").len()), (1, 1), "{heard}");
    Ok(())
}

/// Who chats is seen by another machine, which does not; so is one that was killed.
pub fn peers_of_a_channel(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    super::refused(a, "peers -s 2M", 1, "no channel at offset 0x200000")?;
    let script = format!("mkfifo /mute; exec {PROGRAM} --json chat --overwrite -s 3M <>/mute");
    let mut talker = b.command(["sh", "-c", &script]).spawn()?;
    talker.wait_for_output("\"alone\"")?;
    let mut found = Value::Null;
    let mut wait_for = |state: &str| {
        test_limit::wait_until("its state is seen", || {
            found = super::answer(a, "peers -s 3M").unwrap();
            found["members"][0]["state"] == state
        });
        found.clone()
    };
    let present = wait_for("present");
    let slot = &present["members"][0]["slot"];
    let there = json!([{ "slot": slot, "peer_id": super::peer_id(b)?, "state": "present" }]);
    assert_eq!(present["members"], there);
    assert_eq!(present["peer_id"], super::peer_id(a)?);
    talker.signal(Signal::KILL)?;
    talker.wait()?;
    wait_for("lost");
    let table = run(a, "peers -s 3M")?.check()?.stdout_text();
    let row = format!("{slot}     -     lost");
    assert!(table.lines().any(|line| line == row), "{table}");
    Ok(())
}

/// A process of the host hears a guest, which is ended by a signal.
pub fn lines_with_the_host(fleet: &Fleet) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("no region")?;
    forget(&fleet.guests[0])?;
    let mut host = Command::new(build::static_binary("ivshmemctl", "ivshmemctl")?)
        .args([
            "--json",
            "chat",
            "--listen",
            "-t",
            &limit_argument(),
            "--join",
        ])
        .arg(region.socket())
        .stdout(Stdio::piped())
        .spawn()?;
    let heard = BufReader::new(host.stdout.take().ok_or("no output")?);
    let mut heard = heard.lines();
    // Its input does not end.
    let script = format!("mkfifo /keys; exec {PROGRAM} chat <>/keys");
    let talker = fleet.guests[0].command(["sh", "-c", &script]);
    let talker = talker.spawn()?;
    let mut wait_for = |what: &str| {
        let found = heard.find(|line| line.as_ref().map_or(true, |line| line.contains(what)));
        found.ok_or(format!("it ended before {what}"))
    };
    wait_for(r#""event":"here""#)??;
    let say = "echo 'from a guest' >/keys";
    fleet.guests[0].shell(say)?.check()?;
    wait_for(r#""line":"from a guest""#)??;
    talker.signal(Signal::INT)?;
    wait_for(r#""event":"left""#)??;
    talker.wait()?.check()?;
    assert!(host.wait()?.success());
    Ok(())
}

/// A file goes from `a` to `b`, whose receiver is killed half-way and started again.
pub fn copy(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let size = u64::from(copy_mib()) << 20;
    a.shell(&format!("head -c {size} /dev/urandom >/file"))?
        .check()?;
    b.shell("mkdir /incoming")?.check()?;
    forget(a)?;
    let send = [PROGRAM, "--json", "cp", "-t", &limit_argument(), "/file"];
    let sender = a.command(send).spawn()?;
    let killed = receiver(b)?;
    let begin = Instant::now();
    let half = || match sender.has_ended() || killed.has_ended() {
        true => size,
        false => arrived(b).unwrap(),
    };
    test_limit::wait_for_count("bytes of the file", size / 2, half);
    if sender.has_ended() {
        return Err(format!("the sender ended: {:?}", sender.wait()?).into());
    }
    killed.signal(Signal::KILL)?;
    let killed = killed.wait()?;
    assert_eq!(
        killed.status,
        Status::Signal(9),
        "it ended too early: {killed:?}"
    );
    let received = receiver(b)?.wait()?.check()?;
    sender.wait()?.check()?;
    let answer: Value = serde_json::from_str(&received.stdout_text())?;
    println!("{answer}, after {:.0?}", begin.elapsed());
    assert!(answer["from"].as_u64() >= Some(size / 2), "{answer}");
    let sum = |guest: &Guest, path| -> Result<String, Failed> {
        let line = guest.run(["sha256sum", path])?.check()?.stdout_text();
        Ok(line.split(' ').next().unwrap_or_default().into())
    };
    assert_eq!(sum(a, "/file")?, sum(b, "/incoming/file")?);
    a.shell("rm /file")?.check()?;
    b.shell("rm -r /incoming")?.check()?;
    Ok(())
}

/// Everything is measured, between processes and between machines, or it says why it is not.
pub fn bench(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let alone = super::answer(a, "bench --time 1ms")?;
    assert_eq!(alone["cache"], "write-back");
    // The kernel refuses sysfs what a driver has, and the guest has one processor.
    assert_eq!(
        unmeasured(&alone)?,
        (19, vec!["copy into", "copy out of", "round trip"])
    );

    let serve = [PROGRAM, "bench", "--serve"];
    let serving = b.command(serve).spawn()?;
    let peer = super::peer_id(b)?;
    let both = super::answer(a, &format!("bench {peer} --time 1ms"))?;
    assert_eq!(both["peer_id"], peer);
    assert_eq!(unmeasured(&both)?, (19, vec!["copy into", "copy out of"]));
    serving.signal(Signal::TERM)?;
    serving.wait()?;

    // No doorbell: memory only.
    let plain = super::answer(a, "bench --device 1 --time 1ms")?;
    assert_eq!(unmeasured(&plain)?, (6, vec!["copy into", "copy out of"]));
    let table = super::text(a, "bench --device 1 --time 1ms")?;
    assert!(
        table
            .lines()
            .nth(3)
            .is_some_and(|line| line.ends_with("1.00")),
        "{table}"
    );
    Ok(())
}

/// How many rows there are, and the groups of those that have a note instead of a value.
fn unmeasured(answer: &Value) -> Result<(usize, Vec<&str>), Failed> {
    let rows = answer["rows"].as_array().ok_or("no rows")?;
    let without = rows.iter().filter(|row| row["value"].is_null());
    let measured =
        |row: &&Value| row["value"].as_f64() > Some(0.0) && row["speed"].as_f64() > Some(0.0);
    assert_eq!(
        rows.iter().filter(measured).count() + without.clone().count(),
        rows.len(),
        "{answer}"
    );
    assert!(without.clone().all(|row| row["note"] != ""), "{answer}");
    let groups = without.filter_map(|row| row["group"].as_str());
    Ok((rows.len(), groups.collect()))
}

fn receiver(guest: &Guest) -> Result<Running<'_>, Failed> {
    let receive = [
        PROGRAM,
        "--json",
        "cp",
        "-t",
        &limit_argument(),
        "--receive",
        "/incoming",
    ];
    Ok(guest.command(receive).spawn()?)
}

/// Bytes that the receiver has.
fn arrived(guest: &Guest) -> Result<u64, Failed> {
    let part = guest.shell("stat -c %s /incoming/.*.part || echo 0")?;
    Ok(part.stdout_text().parse()?)
}
