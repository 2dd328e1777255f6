// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages of random length between processes on the real server, all of which are killed again and again.
//! With `IVSHMEM_TRIAL=full` in the environment a million through each kind of ring, with 20 crashes.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use channel_trial::{short_or_full, Progress, Word, MEMORY};
use ivshmem_peer::Peer;
use vmbench::Region;

/// A process that does not outlive the test.
struct Program(Child);

impl Program {
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

/// What the processes of a trial are started with.
struct Trial {
    socket: PathBuf,
    senders: u32,
    /// Of each sender.
    messages: u64,
}

impl Trial {
    /// Starts process `number`: 0 receives, the others send.
    fn start(&self, number: u32) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_channel-trial"));
        match number {
            0 => command.arg("receive"),
            _ => command.args(["send", "--sender", &number.to_string()]),
        };
        command.arg("--socket").arg(&self.socket);
        command.args(["--senders", &self.senders.to_string()]);
        command.args(["--messages", &self.messages.to_string()]);
        Program(command.spawn().unwrap())
    }

    /// Lets all run, and kills one after the other.
    fn run(&self, witness: &Peer, kills: u64) {
        let begin = Instant::now();
        let progress = Progress(witness);
        let all = self.messages * u64::from(self.senders);
        let mut programs: Vec<_> = (0..=self.senders)
            .map(|number| self.start(number))
            .collect();
        for kill in 1..=kills {
            test_limit::wait_for_count("messages received", all * kill / (kills + 1), || {
                progress.total(self.senders).unwrap()
            });
            let number = kill as u32 % (self.senders + 1);
            let victim = &mut programs[number as usize];
            let finished = number > 0 && progress.received(number) == Ok(self.messages);
            assert!(finished || !victim.ended(), "{number} has given up");
            if !finished {
                // What is replaced is dropped after this, so ended first.
                victim.0.kill().unwrap();
                *victim = self.start(number);
            }
        }
        programs.into_iter().for_each(Program::succeeds);
        for sender in 1..=self.senders {
            assert_eq!(progress.received(sender), Ok(self.messages));
        }
        println!("{all} messages, {kills} crashes, {:?}", begin.elapsed());
    }
}

fn trial(senders: u32, messages: u64, kills: u64) {
    let region = Region::start(MEMORY, 1).unwrap();
    let witness = Peer::join(region.socket()).unwrap();
    let trial = Trial {
        socket: region.socket().to_owned(),
        senders,
        messages: messages / u64::from(senders),
    };
    trial.run(&witness, kills);
}

#[test]
fn one_sender_and_crashes() {
    trial(1, short_or_full(200_000, 1_000_000), short_or_full(10, 20));
}

#[test]
fn four_senders_of_one_ring_and_crashes() {
    trial(4, short_or_full(200_000, 1_000_000), short_or_full(10, 20));
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
