// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is read of an IP packet.

use std::net::IpAddr;

/// Where the destination is in the headers, and how long these are at least.
const V4_DESTINATION: usize = 16;
const V4_HEADER: usize = 20;
const V6_DESTINATION: usize = 24;
const V6_HEADER: usize = 40;

/// The destination of a packet; `None` if it is none of IPv4 or IPv6.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(field::<4>(packet, V4_DESTINATION, V4_HEADER)?)),
        6 => Some(IpAddr::from(field::<16>(
            packet,
            V6_DESTINATION,
            V6_HEADER,
        )?)),
        _ => None,
    }
}

/// A field of a packet that has all of its header.
fn field<const N: usize>(packet: &[u8], at: usize, header: usize) -> Option<[u8; N]> {
    let header = packet.get(..header)?;
    header.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_both_versions() {
        let mut four = [0; V4_HEADER + 8];
        four[0] = 0x45;
        four[V4_DESTINATION..][..4].copy_from_slice(&[10, 1, 2, 3]);
        assert_eq!(destination(&four), Some("10.1.2.3".parse().unwrap()));
        let mut six = [0; V6_HEADER];
        six[0] = 0x60;
        six[V6_DESTINATION] = 0xfd;
        six[V6_DESTINATION + 15] = 9;
        assert_eq!(destination(&six), Some("fd00::9".parse().unwrap()));
    }

    #[test]
    fn what_is_no_packet_has_no_destination() {
        for first in 0..=u8::MAX {
            let header = match first >> 4 {
                4 => V4_HEADER,
                6 => V6_HEADER,
                _ => usize::MAX,
            };
            for len in 0..64 {
                let found = destination(&vec![first; len]);
                assert_eq!(found.is_some(), len >= header, "{first:#x} of {len}");
            }
        }
    }
}
