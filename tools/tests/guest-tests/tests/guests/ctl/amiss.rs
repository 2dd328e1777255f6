// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Machines in which something is amiss: what `doctor` says of them, and what the other commands do.

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use serde_json::Value;
use vmbench::Status;

use super::{answer, refused, run, text, unbind, MODULE, PROGRAM};

/// The findings of one check: their states, and their texts together.
fn findings(report: &Value, check: &str) -> (Vec<String>, String) {
    let all = report.as_array().into_iter().flatten();
    let of: Vec<_> = all.filter(|finding| finding["check"] == check).collect();
    let states = of
        .iter()
        .map(|f| f["state"].as_str().unwrap_or_default().to_string());
    (states.collect(), of.iter().map(|f| f.to_string()).collect())
}

pub fn doctor(fleet: &Fleet) -> Result<(), Failed> {
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
        ("cache", vec!["good", "good"]),
        ("pages", vec!["good"]),
    ] {
        assert_eq!(findings(&report, check).0, states, "{check}: {report}");
    }
    let (_, vectors) = findings(&report, "vectors");
    assert!(
        vectors.contains("ivshmem-doorbell and a server"),
        "{vectors}"
    );
    assert!(text(a, "doctor")?.starts_with("good    2 ivshmem devices\n"));

    // Without its driver; the remedy is what binds it again.
    let address = answer(b, "info")?["bus_id"]
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
    b.shell(&format!("insmod {MODULE} cache=2"))?.check()?;
    let (states, said) = findings(&answer(b, "doctor")?, "cache");
    assert_eq!(states, ["note"], "{said}");
    assert!(said.contains("the memory is write-combining"), "{said}");
    b.shell(&format!("rmmod ivshmem_rs && insmod {MODULE}"))?
        .check()?;
    run(b, "doctor")?.check()?;
    Ok(())
}

pub fn no_device(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    for command in [
        "info",
        "wait",
        "monitor",
        "top",
        "stat",
        "watch",
        "peers",
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
    refused(a, "info -d 9", 3, "`ivshmemctl list` shows all")?;
    refused(a, "info -d foo", 3, "foo is not a device: give N of")?;
    refused(a, "info -d 0000:00:1f.7", 3, "see lspci -d 1af4:1110")?;
    refused(a, "info -d /dev/null", 3, "is no node of the driver")
}

pub fn no_permission(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let as_nobody = |arguments: &str| {
        let command = format!("{PROGRAM} {arguments}");
        a.run(["su", "-s", "/bin/sh", "nobody", "-c", &command])
    };
    a.shell("chmod 600 /dev/ivshmem0")?.check()?;
    let refused = as_nobody("info")?;
    assert_eq!(refused.status, Status::Code(4), "{}", refused.stderr_text());
    assert!(refused.stderr_text().contains("join the group"));
    // What the driver counts is no secret.
    as_nobody("stat")?.check()?;
    let sick = as_nobody("--json doctor")?;
    assert_eq!(sick.status, Status::Code(7));
    let (states, said) = findings(&serde_json::from_str(&sick.stdout_text())?, "rights");
    assert_eq!(states[0], "problem", "{said}");
    assert!(said.contains("udev rule"), "{said}");

    // Who may only read can look, and cannot ring.
    a.shell("chmod 644 /dev/ivshmem0")?.check()?;
    for arguments in ["info", "peek 0", "dump -n 16", "monitor -c 1 -i 0.01"] {
        as_nobody(arguments)?.check()?;
    }
    assert_eq!(as_nobody("ring 0")?.status, Status::Code(4));
    a.shell("chmod 600 /dev/ivshmem0")?.check()?;
    Ok(())
}
