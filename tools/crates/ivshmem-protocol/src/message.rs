// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Messages and their bytes.

use crate::PeerId;

/// Length of every message in bytes.
pub const MESSAGE_LEN: usize = 8;

/// The only protocol version there is.
pub const PROTOCOL_VERSION: i64 = 0;

/// Version that a server sends to a client that it will not serve. No client speaks it, so
/// each gives up cleanly.
pub const REFUSAL_VERSION: i64 = -1;

/// Number that accompanies the shared memory.
pub const SHARED_MEMORY_MARK: i64 = -1;

/// Number of messages that QEMU reads before it does anything else: version, own ID, memory.
pub const HANDSHAKE_MESSAGES: usize = 3;

/// One number on the wire, whose meaning depends on what went before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message(pub i64);

impl Message {
    /// Reads a message from its bytes.
    pub const fn from_bytes(bytes: [u8; MESSAGE_LEN]) -> Self {
        Self(i64::from_le_bytes(bytes))
    }

    /// The bytes of the message.
    pub const fn to_bytes(self) -> [u8; MESSAGE_LEN] {
        self.0.to_le_bytes()
    }
}

/// What a server has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ServerMessage {
    /// The protocol version; first message to a client that is served.
    Version,
    /// First and last message to a client that is not served.
    Refusal,
    /// The ID of the receiving client.
    OwnId(PeerId),
    /// The shared memory, whose descriptor goes along.
    SharedMemory,
    /// The eventfd of one vector of one client, be it the receiver or another one.
    Vector {
        /// Client that is interrupted through the eventfd.
        peer: PeerId,
        /// Vector that the eventfd stands for. Not transmitted, but tells the sender which
        /// descriptor goes along.
        vector: u16,
    },
    /// Another client has left.
    Left(PeerId),
}

impl ServerMessage {
    /// The number that is sent.
    pub fn message(self) -> Message {
        Message(match self {
            Self::Version => PROTOCOL_VERSION,
            Self::Refusal => REFUSAL_VERSION,
            Self::SharedMemory => SHARED_MEMORY_MARK,
            Self::OwnId(peer) | Self::Left(peer) | Self::Vector { peer, .. } => peer.into(),
        })
    }

    /// The bytes that are sent.
    pub fn to_bytes(self) -> [u8; MESSAGE_LEN] {
        self.message().to_bytes()
    }

    /// Whether a file descriptor goes along with the first byte.
    pub const fn carries_descriptor(self) -> bool {
        matches!(self, Self::SharedMemory | Self::Vector { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_each_message() {
        let id = PeerId::from(0x1234);
        let vector = ServerMessage::Vector {
            peer: id,
            vector: 9,
        };
        let cases = [
            (ServerMessage::Version, [0; 8], false),
            (ServerMessage::Refusal, [0xff; 8], false),
            (
                ServerMessage::OwnId(id),
                [0x34, 0x12, 0, 0, 0, 0, 0, 0],
                false,
            ),
            (ServerMessage::SharedMemory, [0xff; 8], true),
            (vector, [0x34, 0x12, 0, 0, 0, 0, 0, 0], true),
            (
                ServerMessage::Left(id),
                [0x34, 0x12, 0, 0, 0, 0, 0, 0],
                false,
            ),
        ];
        for (message, bytes, descriptor) in cases {
            assert_eq!(message.to_bytes(), bytes, "{message:?}");
            assert_eq!(message.carries_descriptor(), descriptor, "{message:?}");
            assert_eq!(Message::from_bytes(bytes), message.message());
        }
    }
}
