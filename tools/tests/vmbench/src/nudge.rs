// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Wakes an agent that was not told of a request.
//!
//! In guests of two and more processors that QEMU 11.1 emulates, an interrupt gets lost now and then:
//! about once in a hundred requests, both processors slept with the request in the port's queue, and
//! the kernel's clock watchdog complained of the same. With one processor it never happened, and the
//! next bytes on the port always brought it to life again. So while somebody waits for the agent, it
//! is sent a byte or two from time to time.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use vmbench_proto::{frame, Request};

use crate::board::Board;

/// How long a lost interrupt goes unnoticed.
const PERIOD: Duration = Duration::from_millis(500);

/// Nudges the agent behind `port` while somebody waits on `board`, until either is dropped.
pub(crate) fn start(board: &Arc<Board>, port: &Arc<Mutex<UnixStream>>) {
    let (board, port) = (Arc::downgrade(board), Arc::downgrade(port));
    thread::spawn(move || loop {
        thread::sleep(PERIOD);
        let (Some(board), Some(port)) = (board.upgrade(), port.upgrade()) else {
            return;
        };
        let is_due = {
            let state = board.lock();
            state.agent_ready && !state.agent_closed && state.waiting > 0
        };
        if is_due {
            let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits learns by its own means that the guest is gone.
            let _ = frame::write(&mut *port, &Request::Nudge, b"");
        }
    });
}
