// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Network namespaces, each a machine of its own as far as the network goes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    ipproto, recv, sendto, socket, AddressFamily, RecvFlags, SendFlags, SocketAddrV4, SocketType,
};
use rustix::process::geteuid;
use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

/// Bytes of an ICMP echo's header, and of the IPv4 header that a raw socket shows before it.
const ICMP: usize = 8;
const IP: usize = 20;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// A network namespace, until it is dropped and nobody is in it.
pub struct Namespace {
    keeper: Child,
    file: File,
}

impl Namespace {
    pub fn new() -> Self {
        assert!(
            geteuid().is_root(),
            "network namespaces take root: run the tests of ivshmemctl as root"
        );
        let mut keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is in there once it answers.
        keeper.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        keeper
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .unwrap();
        let file = File::open(format!("/proc/{}/ns/net", keeper.id())).unwrap();
        Self { keeper, file }
    }

    /// Does something in a thread that is in there: what sockets and processes it makes are too.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.file.as_fd(), kind).unwrap();
                act()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Whether an ICMP echo with so many bytes comes back within a second.
    pub fn ping(&self, address: &str, bytes: usize) -> bool {
        let address: Ipv4Addr = address.parse().unwrap();
        self.within(|| ping(address, bytes))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.keeper.kill().unwrap();
        self.keeper.wait().unwrap();
    }
}

fn ping(address: Ipv4Addr, bytes: usize) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1))).unwrap();
    let mut request = vec![0; ICMP + bytes];
    request[0] = ECHO;
    for (number, byte) in request[ICMP..].iter_mut().enumerate() {
        // CAST: The last byte is what is wanted.
        *byte = number as u8;
    }
    let sum = checksum(&request);
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    let to = SocketAddrV4::new(address, 0);
    // Until the tunnel is there, there is no route.
    if sendto(&socket, &request, SendFlags::empty(), &to).is_err() {
        return false;
    }
    let mut buffer = vec![0; IP + ICMP + bytes];
    while let Ok((length, _)) = recv(&socket, &mut buffer[..], RecvFlags::empty()) {
        let answer = &buffer[IP..length];
        if answer[0] == ECHO_REPLY {
            assert_eq!(answer[ICMP..], request[ICMP..]);
            return true;
        }
    }
    false
}

/// The checksum of the Internet's protocols.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // CAST: It fits now.
    !(sum as u16)
}
