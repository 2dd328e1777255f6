// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bench with real guests. A boot takes seconds, so each test does much with few.

use std::time::Duration;

use serde_json::json;
use vmbench::{boot_all, Device, Error, Exit, Guest, Mark, Memory, Region, Signal, Status};

#[test]
fn one_guest_from_boot_to_power_off() {
    let memory = Memory::anonymous(1 << 20).unwrap();
    let guest = Guest::builder()
        .name("all")
        .root_ports(1)
        .memory_object("spare0", &memory)
        .memory_object("spare1", &memory)
        .data(
            "/opt/tool/run",
            0o755,
            "#!/bin/sh\necho \"$1 in $PWD with $KEY\"\n",
        )
        .file("Cargo.toml", "/root/Cargo.toml")
        .boot()
        .unwrap();
    commands(&guest);
    limits_and_signals(&guest);
    processes_left_behind(&guest);
    files(&guest);
    kernel_log(&guest);
    hot_plug(&guest);
    suspend(&guest);
    guest.poweroff().unwrap();
}

fn commands(guest: &Guest) {
    let release = guest.run(["uname", "-r"]).unwrap().check().unwrap();
    let version = guest.read_file("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(format!("{}\n", release.stdout_text()).into_bytes(), version);

    let output = guest.shell("echo out; echo err >&2; exit 3").unwrap();
    assert_eq!(output.status, Status::Code(3));
    assert_eq!(
        (output.stdout_text(), output.stderr_text()),
        ("out".into(), "err".into())
    );
    let error = output.check().unwrap_err().to_string();
    for part in ["guest all", "exit code 3", "out", "err"] {
        assert!(error.contains(part), "{error}");
    }

    let command = guest.command(["/opt/tool/run", "me"]);
    let output = command.env("KEY", "a b").cwd("/opt").run().unwrap();
    assert_eq!(output.stdout_text(), "me in /opt with a b");

    let noise: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let output = guest.command(["cat"]).stdin(noise.clone()).run().unwrap();
    assert!(output.stdout == noise, "cat changed its input");

    let error = guest.run(["no-such-program"]).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("no-such-program"), "{error}");
}

fn limits_and_signals(guest: &Guest) {
    let command = guest.command(["sh", "-c", "echo before; sleep 1000"]);
    let output = command.limit(Duration::from_secs(10)).run().unwrap();
    assert_eq!(output.status, Status::TimedOut);
    assert_eq!(output.stdout_text(), "before");

    // Two commands at once; each is told apart.
    let script = "trap 'echo caught; exit 7' INT; echo sleeping; while :; do sleep 1; done";
    let mut first = guest.command(["sh", "-c", script]).spawn().unwrap();
    let mut second = guest.command(["sh", "-c", script]).spawn().unwrap();
    assert_eq!(first.wait_for_output("sleep").unwrap(), "sleeping");
    assert_eq!(second.wait_for_output("sleep").unwrap(), "sleeping");
    first.signal(Signal::INT).unwrap();
    first.wait_for_output("caught").unwrap();
    assert_eq!(first.wait().unwrap().status, Status::Code(7));
    second.signal(Signal::KILL).unwrap();
    let output = second.wait().unwrap();
    assert_eq!(output.status, Status::Signal(Signal::KILL.as_raw()));
    assert_eq!(output.stdout_text(), "sleeping");

    let mut command = guest.command(["echo", "something"]).spawn().unwrap();
    let error = command.wait_for_output("else").unwrap_err().to_string();
    assert!(
        error.contains("without \"else\"") && error.contains("something"),
        "{error}"
    );
}

fn processes_left_behind(guest: &Guest) {
    // The background process holds the output open; its parent's end counts.
    let output = guest
        .shell("sleep 1000 & echo started")
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(output.stdout_text(), "started");
    // Orphans become children of process 1, which must reap them.
    let script = "(sleep 0.1 & sleep 0.1 & sleep 0.1 &)
                  while ps -o stat,comm | grep -q '^Z\\|sleep 0.1'; do sleep 0.2; done";
    guest.shell(script).unwrap().check().unwrap();
}

fn files(guest: &Guest) {
    let host = std::fs::read("Cargo.toml").unwrap();
    assert_eq!(guest.read_file("/root/Cargo.toml").unwrap(), host);
    guest
        .write_file("/tmp/new/dir/file", 0o640, b"\0bytes\xff")
        .unwrap();
    let mode = guest
        .run(["stat", "-c", "%a", "/tmp/new/dir/file"])
        .unwrap();
    assert_eq!(mode.stdout_text(), "640");
    assert_eq!(
        guest.read_file("/tmp/new/dir/file").unwrap(),
        b"\0bytes\xff"
    );
    let error = guest.read_file("/tmp/none").unwrap_err();
    assert!(error.to_string().contains("/tmp/none"), "{error}");
}

fn kernel_log(guest: &Guest) {
    assert_eq!(guest.kernel_splats(Mark::BOOT).unwrap(), []);
    let before = guest.kernel_mark().unwrap();
    guest
        .shell("echo '<4>WARNING: made up' >/dev/kmsg")
        .unwrap()
        .check()
        .unwrap();
    let splats = guest.kernel_splats(before).unwrap();
    assert_eq!(splats.len(), 1);
    assert!(splats[0].title.ends_with("WARNING: made up"), "{splats:?}");
    let after = guest.kernel_mark().unwrap();
    assert!(after > before);
    assert_eq!(guest.kernel_splats(after).unwrap(), []);
    assert!(guest
        .kernel_log()
        .unwrap()
        .contains("Run /init as init process"));
    assert!(guest.console().contains("Run /init as init process"));
}

fn hot_plug(guest: &Guest) {
    let qmp = guest.qmp();
    let status = qmp.execute("query-status", json!({})).unwrap();
    assert_eq!(status["status"], "running");
    let error = qmp.execute("no-such-command", json!({})).unwrap_err();
    assert!(error.to_string().contains("CommandNotFound"), "{error}");

    let present = "grep -q 0x1110 /sys/bus/pci/devices/*/device";
    assert!(!guest.shell(present).unwrap().success());
    // The second time shows that the first left nothing in the way.
    for memory in ["spare0", "spare1"] {
        let device =
            json!({"driver": "ivshmem-plain", "id": "late", "memdev": memory, "bus": "port0"});
        qmp.execute("device_add", device).unwrap();
        let appears = format!("until {present}; do sleep 0.1; done");
        guest.shell(&appears).unwrap().check().unwrap();
        qmp.unplug("late").unwrap();
        assert!(!guest.shell(present).unwrap().success());
    }
}

fn suspend(guest: &Guest) {
    let qmp = guest.qmp();
    let sleeper = guest.command(["sh", "-c", "echo mem >/sys/power/state"]);
    let sleeper = sleeper.spawn().unwrap();
    qmp.wait_event("SUSPEND", |_| true).unwrap();
    qmp.execute("system_wakeup", json!({})).unwrap();
    qmp.wait_event("WAKEUP", |_| true).unwrap();
    sleeper.wait().unwrap().check().unwrap();
}

#[test]
fn files_that_have_no_room_are_an_error() {
    let guest = Guest::builder().memory_mib(256);
    let guest = guest.data("/large", 0o644, vec![0; 105 << 20]);
    let error = guest.boot().map(drop).unwrap_err().to_string();
    assert!(error.contains("not enough memory for its files"), "{error}");
}

#[test]
fn guests_that_fail() {
    let region = Region::start(1 << 20, 8).unwrap();
    let guest = Guest::builder()
        .device(Device::doorbell(&region))
        .limit(Duration::from_secs(30));
    let guests = boot_all(&[guest.clone().name("a"), guest.name("b")]).unwrap();
    let [a, b] = &guests[..] else {
        panic!("two guests")
    };
    for guest in [a, b] {
        let output = guest.shell("cat /sys/bus/pci/devices/*/device").unwrap();
        assert!(output.stdout_text().contains("0x1110"), "{output:?}");
    }
    panics(a);
    hangs(b);
    loses_its_agent(b);
}

fn panics(guest: &Guest) {
    let line = "Kernel panic - not syncing: sysrq triggered crash";
    let error = guest.shell("echo c >/proc/sysrq-trigger").unwrap_err();
    assert!(matches!(error, Error::Panic { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains(line) && error.contains("Call Trace"),
        "{error}"
    );
    assert_eq!(guest.wait_exit().unwrap(), Exit::Panic(line.into()));
    // Later requests say the same at once.
    let error = guest.run(["true"]).unwrap_err();
    assert!(matches!(error, Error::Panic { .. }), "{error}");
}

fn hangs(guest: &Guest) {
    let qmp = guest.qmp();
    qmp.execute("stop", json!({})).unwrap();
    qmp.wait_event("STOP", |_| true).unwrap();
    let command = guest.command(["true"]).limit(Duration::from_secs(1));
    let error = command.run().unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    assert!(
        error.to_string().contains("Run /init as init process"),
        "{error}"
    );
    qmp.execute("cont", json!({})).unwrap();
    guest.run(["true"]).unwrap().check().unwrap();
}

fn loses_its_agent(guest: &Guest) {
    let error = guest.shell("kill -KILL $PPID; sleep 1000").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Gone { .. }), "{text}");
    assert!(
        text.contains("vmbench-agent: fatal: the server ended: signal 9"),
        "{text}"
    );
}

#[test]
fn qemu_that_does_not_start_says_why() {
    let error = Guest::builder()
        .qemu_arg("-no-such-option")
        .boot()
        .unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}
