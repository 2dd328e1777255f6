// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bytes of a channel: what is written is read back, and nothing else is believed.

use std::time::Duration;

use ivshmem_channel::{rpc, Invalid, Layout, Plan, Producers};
use proptest::collection::vec;
use proptest::prelude::*;

const ROOM: u64 = 1 << 40;

fn layouts() -> impl Strategy<Value = Layout> {
    // One in eight is to be a ring with several senders.
    let ring = (any::<u32>(), any::<u32>(), 1u32..10_000, 0..8);
    let topic = (any::<u32>(), 3u32..=64, 1u32..10_000);
    let parts = (vec(ring, 1..20), vec(topic, 0..3));
    (2u32..=64, parts, 10u64..1000, 2u64..9).prop_map(|(slots, (rings, topics), beat, times)| {
        let mut ends = std::collections::BTreeSet::new();
        let beat = Duration::from_millis(beat);
        let layout = Layout::new(slots).heartbeat(beat, beat * u32::try_from(times).unwrap());
        // One ring at least, whatever the numbers are.
        let rings = rings.into_iter().chain([(0, 1, 1, 1)]);
        let layout = rings.fold(layout, |layout, (from, to, size, kind)| {
            let (from, to) = (from % slots, to % slots);
            if kind == 0 && (0..slots).all(|from| !ends.contains(&(from, to))) {
                ends.extend((0..slots).map(|from| (from, to)));
                return layout.multi_ring(to, 64 * size);
            }
            if kind == 0 || from == to || !ends.insert((from, to)) {
                return layout;
            }
            layout.ring(from, to, 64 * size)
        });
        let topics = topics.into_iter();
        topics.fold(layout, |layout, (from, buffers, size)| {
            layout.topic(from % slots, buffers, 64 * size)
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(layout in layouts(), generation in 1u32..) {
        let bytes = layout.encode(generation, ROOM).unwrap();
        let plan = Plan::decode(&bytes, layout.size()).unwrap();
        prop_assert_eq!(plan.layout(), &layout);
        prop_assert_eq!(plan.generation(), generation);
        // A reader that knows rings with one sender only refuses the others and topics, and no more than that.
        let several = layout.rings().iter().any(|ring| ring.producers == Producers::Others);
        let topics = !layout.topics().is_empty();
        let features = u32::from(several) + 2 * u32::from(topics);
        prop_assert_eq!(&bytes[16..20], features.to_le_bytes());
        let less = Plan::decode(&bytes, layout.size() - 1);
        let too_large = matches!(less, Err(Invalid::TooLarge { .. }));
        prop_assert!(too_large);
    }

    #[test]
    fn one_changed_byte_is_found(layout in layouts(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = layout.encode(1, ROOM).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Plan::decode(&bytes, ROOM).is_err());
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(Plan::decode(&bytes, ROOM).is_err());
    }

    #[test]
    fn a_header_with_any_numbers_and_a_good_checksum_is_judged(
        features in 0u32..5,
        numbers in vec(any::<u32>(), 4),
        entry in vec(prop_oneof![0u32..200, Just(u32::MAX)], 4),
    ) {
        // All numbers of a good one are replaced, as a hostile peer can.
        let mut bytes = Layout::duplex(64).encode(1, ROOM).unwrap();
        bytes[16..20].copy_from_slice(&features.to_le_bytes());
        for (at, number) in (32..48).step_by(4).zip(&numbers) {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        for (at, number) in (128..144).step_by(4).zip(&entry) {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        sign(&mut bytes);
        if let Ok(plan) = Plan::decode(&bytes, ROOM) {
            prop_assert!(plan.layout().size() <= ROOM);
            prop_assert!(plan.layout().slots() <= 64);
        }
    }
}

/// As the documentation says how the checksum is made, apart from the library's own code.
fn sign(bytes: &mut [u8]) {
    bytes[48..52].fill(0);
    let mut hash = 2_166_136_261u32;
    for byte in bytes.iter() {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(16_777_619);
    }
    bytes[48..52].copy_from_slice(&hash.to_le_bytes());
}

#[test]
fn bytes_of_the_smallest_channel() {
    let bytes = Layout::duplex(64).encode(0x0102_0304, ROOM).unwrap();
    let words = [
        (8, 1),
        (12, 0x0102_0304),
        (24, 256 + 2 * 128 + 2 * (256 + 64)),
        (32, 2),
        (36, 2),
        (40, 500),
        (44, 3000),
        (128, 1),
        (132, 0),
        (136, 1),
        (140, 64),
        (144, 1),
        (148, 1),
        (152, 0),
        (156, 64),
    ];
    assert_eq!(bytes, header(160, &words));
}

#[test]
fn bytes_of_a_ring_with_several_senders() {
    let layout = Layout::new(4).ring(1, 0, 128).multi_ring(1, 64);
    let ring = 256 + 4 * 128 + (256 + 128);
    let words = [
        (8, 1),
        (12, 7),
        (16, 1),
        (24, ring + 128 + 3 * (256 + 64)),
        (32, 4),
        (36, 2),
        (40, 500),
        (44, 3000),
        (128, 1),
        (132, 1),
        (136, 0),
        (140, 128),
        (144, 2),
        (148, u32::MAX),
        (152, 1),
        (156, 64),
    ];
    assert_eq!(layout.encode(7, ROOM).unwrap(), header(160, &words));
}

#[test]
fn bytes_of_topics() {
    let layout = Layout::new(2).topic(1, 3, 128).ring(0, 1, 64);
    let layout = layout.topic(0, 64, 64);
    let words = [
        (8, 1),
        (12, 7),
        (16, 2),
        (
            24,
            256 + 2 * 128 + (256 + 64) + (128 + 3 * 192) + (128 + 64 * 128),
        ),
        (32, 2),
        (36, 3),
        (40, 500),
        (44, 3000),
        // Rings come first.
        (128, 1),
        (132, 0),
        (136, 1),
        (140, 64),
        (144, 3),
        (148, 1),
        (152, 3),
        (156, 128),
        (160, 3),
        (164, 0),
        (168, 64),
        (172, 64),
    ];
    let mut bytes = layout.encode(7, ROOM).unwrap();
    assert_eq!(bytes, header(176, &words));
    // A ring behind a topic.
    bytes[160..176].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0]);
    sign(&mut bytes);
    let error = Plan::decode(&bytes, ROOM);
    assert_eq!(error, Err(Invalid::Range("the kind of a ring buffer")));
}

/// `len` bytes of header and table with these words at these bytes.
fn header(len: usize, words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..8].copy_from_slice(b"IVSHCHAN");
    for (at, word) in words {
        bytes[*at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    sign(&mut bytes);
    bytes
}

#[test]
fn features_that_do_not_fit_the_table_are_refused() {
    let layouts = [
        (Layout::duplex(64), 1u32),
        (Layout::duplex(64), 2),
        (Layout::new(2).multi_ring(1, 64), 0),
        (Layout::new(2).topic(1, 3, 64), 0),
    ];
    for (layout, wrong) in layouts {
        let mut bytes = layout.encode(1, ROOM).unwrap();
        bytes[16..20].copy_from_slice(&wrong.to_le_bytes());
        sign(&mut bytes);
        let error = Plan::decode(&bytes, ROOM);
        assert_eq!(error, Err(Invalid::Range("the required features")));
        bytes[16..20].copy_from_slice(&4u32.to_le_bytes());
        sign(&mut bytes);
        assert_eq!(Plan::decode(&bytes, ROOM), Err(Invalid::Features(4)));
    }
}

#[test]
fn layouts_that_cannot_be() {
    let second = Duration::from_secs(1);
    let bad = [
        Layout::new(1).ring(0, 1, 64),
        Layout::new(65).ring(0, 1, 64),
        Layout::new(2),
        Layout::new(2).ring(0, 1, 63),
        Layout::new(2).ring(0, 1, 32),
        Layout::new(2).ring(0, 2, 64),
        Layout::new(2).ring(1, 1, 64),
        Layout::new(2).ring(0, 1, 64).ring(0, 1, 64),
        Layout::new(3).multi_ring(3, 64),
        Layout::new(3).multi_ring(1, 96),
        Layout::new(3).multi_ring(1, 64).ring(2, 1, 64),
        Layout::new(3).multi_ring(1, 64).multi_ring(1, 128),
        Layout::new(u32::MAX).multi_ring(1, u32::MAX),
        Layout::duplex(64).heartbeat(second, second),
        Layout::new(2).topic(2, 3, 64),
        Layout::new(2).topic(0, 2, 64),
        Layout::new(2).topic(0, 65, 64),
        Layout::new(2).topic(0, 3, 96),
        Layout::new(2).topic(0, 3, 0),
    ];
    for layout in bad {
        assert!(layout.encode(1, ROOM).is_err(), "{layout:?}");
    }
}

#[test]
fn numbers_that_cannot_be_are_refused_and_counted_with() {
    let most = u32::MAX;
    let layouts = [
        Layout::duplex(64).ring(most, 0, 64),
        Layout::duplex(64).ring(0, most, 64),
        Layout::new(2).topic(0, most, most),
        Layout::new(2).topic(most, 3, 64),
        Layout::new(most).multi_ring(0, most),
        rpc::layout(most, 64, 64),
    ];
    for layout in layouts {
        let encoded = layout.encode(1, ROOM);
        assert!(matches!(encoded, Err(Invalid::Range(_))), "{encoded:?}");
    }
    assert_eq!(Layout::new(2).topic(0, most, most).size(), u64::MAX);
}
