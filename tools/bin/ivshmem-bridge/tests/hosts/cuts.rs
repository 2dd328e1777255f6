// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The link between two hosts is cut and heals.

use std::time::Duration;

use test_limit::{wait_for_count, wait_until};
use zenoh::Wait;

use super::host::{count, LONGEST};
use super::link::Hosts;
use super::stream::Stream;

/// Cuts of the link, each while values are sent.
const CUTS: u32 = 3;
/// More bytes than the kernel and Zenoh keep for a link that is cut.
const BEYOND_QUEUES: u64 = 24 << 20;
/// A link that is silent for so long is given up: much longer than a cut lasts, or less.
const PATIENT: &str = "transport: { link: { tx: { lease: 600000, queue: { congestion_control: { \
                       block: { wait_before_close: 600000000 } } } } } }";
const IMPATIENT: &str = "transport: { link: { tx: { lease: 1000, queue: { congestion_control: { \
                         block: { wait_before_close: 1000000 } } } } } }";

/// Messages of the long run, and cuts of the link while they are sent, if the environment does not say.
const MESSAGES: u64 = 20_000;
/// Messages at a time: fewer than the topic has buffers, so that those who read in time miss none.
const BURST: u64 = 32;
/// Bytes of each.
const SHORT: u32 = 64;

/// While the link is cut, the bridge waits: the sender's memory is where values are lost, if at all.
#[test]
fn with_the_policy_block_nothing_is_lost_between_the_bridges() {
    let hosts = Hosts::new(PATIENT);
    let mut stream = Stream::begin(&hosts, "block", LONGEST);
    let mut carried_before = stream.settle();
    assert_eq!(carried_before, 0);
    for _ in 0..CUTS {
        hosts.cut();
        // Until the bridge cannot go on.
        wait_until("the bridge waits", || {
            for _ in 0..64 {
                stream.send();
            }
            std::thread::sleep(Duration::from_millis(100));
            let carried = stream.carried();
            let stands = carried == carried_before;
            carried_before = carried;
            stands
        });
        hosts.heal();
        assert_eq!(stream.settle(), 0);
    }
    assert!(count(&mut stream.from, "to_zenoh", "missed") > 0);
}

/// While the link is cut, values are dropped, and counted at the other end.
#[test]
fn with_the_policy_drop_losses_are_counted() {
    let hosts = Hosts::new(PATIENT);
    let mut stream = Stream::begin(&hosts, "drop", LONGEST);
    let mut lost = stream.settle();
    for _ in 0..CUTS {
        hosts.cut();
        let target = stream.carried() + BEYOND_QUEUES / u64::from(LONGEST);
        wait_for_count("values for a link that is cut", target, || {
            for _ in 0..8 {
                stream.send();
            }
            stream.carried()
        });
        hosts.heal();
        let before = std::mem::replace(&mut lost, stream.settle());
        assert!(lost > before, "nothing was dropped");
    }
}

/// A link that is given up is made again, and the newest value comes without being published again.
#[test]
fn after_a_long_cut_the_newest_value_arrives() {
    const STATE: &str = "key = \"state\", kind = \"latest\", ";
    let hosts = Hosts::new(IMPATIENT);
    let [mut sender, mut reader] = [hosts.first.program(), hosts.second.program()];
    let mut from = hosts
        .first
        .bridge(&format!("topic = [{{ {STATE} to-zenoh = 0 }}]"));
    let mut to = hosts
        .second
        .bridge(&format!("topic = [{{ {STATE} from-zenoh = 1 }}]"));
    from.expect("joined");
    to.expect("joined");
    let watcher = hosts.first.stranger();
    let watcher = watcher.declare_publisher("state").wait().unwrap();
    let connected = || watcher.matching_status().wait().unwrap().matching();
    for cut in 0..CUTS {
        wait_until("the hosts are connected", connected);
        sender.publish(&format!("before cut {cut}"));
        wait_until("it arrives", || {
            let text = reader.look();
            text.is_some_and(|(text, _)| text == format!("before cut {cut}"))
        });
        hosts.cut();
        wait_until("the link is given up", || !connected());
        sender.publish(&format!("during cut {cut}"));
        hosts.heal();
        assert_eq!(reader.next(), format!("during cut {cut}"));
    }
    to.end();
    from.end();
}

/// A number that the environment gives, as `make test-bridge-long` does.
fn given(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => otherwise,
    }
}

/// Sends so many short messages, as fast as one that is not on its way could be read.
fn send(stream: &mut Stream, messages: u64) {
    for number in 0..messages {
        stream.send();
        if number % BURST == 0 {
            stream.read();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Many messages while the link is cut again and again: each has arrived, or is counted where it was lost. Returns how many were
/// lost between the bridges.
fn many_messages_and_cuts(policy: &str) -> u64 {
    let messages = given("BRIDGE_TEST_MESSAGES", MESSAGES);
    let cuts = given("BRIDGE_TEST_CUTS", CUTS.into());
    let hosts = Hosts::new(PATIENT);
    let mut stream = Stream::begin(&hosts, policy, SHORT);
    for _ in 0..cuts {
        let part = messages / cuts;
        send(&mut stream, part / 2);
        hosts.cut();
        send(&mut stream, part / 4);
        hosts.heal();
        send(&mut stream, part / 4);
    }
    let lost = stream.settle();
    let Stream {
        sent, seen, missed, ..
    } = stream;
    println!("{policy}: {sent} sent, {seen} seen, {missed} missed by the reader, {lost} lost");
    lost
}

#[test]
fn many_messages_and_cuts_with_the_policy_block() {
    assert_eq!(many_messages_and_cuts("block"), 0);
}

#[test]
fn many_messages_and_cuts_with_the_policy_drop() {
    // All that is lost is counted: the stream says so.
    many_messages_and_cuts("drop");
}
