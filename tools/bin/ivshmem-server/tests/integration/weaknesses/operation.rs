// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What QEMU's server does to those who run it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rustix::fs::fstat;
use rustix::process::Signal;

use crate::client::{Connection, Peer};
use crate::manager::Manager;
use crate::server::Running;
use crate::status::read;

/// It does not start again after a crash, and says why only when asked to talk.
#[test]
fn w08_stale_socket_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Running::start(&path, &[]);
    server.signal(Signal::KILL);
    assert!(!server.wait().success());
    assert!(path.exists(), "a killed server cannot clean up");
    let server = Running::start(&path, &[]);
    assert_eq!(Peer::join(&path, 8).id, 0);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// The mode of its socket is what the umask leaves, and whoever can connect gets everything. Who
/// is served beyond that is tried in `access`.
#[test]
fn w09_mode_of_the_socket_is_not_left_to_the_umask() {
    let cases: [(&str, &[&str], u32); 3] = [
        ("umask 0", &[], 0o600),
        ("umask 0", &["--socket-mode=0660"], 0o660),
        ("umask 077", &["--socket-mode=0666"], 0o666),
    ];
    for (umask, args, mode) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _server = Running::start_after(umask, &path, args);
        let found = path.metadata().unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}

/// It has one memory, one number of vectors, and IDs in the order of connecting.
#[test]
fn w11_several_regions_and_fixed_ids() {
    let directory = tempfile::tempdir().unwrap();
    let [frames, vm, audio] = ["frames", "vm", "audio"].map(|name| directory.path().join(name));
    let config = directory.path().join("config.toml");
    let text = format!(
        "[[region]]\nname = 'frames'\nsize = '64K'\nvectors = 2\nsocket-path = {frames:?}\n\
         [[region.peer]]\nname = 'vm'\nid = 5\nvectors = 3\nsocket-path = {vm:?}\n\
         [[region]]\nname = 'audio'\nsize = '4K'\nvectors = 1\nsocket-path = {audio:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let _server = manager.start(&["--config", config.to_str().unwrap()]);
    for (path, vectors, id, size) in [
        (&frames, 2, 0, 64 << 10),
        (&audio, 1, 0, 4 << 10),
        (&vm, 3, 5, 64 << 10),
        (&vm, 3, 5, 64 << 10),
    ] {
        let connection = Connection::open(path);
        let peer = Peer::greeted(connection, vectors);
        assert_eq!(peer.id, id);
        assert_eq!(fstat(&peer.memory).unwrap().st_size, size);
    }
}

/// It tells nobody how it stands.
#[test]
fn w12_state_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let status = directory.path().join("status").display().to_string();
    let args = ["--vectors=2", "--max-peers=3", "--status-socket", &status];
    let _server = Running::start(&path, &args);
    // Those who do not read keep nobody away.
    let idle: Vec<_> = (0..30)
        .map(|_| UnixStream::connect(&status).unwrap())
        .collect();
    let peers: Vec<_> = (0..3).map(|_| Peer::join(&path, 2)).collect();
    let refused = Connection::open(&path);
    assert!(matches!(refused.receive(), Some((-1, None))));
    let report = read(&status);
    assert_eq!(report["type"], "ivshmem-server");
    assert_eq!(report["successor"], false);
    let region = &report["regions"][0];
    assert_eq!(region["name"], "ivshmem");
    assert_eq!(region["size"], 64 << 20);
    assert_eq!(region["memory"], "memfd");
    assert_eq!(region["counters"]["joined"], 3);
    assert_eq!(region["counters"]["refused"], 1);
    let found = region["peers"].as_array().unwrap();
    assert_eq!(found.len(), peers.len());
    for (peer, found) in peers.iter().zip(found) {
        assert_eq!(found["id"], peer.id);
        assert_eq!(found["pid"], std::process::id());
        assert_eq!(found["vectors"], 2);
        assert_eq!(found["socket"], "ivshmem");
    }
    drop(idle);
}
