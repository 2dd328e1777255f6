// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What programs of Zenoh and of the memory can send that nobody should.

use std::time::{Duration, Instant};

use ivshmem::Memory;
use ivshmem_channel::Channel;
use test_limit::wait_until;
use zenoh::qos::CongestionControl;
use zenoh::sample::Locality;
use zenoh::Wait;

use super::host::{arrives, count, counters, layout, Host, LONGEST, OFFSET};

const TOPICS: &str = "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 0, from-zenoh = 1, longest = 9000 }]";

#[test]
fn what_comes_from_zenoh_is_checked() {
    let host = Host::new(&[]);
    let mut program = host.program();
    let mut bridge = host.bridge(TOPICS);
    bridge.expect("joined");
    let stranger = host.stranger();
    let heard = stranger
        .declare_subscriber("talk")
        .allowed_origin(Locality::Remote)
        .wait()
        .unwrap();
    let put = |value: Vec<u8>, attachment: &[u8]| {
        let put = stranger.put("talk", value).attachment(attachment);
        let put = put.congestion_control(CongestionControl::Block);
        put.wait().unwrap();
    };
    // Attachments that no bridge makes are nothing special.
    put(b"plain".to_vec(), b"");
    put(b"odd".to_vec(), &[0xff; 20]);
    put(b"cut off".to_vec(), b"IVB1");
    for expected in ["plain", "odd", "cut off"] {
        assert_eq!(program.next(), expected);
    }
    stranger.delete("talk").wait().unwrap();

    // A forged origin, with numbers of any size.
    let stamp = |origin: u64, number: u64| {
        [&b"IVB1"[..], &origin.to_le_bytes(), &number.to_le_bytes()].concat()
    };
    put(b"first".to_vec(), &stamp(7, 1));
    put(b"far".to_vec(), &stamp(7, u64::MAX));
    put(b"back".to_vec(), &stamp(7, 5));
    put(b"end".to_vec(), b"");
    for expected in ["first", "far", "end"] {
        assert_eq!(program.next(), expected);
    }
    let told = counters(&mut bridge, "from_zenoh");
    assert_eq!(told["lost"], u64::MAX - 2, "{told}");
    assert_eq!(told["repeated"], 1, "{told}");
    assert_eq!(told["values"], 6, "{told}");

    // Too long for what is configured, or for the topic, and just not.
    for len in [9001, LONGEST as usize + 1, 1 << 20] {
        put(vec![b'x'; len], &stamp(8, 1));
    }
    put(vec![b'y'; 9000], &stamp(9, 1));
    assert_eq!(program.next(), "y".repeat(9000));
    // Three with one stamp: the second and third came before.
    let told = counters(&mut bridge, "from_zenoh");
    assert_eq!(told["too_long"], 1, "{told}");
    assert_eq!(told["repeated"], 3, "{told}");

    // What the bridge sent itself comes back.
    wait_until("it hears that somebody listens", || {
        program.publish("to all");
        std::thread::sleep(Duration::from_millis(20));
        !heard.is_empty()
    });
    let own = heard.recv().unwrap();
    assert_eq!(own.payload().to_bytes(), "to all".as_bytes());
    put(b"echo".to_vec(), &own.attachment().unwrap().to_bytes());
    put(b"after it".to_vec(), b"");
    assert_eq!(program.next(), "after it");
    assert_eq!(count(&mut bridge, "from_zenoh", "ours"), 1);
    bridge.end();
}

#[test]
fn values_that_are_too_long_are_not_sent() {
    let host = Host::new(&[]);
    let mut program = host.program();
    let mut bridge = host.bridge(TOPICS);
    bridge.expect("joined");
    program.publish(&"x".repeat(9001));
    program.publish(&"x".repeat(9000));
    wait_until("the second one is sent", || {
        count(&mut bridge, "to_zenoh", "values") == 1
    });
    let told = counters(&mut bridge, "to_zenoh");
    assert_eq!(
        (&told["too_long"], &told["bytes"]),
        (&1.into(), &9000.into()),
        "{told}"
    );
}

/// Random words all over the channel; afterwards it is recreated, and all is well.
#[test]
fn memory_of_any_content_does_no_harm() {
    let host = Host::new(&[]);
    let program = host.program();
    let mut bridge = host.bridge_at(&format!("offset = {OFFSET}"), TOPICS);
    bridge.expect("joined");
    let link = ivshmem_peer::Peer::join(&host.machines.socket).unwrap();
    let mut number = 0x9e37_79b9_7f4a_7c15u64;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        // Most of it near the start, where the words are that mean something.
        let size = layout().size();
        let at = number % if number >> 63 == 0 { 1024 } else { size };
        link.write(
            OFFSET + at,
            &number.to_le_bytes()[..(size - at).min(8) as usize],
        )
        .unwrap();
    }
    drop(program);
    Channel::create(&link, OFFSET, &layout()).unwrap();
    let mut program = host.program();
    bridge.expect("joined");
    arrives(&host.stranger(), &mut program, "hello");
    bridge.end();
}
