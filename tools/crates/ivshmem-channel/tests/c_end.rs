// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings of this crate and those of `include/ivshmem_channel.h` are the same: a C program, another process,
//! echoes what is sent to it.

mod compiled;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use compiled::compile_by;
use ivshmem::{Access, Mapping, Memory};
use ivshmem_channel::ring::{Consumer, Handover, Lane, MultiConsumer, Place, Producer};
use test_limit::limit;

const MESSAGES: usize = 50_000;
/// No power of two.
const RING: u32 = 1024 - 64;
const GENERATION: u32 = 0xdead_beef;
const BLOCK: u64 = 256;
const SIZE: u64 = 8192;

fn place(offset: u64) -> Place {
    Place {
        offset,
        size: RING,
        generation: GENERATION,
        lane: None,
    }
}

fn compile(directory: &Path, name: &str) -> PathBuf {
    compile_by("cc", directory, name, &["-std=gnu11"])
}

fn producer(mapping: &Mapping, place: Place) -> Producer<&Mapping> {
    Producer::attach(mapping, place, Handover::Ended, &mut || Ok(())).unwrap()
}

/// The C program on `file`: receives from the first ring, sends into the second, which is lane 0 if there is
/// something that lanes share.
fn echo(program: &Path, file: &File, shared: Option<u64>) -> Child {
    let numbers = [SIZE, GENERATION.into(), 0, second(), RING.into()];
    Command::new(program)
        .args(
            numbers
                .into_iter()
                .chain(shared)
                .map(|number| number.to_string()),
        )
        .stdin(file.try_clone().unwrap())
        .spawn()
        .unwrap()
}

/// Where the second ring's block is.
fn second() -> u64 {
    BLOCK + u64::from(RING)
}

fn memory() -> (File, Mapping) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let mapping = Mapping::of(&file, 0, SIZE as usize, Access::ReadWrite).unwrap();
    (file, mapping)
}

/// 1 to 500 bytes that depend on the number; the last message is empty.
fn message(number: usize) -> Vec<u8> {
    if number == MESSAGES - 1 {
        return Vec::new();
    }
    let len = number.wrapping_mul(2_654_435_761) % 500 + 1;
    (0..len)
        .map(|at| (number ^ at.wrapping_mul(167)) as u8)
        .collect()
}

fn try_send(ring: &mut Producer<&Mapping>, bytes: &[u8]) -> bool {
    let Some(space) = ring.reserve(bytes.len()).unwrap() else {
        return false;
    };
    space.bytes.write(*ring.memory(), 0, bytes).unwrap();
    ring.commit(space, bytes.len()).unwrap();
    ring.publish().unwrap();
    true
}

/// Where the machine's byte order is another one than the memory's, values are told as the memory has them.
#[test]
fn the_header_keeps_its_promises_in_either_byte_order() {
    const CHECKED: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    const OTHER_ORDER: [&str; 3] = [
        "-Wno-builtin-macro-redefined",
        "-U__BYTE_ORDER__",
        "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__",
    ];
    let directory = tempfile::tempdir().unwrap();
    for (compiler, words) in [
        ("cc", &["-std=gnu99"][..]),
        ("c++", &["-std=c++11", "-x", "c++"]),
    ] {
        for order in [&[][..], &OTHER_ORDER] {
            let words = [words, &CHECKED, order].concat();
            for name in ["rings", "contention"] {
                let program = compile_by(compiler, directory.path(), name, &words);
                let status = Command::new(program).status().unwrap();
                assert!(status.success(), "{compiler} {name} {words:?}: {status}");
            }
        }
    }
}

/// A Rust sender that replaced one which may still run.
#[test]
fn a_c_receiver_passes_over_what_a_sender_leaves_out() {
    const ROUNDS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let (file, mapping) = memory();
    let mut stopped = producer(&mapping, place(0));
    stopped.reserve(200).unwrap().unwrap();
    let mut to = Producer::attach(&mapping, place(0), Handover::MayRun, &mut || Ok(())).unwrap();
    let mut from = Consumer::attach(&mapping, place(second()), &mut || Ok(())).unwrap();
    let mut program = echo(&compile(directory.path(), "echo"), &file, None);
    let longest = to.longest();
    assert!(longest > 100);
    for number in (0..ROUNDS).chain([MESSAGES - 1]) {
        let mut bytes = message(number);
        bytes.truncate(longest);
        test_limit::wait_until("room", || {
            // What is left out is shown where there is no room for the message: as `Sender` does.
            try_send(&mut to, &bytes) || to.publish().is_err()
        });
        test_limit::wait_until("the echo", || from.peek().unwrap().is_some());
        let record = from.peek().unwrap().unwrap();
        assert_eq!(record.len as usize, bytes.len());
        from.advance(record);
        from.release().unwrap();
    }
    assert!(program.wait().unwrap().success());
}

#[test]
fn c_and_rust_ends_understand_each_other_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let (file, mapping) = memory();
    let mut to = producer(&mapping, place(0));
    let mut from = Consumer::attach(&mapping, place(second()), &mut || Ok(())).unwrap();
    let mut program = echo(&compile(directory.path(), "echo"), &file, None);
    let mut last = Instant::now();
    let (mut sent, mut received) = (0, 0);
    while received < MESSAGES {
        if sent < MESSAGES && try_send(&mut to, &message(sent)) {
            sent += 1;
        }
        if let Some(record) = from.peek().unwrap() {
            let mut bytes = vec![0; record.len as usize];
            record.bytes.read(&mapping, 0, &mut bytes).unwrap();
            assert_eq!(bytes, message(received), "message {received}");
            from.advance(record);
            from.release().unwrap();
            received += 1;
            last = Instant::now();
        } else {
            assert!(last.elapsed() < limit(), "{received} messages came back");
            std::thread::yield_now();
        }
    }
    assert!(program.wait().unwrap().success());
}

#[test]
fn a_c_sender_in_a_lane_wakes_the_receiver() {
    const ROUNDS: usize = 10_000;
    let shared = SIZE - 128;
    let directory = tempfile::tempdir().unwrap();
    let (file, mapping) = memory();
    let mut to = producer(&mapping, place(0));
    // The second lane, of nobody, is empty.
    let lanes = [0, 1].map(|number| Place {
        lane: Some(Lane { shared, number }),
        ..place(second() * (1 + u64::from(number)))
    });
    let mut from = MultiConsumer::attach(&mapping, lanes, shared, &mut || Ok(())).unwrap();
    let mut program = echo(&compile(directory.path(), "echo"), &file, Some(shared));
    for number in (0..ROUNDS).chain([MESSAGES - 1]) {
        assert!(try_send(&mut to, &message(number)));
        let (lane, record) = loop {
            if let Some(found) = from.peek().unwrap() {
                break found;
            }
            if let Some((word, value)) = from.arm().unwrap() {
                sleep_while(&mapping, word, value);
            }
        };
        assert_eq!((lane, record.len as usize), (0, message(number).len()));
        from.lane(lane).advance(record);
        from.lane(lane).release().unwrap();
    }
    assert!(program.wait().unwrap().success());
}

/// Two senders in lanes, and a third lane that is corrupt, which holds up nobody.
#[test]
fn a_c_receiver_hears_all_senders_and_leaves_out_a_corrupt_one() {
    const LANES: u32 = 3;
    const ROUNDS: usize = 10_000;
    let directory = tempfile::tempdir().unwrap();
    let (file, mapping) = memory();
    let lane = |number: u32| Place {
        lane: Some(Lane { shared: 0, number }),
        ..place(128 + u64::from(number) * second())
    };
    let back = 128 + u64::from(LANES) * second();
    let corrupt = lane(2).offset;
    let order = std::sync::atomic::Ordering::SeqCst;
    mapping.store32(corrupt, GENERATION, order).unwrap();
    mapping.store64(corrupt + BLOCK, 1, order).unwrap();
    let mut to = [0, 1].map(|number| producer(&mapping, lane(number)));
    let mut from = Consumer::attach(&mapping, place(back), &mut || Ok(())).unwrap();
    let numbers = [SIZE, GENERATION.into(), LANES.into(), 0, back, RING.into()];
    let mut program = Command::new(compile(directory.path(), "gather"))
        .args(numbers.map(|number| number.to_string()))
        .stdin(file.try_clone().unwrap())
        .spawn()
        .unwrap();
    // The last message of each is empty.
    let content = |sender: usize, number: usize| match number == ROUNDS - 1 {
        true => Vec::new(),
        false => message(number * 2 + sender),
    };
    let mut last = Instant::now();
    let (mut sent, mut received) = ([0; 2], [0; 2]);
    while received != [ROUNDS; 2] {
        for sender in 0..2 {
            // Now and then all is echoed before the next one is sent, so that the receiver sleeps.
            let pause = sent[sender] % 64 == 0 && received != sent;
            if sent[sender] < ROUNDS
                && !pause
                && try_send(&mut to[sender], &content(sender, sent[sender]))
            {
                sent[sender] += 1;
            }
        }
        let Some(record) = from.peek().unwrap() else {
            assert!(last.elapsed() < limit(), "{received:?} messages came back");
            std::thread::yield_now();
            continue;
        };
        let mut echoed = vec![0; record.len as usize];
        record.bytes.read(&mapping, 0, &mut echoed).unwrap();
        from.advance(record);
        from.release().unwrap();
        let sender = usize::from(echoed[0]);
        assert_eq!(echoed[1..], content(sender, received[sender]));
        received[sender] += 1;
        last = Instant::now();
    }
    assert!(program.wait().unwrap().success());
}

#[test]
fn a_c_receiver_that_comes_again_leaves_out_a_corrupt_lane() {
    const LANES: u32 = 2;
    let directory = tempfile::tempdir().unwrap();
    let (file, mapping) = memory();
    let lane = |number: u32| Place {
        lane: Some(Lane { shared: 0, number }),
        ..place(128 + u64::from(number) * second())
    };
    // A head that is no place of a record.
    let order = std::sync::atomic::Ordering::SeqCst;
    let corrupt = lane(1).offset;
    mapping.store32(corrupt + 128, GENERATION, order).unwrap();
    mapping.store32(corrupt + 136, 4, order).unwrap();
    // The other one has sent all that it sends.
    assert!(try_send(&mut producer(&mapping, lane(0)), &[]));
    let back = 128 + u64::from(LANES) * second();
    let numbers = [SIZE, GENERATION.into(), LANES.into(), 0, back, RING.into()];
    let status = Command::new(compile(directory.path(), "gather"))
        .args(numbers.map(|number| number.to_string()))
        .stdin(file.try_clone().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

/// As who is not rung before the word was changed.
fn sleep_while(mapping: &Mapping, word: u64, value: u32) {
    let begin = Instant::now();
    while mapping.load32(word, std::sync::atomic::Ordering::Acquire) == Ok(value) {
        assert!(begin.elapsed() < limit(), "the word stays {value}");
        std::thread::yield_now();
    }
}

/// Records begin at multiples of 8. A sender that gets around a place which does not would write over the ring's end.
#[test]
fn a_c_sender_refuses_places_that_cannot_be_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "echo");
    let ring = u64::from(RING);
    for (at, len) in [(1, 8), (8, 1), (4, 12), (ring, 8), (8, ring)] {
        let (file, mapping) = memory();
        let order = std::sync::atomic::Ordering::SeqCst;
        mapping.store32(second(), GENERATION, order).unwrap();
        let generation = u64::from(GENERATION) << 32 | u64::from(GENERATION);
        mapping
            .store64(second() + 64, (at | len << 32) ^ generation, order)
            .unwrap();
        // So that it ends if it does not refuse.
        assert!(try_send(&mut producer(&mapping, place(0)), &[]));
        let status = echo(&program, &file, None).wait().unwrap();
        assert_eq!(status.code(), Some(6), "{len} bytes at {at}");
    }
}

#[test]
fn the_c_end_reports_a_corrupt_ring() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "echo");
    let head = u64::from(GENERATION) << 32;
    // Another generation's header, a length that cannot be, a place that is left out and cannot be, no kind at all.
    for header in [1, head | 4001, head | 50, head | 3] {
        let (file, mapping) = memory();
        let order = std::sync::atomic::Ordering::SeqCst;
        mapping.store64(BLOCK, header, order).unwrap();
        mapping.store32(0, GENERATION, order).unwrap();
        let status = echo(&program, &file, None).wait().unwrap();
        assert_eq!(status.code(), Some(3), "header {header:#x}");
    }
}
