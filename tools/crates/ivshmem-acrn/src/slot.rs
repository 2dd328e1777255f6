// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The option of `acrn-dm`: `-s slot,ivshmem,shm_name,shm_size[,region_id]`.
//!
//! Numbers are read as `acrn-dm` reads them, with its quirks: what follows the digits is ignored (`2M` is 2,
//! the region ID `0x1000` is 0), the size wraps at 4 GiB, and a region ID is cut to 16 bits.

use std::str::FromStr;

use crate::{Bdf, Provider, RegionName, Rule, Size};

/// Most devices of a bus and functions of a device.
const DEVICES: u32 = 32;
const FUNCTIONS: u32 = 8;

/// Sizes that `acrn-dm` takes, in bytes.
const SIZE_MIN: u32 = 2 << 20;
const SIZE_END: u32 = 1 << 30;

/// What `-s` says.
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
    /// The device is not `ivshmem`.
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

impl FromStr for Slot {
    type Err = SlotError;

    fn from_str(text: &str) -> Result<Self, SlotError> {
        let field = || SlotError::Field(text.into());
        let (slot, rest) = text.split_once(',').ok_or_else(field)?;
        let bdf = parse_slot(slot).ok_or_else(field)?;
        let (device, options) = rest.split_once(',').unwrap_or((rest, ""));
        if device != "ivshmem" {
            return Err(SlotError::UnknownDevice(
                bdf.device,
                bdf.function,
                device.into(),
            ));
        }
        let mut options = options.split(',');
        let name = options.next().unwrap_or("");
        let (provider, name) = Provider::split(name).ok_or(SlotError::Prefix)?;
        let size_text = options.next();
        let size = size(size_text)?;
        let id_text = options.next();
        let (region_id, warning) = region_id(id_text);
        let warning = warning
            .or_else(|| misread(size_text?, size.mib().into()))
            .or_else(|| misread(id_text?, region_id.into()));
        Ok(Self {
            bdf,
            provider,
            name: RegionName::of_acrn_2(name).map_err(SlotError::Name)?,
            size,
            region_id,
            warning,
        })
    }
}

/// The options of one virtual machine; two of them cannot use one slot.
pub fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Slot>, SlotError> {
    let mut slots = Vec::<Slot>::new();
    for text in texts {
        let slot: Slot = text.parse()?;
        if slots.iter().any(|other| other.bdf == slot.bdf) {
            return Err(SlotError::Occupied(slot.bdf.device, slot.bdf.function));
        }
        slots.push(slot);
    }
    Ok(slots)
}

/// `[bus:]slot[:func]`, decimal, separated by `:`, `/` or `.`.
fn parse_slot(text: &str) -> Option<Bdf> {
    let numbers = text.split([':', '/', '.']).map(|number| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse::<u32>().ok()).flatten()
    });
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

/// `dm_strtoui` of base 10: the digits at the start; `None` if there are none.
fn leading_number(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    let mut number = None;
    for digit in digits {
        let so_far: u32 = number.unwrap_or(0);
        number = Some(
            so_far
                .wrapping_mul(10)
                .wrapping_add(u32::from(digit - b'0')),
        );
    }
    number
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
    let as_written = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse() == Ok(read);
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
