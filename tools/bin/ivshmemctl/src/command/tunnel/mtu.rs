// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The longest packet, and the rings that it needs.

/// The largest MTU: what is below the 64 KiB of IPv4 and common for other interfaces that carry so much.
pub const LARGEST: u16 = 65520;
/// The smallest MTU: that of IPv6.
pub const SMALLEST: u16 = 1280;

/// Packets that fit into a ring if the MTU was not given: after crashes that cost parts of the ring still two.
const PACKETS: u32 = 4;
/// The same if it was: one is written while another is read.
const LEAST_PACKETS: u64 = 2;

/// Bytes of a ring that a packet takes beside its own, at most.
const RECORD: u64 = 16;
/// Bytes of a ring that are always free.
const SPARE: u64 = 64;

/// The MTU for rings of so many bytes.
pub fn default(ring: u32) -> u16 {
    let part = u16::try_from(ring / PACKETS).unwrap_or(u16::MAX);
    part.clamp(SMALLEST, LARGEST)
}

/// Bytes that a ring has at least for this MTU, or for any.
pub fn least_ring(mtu: Option<u16>) -> u64 {
    let packets = match mtu {
        Some(mtu) => LEAST_PACKETS * (u64::from(mtu) + RECORD),
        None => u64::from(PACKETS) * (u64::from(SMALLEST) + RECORD),
    };
    packets + SPARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_fit_into_the_rings() {
        for ring in [least_ring(None), 20_000, 1 << 17, 1 << 20, 1 << 30] {
            let mtu = default(u32::try_from(ring).unwrap());
            assert!((SMALLEST..=LARGEST).contains(&mtu), "{ring}");
            assert!(least_ring(Some(mtu)) <= ring, "{ring}");
        }
        assert_eq!(default(1 << 20), LARGEST);
    }
}
