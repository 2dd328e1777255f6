// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What stands before each request and each reply.

use ivshmem::Link;

use crate::{Result, Sender};

/// The slot of the server.
pub(super) const SERVER: u32 = 0;

/// Its length in bytes.
pub(super) const LEN: usize = 16;

/// Which request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The client's incarnation.
    pub client: u32,
    /// The client's own number of the request.
    pub number: u64,
}

impl Envelope {
    fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&self.client.to_le_bytes());
        bytes[8..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Takes it off a message; `None` if that is shorter.
    pub fn take_off(message: &mut Vec<u8>) -> Option<Self> {
        let (bytes, _) = message.split_first_chunk::<LEN>()?;
        let (client, rest) = bytes.split_first_chunk()?;
        let number = rest.last_chunk()?;
        let envelope = Self {
            client: u32::from_le_bytes(*client),
            number: u64::from_le_bytes(*number),
        };
        message.drain(..LEN);
        Some(envelope)
    }

    /// Sends it with what it holds.
    pub fn send<L: Link + Clone>(
        self,
        to: &mut Sender<L>,
        body: &[u8],
        timeout: Option<std::time::Duration>,
    ) -> Result<()> {
        let mut space = to.reserve(LEN + body.len(), timeout)?;
        space.write(0, &self.encode())?;
        space.write(LEN, body)?;
        space.commit(LEN + body.len())?;
        to.flush()
    }
}
