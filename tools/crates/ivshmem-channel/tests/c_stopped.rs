// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A C program with `include/ivshmem_channel.h` stops before each of its accesses to the memory in turn, as a paused machine
//! does, is replaced by a Rust end, and goes on: no message is torn, lost or delivered twice, and the program finds out.

mod compiled;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::Instant;

use compiled::compile_by;
use ivshmem::{Access, Mapping, Memory};
use ivshmem_channel::ring::{Consumer, Handover, Lane, Place, Producer};
use rustix::process::{kill_process, waitpid, Pid, Signal, WaitOptions};
use test_limit::limit;

/// From coming to some messages.
const STOPS: u32 = 150;
const SIZE: u64 = 8192;
const GENERATION: u32 = 0xdead_beef;
/// No power of two.
const PLACE: Place = Place {
    offset: 0,
    size: 4096 - 64,
    generation: GENERATION,
    lane: None,
};
/// As a lane, which `stopped.c` knows.
const LANE: Place = Place {
    lane: Some(Lane {
        shared: SIZE - 192,
        number: 2,
    }),
    ..PLACE
};

/// As in `stopped.c`.
fn message(tag: u8, number: u32) -> Vec<u8> {
    let len = 9 + number.wrapping_mul(2_654_435_761) % 192;
    let mut bytes: Vec<_> = (0..len)
        .map(|at| (u32::from(tag) + number + at) as u8)
        .collect();
    bytes[0] = tag;
    bytes[1..5].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The C program, which can be stopped.
struct Victim(Child);

impl Victim {
    fn start(program: &Path, what: &str, file: &File, stop: u32) -> Self {
        let numbers = [SIZE, GENERATION.into(), 0, PLACE.size.into(), stop.into()];
        let mut command = Command::new(program);
        command.arg(what).args(numbers.map(|n| n.to_string()));
        command.stdin(file.try_clone().unwrap());
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Whether it has stopped by now. It says so once.
    fn has_stopped(&self) -> bool {
        let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
        let status = waitpid(Some(self.pid()), options).unwrap();
        status.is_some_and(|(_, status)| {
            assert!(status.stopped(), "{status:?}");
            true
        })
    }

    fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Lets it run for a while.
    fn has_time(&mut self) {
        for _ in 0..1000 {
            if self.has_ended() {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// Whether it has ended, as it should.
    fn has_ended(&mut self) -> bool {
        let status = self.0.try_wait().unwrap();
        assert!(status.is_none_or(|status| status.success()), "{status:?}");
        status.is_some()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In which the slot is the C program's.
fn memory() -> (File, Mapping) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let mapping = Mapping::of(&file, 0, SIZE as usize, Access::ReadWrite).unwrap();
    own(&mapping, 1);
    (file, mapping)
}

/// Whose the slot is from here on.
fn own(mapping: &Mapping, incarnation: u64) {
    let owner = u64::from(GENERATION) | incarnation << 32;
    mapping.store64(SIZE - 8, owner, Ordering::SeqCst).unwrap();
}

/// A sending end, and the number of its next message.
struct Sending<'a> {
    ring: Producer<&'a Mapping>,
    number: u32,
}

impl<'a> Sending<'a> {
    fn attach(mapping: &'a Mapping, place: Place, before: Handover) -> Self {
        Self {
            ring: Producer::attach(mapping, place, before, &mut || Ok(())).unwrap(),
            number: 0,
        }
    }

    /// Sends a message, if there is room.
    fn send(&mut self) -> bool {
        let bytes = message(b'r', self.number);
        if let Some(space) = self.ring.reserve(bytes.len()).unwrap() {
            space.bytes.write(*self.ring.memory(), 0, &bytes).unwrap();
            self.ring.commit(space, bytes.len()).unwrap();
            self.number += 1;
            self.ring.publish().unwrap();
            return true;
        }
        // What was left out.
        self.ring.publish().unwrap();
        false
    }
}

/// Takes what is there, which has to be whole; its tags and numbers go to `into`.
fn drain(ring: &mut Consumer<&Mapping>, into: &mut Vec<(u8, u32)>) {
    while let Some(record) = ring.peek().unwrap() {
        let mut bytes = vec![0; record.len as usize];
        record.bytes.read(*ring.memory(), 0, &mut bytes).unwrap();
        ring.advance(record);
        let tag = bytes[0];
        let number = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
        assert_eq!(bytes, message(tag, number), "torn");
        into.push((tag, number));
    }
    ring.release().unwrap();
}

fn consumer(mapping: &Mapping) -> Consumer<&Mapping> {
    Consumer::attach(mapping, PLACE, &mut || Ok(())).unwrap()
}

/// Repeats `step` until it is true.
fn until(what: &str, mut step: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !step() {
        assert!(begin.elapsed() < limit(), "in vain until {what}");
        std::thread::yield_now();
    }
}

/// In one of the ways that `stopped.c` has to send.
fn sends_nothing_more(way: &str, place: Place) {
    let directory = tempfile::tempdir().unwrap();
    let program = compile_by("cc", directory.path(), "stopped", &["-std=gnu11"]);
    for stop in 0..STOPS {
        let (file, mapping) = memory();
        let mut from = consumer(&mapping);
        let mut got = Vec::new();
        let mut victim = Victim::start(&program, way, &file, stop);
        until("it stops", || {
            drain(&mut from, &mut got);
            victim.has_stopped()
        });
        own(&mapping, 2);
        let mut to = Sending::attach(&mapping, place, Handover::MayRun);
        // It goes on at once, or when half is sent; at once, before anything that it may spoil is received.
        let mut continued = stop % 2 == 0;
        if continued {
            victim.go_on();
            victim.has_time();
        }
        until("all is sent", || {
            if to.number == 30 && !continued {
                victim.go_on();
                continued = true;
            }
            drain(&mut from, &mut got);
            to.send() && to.number == 60
        });
        until("it ends", || {
            drain(&mut from, &mut got);
            victim.has_ended()
        });
        drain(&mut from, &mut got);
        let first = got.iter().position(|(tag, _)| *tag == b'r');
        let first = first.expect("ours arrive");
        let theirs = (0..).map(|number| (b'c', number)).take(first);
        let ours = (0..60).map(|number| (b'r', number));
        assert!(
            got.iter().copied().eq(theirs.chain(ours)),
            "{way}, {stop}: {got:?}"
        );
    }
}

#[test]
fn a_c_sender_that_was_replaced_sends_nothing_more() {
    sends_nothing_more("send", PLACE);
}

#[test]
fn a_c_sender_that_was_replaced_while_it_wrote_in_place_sends_nothing_more() {
    sends_nothing_more("place", PLACE);
}

#[test]
fn a_c_sender_in_a_lane_that_was_replaced_sends_nothing_more() {
    sends_nothing_more("lane", LANE);
}

#[test]
fn a_c_receiver_that_was_replaced_takes_no_torn_message_and_gives_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile_by("cc", directory.path(), "stopped", &["-std=gnu11"]);
    for stop in 0..STOPS {
        let (file, mapping) = memory();
        let mut to = Sending::attach(&mapping, PLACE, Handover::Ended);
        let mut victim = Victim::start(&program, "receive", &file, stop);
        until("it stops", || {
            to.send();
            victim.has_stopped()
        });
        own(&mapping, 2);
        let mut from = consumer(&mapping);
        let mut got = Vec::new();
        let end = to.number + 60;
        let mut continued = false;
        until("all is received", || {
            if to.number > end - 30 && !continued {
                victim.go_on();
                continued = true;
            }
            drain(&mut from, &mut got);
            to.send() && to.number == end
        });
        until("it ends", || victim.has_ended());
        drain(&mut from, &mut got);
        let (_, first) = got[0];
        let wanted = (first..end).map(|number| (b'r', number));
        assert!(got.iter().copied().eq(wanted), "{stop}: {got:?}");
    }
}
