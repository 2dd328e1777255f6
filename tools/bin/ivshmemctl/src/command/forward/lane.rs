// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The ring to another endpoint, which all connections to it share.

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use anyhow::{anyhow, Result};
use ivshmem_channel::{Error, Outbox};
use tokio::select;
use tokio::sync::{watch, Mutex};

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
    /// Is closed when it has left.
    there: watch::Receiver<()>,
}

/// It is there until this is dropped.
pub struct Attendance(#[expect(dead_code, reason = "is only dropped")] watch::Sender<()>);

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
    pub fn new(lane: Rc<Lane>, to: u32, from: u32) -> (Self, Attendance) {
        let (attendance, there) = watch::channel(());
        let this = Self {
            lane,
            to,
            from,
            there,
        };
        (this, Attendance(attendance))
    }

    /// Its incarnation.
    pub fn incarnation(&self) -> u32 {
        self.to
    }

    /// Does this as long as it is there: nothing waits for one who has left, however many have come and gone.
    pub async fn while_there<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut there = self.there.clone();
        select! {
            biased;
            done = work => Some(done),
            _ = there.changed() => None,
        }
    }

    /// Says something to it, and waits for room.
    ///
    /// # Errors
    ///
    /// If it has left, or the memory is away.
    pub async fn send(&self, key: Key, body: Body<'_>) -> Result<()> {
        let frame = Frame {
            to: self.to,
            from: self.from,
            key,
            body,
        };
        let parts = [&frame.header()[..], &frame.payload()];
        let send = async { self.lane.0.lock().await.send_parts(&parts).await };
        let sent = self.while_there(send).await;
        Ok(sent.ok_or_else(|| anyhow!("the other endpoint has left"))??)
    }
}
