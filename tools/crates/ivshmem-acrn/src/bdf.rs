// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! PCI addresses: bus, device, function.

use std::fmt;
use std::str::FromStr;

use crate::Rule;

/// A PCI address within a virtual machine, written `00:08.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    /// Bus.
    pub bus: u8,
    /// Device (slot), below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl Bdf {
    /// The devices that ACRN gives to regions without an address of their own.
    pub const AUTOMATIC: std::ops::RangeInclusive<u8> = 0x08..=0x0f;

    /// Function 0 of a device of bus 0.
    pub const fn device(device: u8) -> Self {
        Self {
            bus: 0,
            device,
            function: 0,
        }
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// Whether `text` consists of `count` hexadecimal digits.
fn hex(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits && count.contains(&text.len()) {
        true => u8::from_str_radix(text, 16).ok(),
        false => None,
    }
}

fn parse(text: &str) -> Option<Bdf> {
    let (bus, rest) = text.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let bdf = Bdf {
        bus: hex(bus, 1..=2)?,
        device: hex(device, 2..=2)?,
        function: hex(function, 1..=1)?,
    };
    (bdf.device < 32 && bdf.function < 8).then_some(bdf)
}

impl FromStr for Bdf {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        let bdf = parse(text).ok_or(Rule::BdfPattern)?;
        // The schema takes more than the tool that reads the address afterwards.
        match text.len() == 7 && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Ok(bdf),
            false => Err(Rule::NotABdf(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["00:08.0", "01:1f.7", "00:0a.3"] {
            assert_eq!(text.parse::<Bdf>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_the_schema_refuses() {
        for text in [
            "", "00:20.0", "00:08.8", "00:8.0", "000:08.0", "00:08", "+0:08.0",
        ] {
            assert_eq!(text.parse::<Bdf>(), Err(Rule::BdfPattern), "{text}");
        }
    }

    #[test]
    fn what_passes_the_schema_and_stops_the_next_tool() {
        for text in ["0:08.0", "00:0A.0"] {
            assert_eq!(text.parse::<Bdf>(), Err(Rule::NotABdf(text.into())));
        }
    }
}
