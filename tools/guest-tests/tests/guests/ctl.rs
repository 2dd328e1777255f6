// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl` in guests: every command on the real device, with its text, its JSON and its exit codes.
//!
//! `a` has two devices, with and without a doorbell; `b` has one, on the same region as the first of `a`.

#[path = "ctl/talk.rs"]
mod talk;

use std::time::Duration;

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::{json, Value};
use vmbench::{boot_all, build, Device, Guest, Memory, Output, Region, Status, DEFAULT_MEMORY_MIB};

const SIZE: u64 = 4 << 20;
const VECTORS: u16 = 3;

/// Below 2 MiB SeaBIOS's MTRR keeps memory from being write-back.
const SMALL: u64 = 1 << 20;

const PROGRAM: &str = "/bin/ivshmemctl";
const MODULE: &str = "/ivshmem_rs.ko";
const PASSWD: &str = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

type Case = fn(&Fleet) -> Result<(), Failed>;

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, VECTORS)?;
        let guest = Guest::builder()
            .command_limit(LIMIT)
            .memory_mib(DEFAULT_MEMORY_MIB + 4 * talk::copy_mib())
            .file(build::static_binary("ivshmemctl", "ivshmemctl")?, PROGRAM)
            .file(&module, MODULE)
            .data("/etc/passwd", 0o644, PASSWD)
            .module(&module)
            .device(Device::doorbell(&region));
        let plain = Device::plain(&Memory::anonymous(SMALL)?);
        let guests = boot_all(&[guest.clone().name("a").device(plain), guest.name("b")])?;
        Ok(Fleet {
            guests,
            world: Box::new(region),
        })
    });
    let cases: [(&str, Case); 17] = [
        ("list_shows_each_device", list),
        ("info_tells_what_the_driver_says", info),
        ("ring_wakes_who_waits", ring_and_wait),
        ("wait_ends_at_its_limit_and_refuses_vectors", wait_errors),
        ("wait_word_ends_when_the_word_changes", wait_word),
        ("peek_reads_what_another_machine_poked", peek_and_poke),
        ("dump_reads_what_another_machine_loaded", dump_and_load),
        ("monitor_counts_interrupts", monitor),
        ("monitor_ends_when_the_device_goes", monitor_removal),
        ("doctor_names_what_is_wrong_and_its_remedies_work", doctor),
        ("ping_measures_round_trips", ping),
        ("chat_tells_lines_and_who_is_there", talk::lines),
        (
            "chat_with_the_host_ends_by_a_signal",
            talk::lines_with_the_host,
        ),
        ("bench_measures_all_or_says_why_not", talk::bench),
        ("cp_goes_on_after_the_receiver_was_killed", talk::copy),
        ("no_device_is_exit_code_3", no_device),
        ("no_permission_is_exit_code_4", no_permission),
    ];
    let trials = cases.map(|(name, case)| lab.trial(format!("ctl::{name}"), case));
    Ok(trials.into())
}

fn run(guest: &Guest, arguments: &str) -> vmbench::Result<Output> {
    guest.shell(&format!("{PROGRAM} {arguments}"))
}

fn text(guest: &Guest, arguments: &str) -> Result<String, Failed> {
    Ok(run(guest, arguments)?.check()?.stdout_text())
}

fn answer(guest: &Guest, arguments: &str) -> Result<Value, Failed> {
    let text = text(guest, &format!("--json {arguments}"))?;
    Ok(serde_json::from_str(&text)?)
}

/// Expects this exit code, and this in the message, as text and as JSON.
#[track_caller]
fn refused(guest: &Guest, arguments: &str, code: i32, message: &str) -> Result<(), Failed> {
    let plain = run(guest, arguments)?;
    assert_eq!(plain.status, Status::Code(code), "{arguments}");
    let said = plain.stderr_text();
    assert!(
        said.starts_with("error: ") && said.contains(message),
        "{said}"
    );
    if code == 2 {
        return Ok(());
    }
    let error: Value =
        serde_json::from_str(&run(guest, &format!("--json {arguments}"))?.stderr_text())?;
    assert_eq!(error["exit"], code);
    let said = error["error"].as_str().unwrap_or_default();
    assert!(said.contains(message), "{said}");
    Ok(())
}

fn peer_id(guest: &Guest) -> Result<u64, Failed> {
    let info = answer(guest, "info")?;
    Ok(info["peer-id"].as_u64().ok_or("no peer ID")?)
}

fn list(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let list = answer(a, "list")?;
    let found: Vec<_> = (0..2)
        .map(|n| {
            (
                &list[n]["node"],
                &list[n]["driver"],
                &list[n]["size"],
                &list[n]["vectors"],
            )
        })
        .collect();
    let expected = [
        (
            &json!("/dev/ivshmem0"),
            &json!("ivshmem_rs"),
            &json!(SIZE),
            &json!(VECTORS),
        ),
        (
            &json!("/dev/ivshmem1"),
            &json!("ivshmem_rs"),
            &json!(SMALL),
            &json!(0),
        ),
    ];
    assert_eq!(found, expected);
    let text = text(a, "list")?;
    let lines: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0][..3], ["NODE", "PCI", "DRIVER"]);
    let cells = [
        "/dev/ivshmem0",
        list[0]["bus-id"].as_str().unwrap(),
        "ivshmem_rs",
        "4",
        "MiB",
    ];
    assert_eq!(lines[1][..5], cells);
    assert!(!text.contains('\x1b'), "colours in a pipe: {text}");
    Ok(())
}

fn info(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let first = answer(a, "info")?;
    assert_eq!(first["size"], SIZE);
    assert_eq!(first["cache"], "write-back");
    assert_eq!(first["doorbell"], true);
    assert_eq!(first["vectors"], VECTORS);
    assert_ne!(peer_id(a)?, peer_id(b)?);
    // By number, by path and by PCI address it is the same device.
    let second = answer(a, "info --device 1")?;
    let address = second["bus-id"].as_str().ok_or("no PCI address")?;
    for name in [
        "/dev/ivshmem1",
        address,
        address.trim_start_matches("0000:"),
    ] {
        assert_eq!(answer(a, &format!("info -d {name}"))?, second);
    }
    assert_eq!(answer(a, "info")?, first);
    let by_variable = a
        .shell(&format!("IVSHMEM_DEV=1 {PROGRAM} --json info"))?
        .check()?;
    assert_eq!(
        serde_json::from_str::<Value>(&by_variable.stdout_text())?,
        second
    );
    let text = text(a, "info")?;
    for line in [
        "memory         4 MiB",
        "doorbell       3 of 3 vectors",
        "cache          write-back",
    ] {
        assert!(text.contains(line), "{text}");
    }
    Ok(())
}

/// Runs `arguments` in `listener` while `ringer` rings it on `vector`: who rings once could ring too early.
fn while_rung(
    ringer: &Guest,
    listener: &Guest,
    vector: u32,
    arguments: &str,
) -> Result<Output, Failed> {
    let peer = peer_id(listener)?;
    let ring = [
        PROGRAM,
        "ring",
        &peer.to_string(),
        &vector.to_string(),
        "-n100000",
        "-i",
        "50ms",
    ];
    let ringing = ringer.command(ring).limit(LIMIT).spawn()?;
    let output = run(listener, arguments)?;
    ringing.signal(vmbench::Signal::TERM)?;
    ringing.wait()?;
    Ok(output.check()?)
}

fn ring_and_wait(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let rung = while_rung(a, b, 2, "wait --timeout 100s --vectors 0,2")?;
    assert_eq!(rung.stdout_text(), "rung on 2");
    let rung = while_rung(b, a, 1, "--json wait --timeout 100s --count 3")?;
    let lines: Vec<Value> = rung
        .stdout_text()
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines, vec![json!({ "vectors": [1] }); 3]);
    let rang = answer(a, "ring 7 1 --count 2")?;
    assert_eq!(rang, json!({ "peer": 7, "vector": 1, "count": 2 }));
    assert_eq!(text(a, "ring 7 1")?, "rang vector 1 of peer 7");
    Ok(())
}

fn wait_errors(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    refused(a, "wait --timeout 100ms", 5, "nobody rang within 100ms")?;
    refused(
        a,
        "wait --vectors 1,3",
        6,
        "vector 3 is not armed: this device has the vectors 0 to 2",
    )?;
    refused(a, "wait --vectors 64", 2, "no vector from 0 to 63")?;
    refused(a, "ring 0 256", 2, "256 is not in 0..=255")?;
    refused(a, "wait --device 1", 6, "no doorbell")?;
    refused(a, "ring 0 --device 1", 6, "no doorbell")
}

fn wait_word(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    text(a, "poke 0x800 7")?;
    refused(b, "wait --word 0x800=7 --timeout 100ms", 5, "nobody rang")?;
    refused(
        b,
        "wait --word 0x801=7",
        6,
        "offset 2049 is not a multiple of 4",
    )?;
    let mut waiting = b
        .command([PROGRAM, "wait", "--word", "0x800=7", "--timeout", "100s"])
        .spawn()?;
    // It may not sleep yet: then it finds the word changed, which is just as good.
    text(a, "poke 0x800 9")?;
    text(a, &format!("ring {}", peer_id(b)?))?;
    waiting.wait_for_output("0x9", LIMIT)?;
    waiting.wait()?.check()?;
    let word = answer(b, "wait --word 0x800=7")?;
    assert_eq!(word, json!({ "offset": 0x800, "value": 9 }));
    Ok(())
}

fn peek_and_poke(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    text(a, "poke 0x100 0x12345678 42")?;
    text(a, "poke --width 1 0x108 0xab 0xcd")?;
    assert_eq!(
        text(b, "peek 0x100 -n 2")?,
        "0x00000100: 0x12345678\n0x00000104: 0x0000002a"
    );
    assert_eq!(text(b, "peek --width 2 0x108")?, "0x00000108: 0xcdab");
    assert_eq!(
        text(b, "peek --width 8 0x100")?,
        "0x00000100: 0x0000002a12345678"
    );
    let peeked = answer(b, "peek --width 1 0x108 -n 2")?;
    assert_eq!(
        peeked,
        json!({ "offset": 0x108, "width": 1, "values": [0xab, 0xcd] })
    );
    let poked = answer(a, "poke 0x100 1 2 3")?;
    assert_eq!(poked, json!({ "offset": 0x100, "width": 4, "count": 3 }));
    refused(a, "peek 4M", 6, "not inside of the 4194304 bytes")?;
    refused(a, "peek 0x102", 6, "offset 258 is not a multiple of 4")?;
    refused(a, "poke 4M 1", 6, "not inside of")?;
    refused(
        a,
        "poke --width 2 0x200 0x10000",
        2,
        "does not fit into 2 bytes",
    )
}

fn dump_and_load(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    a.shell("head -c 300007 /dev/urandom >/original")?.check()?;
    let loaded = answer(a, "load --offset 0x1001 /original")?;
    assert_eq!(loaded, json!({ "offset": 0x1001, "length": 300_007 }));
    let dumped = text(b, "dump --offset 0x1001 --length 300007 --output /copy")?;
    assert_eq!(dumped, "/copy: 300007 bytes from offset 0x1001 on");
    assert!(
        a.read_file("/original")? == b.read_file("/copy")?,
        "it arrived damaged"
    );
    let raw = run(b, "dump -s 0x1001 -n 300007 -o - | cmp - /copy")?;
    raw.check()?;

    a.shell(&format!("head -c 64 /dev/zero | {PROGRAM} load -s 1M -"))?
        .check()?;
    a.shell(&format!(
        "printf 'Hello, neighbour' | {PROGRAM} load -s 0x100010 -"
    ))?
    .check()?;
    let hex = "00100000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
               00100010  48 65 6c 6c 6f 2c 20 6e  65 69 67 68 62 6f 75 72  |Hello, neighbour|\n\
               00100020";
    assert_eq!(text(b, "dump -s 1M -n 32")?, hex);
    let dumped = answer(b, "dump -s 0x100010 -n 5")?;
    assert_eq!(
        dumped,
        json!({ "offset": 0x100010, "length": 5, "hex": "48656c6c6f" })
    );

    refused(a, "dump --offset 5M", 6, "the memory has 4 MiB")?;
    refused(a, "dump --length 5M", 6, "more than there are")?;
    refused(
        a,
        "load --offset 0x3ffff0 /original",
        6,
        "longer than the 16 bytes",
    )?;
    refused(a, "load /absent", 1, "cannot read /absent")
}

fn monitor(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let me = peer_id(a)?;
    let interrupts = |at: &Value| at["vectors"][1]["interrupts"].as_u64().unwrap_or_default();
    let before = answer(a, "monitor --count 1 --interval 10ms")?;
    text(a, &format!("ring {me} 1"))?;
    // QEMU delivers a machine's own ring at once; wait until the driver has seen it.
    run(a, "wait --timeout 1s")?;
    let after = answer(a, "monitor --count 1 --interval 10ms")?;
    assert_eq!(
        interrupts(&after),
        interrupts(&before) + 1,
        "{before} {after}"
    );
    assert_eq!(after["dead"], false);
    assert_eq!(
        after["vectors"].as_array().map(Vec::len),
        Some(usize::from(VECTORS))
    );
    let rung = while_rung(&fleet.guests[1], a, 2, "--json monitor -i 500ms -n 4")?;
    let lines: Vec<Value> = rung
        .stdout_text()
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 4);
    let fastest = lines
        .iter()
        .filter_map(|line| line["vectors"][2]["per-second"].as_f64());
    assert!(fastest.fold(0.0, f64::max) > 0.0, "{lines:?}");
    let text = text(a, "monitor --plain -n 1 -i 10ms")?;
    let row = format!("1: {} (+0/s)", interrupts(&after));
    assert!(text.contains(&row), "{text}");
    let plain = answer(a, "monitor -d 1 -n 1 -i 10ms")?;
    assert_eq!(plain["vectors"], json!([]));
    Ok(())
}

fn unbind(guest: &Guest, address: &str) -> Result<(), Failed> {
    let script = format!("echo {address} >/sys/bus/pci/drivers/ivshmem_rs/unbind");
    guest.shell(&script)?.check()?;
    Ok(())
}

fn monitor_removal(fleet: &Fleet) -> Result<(), Failed> {
    let b = &fleet.guests[1];
    let address = answer(b, "info")?["bus-id"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let mut monitor = b
        .command([PROGRAM, "--json", "monitor", "-i", "100ms"])
        .limit(LIMIT)
        .spawn()?;
    monitor.wait_for_output("\"dead\":false", LIMIT)?;
    let waiter = b.command([PROGRAM, "wait"]).limit(LIMIT).spawn()?;
    unbind(b, &address)?;
    let output = monitor.wait()?;
    assert_eq!(output.status, Status::Code(3));
    assert!(output.stdout_text().contains("\"dead\":true"));
    assert!(output.stderr_text().contains("the device is gone"));
    assert_eq!(waiter.wait()?.status, Status::Code(3));
    bind(b, &address)
}

fn bind(guest: &Guest, address: &str) -> Result<(), Failed> {
    let script = format!("echo {address} >/sys/bus/pci/drivers/ivshmem_rs/bind");
    guest.shell(&script)?.check()?;
    Ok(())
}

/// The findings of one check: their states, and their texts together.
fn findings(report: &Value, check: &str) -> (Vec<String>, String) {
    let all = report.as_array().into_iter().flatten();
    let of: Vec<_> = all.filter(|finding| finding["check"] == check).collect();
    let states = of
        .iter()
        .map(|f| f["state"].as_str().unwrap_or_default().to_string());
    (states.collect(), of.iter().map(|f| f.to_string()).collect())
}

fn doctor(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let report = answer(a, "doctor")?;
    for (check, states) in [
        ("device", vec!["good"]),
        ("module", vec!["good"]),
        ("driver", vec!["good", "good"]),
        ("rights", vec!["good", "good"]),
        ("vectors", vec!["good", "note"]),
        ("cache", vec!["good", "note"]),
        ("pages", vec!["note"]),
    ] {
        assert_eq!(findings(&report, check).0, states, "{check}: {report}");
    }
    // The reason is the driver's own, from the kernel log.
    let (_, cache) = findings(&report, "cache");
    assert!(
        cache.contains("a region of at least 2 MiB would be write-back"),
        "{cache}"
    );
    // BAR2 lies as it should, but Linux has switched large pages off.
    let (_, pages) = findings(&report, "pages");
    assert!(pages.contains("less than 512 MiB of RAM"), "{pages}");
    let (_, vectors) = findings(&report, "vectors");
    assert!(
        vectors.contains("ivshmem-doorbell and a server"),
        "{vectors}"
    );
    assert!(text(a, "doctor")?.starts_with("ok      2 ivshmem devices\n"));

    // Without its driver; the remedy is what binds it again.
    let address = answer(b, "info")?["bus-id"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    unbind(b, &address)?;
    let sick = run(b, "doctor")?;
    assert_eq!(sick.status, Status::Code(7));
    let said = sick.stdout_text();
    assert!(said.contains("no driver is bound"), "{said}");
    let remedy = format!("echo {address} >/sys/bus/pci/drivers/ivshmem_rs/bind");
    assert!(said.contains(&remedy), "{said}");
    refused(
        b,
        &format!("info -d {address}"),
        3,
        "`ivshmemctl doctor` says what to do",
    )?;
    b.shell(&remedy)?.check()?;
    run(b, "doctor")?.check()?;

    b.shell("rmmod ivshmem_rs")?.check()?;
    let sick = run(b, "doctor")?;
    assert_eq!(sick.status, Status::Code(7));
    let said = sick.stdout_text();
    assert!(
        said.contains("the module ivshmem_rs is not installed"),
        "{said}"
    );
    assert!(
        said.contains("there are no headers of the kernel that runs"),
        "{said}"
    );
    b.shell(&format!("insmod {MODULE}"))?.check()?;
    run(b, "doctor")?.check()?;
    Ok(())
}

fn ping(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let serving = b
        .command([PROGRAM, "ping", "--serve"])
        .limit(LIMIT)
        .spawn()?;
    let peer = peer_id(b)?;
    let answer = answer(a, &format!("ping {peer} -n 100 -i 0s -t 60s"))?;
    assert_eq!(answer["round-trips"], 100);
    assert_eq!(answer["peer"], peer);
    let text = text(a, &format!("ping {peer} -n 3 -i 10ms -t 60s"))?;
    assert!(
        text.starts_with(&format!("3 round trips to peer {peer}: min ")),
        "{text}"
    );
    serving.signal(vmbench::Signal::TERM)?;
    serving.wait()?;
    refused(
        a,
        &format!("ping {peer} -t 100ms"),
        5,
        "does not answer within 100ms",
    )?;
    refused(b, "ping --serve -t 100ms", 5, "nobody asked")
}

fn no_device(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    for command in [
        "info",
        "wait",
        "monitor",
        "ring 0",
        "peek 0",
        "poke 0 1",
        "dump",
        "load /init",
    ] {
        refused(
            a,
            &format!("{command} -d 9"),
            3,
            "/dev/ivshmem9 does not exist",
        )?;
    }
    refused(a, "info -d 0000:00:1f.7", 3, "see `ivshmemctl list`")?;
    refused(a, "info -d /dev/null", 3, "is no node of the driver")
}

fn no_permission(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let as_nobody = |arguments: &str| {
        let command = format!("{PROGRAM} {arguments}");
        a.run(["su", "-s", "/bin/sh", "nobody", "-c", &command])
    };
    a.shell("chmod 600 /dev/ivshmem0")?.check()?;
    let refused = as_nobody("info")?;
    assert_eq!(refused.status, Status::Code(4), "{}", refused.stderr_text());
    assert!(refused.stderr_text().contains("join the group"));
    let sick = as_nobody("--json doctor")?;
    assert_eq!(sick.status, Status::Code(7));
    let (states, said) = findings(&serde_json::from_str(&sick.stdout_text())?, "rights");
    assert_eq!(states[0], "problem", "{said}");
    assert!(said.contains("udev rule"), "{said}");

    // Who may only read can look, and cannot ring.
    a.shell("chmod 644 /dev/ivshmem0")?.check()?;
    for arguments in ["info", "peek 0", "dump -n 16", "monitor -n 1 -i 10ms"] {
        as_nobody(arguments)?.check()?;
    }
    assert_eq!(as_nobody("ring 0")?.status, Status::Code(4));
    a.shell("chmod 600 /dev/ivshmem0")?.check()?;
    Ok(())
}
