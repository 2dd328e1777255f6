// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The client's side: what a stream of bytes and descriptors means.

use alloc::collections::BTreeMap;

use crate::{
    Message, PeerId, MAX_PEER_ID, MAX_VECTORS, MESSAGE_LEN, PROTOCOL_VERSION, REFUSAL_VERSION,
    SHARED_MEMORY_MARK,
};

/// What the server told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<F> {
    /// The server speaks our protocol version.
    Version,
    /// Our own ID.
    OwnId(PeerId),
    /// The shared memory. The handshake is complete.
    SharedMemory(F),
    /// Another client can be interrupted by a write of the 8-byte number 1 to `fd`.
    PeerVector {
        /// The other client.
        peer: PeerId,
        /// Which of its vectors.
        vector: u16,
        /// Its eventfd.
        fd: F,
    },
    /// We are interrupted when `fd` is readable.
    OwnVector {
        /// Which of our vectors.
        vector: u16,
        /// Our eventfd.
        fd: F,
    },
    /// Another client left; its eventfds are of no use any more.
    PeerLeft(PeerId),
}

/// What a server must not do. Every one is final: the decoder repeats it from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The server refuses us.
    #[error("the server refused the connection (version {REFUSAL_VERSION}): it may be full, see its log")]
    Refused,
    /// The server speaks another version.
    #[error("the server speaks protocol version {0}, expected {PROTOCOL_VERSION}")]
    Version(i64),
    /// A descriptor came with the version.
    #[error("the server sent a descriptor with its version")]
    VersionWithDescriptor,
    /// The second message is not an ID.
    #[error("the server gave us the ID {0}, which is not in 0..={MAX_PEER_ID}")]
    OwnIdOutOfRange(i64),
    /// A descriptor came with our own ID.
    #[error("the server sent a descriptor with our own ID")]
    OwnIdWithDescriptor,
    /// The third message is not the shared memory.
    #[error("the server sent {0} where the shared memory ({SHARED_MEMORY_MARK}) was due")]
    ExpectedSharedMemory(i64),
    /// The shared memory came without its descriptor.
    #[error("the server announced the shared memory but sent no descriptor with it")]
    SharedMemoryWithoutDescriptor,
    /// Shared memory came twice.
    #[error("the server sent the shared memory a second time")]
    SecondSharedMemory,
    /// A number that is neither an ID nor the mark of the shared memory.
    #[error("the server sent {0}, which is no ID in 0..={MAX_PEER_ID}")]
    IdOutOfRange(i64),
    /// A client left that the server never announced, or whose end it already announced.
    #[error("the server says that client {0} left, which was not there")]
    UnknownPeerLeft(PeerId),
    /// The server says that we ourselves left.
    #[error("the server says that we left")]
    OwnIdLeft,
    /// More vectors for one ID than the doorbell register can tell apart.
    #[error("the server sent more than {MAX_VECTORS} vectors for client {0}")]
    TooManyVectors(PeerId),
    /// More than one descriptor came with one message.
    #[error("the server sent more than one descriptor with one message")]
    TwoDescriptors,
    /// The caller pushed more bytes than [`ClientDecoder::wanted`] said.
    #[error("got {0} bytes beyond the end of a message: read no more than wanted")]
    Overrun(usize),
    /// The stream ended before the shared memory came.
    #[error("the server closed the connection before the handshake was complete")]
    ClosedInHandshake,
    /// The stream ended inside a message.
    #[error("the server closed the connection inside a message")]
    ClosedInMessage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Version,
    OwnId,
    SharedMemory { own: PeerId },
    Running { own: PeerId },
    Failed(DecodeError),
}

/// Decodes what one server sends over one connection. `F` is whatever the caller receives
/// descriptors as.
///
/// The caller must read at most [`wanted`](Self::wanted) bytes at a time. The kernel joins a
/// message without a descriptor to one with a descriptor that follows it, so a longer read
/// would no longer tell which of the two the descriptor belongs to.
#[derive(Debug)]
pub struct ClientDecoder<F> {
    stage: Stage,
    partial: [u8; MESSAGE_LEN],
    filled: usize,
    fd: Option<F>,
    /// Number of vectors received so far, by client, ourselves included.
    vectors: BTreeMap<PeerId, u32>,
}

impl<F> Default for ClientDecoder<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> ClientDecoder<F> {
    /// A decoder for a connection from which nothing has been read yet.
    pub const fn new() -> Self {
        Self {
            stage: Stage::Version,
            partial: [0; MESSAGE_LEN],
            filled: 0,
            fd: None,
            vectors: BTreeMap::new(),
        }
    }

    /// How many bytes the current message lacks, 1 to [`MESSAGE_LEN`]: how many to read next.
    pub const fn wanted(&self) -> usize {
        MESSAGE_LEN - self.filled
    }

    /// Takes what one read returned: up to [`wanted`](Self::wanted) bytes and the descriptors
    /// that came with them. Returns an event once a message is complete.
    ///
    /// # Errors
    ///
    /// Any [`DecodeError`] but those of [`end_of_stream`](Self::end_of_stream). Descriptors of
    /// the message at fault are dropped.
    pub fn push(
        &mut self,
        bytes: &[u8],
        fds: impl IntoIterator<Item = F>,
    ) -> Result<Option<Event<F>>, DecodeError> {
        if let Stage::Failed(error) = self.stage {
            return Err(error);
        }
        self.assemble(bytes, fds)
            .and_then(|complete| {
                complete
                    .map(|(message, fd)| self.decode(message, fd))
                    .transpose()
            })
            .inspect_err(|error| self.stage = Stage::Failed(*error))
    }

    /// Tells the decoder that the stream has ended.
    ///
    /// # Errors
    ///
    /// [`DecodeError::ClosedInHandshake`] or [`DecodeError::ClosedInMessage`] if it must not
    /// end here, or the error that decoding ended with.
    pub fn end_of_stream(&self) -> Result<(), DecodeError> {
        match self.stage {
            Stage::Failed(error) => Err(error),
            Stage::Running { .. } if self.filled == 0 => Ok(()),
            Stage::Running { .. } => Err(DecodeError::ClosedInMessage),
            _ => Err(DecodeError::ClosedInHandshake),
        }
    }

    fn assemble(
        &mut self,
        bytes: &[u8],
        fds: impl IntoIterator<Item = F>,
    ) -> Result<Option<(Message, Option<F>)>, DecodeError> {
        for fd in fds {
            if self.fd.replace(fd).is_some() {
                return Err(DecodeError::TwoDescriptors);
            }
        }
        let end = self.filled + bytes.len();
        let Some(space) = self.partial.get_mut(self.filled..end) else {
            return Err(DecodeError::Overrun(end - MESSAGE_LEN));
        };
        space.copy_from_slice(bytes);
        self.filled = end % MESSAGE_LEN;
        if end < MESSAGE_LEN {
            return Ok(None);
        }
        Ok(Some((Message::from_bytes(self.partial), self.fd.take())))
    }

    fn decode(&mut self, Message(value): Message, fd: Option<F>) -> Result<Event<F>, DecodeError> {
        match self.stage {
            Stage::Version => match (value, fd) {
                (PROTOCOL_VERSION, None) => {
                    self.stage = Stage::OwnId;
                    Ok(Event::Version)
                }
                (PROTOCOL_VERSION, Some(_)) => Err(DecodeError::VersionWithDescriptor),
                (REFUSAL_VERSION, _) => Err(DecodeError::Refused),
                (other, _) => Err(DecodeError::Version(other)),
            },
            Stage::OwnId => {
                let own = PeerId::from_wire(value).ok_or(DecodeError::OwnIdOutOfRange(value))?;
                if fd.is_some() {
                    return Err(DecodeError::OwnIdWithDescriptor);
                }
                self.stage = Stage::SharedMemory { own };
                Ok(Event::OwnId(own))
            }
            Stage::SharedMemory { own } => {
                if value != SHARED_MEMORY_MARK {
                    return Err(DecodeError::ExpectedSharedMemory(value));
                }
                let fd = fd.ok_or(DecodeError::SharedMemoryWithoutDescriptor)?;
                self.stage = Stage::Running { own };
                Ok(Event::SharedMemory(fd))
            }
            Stage::Running { own } => self.notice(own, value, fd),
            Stage::Failed(error) => Err(error),
        }
    }

    fn notice(&mut self, own: PeerId, value: i64, fd: Option<F>) -> Result<Event<F>, DecodeError> {
        if value == SHARED_MEMORY_MARK {
            return Err(DecodeError::SecondSharedMemory);
        }
        let peer = PeerId::from_wire(value).ok_or(DecodeError::IdOutOfRange(value))?;
        match fd {
            Some(fd) => {
                let count = self.vectors.entry(peer).or_insert(0);
                let vector =
                    u16::try_from(*count).map_err(|_| DecodeError::TooManyVectors(peer))?;
                *count += 1;
                Ok(if peer == own {
                    Event::OwnVector { vector, fd }
                } else {
                    Event::PeerVector { peer, vector, fd }
                })
            }
            None if peer == own => Err(DecodeError::OwnIdLeft),
            None => match self.vectors.remove(&peer) {
                Some(_) => Ok(Event::PeerLeft(peer)),
                None => Err(DecodeError::UnknownPeerLeft(peer)),
            },
        }
    }
}
