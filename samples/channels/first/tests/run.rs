// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The first programs, each as a process, on the real server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vmbench::Region;

/// A process that does not outlive the test.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_sent_in_rust_and_in_c_is_received() {
    let directory = tempfile::tempdir().unwrap();
    let in_c = directory.path().join("send");
    let source = "samples/channels/first/send.c";
    vmbench::build::static_c_program("ivshmem-channel-c", source, "include", &in_c).unwrap();
    let region = Region::start(1 << 20, 1).unwrap();
    let send = |program: &Path, text: &str| {
        let mut command = Command::new(program);
        let status = command.arg(region.socket()).arg(text).status().unwrap();
        assert!(status.success(), "{status}");
    };
    let in_rust = Path::new(env!("CARGO_BIN_EXE_send"));
    // Before anybody receives.
    send(in_rust, "early");
    let mut receive = Command::new(env!("CARGO_BIN_EXE_receive"));
    receive.arg(region.socket()).stdout(Stdio::piped());
    let mut receiver = Receiver(receive.spawn().unwrap());
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), r#""early""#);
    for (program, text) in [(in_rust, "from Rust"), (&*in_c, "from C")] {
        send(program, text);
        assert_eq!(line(), format!("{text:?}"));
    }
}
