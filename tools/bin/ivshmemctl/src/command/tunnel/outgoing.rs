// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings to the other ends, none of which holds up the others for long.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::SinkExt;
use ivshmem_channel::{Error, Outbox};
use tokio::time::timeout;

use crate::end::AnyLink;
use crate::mesh::Mesh;

/// How long a full ring may hold up packets to all ends. After that its packets are dropped until there is room.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the ring, or the next one that will be.
    Yes,
    /// There was no room for too long.
    Full,
    /// What is in the ring is of no use, until the channel is made anew.
    Corrupt,
}

/// A ring to each other end.
pub struct Outgoing(HashMap<u32, Ring>);

struct Ring {
    outbox: Outbox<AnyLink, Vec<u8>>,
    /// It was full for too long, and has had no room since.
    stalled: bool,
    corrupt: bool,
}

impl Outgoing {
    /// To all other slots.
    pub fn new(mesh: &Mesh) -> Result<Self> {
        let mut rings = HashMap::new();
        for slot in mesh.others() {
            match mesh.member.sender(slot) {
                Ok(sender) => {
                    let ring = Ring {
                        outbox: Outbox::new(sender)?,
                        stalled: false,
                        corrupt: false,
                    };
                    rings.insert(slot, ring);
                }
                // To the others there is a way.
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(rings))
    }

    /// Sends a packet to a slot, and waits for room, though not for long.
    pub async fn send(&mut self, slot: u32, packet: Vec<u8>) -> Result<Sent> {
        match self.0.get_mut(&slot).filter(|ring| !ring.corrupt) {
            Some(ring) => ring.send(packet).await,
            None => Ok(Sent::Corrupt),
        }
    }

    /// Goes on with what waits for room, without waiting. To be called from time to time.
    pub async fn flush(&mut self) -> Result<()> {
        for ring in self.0.values_mut().filter(|ring| ring.stalled) {
            ring.flush(Duration::ZERO).await?;
        }
        Ok(())
    }
}

impl Ring {
    async fn send(&mut self, packet: Vec<u8>) -> Result<Sent> {
        // Who was waited for in vain is not waited for again.
        let limit = match self.stalled {
            true => Duration::ZERO,
            false => PATIENCE,
        };
        match timeout(limit, self.outbox.feed(packet)).await {
            Ok(Ok(())) => self.flush(limit).await,
            Ok(Err(error)) => self.failed(error),
            Err(_) => Ok(Sent::Full),
        }
    }

    /// Puts the packet that waits into the ring if there is room soon.
    async fn flush(&mut self, limit: Duration) -> Result<Sent> {
        let flushed = timeout(limit, self.outbox.flush()).await;
        self.stalled = flushed.is_err();
        match flushed {
            Ok(Err(error)) => self.failed(error),
            _ => Ok(Sent::Yes),
        }
    }

    fn failed(&mut self, error: Error) -> Result<Sent> {
        match error {
            Error::Corrupt(_) => {
                self.corrupt = true;
                Ok(Sent::Corrupt)
            }
            // A part of the ring was left out after a crash.
            Error::TooLong { .. } => Ok(Sent::Full),
            error => Err(error.into()),
        }
    }
}
