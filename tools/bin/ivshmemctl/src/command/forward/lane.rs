// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The ring to another endpoint, which all connections to it share.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::Result;
use ivshmem_channel::{Error, Outbox};
use tokio::sync::Mutex;

use super::frame::{Body, Frame, Key};
use crate::end::AnyLink;
use crate::mesh::Mesh;

/// The ring to a slot. Who waits for it is served in turn.
pub struct Lane(Mutex<Outbox<AnyLink, Vec<u8>>>);

/// The program that is in a slot now.
#[derive(Clone)]
pub struct Correspondent {
    lane: Rc<Lane>,
    /// Its incarnation, and ours: what is meant for another one is not for its successor.
    to: u32,
    from: u32,
}

/// The rings to all other slots, but for those in which something is that nobody can use.
pub fn lanes(mesh: &Mesh) -> Result<HashMap<u32, Rc<Lane>>> {
    let mut lanes = HashMap::new();
    for slot in mesh.others() {
        match mesh.member.sender(slot) {
            Ok(sender) => {
                let lane = Lane(Mutex::new(Outbox::new(sender)?));
                lanes.insert(slot, Rc::new(lane));
            }
            Err(Error::Corrupt(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lanes)
}

impl Correspondent {
    /// By this ring to the program of incarnation `to`.
    pub fn new(lane: Rc<Lane>, to: u32, from: u32) -> Self {
        Self { lane, to, from }
    }

    /// Its incarnation.
    pub fn incarnation(&self) -> u32 {
        self.to
    }

    /// Says something to it, and waits for room.
    pub async fn send(&self, key: Key, body: Body<'_>) -> Result<(), Error> {
        let frame = Frame {
            to: self.to,
            from: self.from,
            key,
            body,
        };
        let parts = [&frame.header()[..], &frame.payload()];
        self.lane.0.lock().await.send_parts(&parts).await
    }
}
