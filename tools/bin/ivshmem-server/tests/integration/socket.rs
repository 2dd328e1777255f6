// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who gets the socket, and what is left of it.

use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use ivshmem_server::{BindError, MemorySource, RegionConfig, Server};
use tempfile::TempDir;

use crate::client::Peer;
use crate::server::Embedded;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn second_server_is_refused() {
    let server = Embedded::start(1, 2);
    let error = Server::bind(RegionConfig::new(&server.path)).unwrap_err();
    assert!(matches!(error, BindError::Locked(_)), "{error}");
    // The first one is none the worse.
    assert_eq!(Peer::join(&server.path, 1).id, 0);
}

#[test]
fn only_one_of_many_servers_takes_over() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    let results: Vec<_> = std::thread::scope(|scope| {
        let bind = || Server::bind(RegionConfig::new(&path));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let (servers, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(servers.len(), 1);
    for error in errors {
        assert!(matches!(error, Err(BindError::Locked(_))), "{error:?}");
    }
}

#[test]
fn socket_of_another_program_is_left_alone() {
    let (_directory, path) = place();
    let other = UnixListener::bind(&path).unwrap();
    let error = Server::bind(RegionConfig::new(&path)).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(path.exists());
    // Not even by a client that goes at once.
    other.set_nonblocking(true).unwrap();
    let nobody = other.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);

    let (_directory, path) = place();
    let _other = UnixDatagram::bind(&path).unwrap();
    let error = Server::bind(RegionConfig::new(&path)).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let (_directory, path) = place();
    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(RegionConfig::new(&path)).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

/// Where others can write, too, they can point to anything.
#[test]
fn links_are_not_followed() {
    let (directory, path) = place();
    let target = directory.path().join("target");
    std::fs::write(&target, "precious").unwrap();
    let lock = directory.path().join("socket.lock");
    symlink(&target, &lock).unwrap();
    let error = Server::bind(RegionConfig::new(&path)).unwrap_err();
    assert!(error.to_string().contains("socket.lock"), "{error}");
    std::fs::remove_file(&lock).unwrap();
    symlink(&target, &path).unwrap();
    let error = Server::bind(RegionConfig::new(&path)).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn server_that_never_ran_leaves_nothing() {
    let (directory, path) = place();
    let mut config = RegionConfig::new(&path);
    config.memory = MemorySource::File(directory.path().join("memory"));
    drop(Server::bind(config).unwrap());
    assert!(is_empty(directory.path()));
}

#[test]
fn file_in_the_place_of_the_socket_is_left_alone() {
    let (_directory, path) = place();
    let server = Server::bind(RegionConfig::new(&path)).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(server);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn path_that_is_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x".repeat(108));
    let error = Server::bind(RegionConfig::new(path)).unwrap_err();
    assert!(matches!(error, BindError::PathTooLong(_)), "{error}");
}
