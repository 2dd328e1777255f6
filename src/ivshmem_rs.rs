// SPDX-License-Identifier: GPL-2.0

//! Driver of the inter-VM shared memory device (ivshmem, PCI 1af4:1110).
//!
//! Gives `/dev/ivshmemN` to programs: mmap of the shared memory, doorbells to other virtual
//! machines, and up to 8 interrupt vectors as read, poll and eventfd events.

pub mod abi;
mod cursor;
mod device;
mod driver;
mod events;
mod file;
mod index;
mod ioctl;
mod kapi;
mod memory;
mod stats;
mod vectors;

kernel::module_pci_driver! {
    type: driver::Ivshmem,
    name: "ivshmem_rs",
    authors: ["The ivshmem-rs developers"],
    description: "Inter-VM shared memory: memory, doorbells and events for programs",
    license: "GPL v2",
    params: {
        cache: u32 {
            default: 0,
            description: "Cache type of the memory: 0 the best there is, 1 write-back, 2 write-combining, 3 uncached",
        },
        peer_id: i32 {
            default: -1,
            description: "Peer ID to report instead of the device's (-1: the device's)",
        },
    },
}
