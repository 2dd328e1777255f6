// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Size of the shared memory.

use std::fmt;
use std::str::FromStr;

const UNITS: [(&str, u32); 4] = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];

/// Size of the shared memory in bytes: a power of two, as it becomes the size of a PCI BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegionSize(u64);

impl RegionSize {
    /// One page, 4 KiB. QEMU maps nothing smaller.
    pub const MIN: Self = Self(1 << 12);

    /// 1 TiB. Guests have no address space for a BAR beyond that.
    pub const MAX: Self = Self(1 << 40);

    /// 64 MiB, as in all programs of this project.
    pub const DEFAULT: Self = Self(64 << 20);

    /// A size of this many bytes; `None` if it is not a power of two from [`Self::MIN`] to
    /// [`Self::MAX`].
    pub fn new(bytes: u64) -> Option<Self> {
        let size = Self(bytes);
        (bytes.is_power_of_two() && (Self::MIN..=Self::MAX).contains(&size)).then_some(size)
    }

    /// The smallest size of at least this many bytes; `None` if there is none.
    fn above(bytes: u64) -> Option<Self> {
        let bytes = bytes.max(Self::MIN.bytes()).checked_next_power_of_two()?;
        Self::new(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// A text that is no [`RegionSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// Not a number with an optional unit.
    #[error("expected a number with an optional unit K, M, G or T, such as 64M")]
    Syntax,
    /// A number, but no possible size. The next larger one, if there is one: what QEMU's server takes.
    #[error(
        "the size must be a power of two from {} to {}{}",
        RegionSize::MIN,
        RegionSize::MAX,
        .0.map_or_else(String::new, |next| format!(": take {next}"))
    )]
    Value(Option<RegionSize>),
}

impl FromStr for RegionSize {
    type Err = ParseSizeError;

    /// Reads a number of bytes, or of units of 1024 bytes and its powers: `4096`, `4K`,
    /// `4KiB`, `64M`, `1G`. Units may be in lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].to_ascii_uppercase();
        let shift = match unit.strip_suffix("IB").unwrap_or(&unit) {
            "" if unit.is_empty() => 0,
            prefix => UNITS
                .iter()
                .find_map(|(name, shift)| (*name == prefix).then_some(*shift))
                .ok_or(ParseSizeError::Syntax)?,
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseSizeError::Syntax);
        }
        let number: u64 = digits.parse().map_err(|_| ParseSizeError::Syntax)?;
        let bytes = number
            .checked_mul(1 << shift)
            .ok_or(ParseSizeError::Value(None))?;
        Self::new(bytes).ok_or_else(|| ParseSizeError::Value(Self::above(bytes)))
    }
}

impl fmt::Display for RegionSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, shift)| self.0 >> shift > 0);
        match unit {
            Some((name, shift)) => write!(f, "{}{name}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_possible() {
        let cases = [
            ("4096", 4096, "4K"),
            ("4K", 4096, "4K"),
            ("4k", 4096, "4K"),
            ("8KiB", 8192, "8K"),
            ("64M", 64 << 20, "64M"),
            ("1024m", 1 << 30, "1G"),
            ("2G", 2 << 30, "2G"),
            ("1T", 1 << 40, "1T"),
        ];
        for (text, bytes, shown) in cases {
            let size: RegionSize = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn sizes_that_are_not() {
        for text in [
            "", "M", "4X", "4KB", "4iB", "-4K", "+4K", "4 K", "0x1000", "4.5M", "é",
        ] {
            let error = text.parse::<RegionSize>();
            assert_eq!(error, Err(ParseSizeError::Syntax), "{text}");
        }
        let cases = [
            ("0", Some("4K")),
            ("1", Some("4K")),
            ("2048", Some("4K")),
            ("4097", Some("8K")),
            ("2048000", Some("2M")),
            ("3M", Some("4M")),
            ("2T", None),
            ("16777216T", None),
            ("18446744073709551615", None),
        ];
        for (text, instead) in cases {
            let instead = instead.map(|size| size.parse().unwrap());
            let error = text.parse::<RegionSize>();
            assert_eq!(error, Err(ParseSizeError::Value(instead)), "{text}");
        }
    }
}
