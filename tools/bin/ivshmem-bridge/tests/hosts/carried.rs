// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Values go from host to host, each once, and late joiners get the newest one.

use test_limit::wait_until;
use zenoh::Wait;

use super::end::End;
use super::host::{count, counters, Host, Program, BUFFERS, OFFSET};

pub const BOTH: &str = "topic = [{ key = \"talk\", kind = \"messages\", policy = \"block\", \
                    to-zenoh = 0, from-zenoh = 1 }]";
const LATEST: &str =
    "topic = [{ key = \"state\", kind = \"latest\", to-zenoh = 0, from-zenoh = 1 }]";
/// Messages each way.
const MESSAGES: u32 = 500;

/// Publishes until the other one hears. Returns what it said last.
pub fn meet(from: &mut Program, to: &mut Program, name: &str) -> u32 {
    let mut number = 0;
    let mut heard = None;
    wait_until("the other host hears", || {
        number += 1;
        from.publish(&format!("{name} {number}"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        while let Some((text, _)) = to.look() {
            heard = Some(text);
        }
        heard.is_some()
    });
    let last = format!("{name} {number}");
    while heard.as_ref() != Some(&last) {
        heard = Some(to.next());
    }
    number
}

/// Two hosts whose bridges carry these topics both ways. That of the first one is there before the channel.
pub fn pair(topics: &str) -> ([Host; 2], [End; 2], [Program; 2]) {
    let first = Host::new(&[]);
    let second = Host::new(&[&first]);
    let mut a = first.bridge(topics);
    let away = a.expect("away")["reason"].to_string();
    assert!(away.contains("no program has made"), "{away}");
    let programs = [first.program(), second.program()];
    a.expect("joined");
    let mut b = second.bridge_at(&format!("offset = {OFFSET}"), topics);
    b.expect("joined");
    ([first, second], [a, b], programs)
}

#[test]
fn each_message_arrives_once_at_the_other_end_and_nowhere_else() {
    let (_hosts, mut bridges, [mut one, mut two]) = pair(BOTH);
    let before = meet(&mut one, &mut two, "one");
    let after = meet(&mut two, &mut one, "two");
    // As many on the way as no reader misses.
    let most = BUFFERS / 2;
    for begin in (0..MESSAGES).step_by(most as usize) {
        let numbers = begin..(begin + most).min(MESSAGES);
        for number in numbers.clone() {
            one.publish(&format!("one {}", before + 1 + number));
            two.publish(&format!("two {}", after + 1 + number));
        }
        for number in numbers {
            // Nothing that it has said itself is among them, and nothing comes twice.
            assert_eq!(two.next(), format!("one {}", before + 1 + number));
            assert_eq!(one.next(), format!("two {}", after + 1 + number));
        }
    }
    for (bridge, sent, received) in [(0, before, after), (1, after, before)] {
        let bridge = &mut bridges[bridge];
        let there = counters(bridge, "from_zenoh");
        for name in ["lost", "too_long", "away", "repeated", "ours"] {
            assert_eq!(there[name], 0, "{there}");
        }
        assert!(there["values"].as_u64() <= Some(u64::from(received + MESSAGES)));
        assert_eq!(
            count(bridge, "to_zenoh", "values"),
            u64::from(sent + MESSAGES)
        );
        assert_eq!(count(bridge, "to_zenoh", "missed"), 0);
    }
    assert_eq!((one.look(), two.look()), (None, None));
    for bridge in bridges {
        bridge.end();
    }
}

#[test]
fn a_late_joiner_gets_the_newest_value() {
    let first = Host::new(&[]);
    let mut one = first.program();
    let mut a = first.bridge(LATEST);
    a.expect("joined");
    for number in 1..=3 {
        one.publish(&format!("value {number}"));
    }
    wait_until("Zenoh has them", || count(&mut a, "to_zenoh", "values") > 0);
    let second = Host::new(&[&first]);
    let mut two = second.program();
    let mut b = second.bridge(LATEST);
    b.expect("joined");
    assert_eq!(two.next(), "value 3");
    // It is asked for again and again, and given once.
    one.publish("value 4");
    assert_eq!(two.next(), "value 4");

    // The same after its bridge was started again, and for a program of Zenoh.
    b.end();
    one.publish("value 5");
    let mut b = second.bridge(LATEST);
    b.expect("joined");
    assert_eq!(two.next(), "value 5");
    assert_eq!(two.look(), None);
    let stranger = first.stranger();
    let replies = stranger.get("state/@ivshmem/*").wait().unwrap();
    let reply = replies.recv().unwrap().into_result().unwrap();
    assert_eq!(reply.payload().to_bytes(), "value 5".as_bytes());
}
