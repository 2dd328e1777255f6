// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that are dropped before they have their handshake, which takes a socket that is full
//! from the beginning.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::reload;
use crate::succession::journal::Journal;
use crate::Triggers;

const LIMIT: Duration = Duration::from_secs(60);
const NUMBER: ConnectionId = ConnectionId(5);

struct Stage {
    poller: Poller,
    keeper: Keeper,
    region: Region,
    in_flight: InFlight,
}

impl Stage {
    /// A region with a client whose handshake waits behind as many bytes, which are returned,
    /// as its socket holds.
    fn with_blocked_client() -> (Self, UnixStream, usize) {
        let config = RegionConfig::new("unused");
        let memory = Memory::create(&config, || Ok(())).unwrap();
        let mut stage = Self {
            poller: Poller::new().unwrap(),
            keeper: Keeper::new(Journal::new().unwrap()),
            region: Region::new(config, memory, Membership::new(2)).unwrap(),
            in_flight: InFlight::new(1 << 20, 2),
        };
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(LIMIT)).unwrap();
        let mut filler = 0;
        let error = loop {
            match ours.write(&[0xee; 8]) {
                Ok(written) => filler += written,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        stage
            .poller
            .add(&ours, Token::Client(NUMBER), Interest::READ)
            .unwrap();
        let client = Client {
            socket: ours.into(),
            interest: Interest::READ,
            door: "ivshmem".to_owned(),
            credentials: Credentials::UNKNOWN,
            read_only: false,
            loan: Loan::None,
        };
        let vectors = stage.region.vectors;
        let doorbells = Doorbells::new(vectors).unwrap();
        stage.region.doorbells.insert(0.into(), doorbells);
        stage.with(|region, common| {
            region.enter(NUMBER, None, vectors, client).unwrap();
            region.settle(common);
        });
        (stage, theirs, filler)
    }

    fn with(&mut self, what: impl FnOnce(&mut Region, &mut Common<'_>)) {
        let mut common = Common {
            poller: &self.poller,
            keeper: &mut self.keeper,
            in_flight: &mut self.in_flight,
        };
        what(&mut self.region, &mut common);
    }

    fn handle_next(&mut self) {
        let ready = self.poller.wait(Some(LIMIT)).unwrap();
        assert!(!ready.is_empty());
        self.with(|region, common| {
            for event in ready {
                region.handle(common, NUMBER, event);
            }
            region.settle(common);
        });
    }
}

#[test]
fn expelled_client_still_gets_its_handshake() {
    let (mut stage, mut client, filler) = Stage::with_blocked_client();
    client.write_all(b"x").unwrap();
    stage.handle_next();
    assert!(stage.region.membership.is_empty());
    assert!(stage.region.doorbells.is_empty());
    assert_eq!(stage.region.clients.len(), 1);
    // More of the same is not even looked at.
    client.write_all(b"x").unwrap();
    let nothing = stage.poller.wait(Some(Duration::ZERO)).unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");

    client.read_exact(&mut vec![0; filler]).unwrap();
    stage.handle_next();
    assert!(stage.region.clients.is_empty());
    let mut handshake = [0; 24];
    client.read_exact(&mut handshake).unwrap();
    assert_eq!(handshake[..16], [0; 16]);
    assert_eq!(handshake[16..], [0xff; 8]);
    // Closed, and with something unread, which makes it a reset.
    let end = client.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn expelled_client_that_goes_is_forgotten() {
    let (mut stage, mut client, _) = Stage::with_blocked_client();
    client.write_all(b"x").unwrap();
    stage.handle_next();
    assert_eq!(stage.region.clients.len(), 1);
    drop(client);
    stage.handle_next();
    assert!(stage.region.clients.is_empty());
    assert_eq!(stage.region.membership.connections().count(), 0);
}

#[test]
fn new_rate_is_for_those_who_were_too_fast_too() {
    let mut config = RegionConfig::new("unused");
    (config.max_peers, config.join_rate) = (1, 1);
    let memory = Memory::create(&config, || Ok(())).unwrap();
    let mut region = Region::new(config.clone(), memory, Membership::new(1)).unwrap();
    let now = Instant::now();
    while region.may_join(7, now) {}
    config.join_rate = 6000;
    let mut regions = vec![region];
    let poller = Poller::new().unwrap();
    reload::apply(
        &config.into(),
        &mut regions,
        &mut Vec::new(),
        &poller,
        &Triggers::new().unwrap(),
    );
    assert!(regions[0].may_join(7, now + Duration::from_secs(1)));
}
