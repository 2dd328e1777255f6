// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The thread that reads what the server says, and our own doorbells.
//!
//! Some servers drop clients that do not read, so somebody has to, also while the program does other things.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ivshmem_protocol::Event;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::connection::{Connection, Failure};
use crate::eventfd::Eventfd;
use crate::state::{Board, Own, Server, State};

/// Reads until `stop` is rung.
pub(crate) fn run(mut connection: Connection, board: &Arc<Board>, stop: &Eventfd) {
    let mut connected = true;
    loop {
        let own = own_eventfds(board);
        let ready = match wait(&connection, connected, &own, stop) {
            Ok(ready) => ready,
            Err(Errno::INTR) => continue,
            Err(error) => return board.update(|state| state.lose(&error)),
        };
        if ready.stop {
            return;
        }
        take_rings(board, &own);
        if ready.server {
            if let Err(failure) = drain(&mut connection, board) {
                connected = false;
                board.update(|state| state.lose(&failure));
            }
        }
    }
}

/// What there is to do.
struct Ready {
    stop: bool,
    server: bool,
}

fn own_eventfds(board: &Board) -> Vec<Eventfd> {
    let state = board.lock();
    state.own.iter().map(|own| own.eventfd.clone()).collect()
}

/// Sleeps until a descriptor is ready.
fn wait(
    connection: &Connection,
    connected: bool,
    own: &[Eventfd],
    stop: &Eventfd,
) -> Result<Ready, Errno> {
    // One that is closed at the other end is always ready, and nothing is asked of it.
    let server = if connected {
        connection.as_fd()
    } else {
        stop.as_fd()
    };
    let mut fds = vec![
        PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(server, PollFlags::IN),
    ];
    fds.extend(own.iter().map(|own| PollFd::new(own, PollFlags::IN)));
    poll(&mut fds, None)?;
    Ok(Ready {
        stop: !fds[0].revents().is_empty(),
        server: connected && !fds[1].revents().is_empty(),
    })
}

/// Takes the counters of our doorbells. Each is tried: trying is as cheap as asking.
fn take_rings(board: &Board, own: &[Eventfd]) {
    let counts: Vec<_> = own
        .iter()
        .map(|eventfd| eventfd.take().unwrap_or(0))
        .collect();
    if counts.iter().all(|count| *count == 0) {
        return;
    }
    board.update(|state| {
        for (own, count) in state.own.iter_mut().zip(counts) {
            own.rung(count);
        }
    });
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
            let own = Own::new(adopt(fd)?);
            board.update(|state| state.own.push(own));
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
