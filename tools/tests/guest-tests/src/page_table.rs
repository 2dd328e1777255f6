// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Looks at a guest's page table from the outside, through QEMU's monitor.

use std::time::{Duration, Instant};

use serde_json::json;
use vmbench::Guest;

/// Bits of an x86-64 page table entry: Intel's manual, volume 3, "Paging-structure entries".
const PRESENT: u64 = 1 << 0;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
/// Where the third bit of the memory type is: it moves, for small pages have it where others have LARGE.
const ATTRIBUTE_SMALL: u64 = 1 << 7;
const ATTRIBUTE_LARGE: u64 = 1 << 12;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// CR4: the tables have five levels.
const CR4_LA57: u64 = 1 << 12;

/// The leaf entry that maps an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the CPU reads it.
    pub bits: u64,
    /// Where the page begins in the guest's physical memory.
    pub physical: u64,
    /// How much one entry of this level maps.
    pub page_bytes: u64,
    /// Index into the page attribute table: PAT, PCD and PWT.
    pub attribute: usize,
}

/// The leaf entry for `address` in the page table that the first CPU of `guest` has in use when what it
/// maps is at `physical`. That CPU has to be busy with the program whose address it is.
pub fn entry(guest: &Guest, address: u64, physical: u64) -> Result<Entry, String> {
    let begin = Instant::now();
    loop {
        let monitor = |line: &str| -> Result<String, String> {
            let value = guest
                .qmp()
                .execute("human-monitor-command", json!({ "command-line": line }))
                .map_err(|error| error.to_string())?;
            Ok(value.as_str().unwrap_or_default().to_string())
        };
        monitor("stop")?;
        let found = walk(&monitor, address);
        monitor("cont")?;
        match found? {
            Some(entry) if entry.physical == physical => return Ok(entry),
            other if begin.elapsed() > test_limit::limit() => {
                return Err(format!("the CPU has {other:x?}, nothing at {physical:#x}"));
            }
            // Another program had the CPU.
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn walk(
    monitor: &dyn Fn(&str) -> Result<String, String>,
    address: u64,
) -> Result<Option<Entry>, String> {
    let registers = monitor("info registers")?;
    let levels = match register(&registers, "CR4=")? & CR4_LA57 {
        0 => 4,
        _ => 5,
    };
    let mut table = register(&registers, "CR3=")? & ADDRESS;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let index = (address >> shift) & 0x1ff;
        let bits = word(&monitor(&format!("xp /1xg {:#x}", table + 8 * index))?)?;
        if bits & PRESENT == 0 {
            return Ok(None);
        }
        if level == 0 || bits & LARGE != 0 && level <= 2 {
            return Ok(Some(leaf(bits, 1 << shift)));
        }
        table = bits & ADDRESS;
    }
    Ok(None)
}

fn leaf(bits: u64, page_bytes: u64) -> Entry {
    let attribute_bit = match page_bytes {
        4096 => ATTRIBUTE_SMALL,
        _ => ATTRIBUTE_LARGE,
    };
    let bit = |mask: u64| usize::from(bits & mask != 0);
    Entry {
        bits,
        physical: bits & ADDRESS & !(page_bytes - 1),
        page_bytes,
        attribute: bit(attribute_bit) << 2 | bit(CACHE_DISABLE) << 1 | bit(WRITE_THROUGH),
    }
}

/// The hexadecimal number after `name` in what `info registers` prints.
fn register(text: &str, name: &str) -> Result<u64, String> {
    let start = text.find(name).ok_or(format!("no {name} in: {text}"))? + name.len();
    let digits = text[start..].split(|c: char| !c.is_ascii_hexdigit()).next();
    u64::from_str_radix(digits.unwrap_or_default(), 16).map_err(|error| format!("{name}: {error}"))
}

/// The value in what `xp /1xg` prints: `0000000000001000: 0x0000000000000063`.
fn word(text: &str) -> Result<u64, String> {
    let value = text.rsplit("0x").next().unwrap_or_default().trim();
    u64::from_str_radix(value, 16).map_err(|error| format!("{text}: {error}"))
}

/// The memory types that the kernel of `guest` has put into the page attribute table, by index.
pub fn memory_types(guest: &Guest) -> Result<Vec<String>, String> {
    const LINE: &str = "x86/PAT: Configuration [0-7]:";
    let log = guest.kernel_log().map_err(|error| error.to_string())?;
    let names = log.lines().find_map(|line| line.split_once(LINE));
    let (_, names) = names.ok_or(format!("the kernel does not say \"{LINE}\""))?;
    Ok(names.split_whitespace().map(str::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor of a machine whose memory holds these words.
    fn machine<'a>(
        cr4: u64,
        words: &'a [(u64, u64)],
    ) -> impl Fn(&str) -> Result<String, String> + 'a {
        move |line| match line.strip_prefix("xp /1xg 0x") {
            None => Ok(format!(
                "CR0=80050033 CR2=0 CR3=0000000000001000 CR4={cr4:08x}\r\n"
            )),
            Some(at) => {
                let at = u64::from_str_radix(at, 16).unwrap();
                let (_, value) = words.iter().find(|word| word.0 == at).unwrap_or(&(0, 0));
                Ok(format!("{at:016x}: 0x{value:016x}\r\n"))
            }
        }
    }

    #[test]
    fn a_small_page_of_four_levels() {
        let words = [
            (0x1008, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4008, 0xfe00_009f),
        ];
        let entry = walk(&machine(0, &words), (1 << 39) + 0x1000)
            .unwrap()
            .unwrap();
        assert_eq!((entry.physical, entry.page_bytes), (0xfe00_0000, 4096));
        assert_eq!(entry.attribute, 0b111);
    }

    #[test]
    fn a_large_page_of_five_levels() {
        let words = [
            (0x1000, 0x2007),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4008, 0xc000_10f7),
        ];
        let entry = walk(&machine(CR4_LA57, &words), 0x20_0000)
            .unwrap()
            .unwrap();
        assert_eq!((entry.physical, entry.page_bytes), (0xc000_0000, 2 << 20));
        assert_eq!(entry.attribute, 0b110);
    }

    #[test]
    fn nothing_is_mapped() {
        assert_eq!(walk(&machine(0, &[]), 0x1000), Ok(None));
    }
}
