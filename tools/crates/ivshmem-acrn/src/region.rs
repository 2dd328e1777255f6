// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Regions, the virtual machines that use them, and the values that they are made of.

use std::fmt;
use std::str::FromStr;

use crate::{Bdf, Rule};

/// Longest name without its prefix: 32 bytes less the prefix and, since ACRN 3, a NUL.
const NAME_MAX: usize = 27;
const NAME_MAX_ACRN_2: usize = 28;

/// Who emulates a region's devices and holds its memory. Regions of different providers never meet, whatever
/// their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// The hypervisor, "hv-land": memory and doorbells, for every kind of virtual machine.
    Hypervisor,
    /// The device model, "dm-land": memory only, between post-launched virtual machines.
    DeviceModel,
}

impl Provider {
    /// What the text forms put before a region's name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Hypervisor => "hv:/",
            Self::DeviceModel => "dm:/",
        }
    }

    /// Splits `hv:/name` or `dm:/name`.
    pub fn split(text: &str) -> Option<(Self, &str)> {
        [Self::Hypervisor, Self::DeviceModel]
            .into_iter()
            .find_map(|provider| Some((provider, text.strip_prefix(provider.prefix())?)))
    }
}

impl FromStr for Provider {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        match text {
            "Hypervisor" => Ok(Self::Hypervisor),
            "Device Model" => Ok(Self::DeviceModel),
            _ => Err(Rule::Provider(text.into())),
        }
    }
}

/// Name of a region without its prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(String);

impl RegionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a name by the rules of ACRN 2, and of `acrn-dm`, which allow one character more.
    pub(crate) fn of_acrn_2(text: &str) -> Result<Self, Rule> {
        Self::read(text, NAME_MAX_ACRN_2)
    }

    fn read(text: &str, longest: usize) -> Result<Self, Rule> {
        match text.len() {
            0 => Err(Rule::NameMissing),
            length if length <= longest && is_word(text) => Ok(Self(text.into())),
            _ => Err(Rule::NamePattern),
        }
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether all characters are letters, digits or `_`.
pub(crate) fn is_word(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl FromStr for RegionName {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Rule> {
        Self::read(text, NAME_MAX)
    }
}

/// Size of a region: 2 to 512 MiB, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u32);

impl Size {
    /// The smallest, which is also the default.
    pub const MIN: Self = Self(2);

    /// This many MiB.
    pub fn from_mib(mib: i64) -> Result<Self, Rule> {
        match u32::try_from(mib) {
            Ok(mib @ 2..=512) if mib.is_power_of_two() => Ok(Self(mib)),
            Ok(2..=512) => Err(Rule::SizePower),
            _ => Err(Rule::SizeRange),
        }
    }

    /// MiB.
    pub const fn mib(self) -> u32 {
        self.0
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

/// When a virtual machine starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By the hypervisor, before the Service VM.
    PreLaunched,
    /// The Service VM.
    Service,
    /// By acrn-dm in the Service VM.
    #[default]
    PostLaunched,
}

/// A virtual machine of the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The ID, which is also its peer ID in hv-land regions.
    pub id: u16,
    /// The name.
    pub name: String,
    /// When it starts.
    pub order: Order,
}

/// A virtual machine's part in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The virtual machine's ID.
    pub vm: u16,
    /// The address of the device in it.
    pub bdf: Bdf,
    /// The region ID that its own `acrn-dm` was given, if that is what its guest sees.
    pub region_id: Option<u16>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Name, without prefix.
    pub name: RegionName,
    /// Who provides it.
    pub provider: Provider,
    /// Size.
    pub size: Size,
    /// What guests see as the subsystem ID, but for members with a region ID of their own.
    pub id: u16,
    /// Who uses it.
    pub members: Vec<Member>,
}

impl Region {
    /// The name with its prefix, which no other region has.
    pub fn full_name(&self) -> String {
        format!("{}{}", self.provider.prefix(), self.name)
    }
}

/// Regions and virtual machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// The virtual machines.
    pub vms: Vec<Vm>,
    /// The regions.
    pub regions: Vec<Region>,
}

impl Scenario {
    /// The virtual machine with this ID.
    pub fn vm(&self, id: u16) -> Option<&Vm> {
        self.vms.iter().find(|vm| vm.id == id)
    }
}
