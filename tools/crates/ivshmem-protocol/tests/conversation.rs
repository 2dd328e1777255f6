// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Both sides together: whatever happens in whatever order, each client is told the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::LazyLock;

use ivshmem_protocol::{
    ClientDecoder, ConnectionId, Event, Membership, PeerId, ServerMessage, MAX_PEER_ID,
};
use proptest::prelude::*;

const PEERS: usize = 6;
const VECTORS: u16 = 4;
/// Reserved IDs, each of which has this many vectors, too.
const FIXED: [u16; 2] = [1, 3];

/// Where nobody has been yet.
static NEW: LazyLock<Membership> = LazyLock::new(|| {
    let mut membership = Membership::new(PEERS);
    for id in FIXED {
        membership.reserve(id.into()).unwrap();
    }
    membership
});

/// Where a few more clients can have an ID that nobody has had.
static OLD: LazyLock<Membership> = LazyLock::new(|| {
    let mut membership = NEW.clone();
    let few = u16::try_from(PEERS).unwrap() + 10;
    let connection = ConnectionId(0);
    loop {
        let id = membership.join(connection, None, NonZeroU16::MIN).unwrap();
        membership.remove(connection);
        if id.get() == MAX_PEER_ID - few {
            return membership;
        }
    }
});

#[derive(Clone, Debug)]
enum Step {
    Join { vectors: u16 },
    JoinAs { which: usize },
    Leave { which: usize },
    Send { which: usize, messages: usize },
    Expel { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..=VECTORS).prop_map(|vectors| Step::Join { vectors }),
        1 => any::<usize>().prop_map(|which| Step::JoinAs { which }),
        3 => any::<usize>().prop_map(|which| Step::Leave { which }),
        4 => (any::<usize>(), 1usize..10)
            .prop_map(|(which, messages)| Step::Send { which, messages }),
        1 => any::<usize>().prop_map(|which| Step::Expel { which }),
    ]
}

/// A client, and what it knows.
struct Client {
    connection: ConnectionId,
    decoder: ClientDecoder<ServerMessage>,
    own: Option<PeerId>,
    own_vectors: u16,
    /// Number of vectors of each other client that is there, as far as this one knows.
    peers: BTreeMap<PeerId, u16>,
    ever_announced: BTreeSet<PeerId>,
}

impl Client {
    fn new(connection: ConnectionId) -> Self {
        Self {
            connection,
            decoder: ClientDecoder::new(),
            own: None,
            own_vectors: 0,
            peers: BTreeMap::new(),
            ever_announced: BTreeSet::new(),
        }
    }

    /// Carries up to this many messages to the client.
    fn send(&mut self, most: usize, membership: &mut Membership) {
        let messages: Vec<_> = membership.next_messages(self.connection, most).collect();
        let waiting = membership.waiting(self.connection);
        membership.advance(self.connection, messages.len());
        assert_eq!(
            membership.waiting(self.connection),
            waiting - messages.len()
        );
        for message in messages {
            if let ServerMessage::Vector { peer, .. } = message {
                assert!(membership.contains(peer), "eventfd of one who left");
            }
            let fd = message.carries_descriptor().then_some(message);
            let event = self.decoder.push(&message.to_bytes(), fd).unwrap();
            self.receive(event.unwrap(), membership);
        }
    }

    fn receive(&mut self, event: Event<ServerMessage>, membership: &Membership) {
        match event {
            Event::Version => {}
            Event::OwnId(id) => self.own = Some(id),
            Event::SharedMemory(fd) => assert_eq!(fd, ServerMessage::SharedMemory),
            Event::OwnVector { vector, fd } => {
                let peer = self.own.unwrap();
                assert_eq!(fd, ServerMessage::Vector { peer, vector });
                self.own_vectors += 1;
            }
            Event::PeerVector { peer, vector, fd } => {
                assert_eq!(fd, ServerMessage::Vector { peer, vector });
                let first = self.ever_announced.insert(peer);
                assert_eq!(first, vector == 0, "{peer} was announced twice");
                *self.peers.entry(peer).or_default() += 1;
            }
            Event::PeerLeft(peer) => {
                assert!(!membership.is_lasting(peer), "{peer} may come back");
                assert!(self.peers.remove(&peer).is_some());
            }
        }
    }
}

fn is_fixed(peer: PeerId) -> bool {
    FIXED.contains(&peer.get())
}

proptest! {
    #[test]
    fn everybody_knows_who_is_there(
        old in any::<bool>(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut membership = if old { OLD.clone() } else { NEW.clone() };
        let mut clients: BTreeMap<PeerId, Client> = BTreeMap::new();
        let mut alive: BTreeMap<PeerId, u16> = BTreeMap::new();
        let mut recycled: BTreeMap<PeerId, u16> = BTreeMap::new();
        let mut last_id = None;
        let pick = |alive: &BTreeMap<PeerId, u16>, which: usize| {
            alive.keys().nth(which % alive.len().max(1)).copied()
        };
        for (number, step) in (1..).zip(steps) {
            let connection = ConnectionId(number);
            let mut joined = |id, vectors| {
                clients.insert(id, Client::new(connection));
                alive.insert(id, vectors);
            };
            match step {
                Step::Join { vectors } => {
                    let wanted = NonZeroU16::new(vectors).unwrap();
                    let free = membership.places() < PEERS;
                    let result = membership.join(connection, None, wanted);
                    prop_assert_eq!(result.is_ok(), free);
                    let Ok(id) = result else { continue };
                    prop_assert!(!is_fixed(id));
                    let mut vectors = vectors;
                    if membership.is_lasting(id) {
                        // As many as it had before.
                        vectors = *recycled.entry(id).or_insert(vectors);
                    } else {
                        prop_assert!(last_id < Some(id));
                        last_id = Some(id);
                    }
                    joined(id, vectors);
                }
                Step::JoinAs { which } => {
                    let id = FIXED[which % FIXED.len()].into();
                    let wanted = NonZeroU16::new(VECTORS).unwrap();
                    let free = membership.connection_of(id).is_none();
                    let result = membership.join(connection, Some(id), wanted);
                    prop_assert_eq!(result.is_ok(), free);
                    if result.is_ok() {
                        joined(id, VECTORS);
                    }
                }
                Step::Leave { which } => {
                    let Some(id) = pick(&alive, which) else { continue };
                    alive.remove(&id);
                    prop_assert!(membership.remove(clients.remove(&id).unwrap().connection));
                }
                Step::Expel { which } => {
                    let Some(id) = pick(&alive, which) else { continue };
                    alive.remove(&id);
                    let mut client = clients.remove(&id).unwrap();
                    prop_assert!(membership.expel(client.connection));
                    client.send(usize::MAX, &mut membership);
                    prop_assert_eq!(client.own, Some(id));
                    prop_assert!(!membership.remove(client.connection));
                }
                Step::Send { which, messages } => {
                    let Some(id) = pick(&alive, which) else { continue };
                    clients.get_mut(&id).unwrap().send(messages, &mut membership);
                }
            }
        }
        for (id, client) in &mut clients {
            client.send(usize::MAX, &mut membership);
            prop_assert_eq!(membership.waiting(client.connection), 0);
            prop_assert_eq!(client.own, Some(*id));
            prop_assert_eq!(client.own_vectors, alive[id]);
            client.peers.insert(*id, client.own_vectors);
            // Of a lasting ID it may also know while nobody has it.
            client.peers.retain(|peer, _| alive.contains_key(peer) || !membership.is_lasting(*peer));
            prop_assert_eq!(&client.peers, &alive);
        }
    }
}
