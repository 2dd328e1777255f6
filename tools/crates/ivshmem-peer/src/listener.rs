// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The thread that reads what the server says.
//!
//! Some servers drop clients that do not read, so somebody has to, also while the program does other things.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ivshmem_protocol::Event;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::board::Board;
use crate::connection::{Connection, Failure};
use crate::eventfd::Eventfd;
use crate::state::{Server, State};

/// Reads until `stop` is rung.
pub(crate) fn run(mut connection: Connection, board: &Arc<Board>, stop: &Eventfd) {
    let mut connected = true;
    loop {
        match is_stopped(&connection, connected, stop) {
            Ok(true) => return,
            Ok(false) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return board.update(|state| state.lose(&error)),
        }
        if let Err(failure) = drain(&mut connection, board) {
            connected = false;
            board.update(|state| state.lose(&failure));
        }
    }
}

/// Sleeps until the server has said something, or `stop` was rung, which it returns.
fn is_stopped(connection: &Connection, connected: bool, stop: &Eventfd) -> Result<bool, Errno> {
    let mut fds = vec![PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
    // One that is closed at the other end is always ready, and nothing is asked of it.
    if connected {
        fds.push(PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN));
    }
    poll(&mut fds, None)?;
    Ok(!fds[0].revents().is_empty())
}

/// Reads all that the server has said. Nothing here depends on when.
pub(crate) fn drain(connection: &mut Connection, board: &Board) -> Result<(), Failure> {
    while let Some(event) = connection.receive()? {
        apply(event, board)?;
    }
    Ok(())
}

fn apply(event: Event<OwnedFd>, board: &Board) -> Result<(), Failure> {
    let adopt = |fd| Eventfd::adopt(fd).map_err(|error| Failure::Io(error.into()));
    match event {
        // The decoder lets the first three through once, and the caller has seen them.
        Event::Version | Event::OwnId(_) | Event::SharedMemory(_) => {}
        Event::OwnVector { fd, .. } => {
            let eventfd = adopt(fd)?;
            board.update(|state| state.add_own(eventfd));
        }
        Event::PeerVector { peer, fd, .. } => {
            let eventfd = adopt(fd)?;
            board.update(|state| {
                let vectors = state.others.entry(peer.get().into()).or_default();
                vectors.push(eventfd);
                state.version += 1;
            });
        }
        Event::PeerLeft(peer) => board.update(|state| {
            state.others.remove(&peer.get().into());
            state.version += 1;
        }),
    }
    Ok(())
}

impl State {
    fn lose(&mut self, reason: &dyn std::error::Error) {
        let mut text = reason.to_string();
        let mut source = reason.source();
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        self.server = Server::Lost(text);
    }
}
