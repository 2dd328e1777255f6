// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Memory on a NUMA node of the operator's choice.
#![allow(unsafe_code)] // A mapping, of which the kernel then says where its pages are to be.

use std::process::Command;
use std::ptr;

use rustix::fs::statfs;
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

use crate::client::Peer;
use crate::server::{Running, PROGRAM};

/// What the kernel says of where the pages of a peer's memory are to be.
fn policy(peer: &Peer) -> String {
    const LENGTH: usize = 4096;
    let (access, flags) = (ProtFlags::READ, MapFlags::SHARED);
    // SAFETY: The kernel chooses a place where nothing is.
    let place = unsafe { mmap(ptr::null_mut(), LENGTH, access, flags, &peer.memory, 0) }.unwrap();
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
    let start = format!("{:x} ", place.addr());
    let line = maps.lines().find_map(|line| line.strip_prefix(&start));
    let policy = line.unwrap().split(' ').next().unwrap().to_owned();
    // SAFETY: This is the mapping that was just made, and nothing refers to it.
    unsafe { munmap(place, LENGTH) }.unwrap();
    policy
}

/// Runs the program, which is to fail, and returns what it says.
fn complaint(args: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn pages_are_where_the_operator_wants_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let shm = format!("--memory=shm:ivshmem-numa-{}", std::process::id());
    for (options, expected) in [
        (&[][..], "default"),
        (&["--numa-node=0"], "bind:0"),
        (&["--numa-node=0", "--prealloc"], "bind:0"),
        (&["--numa-node=0", &shm], "bind:0"),
    ] {
        let _server = Running::start(&path, options);
        assert_eq!(policy(&Peer::join(&path, 8)), expected, "{options:?}");
    }
    std::fs::remove_file(format!("/dev/shm/ivshmem-numa-{}", std::process::id())).unwrap();
}

#[test]
fn what_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket = ["--socket-path", path.to_str().unwrap()];
    for node in ["--numa-node=1023", "--numa-node=99999"] {
        let text = complaint(&[&socket[..], &[node]].concat());
        assert!(
            text.contains("/sys/devices/system/node/has_memory"),
            "{text}"
        );
    }
    // A disk's pages come and go, and are nowhere in particular.
    let disk = env!("CARGO_TARGET_TMPDIR");
    let file_system = statfs(disk).unwrap().f_type;
    assert_ne!(
        file_system, 0x0102_1994,
        "a directory on a disk is needed, not {disk}"
    );
    let memory = format!("--memory=path:{disk}");
    let text = complaint(&[&socket[..], &["--numa-node=0", &memory]].concat());
    assert!(text.contains("tmpfs or hugetlbfs"), "{text}");
}
