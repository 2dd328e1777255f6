// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Makes arbitrary bytes into what a client's reads return, and checks what must hold always.

use std::collections::BTreeMap;
use std::rc::Rc;

use ivshmem_protocol::{ClientDecoder, DecodeError, Event, PeerId, MESSAGE_LEN};

/// Stands for a descriptor; each is a reference, so that it can be counted how many are open.
type Fd = Rc<()>;

/// What a client knows by the events so far.
#[derive(Default)]
struct Known {
    own: Option<PeerId>,
    has_memory: bool,
    vectors: BTreeMap<PeerId, u32>,
}

impl Known {
    fn take(&mut self, event: Event<Fd>) {
        assert!(self.has_memory || self.vectors.is_empty());
        match event {
            Event::Version => assert!(self.own.is_none()),
            Event::OwnId(id) => assert!(self.own.replace(id).is_none()),
            Event::SharedMemory(_) => {
                assert!(self.own.is_some() && !self.has_memory);
                self.has_memory = true;
            }
            Event::PeerVector { peer, vector, .. } => {
                assert_ne!(Some(peer), self.own);
                self.count(peer, vector);
            }
            Event::OwnVector { vector, .. } => self.count(self.own.unwrap(), vector),
            Event::PeerLeft(peer) => {
                assert_ne!(Some(peer), self.own);
                assert!(self.vectors.remove(&peer).is_some());
            }
        }
    }

    fn count(&mut self, peer: PeerId, vector: u16) {
        let count = self.vectors.entry(peer).or_default();
        assert_eq!(*count, u32::from(vector));
        *count += 1;
    }
}

/// Feeds a decoder: one byte says how long a read is and how many descriptors come with it, then
/// come its bytes, and so on.
pub fn feed(mut input: &[u8]) {
    let fds = Fd::default();
    let mut decoder = ClientDecoder::new();
    let mut known = Known::default();
    let mut failed: Option<DecodeError> = None;
    while let Some((&head, rest)) = input.split_first() {
        let length = usize::from(head & 0xf).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        input = rest;
        let wanted = decoder.wanted();
        assert!((1..=MESSAGE_LEN).contains(&wanted));
        let with = std::iter::repeat_n(Fd::clone(&fds), usize::from(head >> 4 & 3));
        let result = decoder.push(bytes, with);
        if let Some(error) = failed {
            assert_eq!(result.err(), Some(error));
            continue;
        }
        match result {
            Ok(Some(event)) => {
                assert_eq!(length, wanted);
                known.take(event);
                // The event was dropped, and with it the message's only descriptor.
                assert_eq!(Rc::strong_count(&fds), 1);
            }
            Ok(None) => assert!(length < wanted && Rc::strong_count(&fds) <= 2),
            Err(error) => failed = Some(error),
        }
    }
    let ended = decoder.end_of_stream();
    assert!(failed.is_none() || ended.err() == failed);
    assert!(known.has_memory || ended.is_err());
    drop(decoder);
    assert_eq!(Rc::strong_count(&fds), 1);
}
