// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A million messages between two processes on the real server, both of which are killed again and again.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use channel_trial::{Word, MEMORY, PROGRESS};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use vmbench::Region;

const MESSAGES: u64 = 1_000_000;
const KILLS: u64 = 20;
const LIMIT: Duration = Duration::from_secs(300);

/// A process that does not outlive the test.
struct Program(Child);

impl Program {
    fn start(role: &str, socket: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_channel-trial"));
        command.arg(role).arg("--socket").arg(socket);
        command.args(["--messages", &MESSAGES.to_string()]);
        Self(command.spawn().unwrap())
    }

    fn succeeds(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_million_messages_and_twenty_crashes() {
    let region = Region::start(MEMORY, 1).unwrap();
    let witness = Peer::join(region.socket()).unwrap();
    let begin = Instant::now();
    let start = |role| Program::start(role, &region.socket());
    let (mut sender, mut receiver) = (start("send"), start("receive"));
    for kill in 1..=KILLS {
        while witness.load64(PROGRESS, Ordering::Relaxed).unwrap() < MESSAGES * kill / (KILLS + 1) {
            assert!(begin.elapsed() < LIMIT, "no progress");
            assert!(!sender.ended() && !receiver.ended(), "one has given up");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Replaced is dropped first, which kills it.
        match kill % 2 {
            0 => {
                drop(sender);
                sender = start("send");
            }
            _ => {
                drop(receiver);
                receiver = start("receive");
            }
        }
    }
    sender.succeeds();
    receiver.succeeds();
    assert_eq!(witness.load64(PROGRESS, Ordering::Relaxed), Ok(MESSAGES));
    println!(
        "{MESSAGES} messages, {KILLS} crashes, {:?}",
        begin.elapsed()
    );
}

#[test]
fn what_is_changed_on_the_way_is_found() {
    for number in 0..1000 {
        let mut bytes = Word::Data(number).encode();
        assert_eq!(Word::decode(&bytes), Some(Word::Data(number)));
        let at = number as usize % bytes.len();
        bytes[at] ^= 1;
        assert_ne!(Word::decode(&bytes), Some(Word::Data(number)));
    }
}
