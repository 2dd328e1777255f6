// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl tunnel`: a network between guests.

mod address;
mod carrier;
mod counters;
mod interface;
mod mtu;
mod outgoing;
mod packet;
mod pump;
mod status;

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use ipnet::{IpNet, Ipv4Net};

use crate::exit::{failure, Exit};
use crate::mesh::{serve, Area, Purpose};
use crate::output::Output;
use crate::parse;
use carrier::{Carrier, Settings};
use status::Shared;

/// Bytes of what an endpoint tells of itself, at most. Not a size that another command has.
const NOTICE: u32 = 256;
const _: () = assert!(address::LONGEST < NOTICE as usize - 4);

/// Vector that wakes an endpoint. Not that of another command.
const VECTOR: u32 = 0;

/// Carry IP packets between guests, by a network interface at each endpoint
///
/// Each guest that runs this gets an interface with an address by which the others, and the host with --join, reach it
/// as over any network. A packet goes to the endpoint that has its address; broadcast and multicast go nowhere. Where the
/// receiver is slow, the sender waits. It needs root, or the capability CAP_NET_ADMIN. A signal ends it; then, and on
/// SIGUSR1, it tells who is there and what was carried. Whoever can write to the memory can send any packet: filter the
/// interface as you would a network of strangers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl tunnel
  ivshmemctl tunnel --join example --address 10.1.0.1/24
  ivshmemctl tunnel --address 10.1.0.2/24 --address fd00:1::2/64 --name guests")]
pub struct Options {
    #[command(flatten)]
    area: Area,

    /// An address of this endpoint, with the length of the network's prefix: one of IPv4, any of IPv6, 8 together
    ///
    /// Without this option it is the peer ID plus one in --network. A process of the host gets a new peer ID each time,
    /// and should have an address of its own.
    #[arg(short, long, value_name = "ADDRESS", value_parser = address::of_interface)]
    address: Vec<IpNet>,

    /// The network of addresses that are made of peer IDs; the same at all endpoints
    #[arg(long, value_name = "NETWORK", default_value = "10.110.0.0/16", value_parser = parse::network)]
    network: Ipv4Net,

    /// The longest packet in bytes; without this option a quarter of a ring buffer, 65520 at most
    #[arg(long, value_name = "BYTES",
        value_parser = clap::value_parser!(u16).range(i64::from(mtu::SMALLEST)..=i64::from(mtu::LARGEST)))]
    mtu: Option<u16>,

    /// Name of the interface; %d stands for the first number that is free
    #[arg(long, value_name = "NAME", default_value = "ivtun%d")]
    name: String,
}

/// Carries until a signal comes.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let output = output.detached()?;
    check(&options.address)?;
    let purpose = Purpose {
        notice: NOTICE,
        least_ring: mtu::least_ring(options.mtu),
        remedy: "a smaller --mtu, fewer --endpoints, or a larger memory",
        vector: VECTOR,
    };
    let settings = Settings {
        addresses: options.address.clone(),
        network: options.network,
        mtu: options.mtu,
        name: options.name.clone(),
    };
    let shared = Arc::new(Shared::default());
    let mut carrier = Carrier::new(settings, shared.clone(), output);
    let status = || shared.status();
    serve(&options.area, purpose, output, &mut carrier, status)
}

/// Whether an interface can have these addresses together.
fn check(addresses: &[IpNet]) -> Result<()> {
    let twice = (1..).zip(addresses).find(|(next, a)| {
        let mut others = addresses[*next..].iter();
        others.any(|other| other.addr() == a.addr())
    });
    let four = addresses.iter().filter(|a| matches!(a, IpNet::V4(_)));
    let message = match () {
        () if four.count() > 1 => "give one --address of IPv4 at most".into(),
        () if twice.is_some() => "give each --address once: one is there twice".into(),
        () if addresses.len() > address::MOST => {
            format!("give {} times --address at most", address::MOST)
        }
        () => return Ok(()),
    };
    Err(failure(Exit::Usage, message))
}
