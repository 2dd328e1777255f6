// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The option of `acrn-dm`: `-s slot,ivshmem,shm_name,shm_size[,region_id]`.
//!
//! Numbers are read as `acrn-dm` reads them, with its quirks: blanks before them and a sign are taken, what follows the
//! digits is ignored (`2M` is 2, the region ID `0x1000` is 0), the size wraps at 4 GiB, and a region ID is cut to 16
//! bits.

use std::str::FromStr;

use crate::{Bdf, Provider, RegionName, Rule, Size};

/// Most devices of a bus and functions of a device.
const DEVICES: u32 = 32;
const FUNCTIONS: u32 = 8;

/// What separates bus, slot and function.
const SEPARATORS: [char; 3] = [':', '/', '.'];

/// Sizes that `acrn-dm` takes, in bytes.
const SIZE_MIN: u32 = 2 << 20;
const SIZE_END: u32 = 1 << 30;

/// Devices of `acrn-dm` beside `ivshmem` and those whose names begin with `virtio-`.
const OTHERS: [&str; 13] = [
    "ahci",
    "ahci-cd",
    "ahci-hd",
    "hostbridge",
    "igd-lpc",
    "lpc",
    "npk",
    "passthru",
    "pci-gvt",
    "uart",
    "vhost-vsock",
    "wdt-i6300esb",
    "xhci",
];

/// What `-s` says of a region's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where the device goes.
    pub bdf: Bdf,
    /// Who provides the region.
    pub provider: Provider,
    /// The region's name.
    pub name: RegionName,
    /// The region's size.
    pub size: Size,
    /// The region's ID. The hypervisor's regions ignore it: theirs is in the scenario.
    pub region_id: u16,
    /// What `acrn-dm` would warn about, or reads otherwise than one may think.
    pub warning: Option<String>,
}

impl Slot {
    /// The name with its prefix.
    pub fn full_name(&self) -> String {
        format!("{}{}", self.provider.prefix(), self.name)
    }
}

/// Why `acrn-dm` would not start. The text is its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The first field is no slot, or the option has no device.
    #[error("Invalid PCI slot info field \"{0}\"")]
    Field(String),
    /// Two options name one slot.
    #[error("pci slot {0}:{1} already occupied!")]
    Occupied(u8, u8),
    /// `acrn-dm` has no such device.
    #[error("pci slot {0}:{1}: unknown device \"{2}\"")]
    UnknownDevice(u8, u8, String),
    /// The name has no prefix.
    #[error("the ivshmem memory prefix name is incorrect")]
    Prefix,
    /// The size does not begin with a digit.
    #[error("the shared memory size is incorrect, {0}")]
    Size(String),
    /// The size, in MiB, is out of range.
    #[error("Invalid shared memory size {0}, the size range is [2MB,512MB], the unit is megabyte and the value must be a power of 2")]
    SizeRange(u32),
    /// A name that `acrn-dm` would take and the configuration tools refuse.
    #[error("{0}")]
    Name(Rule),
}

/// What `-s` says of any device: where it goes, which it is, and its own options.
struct Device<'a> {
    slot: &'a str,
    bdf: Bdf,
    name: &'a str,
    options: &'a str,
}

impl<'a> Device<'a> {
    fn parse(text: &'a str) -> Result<Self, SlotError> {
        let field = || SlotError::Field(text.into());
        let (slot, rest) = text.split_once(',').ok_or_else(field)?;
        let bdf = parse_slot(slot).ok_or_else(field)?;
        let (name, options) = rest.split_once(',').unwrap_or((rest, ""));
        Ok(Self {
            slot,
            bdf,
            name,
            options,
        })
    }

    fn is_ivshmem(&self) -> bool {
        self.name == "ivshmem"
    }

    /// What to say if the slot was not read as it stands there.
    fn misread_slot(&self) -> Option<String> {
        let mut numbers = self.slot.split(SEPARATORS);
        let as_written = numbers.clone().count() <= 3 && numbers.all(is_plain);
        (!as_written).then(|| format!("acrn-dm reads {} as {}", self.slot, self.bdf))
    }

    /// The error of `acrn-dm` for a device that it does not have.
    fn unknown(&self) -> SlotError {
        SlotError::UnknownDevice(self.bdf.device, self.bdf.function, self.name.into())
    }

    fn ivshmem(&self) -> Result<Slot, SlotError> {
        let mut options = self.options.split(',');
        let name = options.next().unwrap_or("");
        let (provider, name) = Provider::split(name).ok_or(SlotError::Prefix)?;
        let size_text = options.next();
        let size = size(size_text)?;
        let id_text = options.next();
        let (region_id, warning) = region_id(id_text);
        let warning = warning
            .or_else(|| self.misread_slot())
            .or_else(|| misread(size_text?, size.mib().into()))
            .or_else(|| misread(id_text?, region_id.into()));
        Ok(Slot {
            bdf: self.bdf,
            provider,
            name: RegionName::of_acrn_2(name).map_err(SlotError::Name)?,
            size,
            region_id,
            warning,
        })
    }
}

impl FromStr for Slot {
    type Err = SlotError;

    fn from_str(text: &str) -> Result<Self, SlotError> {
        let device = Device::parse(text)?;
        match device.is_ivshmem() {
            true => device.ivshmem(),
            false => Err(device.unknown()),
        }
    }
}

/// The options `-s` of one virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Its devices of regions.
    pub ivshmem: Vec<Slot>,
    /// Its other devices: where they go, and the names that `acrn-dm` has for them.
    pub others: Vec<(Bdf, String)>,
}

/// Reads the options of one virtual machine; two devices cannot use one slot.
pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Slots, SlotError> {
    let mut slots = Slots::default();
    let mut used = Vec::new();
    for text in texts {
        let device = Device::parse(text)?;
        let bdf = device.bdf;
        if used.contains(&bdf) {
            return Err(SlotError::Occupied(bdf.device, bdf.function));
        }
        used.push(bdf);
        if device.is_ivshmem() {
            slots.ivshmem.push(device.ivshmem()?);
        } else if is_other(device.name) {
            slots.others.push((bdf, device.name.into()));
        } else {
            return Err(device.unknown());
        }
    }
    Ok(slots)
}

/// Whether some release of `acrn-dm` has such a device (`DEFINE_PCI_DEVTYPE` in `devicemodel/hw/pci`).
fn is_other(name: &str) -> bool {
    name.starts_with("virtio-") || OTHERS.contains(&name)
}

/// `parse_bdf`: `[bus:]slot[:func]`, decimal, separated by `:`, `/` or `.`. What follows the third number is ignored.
fn parse_slot(text: &str) -> Option<Bdf> {
    let numbers = text.split(SEPARATORS).take(3).map(leading_number);
    let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
    let (bus, device, function) = match numbers[..] {
        [device] => (0, device, 0),
        [device, function] => (0, device, function),
        [bus, device, function] => (bus, device, function),
        _ => return None,
    };
    if device >= DEVICES || function >= FUNCTIONS {
        return None;
    }
    Some(Bdf {
        bus: u8::try_from(bus).ok()?,
        device: u8::try_from(device).ok()?,
        function: u8::try_from(function).ok()?,
    })
}

/// `dm_strtoui` of base 10, which is `strtoul()` cut to 32 bits: the digits at the start; `None` if there are none, or
/// more than 64 bits hold.
fn leading_number(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(is_c_space);
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|character: char| !character.is_ascii_digit());
    let number: u64 = text[..end.unwrap_or(text.len())].parse().ok()?;
    // CAST: The lower half.
    Some(match negative {
        true => number.wrapping_neg() as u32,
        false => number as u32,
    })
}

/// `isspace()`.
fn is_c_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

/// Whether a number is read as it stands there, but for its size.
fn is_plain(text: &str) -> bool {
    let text = text.trim_start_matches(is_c_space);
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn size(text: Option<&str>) -> Result<Size, SlotError> {
    let text = text.unwrap_or("");
    let mib = leading_number(text).ok_or_else(|| SlotError::Size(text.into()))?;
    let bytes = mib.wrapping_mul(1 << 20);
    let range = SlotError::SizeRange(bytes >> 20);
    if !(SIZE_MIN..SIZE_END).contains(&bytes) || !bytes.is_power_of_two() {
        return Err(range);
    }
    Size::from_mib((bytes >> 20).into()).map_err(|_| range)
}

/// What to say if a number was not read as it stands there: `2M`, `0x1000`, or one that is too large.
fn misread(text: &str, read: u64) -> Option<String> {
    let digits = text.trim_start_matches(is_c_space);
    let as_written = is_plain(text) && digits.parse() == Ok(read);
    (!as_written).then(|| format!("acrn-dm reads {text} as {read}"))
}

fn region_id(text: Option<&str>) -> (u16, Option<String>) {
    match text.map(|text| (text, leading_number(text))) {
        None => (0, None),
        // CAST: `acrn-dm` stores it in 16 bits.
        Some((_, Some(id))) => (id as u16, None),
        Some((text, None)) => (
            0,
            Some(format!(
                "shared memory region ID is incorrect, {text}, 0 will used."
            )),
        ),
    }
}
