// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a device's configuration space says of its interrupts.

/// The vectors of a device with this configuration space; 0 without MSI-X.
pub fn vectors(config: &[u8]) -> u32 {
    const STATUS: usize = 6;
    const HAS_LIST: u8 = 1 << 4;
    const FIRST: usize = 0x34;
    const MSIX: u8 = 0x11;
    // More do not fit: a list that goes in a circle ends here.
    const MOST: usize = 48;

    let byte = |at: usize| config.get(at).copied().unwrap_or(0);
    if byte(STATUS) & HAS_LIST == 0 {
        return 0;
    }
    let mut at = usize::from(byte(FIRST) & !3);
    for _ in 0..MOST {
        match (at, byte(at)) {
            (0, _) => return 0,
            (_, MSIX) => {
                let control = u16::from_le_bytes([byte(at + 2), byte(at + 3)]);
                return u32::from(control & 0x7ff) + 1;
            }
            _ => at = usize::from(byte(at + 1) & !3),
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(list: &[(usize, [u8; 4])]) -> Vec<u8> {
        let mut config = vec![0; 256];
        config[6] = 0x10;
        config[0x34] = 0x40;
        for (at, bytes) in list {
            config[*at..at + 4].copy_from_slice(bytes);
        }
        config
    }

    #[test]
    fn msix_is_found_in_the_list() {
        let first = (0x40, [0x10, 0x60, 0, 0]);
        let msix = (0x60, [0x11, 0, 7, 0x80]);
        assert_eq!(vectors(&config(&[first, msix])), 8);
        assert_eq!(vectors(&config(&[first])), 0);
        assert_eq!(vectors(&config(&[(0x40, [0x10, 0x40, 0, 0])])), 0);
        // Only root is shown more than this.
        assert_eq!(vectors(&config(&[first])[..64]), 0);
        assert_eq!(vectors(&[]), 0);
    }
}
