// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The network interface, whose packets this program carries.

use std::io;

use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::exit::{failure, Exit};

/// A TUN device that is up.
pub struct Interface {
    device: AsyncFd<SyncDevice>,
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
        // The successor is unsafe, for descriptors that are closed or exchanged behind its back: the device's is not.
        #[allow(deprecated)]
        let watch = |device| {
            let interest = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
            AsyncFd::with_interest(device, interest)
        };
        device
            .set_nonblocking(true)
            .and_then(|()| watch(device))
            .map(|device| Self { device, name })
            .context("cannot watch the network interface")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the next packet that the kernel sends, and returns its bytes. Nothing is lost if this is dropped while it waits.
    pub async fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        let read = |device: &SyncDevice| device.recv(buffer);
        // Of one that was deleted, the kernel tells an error and nothing else.
        let interest = Interest::READABLE | Interest::ERROR;
        let read = self.device.async_io(interest, read).await;
        read.map_err(|error| self.lost(error))
    }

    /// Hands a packet to the kernel. Returns whether it took it: it refuses what is no packet, and all while the
    /// interface is down.
    pub async fn send(&self, packet: &[u8]) -> Result<bool> {
        let write = |device: &SyncDevice| device.send(packet);
        match self.device.async_io(Interest::WRITABLE, write).await {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::BADFD.raw_os_error()) => {
                Err(self.lost(error))
            }
            Err(_) => Ok(false),
        }
    }

    fn lost(&self, error: io::Error) -> anyhow::Error {
        anyhow::Error::from(error).context(format!(
            "the network interface {} is gone: if somebody deleted it, start this again",
            self.name
        ))
    }
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
