// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The network interface, whose packets this program carries.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::exit::{failure, Exit};

/// How long to wait at a time until the kernel takes packets again.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A TUN device that is up.
pub struct Interface {
    device: SyncDevice,
    name: String,
}

impl Interface {
    /// Makes it, with these addresses: at most one of IPv4.
    ///
    /// # Errors
    ///
    /// With what to do if this program may not, the kernel cannot, or the name is in use.
    pub fn new(name: &str, mtu: u16, addresses: &[IpNet]) -> Result<Self> {
        let six = addresses.iter().any(|a| matches!(a, IpNet::V6(_)));
        if six && is_ipv6_off() {
            let text = "IPv6 is disabled here: give addresses of IPv4 only, or as root: sysctl \
                        net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0";
            return Err(failure(Exit::Unable, text));
        }
        let mut builder = DeviceBuilder::new().name(name).mtu(mtu);
        for address in addresses {
            builder = match address {
                IpNet::V4(four) => builder.ipv4(four.addr(), four.prefix_len(), None),
                IpNet::V6(six) => builder.ipv6(six.addr(), six.prefix_len()),
            };
        }
        let device = builder.build_sync().map_err(|error| explain(error, name))?;
        let name = device
            .name()
            .context("cannot ask for the interface's name")?;
        device
            .set_nonblocking(true)
            .context("cannot watch the network interface")?;
        Ok(Self { device, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes its MTU.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        let set = self.device.set_mtu(mtu);
        set.with_context(|| format!("cannot change the MTU of {} to {mtu}", self.name))
    }

    /// The next packet that the kernel sends, in `buffer`: its length, `None` if there is none now.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match self.device.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Waits until there may be a packet, or until `stop` is readable.
    pub fn wait(&self, stop: &OwnedFd) -> Result<()> {
        // Of an interface that was deleted, this is ready, and receiving tells why.
        let packet = PollFd::new(&self.device, PollFlags::IN);
        watch(&mut [packet, PollFd::new(stop, PollFlags::IN)], None)
    }

    /// Hands a packet to the kernel. Returns whether it took it: it refuses what is no packet, and all while the
    /// interface is down.
    pub fn send(&self, packet: &[u8]) -> Result<bool> {
        loop {
            match self.device.send(packet) {
                Ok(_) => return Ok(true),
                Err(error) if is_transient(&error) => {
                    watch(
                        &mut [PollFd::new(&self.device, PollFlags::OUT)],
                        Some(&PAUSE),
                    )?;
                }
                Err(error) if error.raw_os_error() == Some(Errno::BADFD.raw_os_error()) => {
                    return Err(self.lost(error));
                }
                Err(_) => return Ok(false),
            }
        }
    }

    fn lost(&self, error: io::Error) -> anyhow::Error {
        anyhow::Error::from(error).context(format!(
            "the network interface {} is gone: if somebody deleted it, start this again",
            self.name
        ))
    }
}

/// Waits until one of them is ready, for `limit` at most.
fn watch(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<()> {
    match poll(fds, limit) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot watch the network interface"),
    }
}

/// Whether the same call may succeed after a while.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Whether the kernel gives no new interface an address of IPv6. It would refuse one as it refuses who has no right.
fn is_ipv6_off() -> bool {
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    off.is_ok_and(|off| off.trim() == "1")
}

fn explain(error: io::Error, name: &str) -> anyhow::Error {
    let errno = Errno::from_io_error(&error);
    let (exit, advice) = match errno {
        Some(Errno::PERM | Errno::ACCESS) => (
            Exit::Permission,
            "it takes the capability CAP_NET_ADMIN and the right to write to /dev/net/tun: run this as root, or as the \
             service ivshmem-tunnel",
        ),
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            (Exit::Unable, "there is no /dev/net/tun: modprobe tun")
        }
        Some(Errno::BUSY | Errno::EXIST) => {
            (Exit::Failure, "there is an interface of this name: give another --name")
        }
        Some(Errno::INVAL) => (
            Exit::Failure,
            "give another --name, of up to 15 letters and digits, that is not of an interface of another kind",
        ),
        Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => {
            (Exit::Unable, "IPv6 is disabled here: give addresses of IPv4 only")
        }
        _ => (Exit::Failure, "see the reason"),
    };
    failure(
        exit,
        format!("cannot make the network interface {name} ({error}): {advice}"),
    )
}
