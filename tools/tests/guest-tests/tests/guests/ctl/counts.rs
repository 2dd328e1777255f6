// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands that show what a device counts, and who has it open.

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use serde_json::{json, Value};
use test_limit::wait_until;
use vmbench::{Guest, Signal, Status};

use super::{answer, answers, bind, peer_id, run, text, unbind, while_rung, PROGRAM, VECTORS};

pub fn monitor(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let me = peer_id(a)?;
    let interrupts = |at: &Value| at["vectors"][1]["interrupts"].as_u64().unwrap_or_default();
    let before = answer(a, "monitor --count 1 --interval 10ms")?;
    text(a, &format!("ring {me} 1"))?;
    let mut after = Value::Null;
    test_limit::wait_until("the interrupt is counted", || {
        after = answer(a, "monitor --count 1 --interval 10ms").unwrap();
        interrupts(&after) > interrupts(&before)
    });
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
    while_rung(&fleet.guests[1], a, 2, || {
        test_limit::wait_until("vector 2 is rung at some rate", || {
            let lines = answers(a, "monitor -i 0.5 -c 4").unwrap();
            assert_eq!(lines.len(), 4);
            let rate = |line: &Value| line["vectors"][2]["per_second"].as_f64();
            lines.iter().any(|line| rate(line) > Some(0.0))
        });
        Ok(())
    })?;
    let text = text(a, "monitor --plain -c 1 -i 0.01")?;
    let row = format!("1: {} (+0/s)", interrupts(&after));
    assert!(text.contains(&row), "{text}");
    let plain = answer(a, "monitor -d 1 -c 1 -i 0.01")?;
    assert_eq!(plain["vectors"], json!([]));
    Ok(())
}

pub fn removal(fleet: &Fleet) -> Result<(), Failed> {
    let b = &fleet.guests[1];
    let address = answer(b, "info")?["bus_id"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    let mut monitor = b
        .command([PROGRAM, "--json", "monitor", "-i", "100ms"])
        .spawn()?;
    monitor.wait_for_output("\"dead\":false")?;
    let mut watch = b
        .command([PROGRAM, "--json", "watch", "-i", "100ms"])
        .spawn()?;
    watch.wait_for_output("\"opens\":")?;
    let waiter = b.command([PROGRAM, "wait"]).spawn()?;
    unbind(b, &address)?;
    let output = monitor.wait()?;
    assert_eq!(output.status, Status::Code(3));
    assert!(output.stdout_text().contains("\"dead\":true"));
    assert!(output.stderr_text().contains("the device is gone"));
    let watched = watch.wait()?;
    assert_eq!(watched.status, Status::Code(3));
    assert!(watched.stderr_text().contains("the device is gone"));
    assert_eq!(waiter.wait()?.status, Status::Code(3));
    bind(b, &address)
}

pub fn stat(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    let me = peer_id(a)?;
    let before = answer(a, "stat")?;
    assert_eq!(before["node"], "/dev/ivshmem0");
    text(a, &format!("ring {me} 1 --count 2"))?;
    let number = |of: &Value| of.as_u64().unwrap_or_default();
    let mut after = Value::Null;
    wait_until("the interrupt is counted", || {
        after = answer(a, "stat").unwrap();
        number(&after["interrupts"][1]) > number(&before["interrupts"][1])
    });
    assert_eq!(after["interrupts"][0], before["interrupts"][0]);
    let doorbells = number(&before["doorbells"]) + 2;
    assert_eq!(after["doorbells"], doorbells);
    // It opens nothing itself.
    assert_eq!(after["opens"], 0, "{after}");
    let text = text(a, "stat")?;
    let line = format!("doorbells      {doorbells}");
    assert!(text.lines().any(|found| found == line), "{text}");
    let plain = answer(a, "stat -d 1")?;
    assert_eq!(plain["interrupts"], json!([]));
    Ok(())
}

pub fn watch(fleet: &Fleet) -> Result<(), Failed> {
    let a = &fleet.guests[0];
    while_rung(&fleet.guests[1], a, 2, || {
        wait_until("vector 2 is rung at some rate", || {
            let lines = answers(a, "watch -i 0.5 -c 4").unwrap();
            assert_eq!(lines.len(), 4);
            let rate = |line: &Value| line["interrupts_per_second"].as_f64();
            lines.iter().any(|line| rate(line) > Some(0.0))
        });
        Ok(())
    })?;
    let text = text(a, "watch -c 2 -i 0.01")?;
    let lines: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let titles = [
        "SECONDS",
        "INTERRUPTS/s",
        "DOORBELLS/s",
        "WAKE_UPS/s",
        "HELD_BACK/s",
        "OPENS",
        "MAPPINGS",
        "EVENTFDS",
    ];
    assert_eq!(lines[0], titles);
    assert_eq!((lines.len(), lines[2].len()), (3, titles.len()), "{text}");
    Ok(())
}

/// The open file of the process of this name, as `top` shows it.
fn opener(guest: &Guest, command: &str) -> Result<Option<Value>, Failed> {
    let top = answer(guest, "top")?;
    assert_eq!(top["complete"], true, "{top}");
    let openers = top["openers"].as_array().ok_or("no openers")?;
    let found = openers.iter().find(|opener| opener["command"] == command);
    Ok(found.cloned())
}

pub fn top(fleet: &Fleet) -> Result<(), Failed> {
    let b = &fleet.guests[1];
    let me = peer_id(b)?;
    let address = answer(b, "info")?["bus_id"]
        .as_str()
        .unwrap_or_default()
        .to_string();
    assert_eq!(text(b, "top")?, "nobody has /dev/ivshmem0 open");
    // It takes no event.
    let holder = b
        .command(["sh", "-c", "exec sleep 1000 3</dev/ivshmem0"])
        .spawn()?;
    let mut held = Value::Null;
    wait_until("the node is held open", || {
        held = opener(b, "sleep").unwrap().unwrap_or_default();
        held["fd"] == 3
    });
    assert_eq!(held["access"], "read_only");
    assert_eq!(
        (&held["subscribed"], &held["eventfds"], &held["pending"]),
        (&json!([0, 1, 2]), &json!([]), &json!([0, 0, 0])),
        "{held}"
    );
    text(b, &format!("ring {me} 1"))?;
    wait_until("the interrupt is pending", || {
        let now = opener(b, "sleep").unwrap().unwrap_or_default();
        assert_eq!(now["seen"], held["seen"]);
        now["pending"] == json!([0, 1, 0])
    });
    let table = text(b, "top")?;
    let row: Vec<_> = table
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(row[1..6], ["sleep", "3r", "0x7", "0x0", "1"], "{table}");

    let command = format!("{PROGRAM} top");
    let nobody = b
        .run(["su", "-s", "/bin/sh", "nobody", "-c", &command])?
        .check()?
        .stdout_text();
    assert!(nobody.contains("run this as root"), "{nobody}");

    // Who does not notice that its device went is not taken for one who has the new one.
    unbind(b, &address)?;
    let gone = run(b, "top")?;
    assert_eq!(gone.status, Status::Code(3), "{}", gone.stderr_text());
    bind(b, &address)?;
    let stale = opener(b, "sleep")?.ok_or("the stale file is not shown")?;
    assert_eq!(stale["deleted"], true);
    assert_eq!(stale["pending"], Value::Null);
    holder.signal(Signal::KILL)?;
    holder.wait()?;
    Ok(())
}
