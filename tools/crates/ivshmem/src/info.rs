// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the driver says of a device.

use std::fmt;

use ivshmem_abi::ioctl;

/// How the CPU caches the shared memory in this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cache {
    /// As ordinary memory: fast, and atomic operations work between guests.
    WriteBack,
    /// Writes are combined; reads are slow.
    WriteCombining,
    /// Every access goes to memory by itself: slow.
    Uncached,
    /// A value that this library does not know.
    Unknown(u32),
}

impl Cache {
    fn from_abi(value: u32) -> Self {
        match value {
            ioctl::CACHE_WB => Self::WriteBack,
            ioctl::CACHE_WC => Self::WriteCombining,
            ioctl::CACHE_UC => Self::Uncached,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteBack => f.write_str("write-back"),
            Self::WriteCombining => f.write_str("write-combining"),
            Self::Uncached => f.write_str("uncached"),
            Self::Unknown(value) => write!(f, "unknown ({value})"),
        }
    }
}

/// A device as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Version of the driver's interface.
    pub abi_version: u32,
    /// Whether the device can ring and be rung.
    pub doorbell: bool,
    /// Whether `peer_id` comes from the driver's module parameter instead of the device.
    pub peer_id_overridden: bool,
    /// Whether the register page can be mapped.
    pub registers_mappable: bool,
    /// Size of the shared memory in bytes.
    pub size: u64,
    /// The ID by which others ring this end; 0 is a real ID.
    pub peer_id: u32,
    /// Vectors that the driver armed, 0 to [`MAX_VECTORS`](crate::MAX_VECTORS).
    pub vectors: u32,
    /// Vectors in the device's MSI-X table.
    pub vectors_offered: u32,
    /// PCI revision.
    pub revision: u32,
    /// PCI subsystem vendor; 0x8086 on ACRN.
    pub subsystem_vendor: u16,
    /// PCI subsystem device; the region's ID on ACRN.
    pub subsystem_device: u16,
    /// What a mapping of the memory really gets.
    pub cache: Cache,
    /// Bytes of the largest page that a mapping can get.
    pub page_size: u64,
    /// Goes up by one at each resume: what peers said before may be stale.
    pub generation: u32,
    /// PCI address, such as `0000:00:04.0`.
    pub bus_id: String,
}

impl From<ioctl::Info> for Info {
    fn from(abi: ioctl::Info) -> Self {
        let flag = |bit| abi.flags & bit != 0;
        let end = abi.bus_id.iter().position(|byte| *byte == 0);
        let bus_id = &abi.bus_id[..end.unwrap_or(abi.bus_id.len())];
        Self {
            abi_version: abi.abi_version,
            doorbell: flag(ioctl::INFO_DOORBELL),
            peer_id_overridden: flag(ioctl::INFO_PEER_ID_OVERRIDDEN),
            registers_mappable: flag(ioctl::INFO_REGISTERS_MAPPABLE),
            size: abi.shm_size,
            peer_id: abi.peer_id,
            vectors: abi.vectors,
            vectors_offered: abi.vectors_offered,
            revision: abi.revision,
            subsystem_vendor: abi.subsystem_vendor,
            subsystem_device: abi.subsystem_device,
            cache: Cache::from_abi(abi.cache),
            page_size: 1u64.checked_shl(abi.page_order).unwrap_or(0),
            generation: abi.generation,
            bus_id: String::from_utf8_lossy(bus_id).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_taken_from_its_place() {
        let mut abi = ioctl::Info {
            abi_version: 1,
            flags: ioctl::INFO_DOORBELL | ioctl::INFO_REGISTERS_MAPPABLE,
            shm_size: 1 << 20,
            peer_id: 3,
            vectors: 4,
            vectors_offered: 5,
            revision: 1,
            subsystem_vendor: 0x8086,
            subsystem_device: 7,
            cache: ioctl::CACHE_WC,
            page_order: 21,
            generation: 9,
            ..Default::default()
        };
        abi.bus_id[..12].copy_from_slice(b"0000:00:04.0");
        let info = Info::from(abi);
        assert!(info.doorbell && info.registers_mappable && !info.peer_id_overridden);
        assert_eq!((info.size, info.peer_id), (1 << 20, 3));
        assert_eq!((info.vectors, info.vectors_offered), (4, 5));
        assert_eq!((info.subsystem_vendor, info.subsystem_device), (0x8086, 7));
        assert_eq!(
            (info.cache, info.page_size),
            (Cache::WriteCombining, 2 << 20)
        );
        assert_eq!((info.generation, info.bus_id.as_str()), (9, "0000:00:04.0"));
    }

    #[test]
    fn unknown_numbers_do_no_harm() {
        let abi = ioctl::Info {
            cache: 77,
            page_order: 200,
            bus_id: [b'x'; ioctl::BUS_ID_LEN],
            ..Default::default()
        };
        let info = Info::from(abi);
        assert_eq!((info.cache, info.page_size), (Cache::Unknown(77), 0));
        assert_eq!(info.bus_id.len(), ioctl::BUS_ID_LEN);
    }
}
