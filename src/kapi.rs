// SPDX-License-Identifier: GPL-2.0

//! Kernel interfaces that the `kernel` crate does not offer yet.
//!
//! All unsafe code of the module is below this file, and its only C. Each item has the shape that
//! it would have upstream, and goes away when upstream has it:
//!
//! - [`area`]: flags and page faults of mappings. Would be replaced by fault support in
//!   `kernel::mm::virt`.
//! - [`atomic`]: loads without a call. Would go with `CONFIG_RUST_INLINE_HELPERS`.
//! - [`attributes`], [`driver_data`], [`pci_driver`]: sysfs attributes, sleep and resets of a PCI
//!   driver. Would be replaced by methods of `kernel::pci::Driver`.
//! - [`bar`]: a BAR that is claimed but not mapped. Would be replaced by `kernel::pci`.
//! - [`cache`]: cache types of page table entries. Would be replaced by `pgprot_t` helpers of
//!   `kernel::mm`.
//! - [`chardev`]: misc device with a dynamic name, private data, `poll`, `llseek`. Would be
//!   replaced by `kernel::miscdevice`.
//! - [`dma_buf`]: the exporter's side of `linux/dma-buf.h`. Would be replaced by an abstraction of
//!   dma-bufs.
//! - [`eventfd`]: `linux/eventfd.h`. Would be replaced by an eventfd abstraction.
//! - [`barrier`], [`compat`]: what moved between the kernels that the module is built for.
//! - [`device_memory`]: device memory that the kernel maps cached. Would be replaced by
//!   `kernel::io`.
//! - [`fan_in`]: a wait queue that is fed by several others.
//! - [`frames`]: page table entries that point to device memory. Would be replaced by `kernel::mm`.
//! - [`helpers`]: macros and inline functions of headers. Would be replaced by `rust/helpers/`.
//! - [`irq`]: MSI-X vectors with their handlers and names. Would be replaced by `kernel::irq` with
//!   owned vectors and names.
//! - [`irq_context`], [`spinlock`]: a lock for handlers, and the proof that one runs. Would be
//!   replaced by a method of `SpinLockIrq`, and what `kernel::irq` hands to handlers.
//! - [`pci`]: enabling that is undone, a configuration to go back to, MSI-X table size. Would be
//!   replaced by methods of `kernel::pci::Device`.
//! - [`shared_page`]: a page that programs map read-only. Would be replaced by methods of
//!   `kernel::page::Page`.
//! - [`trace`]: tracepoints of a module. Would be replaced by `kernel::tracepoint`, in the tree.
//! - [`user`]: values from and to user memory. Would be replaced by `kernel::uaccess` for types of
//!   `zerocopy`.
//! - [`view`]: reading a word of device memory.
//! - [`wait`]: wait queues with a condition and a time limit. Would be replaced by
//!   `kernel::sync::CondVar` without a lock.
//! - [`window`]: device memory that is shown, and taken away again.

mod area;
pub(crate) mod atomic;
pub(crate) mod attributes;
pub(crate) mod bar;
pub(crate) mod barrier;
pub(crate) mod cache;
pub(crate) mod chardev;
pub(crate) mod compat;
pub(crate) mod device_memory;
#[cfg_attr(not(dma_bufs), path = "kapi/no_dma_buf.rs")]
pub(crate) mod dma_buf;
pub(crate) mod driver_data;
pub(crate) mod eventfd;
pub(crate) mod fan_in;
mod frames;
mod helpers;
pub(crate) mod irq;
pub(crate) mod irq_context;
pub(crate) mod pci;
pub(crate) mod pci_driver;
pub(crate) mod shared_page;
pub(crate) mod spinlock;
pub(crate) mod trace;
pub(crate) mod user;
mod view;
pub(crate) mod wait;
pub(crate) mod window;
