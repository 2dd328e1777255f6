// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the other endpoints send.

use std::future::pending;

use anyhow::Result;
use ivshmem_channel::{Error, Messages, MultiReceiver};

use super::area::OVERWRITE;
use super::neighbours::Mesh;
use crate::end::AnyLink;

/// What the other endpoints send.
pub struct Incoming(Messages<MultiReceiver<AnyLink>>);

/// What was heard.
pub enum Heard {
    /// A message of this slot.
    Message(u32),
    /// One endpoint, or none at all, is heard any more until the channel is recreated: what to tell people of that.
    Corrupt(String),
}

impl Incoming {
    /// Of all the others of a mesh.
    pub fn new(mesh: &Mesh) -> Result<Self> {
        Ok(Self(Messages::new(mesh.member.multi_receiver()?)?))
    }

    /// Waits for the next, and takes a message into `buffer`. Nothing is lost if this is dropped while it waits.
    ///
    /// # Errors
    ///
    /// When the memory is away, or the channel was recreated. What others write is no error: when nobody is left who can be
    /// heard, it waits for ever, and [looking](Mesh::look) tells when to come back.
    pub async fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Heard> {
        match self.0.receive(buffer).await {
            Some(Ok(slot)) => Ok(Heard::Message(slot)),
            Some(Err(error @ (Error::CorruptLane { .. } | Error::Corrupt(_)))) => {
                Ok(Heard::Corrupt(format!("{OVERWRITE}: {error}")))
            }
            Some(Err(error)) => Err(error.into()),
            None => pending().await,
        }
    }
}
