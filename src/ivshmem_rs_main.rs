// SPDX-License-Identifier: GPL-2.0

//! Driver of the inter-VM shared memory device (ivshmem, PCI 1af4:1110).
//!
//! Gives `/dev/ivshmemN` to programs: mmap of the shared memory, doorbells to other virtual
//! machines, and interrupt vectors as read, poll and eventfd events.

#![crate_name = "ivshmem_rs"]

pub mod abi;
mod attributes;
mod callbacks;
mod cursor;
mod device;
mod driver;
mod eventfds;
mod events;
mod file;
mod file_operations;
mod index;
mod ioctl;
mod kapi;
mod memory;
mod moderation;
mod parameters;
mod vectors;

// `kernel::module_pci_driver!`, with an adapter of our own.
kernel::module_driver!(<T>, kapi::pci_driver::Adapter<T>, {
    type: driver::Ivshmem,
    name: "ivshmem_rs",
    authors: ["The ivshmem-rs developers"],
    description: "Inter-VM shared memory: memory, doorbells and events for programs",
    license: "GPL v2",
    imports_ns: ["DMA_BUF"],
    params: {
        cache: u32 {
            default: 0,
            description: "Cache type: 0 automatic, 1 write-back, 2 write-combining, 3 uncached",
        },
        map_registers: bool {
            default: false,
            description: "Let programs map the register page, where it holds nothing else",
        },
        max_vectors: u32 {
            default: 8,
            description: "Most interrupt vectors to arm, 1 to 64",
        },
        peer_id: i32 {
            default: -1,
            description: "Peer ID to report instead of the device's (-1: the device's)",
        },
    },
});
