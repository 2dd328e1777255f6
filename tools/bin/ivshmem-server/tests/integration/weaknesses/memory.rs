// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What QEMU's server does to the memory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ivshmem_server::{MemorySource, RegionSize};
use rustix::fs::{fstat, ftruncate};
use rustix::io::Errno;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::{Connection, Peer};
use crate::server::{Embedded, Running, PROGRAM};

fn place() -> (TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("memory");
    let option = format!("--memory=path:{}", file.display());
    (directory, file, option)
}

/// Runs a server that is to fail.
fn fail(socket: &Path, args: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let command = command.arg("--socket-path").arg(socket).args(args);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

/// Its sizes are 32 bits wide, end at 1 GiB, and are rounded without a word.
#[test]
fn w05_size_is_exact_or_refused() {
    for (text, bytes) in [
        ("4K", 1u64 << 12),
        ("2G", 2 << 30),
        ("4G", 4 << 30),
        ("1T", 1 << 40),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _server = Running::start(&path, &["--size", text]);
        let peer = Peer::join(&path, 8);
        assert_eq!(fstat(&peer.memory).unwrap().st_size as u64, bytes);
    }
    for size in ["0", "2K", "3M", "3G", "4097", "2T", "4294967297"] {
        let complaint = fail(Path::new("never"), &["--size", size]);
        assert!(complaint.contains("power of two"), "{size}: {complaint}");
    }
}

/// It opens the memory of another server, and changes its size under running machines.
#[test]
fn w06_memory_of_another_server_is_not_resized() {
    let (directory, file, memory) = place();
    let first = directory.path().join("first");
    let _server = Running::start(&first, &["--size=64K", &memory]);
    let peer = Peer::join(&first, 8);
    for args in [
        &["--size=4K", &memory][..],
        &["--size=4K", "--keep-memory", &memory],
    ] {
        let complaint = fail(&directory.path().join("second"), args);
        assert!(complaint.contains(file.to_str().unwrap()), "{complaint}");
        assert_eq!(fstat(&peer.memory).unwrap().st_size, 64 << 10);
    }
}

/// It removes memory that it did not create when it cannot listen.
#[test]
fn w07_failed_start_removes_nothing() {
    let (directory, file, memory) = place();
    let path = directory.path().join("socket");
    let _server = Running::start(&path, &[]);
    std::fs::write(&file, vec![7; 4096]).unwrap();
    for args in [
        &["--size=4K", &memory][..],
        &["--size=4K", "--keep-memory", &memory],
    ] {
        let complaint = fail(&path, args);
        assert!(complaint.contains("another server uses"), "{complaint}");
        assert_eq!(std::fs::read(&file).unwrap(), vec![7; 4096]);
    }
}

/// It gives memory whose size a client has changed to those who come, and their QEMU aborts.
#[test]
fn w06_memory_of_another_size_is_not_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let source = MemorySource::File(directory.path().join("memory"));
    let server = Embedded::configured(|config| config.memory = source);
    let first = Peer::join(&server.path, 8);
    let size = fstat(&first.memory).unwrap().st_size as u64;
    for other in [5000, size + 1] {
        ftruncate(&first.memory, other).unwrap();
        let refused = Connection::open(&server.path);
        assert!(matches!(refused.receive(), Some((-1, None))), "{other}");
    }
    ftruncate(&first.memory, size).unwrap();
    assert_eq!(Peer::join(&server.path, 8).id, 1);
}

/// Its memory can be truncated by every client, which kills the others. Without the right to
/// write, which `fixed::can_be_kept_from_writing` tries, it gives it to nobody.
#[test]
fn w10_clients_cannot_resize_the_memory() {
    let server = Embedded::start(1, 2);
    let first = Peer::join(&server.path, 1);
    let second = Peer::join(&server.path, 1);
    let stats = [&first, &second].map(|peer| fstat(&peer.memory).unwrap());
    assert_eq!(stats[0].st_ino, stats[1].st_ino);
    assert_eq!(stats[0].st_size as u64, RegionSize::DEFAULT.bytes());
    for size in [0, 4096, RegionSize::DEFAULT.bytes() * 2] {
        assert_eq!(ftruncate(&first.memory, size), Err(Errno::PERM));
    }
    assert_eq!(rustix::io::pwrite(&first.memory, b"hello", 4096), Ok(5));
    let mut found = [0; 5];
    assert_eq!(rustix::io::pread(&second.memory, &mut found, 4096), Ok(5));
    assert_eq!(&found, b"hello");
}

/// Its memory is a file that it removes at the end, and nothing else.
#[test]
fn w14_memory_can_be_kept_and_allocated_at_the_start() {
    let (directory, file, memory) = place();
    let path = directory.path().join("socket");
    let args = ["--size=64K", "--prealloc", "--keep-memory", &memory];
    for round in [1, 2u8] {
        let server = Running::start(&path, &args);
        let peer = Peer::join(&path, 8);
        assert!(file.metadata().unwrap().blocks() * 512 >= 64 << 10);
        let mut found = [0];
        assert_eq!(rustix::io::pread(&peer.memory, &mut found, 9), Ok(1));
        assert_eq!(found, [round - 1]);
        assert_eq!(rustix::io::pwrite(&peer.memory, &[round], 9), Ok(1));
        server.signal(Signal::TERM);
        assert!(server.wait().success());
    }
    // No more than is configured can be had, and that is said.
    let complaint = fail(&path, &["--size=1T", "--hugepages"]);
    assert!(complaint.contains("nr_hugepages"), "{complaint}");
}
