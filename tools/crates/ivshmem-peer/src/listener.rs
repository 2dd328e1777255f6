// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The thread that reads what the server says, and hears our own doorbells where there are bells.
//!
//! Some servers drop clients that do not read, so somebody has to, also while the program does other things.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use ivshmem_protocol::Event;
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::board::Board;
use crate::connection::{Connection, Failure};
use crate::eventfd::Eventfd;
use crate::state::{take_ready, Doorbell, Server, State, Taken};

/// How the listener is told what to do.
#[derive(Debug)]
pub(crate) struct Orders {
    stop: AtomicBool,
    /// Makes it look.
    call: Eventfd,
}

impl Orders {
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            stop: AtomicBool::new(false),
            call: Eventfd::new()?,
        })
    }

    /// There are more bells.
    pub fn look_again(&self) {
        let rung = self.call.ring();
        debug_assert_eq!(rung, Ok(()));
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.look_again();
    }
}

/// Reads until it is told to stop.
pub(crate) fn run(mut connection: Connection, board: &Arc<Board>, orders: &Orders) {
    let mut connected = true;
    loop {
        let heard = board.look(State::with_bell);
        let ready = match wait(&connection, connected, &heard, orders) {
            Ok(ready) => ready,
            Err(Errno::INTR) => continue,
            Err(error) => return board.update(|state| state.lose(&error)),
        };
        if orders.stop.load(Ordering::Acquire) {
            return;
        }
        if !ready.rung.is_empty() {
            board.update(|state| state.count(ready.rung));
        }
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
    server: bool,
    rung: Vec<Taken>,
}

/// Sleeps until a descriptor is ready, and takes what has rung.
fn wait(
    connection: &Connection,
    connected: bool,
    heard: &[Doorbell],
    orders: &Orders,
) -> Result<Ready, Errno> {
    // One that is closed at the other end is always ready, and nothing is asked of it.
    let server = if connected {
        connection.as_fd()
    } else {
        orders.call.as_fd()
    };
    let mut fds = vec![
        PollFd::from_borrowed_fd(orders.call.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(server, PollFlags::IN),
    ];
    let bells = heard.iter().map(|heard| &heard.eventfd);
    fds.extend(bells.map(|eventfd| PollFd::new(eventfd, PollFlags::IN)));
    poll(&mut fds, None)?;
    orders.call.take()?;
    Ok(Ready {
        server: connected && !fds[1].revents().is_empty(),
        rung: take_ready(heard, &fds[2..]),
    })
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
