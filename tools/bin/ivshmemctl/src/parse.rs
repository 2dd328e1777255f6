// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Numbers on the command line.

use std::time::Duration;

use ipnet::Ipv4Net;
use ivshmem::MAX_PEER;

/// A number of bytes, an offset or a value: decimal, or hexadecimal after `0x`, and then `K`, `M`, `G` or `T`
/// for a power of 1024.
pub fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number (for example 4096, 0x1000, 4K or 64M)");
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = units.iter().find_map(|(letter, shift)| {
        let digits = text.strip_suffix([*letter, letter.to_ascii_lowercase()])?;
        Some((digits, *shift))
    });
    let (digits, shift) = unit.unwrap_or((text, 0));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| wrong())?;
    value
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} does not fit into 64 bits"))
}

/// The size of a region.
pub fn region_size(text: &str) -> Result<u64, String> {
    let size = number(text)?;
    match size.is_power_of_two() && size >= 4096 {
        true => Ok(size),
        false => Err(format!(
            "{text} is not a power of two of at least 4K: try {}",
            written(size.checked_next_power_of_two().unwrap_or(4096).max(4096))
        )),
    }
}

/// Bytes as [`number`] takes them, in the largest unit in which that is exact: `64M`, `4097`.
pub fn written(bytes: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    let exact = units
        .iter()
        .find(|(_, shift)| bytes >> shift != 0 && bytes.trailing_zeros() >= *shift);
    match exact {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// A vector that one may wait for, as a mask with one bit.
pub fn vector_bit(text: &str) -> Result<u64, String> {
    match text.parse::<u32>() {
        Ok(vector @ 0..=63) => Ok(1 << vector),
        _ => Err(format!("{text:?} is not a vector (0 to 63)")),
    }
}

/// The ID of a peer.
pub fn peer_id(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(id) if id <= MAX_PEER => Ok(id),
        _ => Err(format!("'{text}' is not a peer ID (0 to {MAX_PEER})")),
    }
}

/// A network of IPv4.
pub fn network(text: &str) -> Result<Ipv4Net, String> {
    let wrong = |_| {
        format!("'{text}' is not a network: write it with a prefix length, such as 10.0.0.0/16")
    };
    text.parse().map_err(wrong)
}

/// A time such as `5s` or `100ms`; a number without a unit is in seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    time.ok_or_else(|| {
        format!("'{text}' is not a time: write seconds such as 5 or 0.1, or a unit too, such as 100ms or 2m")
    })
}

/// A time between two looks, as [`duration`] takes it: without any, a command would do nothing but look.
pub fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("'{text}' is not an interval: give more than 0")),
        interval => Ok(interval),
    }
}

/// `OFFSET=VALUE`.
pub fn word(text: &str) -> Result<(u64, u32), String> {
    let (offset, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not OFFSET=VALUE"))?;
    let value = number(value)?;
    let value = u32::try_from(value).map_err(|_| format!("{value} does not fit into 32 bits"))?;
    Ok((number(offset)?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number("0"), Ok(0));
        assert_eq!(number("0x10"), Ok(16));
        assert_eq!(number("4K"), Ok(4096));
        assert_eq!(number("64m"), Ok(64 << 20));
        assert_eq!(number("0xffffffffffffffff"), Ok(u64::MAX));
        for bad in [
            "",
            "K",
            "-1",
            "0x",
            "1KK",
            "17000000T",
            "18446744073709551616",
        ] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn region_sizes_are_powers_of_two() {
        assert_eq!(region_size("1M"), Ok(1 << 20));
        assert!(region_size("3M").unwrap_err().ends_with("try 4M"));
        assert!(region_size("2K").is_err());
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for (bytes, text) in [
            (0, "0"),
            (4097, "4097"),
            (64 << 20, "64M"),
            (3 << 19, "1536K"),
        ] {
            assert_eq!(written(bytes), text);
            assert_eq!(number(text), Ok(bytes));
        }
    }

    #[test]
    fn times_without_a_unit_are_in_seconds() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        for bad in ["", "-1", "nan", "inf", "1e30", "5 parsecs", "foo"] {
            let said = duration(bad).unwrap_err();
            assert!(
                said.starts_with(&format!("'{bad}' is not a time: write")),
                "{said}"
            );
        }
    }

    #[test]
    fn an_interval_is_longer_than_nothing() {
        assert_eq!(interval("1ms"), Ok(Duration::from_millis(1)));
        for bad in ["0", "0.0", "0ms", "foo"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(word("0x40=7"), Ok((64, 7)));
        assert!(word("64").is_err());
        assert!(word("64=0x100000000").is_err());
    }

    #[test]
    fn peers_and_networks() {
        assert_eq!(peer_id("65535"), Ok(65535));
        for bad in ["65536", "abc", "-1"] {
            assert!(peer_id(bad).unwrap_err().ends_with("(0 to 65535)"), "{bad}");
        }
        assert!(network("10.0.0.0/16").is_ok());
        assert!(network("10.0.0.0").unwrap_err().contains("prefix length"));
    }

    #[test]
    fn vectors() {
        assert_eq!(vector_bit("3"), Ok(8));
        assert!(vector_bit("64").is_err());
    }
}
