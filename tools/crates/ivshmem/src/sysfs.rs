// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which devices there are, bound to the driver or not.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ivshmem_abi::pci::{BAR_MEMORY, BAR_REGISTERS, DEVICE_ID, VENDOR_ID};

use crate::{Error, Result};

/// A PCI function that is an ivshmem device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Function {
    /// Its directory.
    pub directory: PathBuf,
    /// PCI address, such as `0000:00:04.0`.
    pub bus_id: String,
    /// The name of the driver that is bound to it, `None` if there is none.
    pub driver: Option<String>,
    /// N of `/dev/ivshmemN`; `None` unless this project's driver is bound.
    pub number: Option<u32>,
    /// PCI subsystem vendor and device.
    pub subsystem: (u16, u16),
    /// Size of the shared memory in bytes, 0 if the device has none.
    pub size: u64,
    /// Physical address of the registers, 0 if the device has none.
    pub registers: u64,
}

impl Function {
    /// Its node, if this project's driver is bound.
    pub fn node(&self) -> Option<PathBuf> {
        let number = self.number?;
        Some(format!("/dev/ivshmem{number}").into())
    }
}

/// The kernel's view of the devices of this system.
#[derive(Clone, Debug)]
pub struct Sysfs(PathBuf);

impl Default for Sysfs {
    /// The one in `/sys`.
    fn default() -> Self {
        Self::at("/sys")
    }
}

impl Sysfs {
    /// A copy that lies elsewhere.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// All ivshmem devices, by PCI address. Those that go away meanwhile are left out.
    pub fn functions(&self) -> Vec<Function> {
        let Ok(entries) = fs::read_dir(self.0.join("bus/pci/devices")) else {
            return Vec::new();
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| function(&entry.path()))
            .collect();
        found.sort_by(|a, b| a.bus_id.cmp(&b.bus_id));
        found
    }

    /// The device at this PCI address, such as `0000:00:04.0`, or `00:04.0` as `lspci` prints it where there is one domain.
    ///
    /// # Errors
    ///
    /// [`Error::NoDevice`].
    pub fn find(&self, address: &str) -> Result<Function> {
        let address = address.to_ascii_lowercase();
        let full = match address.matches(':').count() {
            1 => format!("0000:{address}"),
            _ => address,
        };
        let functions = self.functions();
        let found = functions.into_iter().find(|f| f.bus_id == full);
        found.ok_or(Error::NoDevice(full))
    }
}

/// Whether a name has the form of a PCI address: `0000:00:04.0`, or `00:04.0` as `lspci` prints it where there is one domain.
pub fn is_pci_address(name: &str) -> bool {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((device, function)) = name.rsplit_once('.') else {
        return false;
    };
    let parts: Vec<_> = device.split(':').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    // Domains that the kernel makes up have more digits.
    function.len() == 1
        && is_hex(function)
        && parts.iter().all(|part| is_hex(part))
        && matches!(lengths[..], [2, 2] | [4..=8, 2, 2])
}

fn function(directory: &Path) -> Option<Function> {
    let id = |name: &str| number(&fs::read_to_string(directory.join(name)).ok()?);
    if (id("vendor")?, id("device")?) != (VENDOR_ID.into(), DEVICE_ID.into()) {
        return None;
    }
    let short = |name: &str| u16::try_from(id(name)?).ok();
    let driver = fs::read_link(directory.join("driver")).ok();
    let resource = fs::read_to_string(directory.join("resource")).ok()?;
    let bar = |number| bar(&resource, number).unwrap_or(0..0);
    let memory = bar(BAR_MEMORY);
    Some(Function {
        directory: directory.into(),
        bus_id: directory.file_name()?.to_str()?.into(),
        driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.into())),
        number: node_number(directory),
        subsystem: (short("subsystem_vendor")?, short("subsystem_device")?),
        size: memory.end - memory.start,
        registers: bar(BAR_REGISTERS).start,
    })
}

/// The node is a child of the device: `misc/ivshmemN`.
fn node_number(directory: &Path) -> Option<u32> {
    let mut entries = fs::read_dir(directory.join("misc")).ok()?.flatten();
    entries.find_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("ivshmem")?.parse().ok()
    })
}

/// Where a BAR is; `None` if there is none. The n-th line of `resource` is the n-th: first byte, last byte, flags.
fn bar(resource: &str, bar: u32) -> Option<Range<u64>> {
    let mut words = resource.lines().nth(bar as usize)?.split_whitespace();
    let (first, last) = (number(words.next()?)?, number(words.next()?)?);
    (last > first).then(|| first..last.saturating_add(1))
}

/// A number as sysfs writes those of PCI: `0x1af4`.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const RESOURCE: &str = "0x00000000febd1000 0x00000000febd10ff 0x0000000000040200\n\
        0x00000000febd2000 0x00000000febd2fff 0x0000000000040200\n\
        0x0000000fc0000000 0x0000000fc3ffffff 0x000000000014220c\n";

    fn device(root: &Path, bus_id: &str, ids: [&str; 4]) -> PathBuf {
        let directory = root.join("bus/pci/devices").join(bus_id);
        fs::create_dir_all(&directory).unwrap();
        let names = ["vendor", "device", "subsystem_vendor", "subsystem_device"];
        for (name, id) in names.iter().zip(ids) {
            fs::write(directory.join(name), format!("{id}\n")).unwrap();
        }
        fs::write(directory.join("resource"), RESOURCE).unwrap();
        directory
    }

    #[test]
    fn bound_and_unbound_devices_are_found_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let ours = ["0x1af4", "0x1110", "0x8086", "0x0002"];
        device(root.path(), "0000:00:05.0", ours);
        let bound = device(root.path(), "0000:00:04.0", ours);
        device(
            root.path(),
            "0000:00:03.0",
            ["0x1af4", "0x1000", "0x1af4", "0x0001"],
        );
        symlink("../../bus/pci/drivers/ivshmem_rs", bound.join("driver")).unwrap();
        fs::create_dir_all(bound.join("misc/ivshmem12")).unwrap();

        let found = Sysfs::at(root.path()).functions();
        let ids: Vec<_> = found.iter().map(|f| f.bus_id.as_str()).collect();
        assert_eq!(ids, ["0000:00:04.0", "0000:00:05.0"]);
        assert_eq!(found[0].driver.as_deref(), Some("ivshmem_rs"));
        assert_eq!(found[0].node(), Some("/dev/ivshmem12".into()));
        assert_eq!(found[0].subsystem, (0x8086, 2));
        assert_eq!(found[0].size, 64 << 20);
        assert_eq!(found[0].registers, 0xfebd_1000);
        assert_eq!((&found[1].driver, found[1].node()), (&None, None));
    }

    #[test]
    fn a_pci_address_is_told_from_a_path_and_a_number() {
        for address in [
            "0000:00:04.0",
            "10af:c1:1f.7",
            "10000:e1:00.0",
            "00:04.0",
            "af:00.1",
        ] {
            assert!(is_pci_address(address), "{address}");
        }
        for other in [
            "",
            "0",
            "0000:00:04",
            "/dev/ivshmem0",
            "0000:00:04.0 ",
            "0000.00.04.0",
            "0:04.0",
            "00:04.",
            "0000:00:04.g",
        ] {
            assert!(!is_pci_address(other), "{other}");
        }
    }

    #[test]
    fn no_sysfs_is_no_device() {
        assert!(Sysfs::at("/nonexistent").functions().is_empty());
    }
}
