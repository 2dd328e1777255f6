// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Sockets that a service manager opened.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::client::{Connection, Peer};
use crate::manager::Manager;
use crate::server::PROGRAM;

fn write(directory: &Path, text: &str) -> String {
    let path = directory.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn one_socket_needs_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let path = directory.path().join("socket");
    manager.pass("ivshmem-server.socket", UnixListener::bind(&path).unwrap());
    // A client that was there before the server is served.
    let early = Connection::open(&path);
    let server = manager.start(&["--vectors=2"]);
    assert_eq!(Peer::greeted(early, 2).id, 0);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(manager.notice(), "STOPPING=1\n");
    assert!(path.exists(), "it is the manager's");
}

#[test]
fn several_sockets_go_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let names = ["frames", "frames.vm1", "audio"];
    let paths = names.map(|name| {
        let path = directory.path().join(name);
        manager.pass(name, UnixListener::bind(&path).unwrap());
        path
    });
    let config = write(
        directory.path(),
        "[[region]]\nname = 'audio'\nvectors = 1\n\
         [[region]]\nname = 'frames'\nvectors = 2\n\
         [[region.peer]]\nname = 'vm1'\nid = 7\n",
    );
    let _server = manager.start(&["--config", &config]);
    assert_eq!(Peer::join(&paths[0], 2).id, 0);
    assert_eq!(Peer::join(&paths[1], 2).id, 7);
    assert_eq!(Peer::join(&paths[2], 1).id, 0);
}

#[test]
fn sockets_and_names_that_do_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(
        directory.path(),
        "[[region]]\nname = 'a'\n[[region]]\nname = 'b'\n",
    );
    let cases: [(&[&str], &str); 3] = [
        (&["a"], "b has no socket"),
        (&["a", "b", "c"], "passed in as c"),
        (&[], "a has no socket"),
    ];
    for (names, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let manager = Manager::new(&directory.path().join("notify"));
        for name in names {
            let path = directory.path().join(name);
            manager.pass(name, UnixListener::bind(path).unwrap());
        }
        let (status, text) = manager.fail(&["--config", &config]);
        assert_eq!(status.code(), Some(1));
        // With one socket and one door left, there is no doubt, whatever the names.
        assert!(text.contains(expected), "{names:?}: {text}");
    }
}

#[test]
fn what_does_not_listen_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    manager.pass("x", std::fs::File::open("/dev/null").unwrap());
    let (status, text) = manager.fail(&["--vectors=2"]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("not a listening UNIX stream socket"),
        "{text}"
    );
}

#[test]
fn inherited_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let script = format!(
        "import os, socket, sys\n\
         s = socket.socket(socket.AF_UNIX); s.bind({path:?}); s.listen()\n\
         os.dup2(s.fileno(), 9)\n\
         os.execv({PROGRAM:?}, [{PROGRAM:?}, '--fd', '9', '--vectors', '2'])\n"
    );
    // Nothing else here can pass a descriptor by number without unsafe code.
    let mut child = match Command::new("python3").args(["-c", &script]).spawn() {
        Ok(child) => child,
        Err(error) => panic!("python3 is needed: {error}"),
    };
    test_limit::wait_until("the socket takes connections", || {
        std::os::unix::net::UnixStream::connect(&path).is_ok()
    });
    let peer = Peer::join(&path, 2);
    assert_eq!(peer.own.len(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The successor is given the socket by the manager, and not by the server before.
#[test]
fn passed_socket_stays_when_a_successor_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let path = directory.path().join("socket");
    manager.pass("ivshmem", UnixListener::bind(&path).unwrap());
    let hand_over = directory.path().join("hand-over");
    let hand_over = hand_over.to_str().unwrap();
    let args = ["--vectors=2", "--hand-over", hand_over];
    let old = manager.start(&args);
    let mut first = Peer::join(&path, 2);
    let _new = manager.start(&[&args[..], &["--take-over", hand_over]].concat());
    assert_eq!(old.wait().code(), Some(0));
    let second = Peer::join(&path, 2);
    first.wait_for(second.id);
    first.check_rings(&second);
}
