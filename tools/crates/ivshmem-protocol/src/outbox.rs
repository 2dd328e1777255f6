// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What one client has not been sent yet.

use alloc::collections::VecDeque;

use crate::{PeerId, ServerMessage, HANDSHAKE_MESSAGES, MESSAGE_LEN};

/// Room in an empty queue, in messages. A greeting may have taken hundreds of times that, which
/// its client will not need again if it reads.
const ROOM_WHEN_EMPTY: usize = 32;

/// More messages wait for a client than there can be; it has to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {0} messages wait for the client")]
pub struct Overflow(pub usize);

/// The message to send next, as far as it has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    message: ServerMessage,
    sent: usize,
    bytes: [u8; MESSAGE_LEN],
}

impl Pending {
    /// The bytes that are still to be sent, at least one.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The message whose descriptor goes along with these bytes, if one does. The descriptor
    /// of a message goes with its first byte.
    pub fn descriptor_of(&self) -> Option<ServerMessage> {
        (self.sent == 0 && self.message.carries_descriptor()).then_some(self.message)
    }
}

/// Queue of the messages for one client, in order.
///
/// A client that does not read holds up nobody but itself. What it missed does not pile up:
/// when a peer leaves of which it has not heard yet, both that peer's announcement and its end
/// are left out. The queue therefore never refers to the eventfds of a peer that has left, and
/// holds no more than the handshake, the vectors of all who are there or have a fixed ID, and
/// one leave notice for each who was there when the client stopped reading. [`Outbox::limit`]
/// is that number.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Outbox {
    queue: VecDeque<ServerMessage>,
    /// Bytes of the first message that have been sent, less than a whole message.
    sent: usize,
    limit: usize,
}

impl Outbox {
    /// An empty queue for at most `limit` messages.
    pub const fn new(limit: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            sent: 0,
            limit,
        }
    }

    /// The most messages that can wait for a client where `peers` clients, itself and those
    /// with a fixed ID who are away included, have at most `vectors` vectors each.
    pub const fn limit(peers: usize, vectors: usize) -> usize {
        HANDSHAKE_MESSAGES + peers * (vectors + 1)
    }

    /// Changes how many messages can wait. Those that wait stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether everything has been sent.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of messages that wait, one that has been sent in part included.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Appends messages.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if they do not all fit; none is appended then.
    pub fn extend(&mut self, messages: &[ServerMessage]) -> Result<(), Overflow> {
        if self.queue.len() + messages.len() > self.limit {
            return Err(Overflow(self.limit));
        }
        self.queue.extend(messages);
        Ok(())
    }

    /// Records that a peer left: forgets what the client need not know of it any more, and
    /// appends the leave notice if the client has heard of the peer. To be called once for
    /// each peer that was announced through this queue.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if the leave notice does not fit.
    pub fn peer_left(&mut self, peer: PeerId) -> Result<(), Overflow> {
        // A message that is partly on the wire cannot be taken back.
        let fixed = usize::from(self.sent > 0);
        let first = ServerMessage::Vector { peer, vector: 0 };
        let unheard = self.queue.iter().skip(fixed).any(|m| *m == first);
        let mut index = 0;
        self.queue.retain(|message| {
            index += 1;
            let of_peer = matches!(message, ServerMessage::Vector { peer: p, .. } if *p == peer);
            index <= fixed || !of_peer
        });
        if unheard {
            return Ok(());
        }
        self.extend(&[ServerMessage::Left(peer)])
    }

    /// Forgets all but the handshake, for a client that is to be dropped as soon as that is
    /// safe, which is when the queue is empty.
    pub fn keep_handshake(&mut self) {
        // A message that is partly on the wire may be cut off once the handshake is over: the
        // client sees the end of the stream and nothing of the message.
        if self.queue.front().is_some_and(|m| !m.is_handshake()) {
            self.sent = 0;
        }
        self.queue.retain(|message| message.is_handshake());
    }

    /// What to send next.
    pub fn pending(&self) -> Option<Pending> {
        self.queue.front().map(|&message| Pending {
            message,
            sent: self.sent,
            bytes: message.to_bytes(),
        })
    }

    /// Records that `bytes` bytes of the pending message have been sent.
    ///
    /// # Panics
    ///
    /// If the pending message is not that long.
    pub fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(
            self.sent <= MESSAGE_LEN && !self.queue.is_empty(),
            "sent more than was pending"
        );
        if self.sent == MESSAGE_LEN {
            self.sent = 0;
            self.queue.pop_front();
            if self.queue.is_empty() {
                self.queue.shrink_to(ROOM_WHEN_EMPTY);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const PEER: u16 = 5;

    fn vectors(peer: u16, count: u16) -> Vec<ServerMessage> {
        let peer = peer.into();
        (0..count)
            .map(|vector| ServerMessage::Vector { peer, vector })
            .collect()
    }

    fn left(peer: u16) -> ServerMessage {
        ServerMessage::Left(peer.into())
    }

    #[test]
    fn peer_that_was_not_announced_yet_is_forgotten() {
        let mut outbox = Outbox::new(10);
        outbox.extend(&vectors(PEER, 2)).unwrap();
        outbox.extend(&vectors(6, 2)).unwrap();
        outbox.peer_left(PEER.into()).unwrap();
        assert_eq!(outbox.queue, vectors(6, 2));
    }

    #[test]
    fn peer_that_was_announced_leaves() {
        let mut outbox = Outbox::new(10);
        outbox.extend(&vectors(PEER, 1)).unwrap();
        outbox.advance(MESSAGE_LEN);
        outbox.peer_left(PEER.into()).unwrap();
        assert_eq!(outbox.queue, [left(PEER)]);
    }

    #[test]
    fn peer_that_was_announced_in_part_leaves() {
        let mut outbox = Outbox::new(10);
        outbox.extend(&vectors(PEER, 3)).unwrap();
        outbox.advance(MESSAGE_LEN);
        outbox.peer_left(PEER.into()).unwrap();
        assert_eq!(outbox.queue, [left(PEER)]);
    }

    #[test]
    fn message_on_the_wire_is_completed() {
        let mut outbox = Outbox::new(10);
        outbox.extend(&vectors(PEER, 3)).unwrap();
        assert_eq!(
            outbox.pending().unwrap().descriptor_of(),
            Some(vectors(PEER, 1)[0])
        );
        outbox.advance(3);
        let pending = outbox.pending().unwrap();
        assert_eq!(pending.bytes(), [0; 5]);
        assert_eq!(pending.descriptor_of(), None);
        outbox.peer_left(PEER.into()).unwrap();
        assert_eq!(outbox.queue, [vectors(PEER, 1)[0], left(PEER)]);
        outbox.advance(5);
        assert_eq!(outbox.pending().unwrap().bytes(), left(PEER).to_bytes());
    }

    #[test]
    fn dropping_keeps_what_is_left_of_the_handshake() {
        let mut outbox = Outbox::new(10);
        let handshake = [
            ServerMessage::Version,
            ServerMessage::OwnId(PEER.into()),
            ServerMessage::SharedMemory,
        ];
        outbox.extend(&handshake).unwrap();
        outbox.extend(&vectors(PEER, 2)).unwrap();
        outbox.advance(MESSAGE_LEN);
        outbox.advance(1);
        outbox.keep_handshake();
        assert_eq!(outbox.queue, &handshake[1..]);
        assert_eq!(outbox.pending().unwrap().bytes().len(), 7);
        outbox.advance(7);
        outbox.advance(MESSAGE_LEN);
        assert!(outbox.is_empty());
    }

    #[test]
    fn memory_of_a_greeting_is_given_back() {
        let mut outbox = Outbox::new(1000);
        outbox.extend(&vectors(PEER, 1000)).unwrap();
        (0..1000).for_each(|_| outbox.advance(MESSAGE_LEN));
        assert!(outbox.is_empty() && outbox.queue.capacity() <= ROOM_WHEN_EMPTY);
    }

    #[test]
    fn nothing_is_added_beyond_the_limit() {
        let mut outbox = Outbox::new(3);
        outbox.extend(&vectors(PEER, 2)).unwrap();
        assert_eq!(outbox.extend(&vectors(6, 2)), Err(Overflow(3)));
        assert_eq!(outbox.len(), 2);
        outbox.extend(&[left(1)]).unwrap();
        assert_eq!(outbox.peer_left(2.into()), Err(Overflow(3)));
    }
}
