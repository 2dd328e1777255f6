// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl` in guests: every command on the real device, with its text, its JSON and its exit codes.
//!
//! `a` has two devices, with and without a doorbell; `b` has one, on the same region as the first of `a`.

#[path = "ctl/amiss.rs"]
mod amiss;
#[path = "ctl/counts.rs"]
mod counts;
#[path = "ctl/memory.rs"]
mod memory;
#[path = "ctl/network.rs"]
mod network;
#[path = "ctl/talk.rs"]
mod talk;

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::{json, Value};
use test_limit::limit_argument;
use vmbench::{boot_all, Device, Guest, Memory, Output, Region, Status, DEFAULT_MEMORY_MIB};

const SIZE: u64 = 4 << 20;
const VECTORS: u16 = 3;

/// Too small for a large page.
const SMALL: u64 = 1 << 20;

const PROGRAM: &str = "/bin/ivshmemctl";
const MODULE: &str = "/ivshmem_rs.ko";
const PASSWD: &str = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";

type Case = fn(&Fleet) -> Result<(), Failed>;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let builder = kernel.guest();
    let tun = vmbench::kernel_module("drivers/net/tun").map_err(|error| error.to_string())?;
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, VECTORS)?;
        let program = builder.static_binary("ivshmemctl", "ivshmemctl")?;
        let guest = builder
            .clone()
            .memory_mib(DEFAULT_MEMORY_MIB + 4 * talk::copy_mib())
            .file(program, PROGRAM)
            .file(&module, MODULE)
            .data("/etc/passwd", 0o644, PASSWD)
            .module(&module)
            .device(Device::doorbell(&region));
        let guest = tun.iter().fold(guest, |guest, tun| guest.module(tun));
        let plain = Device::plain(&Memory::anonymous(SMALL)?);
        let guests = boot_all(&[guest.clone().name("a").device(plain), guest.name("b")])?;
        Ok(Fleet {
            guests,
            world: Box::new(region),
        })
    });
    let cases: [(&str, Case); 23] = [
        ("list_shows_each_device", list),
        ("info_tells_what_the_driver_says", info),
        ("ring_wakes_who_waits", ring_and_wait),
        ("wait_ends_at_its_limit_and_refuses_vectors", wait_errors),
        ("wait_word_ends_when_the_word_changes", memory::wait_word),
        (
            "peek_reads_what_another_machine_poked",
            memory::peek_and_poke,
        ),
        (
            "dump_reads_what_another_machine_loaded",
            memory::dump_and_load,
        ),
        ("monitor_counts_interrupts", counts::monitor),
        (
            "what_shows_counters_ends_when_the_device_goes",
            counts::removal,
        ),
        ("stat_tells_what_the_driver_has_counted", counts::stat),
        ("watch_tells_rates", counts::watch),
        ("top_shows_who_has_the_node_open", counts::top),
        (
            "peers_tells_who_has_joined_a_channel",
            talk::peers_of_a_channel,
        ),
        (
            "doctor_names_what_is_wrong_and_its_remedies_work",
            amiss::doctor,
        ),
        ("ping_measures_round_trips", ping),
        ("chat_tells_lines_and_who_is_there", talk::lines),
        (
            "chat_with_the_host_ends_by_a_signal",
            talk::lines_with_the_host,
        ),
        ("bench_measures_all_or_says_why_not", talk::bench),
        (
            "tunnel_carries_packets_through_kills_and_removal",
            network::tunnel,
        ),
        ("forward_leads_from_the_host_to_a_guest", network::forward),
        ("cp_goes_on_after_the_receiver_was_killed", talk::copy),
        ("no_device_is_exit_code_3", amiss::no_device),
        ("no_permission_is_exit_code_4", amiss::no_permission),
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
    // What is told of the work comes first.
    let error = said.lines().find(|line| !line.starts_with("* "));
    assert!(
        error.is_some_and(|error| error.starts_with("error: ")) && said.contains(message),
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
    Ok(info["peer_id"].as_u64().ok_or("no peer ID")?)
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
        list[0]["bus_id"].as_str().unwrap(),
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
    let address = second["bus_id"].as_str().ok_or("no PCI address")?;
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

/// Does something while `ringer` rings `listener` on `vector`: who rings once could ring too early.
fn while_rung<T>(
    ringer: &Guest,
    listener: &Guest,
    vector: u32,
    act: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let (peer, vector) = (peer_id(listener)?.to_string(), vector.to_string());
    let ring = [PROGRAM, "ring", &peer, &vector, "-c100000", "-i", "50ms"];
    let ringing = ringer.command(ring).spawn()?;
    let result = act();
    ringing.signal(vmbench::Signal::TERM)?;
    ringing.wait()?;
    result
}

/// The objects that a command writes, one a line.
fn answers(guest: &Guest, arguments: &str) -> Result<Vec<Value>, Failed> {
    let text = text(guest, &format!("--json {arguments}"))?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn ring_and_wait(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let rung = while_rung(a, b, 2, || text(b, "wait --vectors 0,2"))?;
    assert_eq!(rung, "rung on 2");
    let lines = while_rung(b, a, 1, || answers(a, "wait --count 3"))?;
    assert_eq!(lines, vec![json!({ "vectors": [1] }); 3]);
    let rang = answer(a, "ring 7 1 --count 2")?;
    let expected = json!({ "peer_id": 7, "vector": 1, "count": 2, "confirmed": false });
    assert_eq!(rang, expected);
    assert_eq!(
        text(a, "ring 7 1")?,
        "sent to vector 1 of peer 7; the device does not tell whether that is there"
    );
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
    refused(a, "wait --vectors 64", 2, "is not a vector (0 to 63)")?;
    refused(a, "ring 0 256", 2, "256 is not in 0..=255")?;
    refused(a, "wait --device 1", 6, "no doorbell")?;
    refused(a, "ring 0 --device 1", 6, "no doorbell")
}

fn unbind(guest: &Guest, address: &str) -> Result<(), Failed> {
    let script = format!("echo {address} >/sys/bus/pci/drivers/ivshmem_rs/unbind");
    guest.shell(&script)?.check()?;
    Ok(())
}

fn bind(guest: &Guest, address: &str) -> Result<(), Failed> {
    let script = format!("echo {address} >/sys/bus/pci/drivers/ivshmem_rs/bind");
    guest.shell(&script)?.check()?;
    Ok(())
}

fn ping(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let serving = b.command([PROGRAM, "ping", "--serve"]).spawn()?;
    let (peer, limit) = (peer_id(b)?, limit_argument());
    let answer = answer(a, &format!("ping {peer} -c 100 -i 0 -t {limit}"))?;
    assert_eq!(answer["round_trips"], 100);
    assert_eq!(answer["peer_id"], peer);
    let text = text(a, &format!("ping {peer} -c 3 -i 10ms -t {limit}"))?;
    for (line, begin) in [
        (0, format!("peer {peer}: seq=1 time=")),
        (2, format!("peer {peer}: seq=3 time=")),
        (3, format!("3 round trips to peer {peer}: min/")),
    ] {
        let found = text.lines().nth(line).unwrap_or_default();
        assert!(found.starts_with(&begin), "{text}");
    }
    serving.signal(vmbench::Signal::TERM)?;
    serving.wait()?;
    refused(
        a,
        &format!("ping {peer} -t 100ms"),
        5,
        "does not answer within 100ms",
    )?;
    refused(b, "ping --serve -t 100ms", 5, "nobody asked")?;
    // What is there is not ping's.
    run(a, "poke 0x200040 7")?.check()?;
    refused(
        b,
        "ping --serve -s 2M -t 100ms",
        1,
        "are in use, or still hold",
    )?;
    refused(b, "bench --serve -s 2M", 1, "are in use, or still hold")
}
