// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that were written for other servers than QEMU's, and insist on more than the protocol says.

use std::os::fd::OwnedFd;

use rustix::fs::fstat;

use crate::client::Connection;
use crate::server::Embedded;

/// The gateway of SURE: it has to be the first, gets the ID 0, and in the message after the memory its own vector; and of
/// each other it takes one vector only.
struct Gateway {
    connection: Connection,
    own: OwnedFd,
    memory: OwnedFd,
}

impl Gateway {
    fn join(server: &Embedded) -> Self {
        let connection = Connection::open(&server.path);
        let next = || connection.receive().expect("the manager has gone");
        assert!(matches!(next(), (0, None)), "another version");
        assert!(matches!(next(), (0, None)), "another was the first");
        let (-1, Some(memory)) = next() else {
            panic!("no memory");
        };
        let (0, Some(own)) = next() else {
            panic!("no interrupt");
        };
        Self {
            connection,
            own,
            memory,
        }
    }

    fn next(&self) -> (i64, Option<OwnedFd>) {
        self.connection.receive().expect("the manager has gone")
    }
}

#[test]
fn sures_gateway_finds_what_it_insists_on() {
    let server = Embedded::start(1, 8);
    let gateway = Gateway::join(&server);
    assert!(fstat(&gateway.memory).unwrap().st_size > 0);
    let other = crate::client::Peer::join(&server.path, 1);
    let (1, Some(its)) = gateway.next() else {
        panic!("the other is not told of");
    };
    rustix::io::write(&its, &1u64.to_ne_bytes()).unwrap();
    let mut count = [0; 8];
    rustix::io::read(&other.own[0], &mut count).unwrap();
    rustix::io::write(&other.others[&0][0], &1u64.to_ne_bytes()).unwrap();
    rustix::io::read(&gateway.own, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    drop(other);
    assert!(matches!(gateway.next(), (1, None)));
    assert!(gateway.connection.is_silent());
}
