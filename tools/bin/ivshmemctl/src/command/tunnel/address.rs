// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Addresses of endpoints: given, or made of peer IDs; as an endpoint tells them, and which endpoint has which.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The most addresses of an endpoint.
pub const MOST: usize = 8;

/// Bytes that so many addresses take as they are told.
pub const LONGEST: usize = MOST * (1 + 16);

/// The address that is made of a peer ID in this network; `None` if the network is too small.
pub fn automatic(network: Ipv4Net, peer_id: u32) -> Option<IpNet> {
    let host = peer_id.checked_add(1)?;
    let address = network
        .network()
        .to_bits()
        .checked_add(host)
        .map(Into::into)?;
    let fits = network.contains(&address) && address != network.broadcast();
    let address = Ipv4Net::new(address, network.prefix_len()).ok()?;
    fits.then_some(address.into())
}

/// An address that an interface can have.
pub fn of_interface(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("{text:?} is not an address with a prefix length, such as 10.1.0.2/24");
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    match is_of_one(network.addr()) {
        true => Ok(network),
        false => Err(format!(
            "{} is not the address of one machine",
            network.addr()
        )),
    }
}

/// Whether it can be the address of one machine that others reach.
fn is_of_one(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

/// Addresses as an endpoint tells them: each 4 or 6, and its bytes.
pub fn encode(addresses: &[IpNet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in addresses {
        match address.addr() {
            IpAddr::V4(four) => bytes.extend([4].iter().chain(&four.octets())),
            IpAddr::V6(six) => bytes.extend([6].iter().chain(&six.octets())),
        }
    }
    bytes
}

/// The addresses that another endpoint tells: those before what is none, at most [`MOST`].
pub fn decode(mut bytes: &[u8]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    while addresses.len() < MOST {
        let (address, rest) = match bytes.split_first() {
            Some((4, rest)) => take::<4>(rest),
            Some((6, rest)) => take::<16>(rest),
            _ => break,
        };
        let Some(address) = address.filter(|address| is_of_one(*address)) else {
            break;
        };
        addresses.push(address);
        bytes = rest;
    }
    addresses
}

fn take<const N: usize>(bytes: &[u8]) -> (Option<IpAddr>, &[u8])
where
    IpAddr: From<[u8; N]>,
{
    match bytes.split_first_chunk::<N>() {
        Some((address, rest)) => (Some(IpAddr::from(*address)), rest),
        None => (None, bytes),
    }
}

/// Which slot's end has an address.
#[derive(Debug, Default)]
pub struct Routes(HashMap<IpAddr, u32>);

impl Routes {
    /// Of endpoints and what each tells. Of two that tell the same address the first one has it.
    pub fn of<'a>(told: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        let mut routes = HashMap::new();
        for (slot, notice) in told {
            for address in decode(notice) {
                routes.entry(address).or_insert(slot);
            }
        }
        Self(routes)
    }

    /// The slot of the end with this address.
    pub fn slot(&self, address: IpAddr) -> Option<u32> {
        self.0.get(&address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_addresses_are_of_one_machine_in_the_network() {
        let network = |text: &str| text.parse().unwrap();
        let address = |text, peer_id| automatic(network(text), peer_id).map(|net| net.to_string());
        assert_eq!(address("10.110.0.0/16", 0), Some("10.110.0.1/16".into()));
        assert_eq!(address("10.110.0.0/16", 300), Some("10.110.1.45/16".into()));
        assert_eq!(address("10.1.1.0/30", 1), Some("10.1.1.2/30".into()));
        assert_eq!(address("10.1.1.0/30", 2), None);
        assert_eq!(address("255.255.255.0/24", u32::MAX), None);
        assert_eq!(address("255.255.255.252/30", 2), None);
    }

    #[test]
    fn an_interface_has_the_address_of_one_machine() {
        assert!(of_interface("10.1.1.2/24").is_ok());
        assert!(of_interface("fd00::2/64").is_ok());
        for bad in [
            "10.1.1.2",
            "10.1.1.2/33",
            "0.0.0.0/0",
            "224.0.0.1/4",
            "127.0.0.1/8",
            "ff02::1/8",
            "",
        ] {
            assert!(of_interface(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_one_end_tells_another_understands() {
        let told: Vec<IpNet> = ["10.1.1.2/24", "fd00::2/64"]
            .map(|a| a.parse().unwrap())
            .into();
        let bytes = encode(&told);
        assert!(bytes.len() <= LONGEST);
        let heard = decode(&bytes);
        assert_eq!(heard, told.iter().map(IpNet::addr).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_hostile_end_tells_ends_with_the_first_that_is_no_address() {
        let good = [4, 10, 1, 1, 2];
        let one = decode(&good);
        assert_eq!(one.len(), 1);
        for bad in [
            &[5, 1, 2, 3, 4][..],
            &[4, 1, 2, 3],
            &[4, 0, 0, 0, 0],
            &[4, 255, 255, 255, 255],
            &[6, 0xff, 2],
            &[4],
        ] {
            assert_eq!(decode(&[&good, bad].concat()), one, "{bad:?}");
        }
        assert_eq!(decode(&[&good[..], &[0], &good].concat()), one);
        assert_eq!(decode(&good.repeat(1000)).len(), MOST);
    }

    #[test]
    fn the_first_who_tells_an_address_has_it() {
        let (one, two) = ([4, 10, 1, 1, 1], [4, 10, 1, 1, 2]);
        let both = [one, two].concat();
        let routes = Routes::of([(3, &one[..]), (7, &both[..])].into_iter());
        assert_eq!(routes.slot(decode(&one)[0]), Some(3));
        assert_eq!(routes.slot(decode(&two)[0]), Some(7));
        assert_eq!(routes.slot("10.1.1.3".parse().unwrap()), None);
    }
}
