// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Both sides together: whatever happens in whatever order, each client is told the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::LazyLock;

use ivshmem_protocol::{
    ClientDecoder, Event, Joined, Membership, Outbox, PeerId, ServerMessage, MAX_PEER_ID,
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
    loop {
        let id = membership.join(NonZeroU16::MIN).unwrap().id;
        membership.leave(id).unwrap();
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
    Send { which: usize, bytes: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..=VECTORS).prop_map(|vectors| Step::Join { vectors }),
        1 => any::<usize>().prop_map(|which| Step::JoinAs { which }),
        3 => any::<usize>().prop_map(|which| Step::Leave { which }),
        4 => (any::<usize>(), 1usize..80).prop_map(|(which, bytes)| Step::Send { which, bytes }),
    ]
}

/// A client and the server's queue for it.
struct Client {
    outbox: Outbox,
    decoder: ClientDecoder<ServerMessage>,
    own: Option<PeerId>,
    own_vectors: u16,
    /// Number of vectors of each other client that is there, as far as this one knows.
    peers: BTreeMap<PeerId, u16>,
    ever_announced: BTreeSet<PeerId>,
}

impl Client {
    fn new(greeting: &[ServerMessage]) -> Self {
        let limit = Outbox::limit(PEERS + FIXED.len(), usize::from(VECTORS));
        let mut outbox = Outbox::new(limit);
        outbox.extend(greeting).unwrap();
        Self {
            outbox,
            decoder: ClientDecoder::new(),
            own: None,
            own_vectors: 0,
            peers: BTreeMap::new(),
            ever_announced: BTreeSet::new(),
        }
    }

    /// Carries up to this many bytes from the queue to the client.
    fn send(&mut self, mut bytes: usize, membership: &Membership) {
        while bytes > 0 {
            let Some(pending) = self.outbox.pending() else {
                return;
            };
            let fd = pending.descriptor_of();
            if let Some(ServerMessage::Vector { peer, .. }) = fd {
                let there = membership.contains(peer) || membership.is_lasting(peer);
                assert!(there, "eventfd of one who left");
            }
            let chunk = &pending.bytes()[..bytes.min(pending.bytes().len())];
            let event = self.decoder.push(chunk, fd).unwrap();
            self.outbox.advance(chunk.len());
            bytes -= chunk.len();
            if let Some(event) = event {
                self.receive(event, membership);
            }
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

fn joined(
    joined: Joined,
    clients: &mut BTreeMap<PeerId, Client>,
    alive: &mut BTreeMap<PeerId, u16>,
) {
    for peer in &joined.audience {
        let client = clients.get_mut(peer).unwrap();
        client.outbox.extend(&joined.announcement).unwrap();
    }
    clients.insert(joined.id, Client::new(&joined.greeting));
    let vectors = u16::try_from(joined.announcement.len()).unwrap();
    alive.insert(joined.id, vectors);
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
        let mut last_id = None;
        let pick = |alive: &BTreeMap<PeerId, u16>, which: usize| {
            alive.keys().nth(which % alive.len().max(1)).copied()
        };
        for step in steps {
            match step {
                Step::Join { vectors } => {
                    let result = membership.join(NonZeroU16::new(vectors).unwrap());
                    let away = FIXED.iter().filter(|id| !alive.contains_key(&(**id).into()));
                    prop_assert_eq!(result.is_ok(), alive.len() + away.count() < PEERS);
                    let Ok(result) = result else { continue };
                    prop_assert!(!is_fixed(result.id) && !alive.contains_key(&result.id));
                    if !membership.is_lasting(result.id) {
                        prop_assert!(last_id < Some(result.id));
                        last_id = Some(result.id);
                        prop_assert!(result.audience.iter().eq(alive.keys()));
                    }
                    joined(result, &mut clients, &mut alive);
                }
                Step::JoinAs { which } => {
                    let id = FIXED[which % FIXED.len()].into();
                    let result = membership.join_as(id, NonZeroU16::new(VECTORS).unwrap());
                    prop_assert_eq!(result.is_ok(), !alive.contains_key(&id));
                    let Ok(result) = result else { continue };
                    joined(result, &mut clients, &mut alive);
                }
                Step::Leave { which } => {
                    let Some(id) = pick(&alive, which) else { continue };
                    alive.remove(&id);
                    clients.remove(&id);
                    let audience = membership.leave(id).unwrap();
                    let nobody = BTreeMap::new();
                    let others = if membership.is_lasting(id) { &nobody } else { &alive };
                    prop_assert!(audience.iter().eq(others.keys()));
                    for peer in audience {
                        clients.get_mut(&peer).unwrap().outbox.peer_left(id).unwrap();
                    }
                }
                Step::Send { which, bytes } => {
                    let Some(id) = pick(&alive, which) else { continue };
                    clients.get_mut(&id).unwrap().send(bytes, &membership);
                }
            }
        }
        for (id, client) in &mut clients {
            client.send(usize::MAX, &membership);
            prop_assert!(client.outbox.is_empty());
            prop_assert_eq!(client.own, Some(*id));
            prop_assert_eq!(client.own_vectors, alive[id]);
            client.peers.insert(*id, client.own_vectors);
            // Of a lasting ID it may also know while nobody has it.
            client.peers.retain(|peer, _| alive.contains_key(peer) || !membership.is_lasting(*peer));
            prop_assert_eq!(&client.peers, &alive);
        }
    }
}
