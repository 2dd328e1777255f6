// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The status socket: whoever connects is sent a report.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{send, SendFlags};

use crate::listener::Listener;
use crate::poller::{Interest, Poller, Token};
use crate::report::Report;

/// Connections that can be there at the same time. More push out the oldest, so that those who
/// do not read keep nobody away.
const READERS: usize = 8;

/// The status socket, and those who are reading from it.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    pub listener: Listener,
    readers: BTreeMap<u64, Reader>,
    next: u64,
}

#[derive(Debug)]
struct Reader {
    socket: OwnedFd,
    /// What is still to be sent.
    text: Vec<u8>,
    sent: usize,
}

impl StatusSocket {
    pub(crate) fn new(listener: Listener) -> Self {
        Self {
            listener,
            readers: BTreeMap::new(),
            next: 0,
        }
    }

    /// Sends a report to all who have connected.
    pub(crate) fn accept(
        &mut self,
        poller: &Poller,
        report: impl Fn() -> Report,
    ) -> Result<(), Errno> {
        for _ in 0..READERS {
            let Some(socket) = self.listener.accept()? else {
                return Ok(());
            };
            let Ok(mut text) = serde_json::to_vec(&report()) else {
                return Ok(());
            };
            text.push(b'\n');
            let number = self.next;
            self.next += 1;
            let interest = Interest {
                read: false,
                write: true,
            };
            if poller
                .add(&socket, Token::StatusReader(number), interest)
                .is_ok()
            {
                let sent = 0;
                let reader = Reader { socket, text, sent };
                self.readers.insert(number, reader);
            }
            if self.readers.len() > READERS {
                self.readers.pop_first();
            }
        }
        Ok(())
    }

    /// Sends on to one who can take more, or has gone.
    pub(crate) fn go_on(&mut self, number: u64) {
        let Some(reader) = self.readers.get_mut(&number) else {
            return;
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(&reader.socket, &reader.text[reader.sent..], flags) {
            Ok(sent) => reader.sent += sent,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => reader.sent = reader.text.len(),
        }
        if reader.sent == reader.text.len() {
            self.readers.remove(&number);
        }
    }
}
