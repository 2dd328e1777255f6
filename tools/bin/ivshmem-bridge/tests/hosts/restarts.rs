// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Bridges that are killed, servers that are started anew, channels that are recreated.

use rustix::process::Signal;

use super::carried::{meet, pair, BOTH};
use super::host::{arrives, Host};

const TOPICS: &str =
    "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 0, from-zenoh = 1 }]";

#[test]
fn a_bridge_that_was_killed_goes_on_when_it_is_started_again() {
    let host = Host::new(&[]);
    let mut program = host.program();
    let mut bridge = host.bridge(TOPICS);
    bridge.expect("joined");
    arrives(&host.stranger(), &mut program, "before");
    // By SIGKILL.
    drop(bridge);
    let mut bridge = host.bridge(TOPICS);
    // Its slot and its lock are free at once, as it ran on this machine.
    bridge.expect("joined");
    arrives(&host.stranger(), &mut program, "after");
    bridge.end();
}

#[test]
fn hosts_meet_again_when_either_bridge_was_killed() {
    let (hosts, bridges, [mut one, mut two]) = pair(BOTH);
    let mut bridges = Vec::from(bridges);
    for killed in [None, Some(0), Some(1), Some(1), Some(0)] {
        if let Some(killed) = killed {
            drop(bridges.remove(killed));
            let mut again = hosts[killed].bridge(BOTH);
            again.expect("joined");
            bridges.insert(killed, again);
        }
        meet(&mut one, &mut two, "one");
        meet(&mut two, &mut one, "two");
    }
}

#[test]
fn a_bridge_that_stood_still_does_not_stay_away() {
    let host = Host::new(&[]);
    let mut program = host.program();
    let mut bridge = host.bridge(TOPICS);
    bridge.expect("joined");
    bridge.signal(Signal::STOP);
    // Who sends is not held up.
    for number in 0..1000 {
        program.publish(&number.to_string());
    }
    bridge.signal(Signal::CONT);
    arrives(&host.stranger(), &mut program, "after");
    let told = super::host::counters(&mut bridge, "to_zenoh");
    let [values, missed] = ["values", "missed"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(values + missed, 1000, "{told}");
    assert!(missed > 0, "{told}");
    bridge.end();
}

#[test]
fn it_comes_back_to_a_server_that_was_started_anew_and_to_a_channel_that_was_made_anew() {
    let mut host = Host::new(&[]);
    let mut program = host.program();
    let mut bridge = host.bridge(TOPICS);
    bridge.expect("joined");
    program.channel.reset().unwrap();
    let away = bridge.expect("away")["reason"].to_string();
    assert!(away.contains("recreated"), "{away}");
    bridge.expect("joined");
    drop(program);
    program = host.program();
    arrives(&host.stranger(), &mut program, "in the new channel");
    host.machines.restart();
    let away = bridge.expect("away")["reason"].to_string();
    assert!(away.contains("started again"), "{away}");
    drop(program);
    program = host.program();
    bridge.expect("joined");
    arrives(&host.stranger(), &mut program, "in the new memory");
    bridge.end();
}
