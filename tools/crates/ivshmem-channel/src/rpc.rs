// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests and replies: one server, and up to 63 clients that each wait for the answer to one request at a time.
//!
//! A request is carried out at least once if its client gets an answer, and perhaps, also later, if it does not: make
//! requests such that twice does no harm. Neither side waits for one that is gone: a client is told by
//! [`Error::PeerLost`], and the server leaves out what programs asked for that have ended since.
//!
//! ```no_run
//! use std::time::Duration;
//! use ivshmem::Endpoint;
//! use ivshmem_channel::{rpc, Channel};
//!
//! # fn main() -> Result<(), ivshmem_channel::Error> {
//! let end = Endpoint::open("/dev/ivshmem0")?;
//! let channel = Channel::open_or_create(&end, 0, &rpc::layout(4, 1 << 16, 1 << 16))?;
//! // One program:
//! let mut server = rpc::Server::join(&channel, 0)?;
//! while let Some(request) = server.next(None)? {
//!     let answer = request.body.to_ascii_uppercase();
//!     server.reply(&request, &answer)?;
//! }
//! // The others:
//! let mut client = rpc::Client::join(&channel, 0)?;
//! let answer = client.call(b"hello", Some(Duration::from_secs(1)))?;
//! # Ok(())
//! # }
//! ```

mod client;
mod envelope;
mod server;

pub use client::Client;
pub use server::{Request, Server};

use crate::{Error, Layout, Plan, Result, MAX_SLOTS};
use envelope::SERVER;

/// The layout for a server, in slot 0, and clients in the slots from 1 on. `requests` and `replies` are the bytes of the
/// ring buffers from and to each client; a message takes 16 bytes more than what it carries.
pub fn layout(clients: u32, requests: u32, replies: u32) -> Layout {
    // What is more than there can be is refused where it is used.
    let clients = clients.min(MAX_SLOTS);
    let layout = Layout::new(clients + 1).multi_ring(SERVER, requests);
    (1..=clients).fold(layout, |layout, client| {
        layout.ring(SERVER, client, replies)
    })
}

/// Whether a channel has what client and server need. To be asked before a slot is taken, which may be that of a program that
/// is only silent.
fn check(plan: &Plan) -> Result<()> {
    let from = |slot| plan.find(0, slot, SERVER).is_some();
    let to = |slot| {
        plan.find(0, SERVER, slot)
            .is_some_and(|(_, place)| place.lane.is_none())
    };
    let mut clients = SERVER + 1..plan.layout().slots();
    match plan.find_multi(SERVER).is_some() && clients.all(|slot| from(slot) && to(slot)) {
        true => Ok(()),
        false => Err(Error::NoSuch(
            "ring buffers for requests and replies".into(),
        )),
    }
}
