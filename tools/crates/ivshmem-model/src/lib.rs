// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The ivshmem device of QEMU, ACRN and other hypervisors as plain data and functions.
//!
//! The model has configuration space, BARs, registers of every access width, the MSI-X table and its pending
//! bits, doorbells between the peers of a region, resets, and virtual machines that come and go. It does no input and
//! output, starts no thread and needs neither `std` nor `unsafe`. The same model is tested against real QEMU,
//! register by register, and is what a guest sees when `ivshmem-emu` plugs it into QEMU.
//!
//! What differs between hypervisors is a [`Flavour`]; the table is [there](flavour).
//!
//! # Testing a driver in a process
//!
//! A driver that does its register accesses through a trait of its own can be tested without a virtual
//! machine. Here a driver wants to find its peer ID; on ACRN 2.4 to 3.2 the register for that lies, because the
//! hypervisor clears it when the BAR is mapped, and the driver must take a configured ID instead:
//!
//! ```
//! use ivshmem_model::flavour::{AcrnHv, Outcome, Ring};
//! use ivshmem_model::{config, Event, PeerId, Region, Width};
//! use std::sync::mpsc;
//!
//! // --- The driver -----------------------------------------------------------------------------------------
//! trait Bus {
//!     fn read32(&mut self, bar: usize, offset: u64) -> u32;
//!     fn write32(&mut self, bar: usize, offset: u64, value: u32);
//! }
//!
//! const IV_POSITION: u64 = 8;
//! const DOORBELL: u64 = 12;
//!
//! struct Driver<B> { bus: B, peer: u16 }
//!
//! impl<B: Bus> Driver<B> {
//!     fn probe(mut bus: B, configured: Option<u16>) -> Self {
//!         let read = bus.read32(0, IV_POSITION) as u16;
//!         Driver { bus, peer: configured.unwrap_or(read) }
//!     }
//!     fn ring(&mut self, peer: u16, vector: u16) {
//!         self.bus.write32(0, DOORBELL, u32::from(peer) << 16 | u32::from(vector));
//!     }
//! }
//!
//! // --- The model as its bus -------------------------------------------------------------------------------
//! struct Vm<'a> { region: &'a mut Region<Vec<u8>>, id: PeerId }
//!
//! impl Bus for Vm<'_> {
//!     fn read32(&mut self, bar: usize, offset: u64) -> u32 {
//!         self.region.bar_read(self.id, bar, offset, Width::U32) as u32
//!     }
//!     fn write32(&mut self, bar: usize, offset: u64, value: u32) {
//!         self.region.bar_write(self.id, bar, offset, Width::U32, value.into());
//!     }
//! }
//!
//! // --- The test -------------------------------------------------------------------------------------------
//! let mut region = Region::new(AcrnHv::V2_4, vec![0; 2 << 20]);
//! let (tell, events) = mpsc::channel();
//! region.observe(move |event| tell.send(*event).unwrap());
//! region.attach(0)?;
//! region.attach(2)?;
//! for vm in [0, 2] {
//!     // The guest's system finds the size of BAR0, and puts it back: the hypervisor maps it.
//!     region.config_write(vm, config::offset::BAR, Width::U32, u32::MAX);
//!     region.config_write(vm, config::offset::BAR, Width::U32, 0x8000_0000);
//! }
//!
//! // Virtual machine 2 wants interrupts on vector 5 and unmasks it.
//! region.config_write(2, config::offset::MSIX_CONTROL, Width::U16, config::MSIX_ENABLE.into());
//! region.bar_write(2, 1, 5 * 16 + 8, Width::U32, 0x4041); // message data
//! region.bar_write(2, 1, 5 * 16 + 12, Width::U32, 0); // vector control
//!
//! let mut driver = Driver::probe(Vm { region: &mut region, id: 2 }, None);
//! assert_eq!(driver.peer, 0, "the hypervisor lies");
//! driver = Driver::probe(driver.bus, Some(2));
//! driver.ring(2, 5); // Rings itself, to see whether its ID is right.
//! drop(driver);
//!
//! let interrupt = region.next_interrupt().expect("the right ID brings an interrupt");
//! assert_eq!((interrupt.peer, interrupt.vector, interrupt.message.data), (2, 5, 0x4041));
//!
//! // Everything that happened was recorded.
//! let last = events.try_iter().last().unwrap();
//! assert_eq!(last.to_string(), "2 ring 2.5 sent");
//! # Ok::<(), ivshmem_model::AttachError>(())
//! ```
//!
//! # Limitations
//!
//! - Addresses that no BAR decodes are the bus's business; overlapping BARs are not arbitrated.
//! - QEMU with KVM can keep a ring of a disabled device in an eventfd and deliver it later. The model does what
//!   QEMU does without KVM: it is lost.
//! - What ACRN leaves undefined (a read of the wrong width, the first contents of hv-land memory) has some
//!   value here; do not rely on it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod flavour;

mod event;
mod function;
mod memory;
mod msix;
mod region;
mod width;

pub use event::{Event, Interrupt, Space};
pub use flavour::{Flavour, PeerId};
pub use function::{Bar, Function, Registers};
pub use memory::Memory;
pub use msix::{Message, Msix};
pub use region::{AttachError, Observer, Region};
pub use width::Width;
