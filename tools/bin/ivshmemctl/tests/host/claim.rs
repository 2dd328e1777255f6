// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Whether commands leave alone what is not theirs.

use std::sync::Arc;

use ivshmem::Memory;
use ivshmem_peer::Peer;

use crate::server::{path_in, server};
use crate::{run, stderr};

/// Those that make a channel.
const COMMANDS: [&[&str]; 4] = [
    &["chat", "--listen", "-t", "50ms"],
    &["cp", "--receive", "-t", "50ms"],
    &["forward", "--allow", "127.0.0.1:7"],
    &["tunnel"],
];

#[test]
fn memory_that_holds_no_channel_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let peer = Arc::new(Peer::join(&socket).unwrap());
    // At the beginning, and where the channel's last ring buffer would be.
    for place in [0, 500_000] {
        peer.write(place, b"somebody's").unwrap();
        for command in COMMANDS {
            let refused = run(&[command, &["--join", &socket]].concat());
            let text = stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{command:?}: {text}");
            assert!(
                text.contains("--offset") && text.contains("--overwrite"),
                "{text}"
            );
            let byte = format!("the byte at {place:#x},");
            assert!(text.contains(&byte), "{text}");
        }
        let mut all = vec![0; 1 << 20];
        peer.read(0, &mut all).unwrap();
        let found = all.iter().filter(|byte| **byte != 0).count();
        assert_eq!(found, b"somebody's".len(), "something was written");
        peer.write(place, &[0; 10]).unwrap();
    }
    // Who is told to may, and finds its own channel the next time, with what the memory held behind its header.
    peer.write(500_000, b"somebody's").unwrap();
    for option in [&["--overwrite"][..], &[]] {
        let late = run(&[COMMANDS[0], &["--join", &socket], option].concat());
        assert_eq!(late.status.code(), Some(5), "{}", stderr(&late));
    }
}
