// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who is let in.

use std::os::unix::fs::MetadataExt;

use crate::client::{Connection, Peer};
use crate::server::Embedded;

#[test]
fn only_those_on_the_lists() {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let server = Embedded::configured(|config| {
        config.access.uids = [uid + 1].into();
        config.access.gids = [gid + 1].into();
    });
    let refused = Connection::open(&server.path);
    assert!(matches!(refused.receive(), Some((-1, None))));
    assert!(refused.receive().is_none());
    for (uids, gids) in [([uid].into(), [].into()), ([uid + 1].into(), [gid].into())] {
        let server = Embedded::configured(|config| {
            config.access.uids = uids;
            config.access.gids = gids;
        });
        assert_eq!(Peer::join(&server.path, 8).id, 0);
    }
}

#[test]
fn socket_gets_its_group() {
    let groups = rustix::process::getgroups().unwrap();
    let first = groups.first().map(|group| group.as_raw());
    // The file system allows our own groups only, unless we are privileged.
    let group = if rustix::process::geteuid().is_root() {
        54321
    } else {
        first.unwrap_or(rustix::process::getgid().as_raw())
    };
    let server = Embedded::configured(|config| config.access.socket_group = Some(group));
    assert_eq!(std::fs::metadata(&server.path).unwrap().gid(), group);
}
