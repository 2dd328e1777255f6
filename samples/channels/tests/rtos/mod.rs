// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a channel without an operating system, which a process of Linux stands in for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ivshmem::SharedFile;
use ivshmem_channel::{Channel, Layout, Receiver, Sender};
use test_limit::limit;

use crate::Program;

type Link = Arc<SharedFile>;

/// No power of two, and so large that messages fit beside what each crash leaves out, an eighth of it.
const RING: u32 = 16384 - 64;

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rtos")
        .join(name)
}

fn compile(words: &[&str], names: &[&str], output: &Path) {
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I"])
        .arg(source("../../../include"))
        .args(words)
        .args(names.iter().map(|name| source(name)))
        .arg("-o")
        .arg(output)
        .status()
        .expect("cc, which cargo itself needs to link");
    assert!(status.success());
}

#[test]
fn the_end_for_an_rtos_wants_its_board_and_two_functions() {
    let directory = tempfile::tempdir().unwrap();
    let object = directory.path().join("echo.o");
    let words = ["-std=c99", "-Wpedantic", "-ffreestanding", "-c"];
    compile(&words, &["echo.c"], &object);
    let output = Command::new("nm")
        .args(["--undefined-only", "--just-symbols"])
        .arg(object)
        .output()
        .expect("nm, of binutils");
    let wanted = String::from_utf8(output.stdout).unwrap();
    let others = wanted
        .lines()
        .filter(|name| !name.starts_with("board_") && !["memcpy", "memset"].contains(name));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    assert!(wanted.contains("board_ring"));
}

/// The other end.
struct Talker {
    channel: Channel<Link>,
    to: Sender<Link>,
    from: Receiver<Link>,
    sent: u32,
}

impl Talker {
    fn of(channel: Channel<Link>) -> Self {
        let me = channel.join(0, 0).unwrap();
        Self {
            to: me.sender(1).unwrap(),
            from: me.receiver(1).unwrap(),
            channel,
            sent: 0,
        }
    }

    /// Sends messages of many lengths, each of which has to come back.
    fn talk(&mut self, count: u32) {
        let mut got = Vec::new();
        for _ in 0..count {
            self.sent += 1;
            let longest = self.to.longest().min(300) as u32;
            let len = self.sent.wrapping_mul(2_654_435_761) % longest + 1;
            let message: Vec<_> = (0..len).map(|at| (self.sent ^ at) as u8).collect();
            self.to.send(&message, Some(limit())).unwrap();
            assert!(self.from.receive(&mut got, Some(limit())).unwrap());
            assert!(got == message, "message {}", self.sent);
        }
    }
}

#[test]
fn an_rtos_echoes_although_it_crashes_and_the_channel_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("echo");
    compile(&["-std=gnu99"], &["echo.c", "board_linux.c"], &program);
    let memory = directory.path().join("memory");
    std::fs::File::create_new(&memory)
        .unwrap()
        .set_len(1 << 16)
        .unwrap();
    let start = || Program::start(program.to_str().unwrap(), &memory, &[]);
    // It comes before the channel does.
    let mut rtos = start();
    let layout =
        Layout::duplex(RING).heartbeat(Duration::from_millis(10), Duration::from_millis(100));
    let link = Arc::new(SharedFile::open(&memory).unwrap());
    let mut talker = Talker::of(Channel::create(link, 0, &layout).unwrap());
    talker.talk(1000);
    for _ in 0..3 {
        rtos.kill();
        rtos = start();
        talker.talk(300);
    }
    let mut talker = Talker::of(talker.channel.reset().unwrap());
    talker.talk(1000);
    talker.to.send(&[], Some(limit())).unwrap();
    let mut got = vec![1];
    assert!(talker.from.receive(&mut got, Some(limit())).unwrap());
    assert!(got.is_empty());
    assert!(rtos.succeeds().is_empty());
}
