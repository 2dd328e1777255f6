// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands of `/dev/ivshmemN` and their arguments.
//!
//! The structures have fixed-size fields and no padding, so that 32-bit and 64-bit programs share
//! one layout; the zerocopy derives refuse padding when this is compiled.

use core::mem::size_of;

use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// Version of this interface, reported in [`Info::abi_version`].
pub const ABI_VERSION: u32 = 1;

/// The type byte of the commands.
pub const TYPE: u8 = b'i';

/// Direction bits of a command, as in `asm-generic/ioctl.h`.
const WRITE: u32 = 1;
const READ: u32 = 2;

/// Encodes a command as `_IOC` of `asm-generic/ioctl.h` does.
const fn ioc<T>(direction: u32, ty: u8, number: u8) -> u32 {
    assert!(size_of::<T>() < 1 << 14);
    // CAST: Checked above to fit into 14 bits; the others only widen.
    (direction << 30) | ((size_of::<T>() as u32) << 16) | ((ty as u32) << 8) | number as u32
}

/// Fills an [`Info`]; never blocks, never changes anything.
pub const GET_INFO: u32 = ioc::<Info>(READ, TYPE, 0xa0);
/// Rings one doorbell: [`Ring`].
pub const RING: u32 = ioc::<Ring>(WRITE, TYPE, 0xa1);
/// Rings many doorbells: [`RingMany`].
pub const RING_MANY: u32 = ioc::<RingMany>(WRITE, TYPE, 0xa2);
/// Replaces the file's mask of subscribed vectors: `u64`.
pub const SUBSCRIBE: u32 = ioc::<u64>(WRITE, TYPE, 0xa3);
/// Binds an eventfd to a vector: [`SetEventfd`].
pub const SET_EVENTFD: u32 = ioc::<SetEventfd>(WRITE, TYPE, 0xa4);
/// Sleeps until something happens: [`Wait`].
pub const WAIT: u32 = ioc::<Wait>(READ | WRITE, TYPE, 0xa5);
/// ACRN's `UIO_MSIX_DATA`: [`AcrnEventfd`], the same as [`SET_EVENTFD`].
pub const ACRN_SET_EVENTFD: u32 = ioc::<AcrnEventfd>(WRITE, b'u', 100);

/// kvmfr's `KVMFR_DMABUF_CREATE`: [`DmaBuf`]; returns the dma-buf's descriptor.
pub const KVMFR_CREATE_DMA_BUF: u32 = ioc::<DmaBuf>(WRITE, b'u', 0x42);
/// kvmfr's `KVMFR_DMABUF_GETSIZE`, without an argument: returns the bytes of shared memory.
pub const KVMFR_GET_SIZE: u32 = ioc::<()>(0, b'u', 0x44);

/// [`Info::flags`]: MSI-X and the doorbell are usable.
pub const INFO_DOORBELL: u32 = 1;
/// [`Info::flags`]: `peer_id` comes from the module parameter, not from the device.
pub const INFO_PEER_ID_OVERRIDDEN: u32 = 2;
/// [`Info::flags`]: region 2 can be mapped.
pub const INFO_REGISTERS_MAPPABLE: u32 = 4;

/// [`Info::cache`]: write-back.
pub const CACHE_WB: u32 = 1;
/// [`Info::cache`]: write-combining.
pub const CACHE_WC: u32 = 2;
/// [`Info::cache`]: uncached.
pub const CACHE_UC: u32 = 3;

/// [`Wait::flags`]: look at a word of the shared memory before sleeping and after each wake-up.
pub const WAIT_WORD: u32 = 1;

/// [`DmaBuf::flags`]: close the descriptor when another program is executed.
pub const DMA_BUF_CLOEXEC: u8 = 1;

/// Most entries of one [`RING_MANY`].
pub const RING_MANY_MAX: u32 = 1024;

/// Length of [`Info::bus_id`].
pub const BUS_ID_LEN: usize = 16;

/// Answer of [`GET_INFO`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Info {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// `INFO_*` bits.
    pub flags: u32,
    /// Bytes of shared memory.
    pub shm_size: u64,
    /// This end's peer ID.
    pub peer_id: u32,
    /// Armed vectors, 0 to [`MAX_VECTORS`](super::pci::MAX_VECTORS).
    pub vectors: u32,
    /// Vectors in the device's MSI-X table.
    pub vectors_offered: u32,
    /// PCI revision.
    pub revision: u32,
    /// PCI subsystem vendor.
    pub subsystem_vendor: u16,
    /// PCI subsystem device; on ACRN the region's ID.
    pub subsystem_device: u16,
    /// `CACHE_*`: what a mapping of the shared memory really gets.
    pub cache: u32,
    /// Logarithm of the bytes of the largest page that a mapping can get: with pages of 4 KiB, 12
    /// or 21, 30 is reserved; with pages of 16 KiB, 14 or 25.
    pub page_order: u32,
    /// Goes up by one at each resume and reset: what a peer said before may be stale.
    pub generation: u32,
    /// PCI address, NUL-terminated.
    pub bus_id: [u8; BUS_ID_LEN],
    /// Always 0.
    pub reserved: [u64; 8],
}

/// Argument of [`RING`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Ring {
    /// Whom to ring, at most 65535.
    pub peer: u32,
    /// Which vector, at most 255.
    pub vector: u32,
}

/// Argument of [`RING_MANY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct RingMany {
    /// Number of entries, 1 to [`RING_MANY_MAX`].
    pub count: u32,
    /// Must be 0.
    pub flags: u32,
    /// Address of `count` [`Ring`]s.
    pub rings: u64,
}

/// Argument of [`SET_EVENTFD`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct SetEventfd {
    /// An armed vector.
    pub vector: u32,
    /// The eventfd, or -1 to unbind.
    pub fd: i32,
    /// Must be 0.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// Argument of [`ACRN_SET_EVENTFD`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct AcrnEventfd {
    /// The eventfd, or any negative number to unbind.
    pub fd: i32,
    /// An armed vector.
    pub vector: i32,
}

/// Argument of [`KVMFR_CREATE_DMA_BUF`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct DmaBuf {
    /// 0 or [`DMA_BUF_CLOEXEC`].
    pub flags: u8,
    /// Anything: padding in kvmfr's structure, which its programs leave as it is.
    pub padding: [u8; 7],
    /// First byte in the shared memory, a multiple of the page size.
    pub offset: u64,
    /// Bytes, a multiple of the page size and not 0.
    pub size: u64,
}

/// Argument and answer of [`WAIT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Wait {
    /// In: vectors to wait for, 0 for the file's subscription. Out: those that were pending.
    pub vectors: u64,
    /// Relative, CLOCK_MONOTONIC, nanoseconds; negative: for ever; 0: only look.
    pub timeout_ns: i64,
    /// With [`WAIT_WORD`]: byte offset in the shared memory, a multiple of 4.
    pub offset: u64,
    /// With [`WAIT_WORD`]: sleep only while the word equals this.
    pub value: u32,
    /// 0 or [`WAIT_WORD`].
    pub flags: u32,
}

const _: () = {
    assert!(size_of::<Info>() == 128);
    assert!(size_of::<Ring>() == 8);
    assert!(size_of::<RingMany>() == 16);
    assert!(size_of::<SetEventfd>() == 16);
    assert!(size_of::<AcrnEventfd>() == 8);
    assert!(size_of::<DmaBuf>() == 24);
    assert!(size_of::<Wait>() == 32);
    assert!(ACRN_SET_EVENTFD == 0x4008_7564);
    assert!(KVMFR_CREATE_DMA_BUF == 0x4018_7542);
    assert!(KVMFR_GET_SIZE == 0x7544);
};
