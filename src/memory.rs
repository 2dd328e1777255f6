// SPDX-License-Identifier: GPL-2.0

//! What of the device programs can map, and with which cache type, decided once when it is bound.

use kernel::{
    device::Bound,
    page::PAGE_SIZE,
    pci,
    prelude::*, //
};

use crate::{
    abi::{
        ioctl::{
            CACHE_UC,
            CACHE_WB,
            CACHE_WC, //
        },
        mmap::REGION_SHIFT,
        pci::{
            BAR_MEMORY,
            BAR_REGISTERS, //
        }, //
    },
    kapi::{
        bar::{
            is_memory,
            BarRegion, //
        },
        cache::Cache,
        compat::not_supported,
        device_memory::{
            guest_is_encrypted,
            DeviceMemory, //
        },
        pci::{
            has_addresses,
            holds_msix, //
        }, //
    },
    parameters, //
};

/// Value of the module parameter `cache` that leaves the choice to the driver.
const AUTO: u32 = 0;

/// Refuses a device whose BARs cannot be what the driver takes them for: to be called before
/// anything is mapped.
///
/// Says in the kernel log what is wrong.
pub(crate) fn check(pdev: &pci::Device<Bound>) -> Result {
    for bar in [BAR_REGISTERS, BAR_MEMORY] {
        if pdev.resource_len(bar)? != 0 && !is_memory(pdev, bar) {
            dev_err!(pdev, "BAR{} is I/O ports, not memory\n", bar);
            return Err(EINVAL);
        }
    }
    let size = pdev.resource_len(BAR_MEMORY)?;
    if size == 0 {
        dev_err!(
            pdev,
            "no shared memory: BAR2 is missing or was given no address\n"
        );
        return Err(ENODEV);
    }
    // CAST: `usize` is at most 64 bits wide.
    if !size.is_power_of_two() || size < PAGE_SIZE as u64 {
        dev_err!(
            pdev,
            "BAR2 has {} bytes: not a power of two of at least a page\n",
            size
        );
        return Err(EINVAL);
    }
    if size > 1 << REGION_SHIFT {
        dev_err!(
            pdev,
            "BAR2 has {} bytes: more than file offsets can name\n",
            size
        );
        return Err(EFBIG);
    }
    if holds_msix(pdev, BAR_MEMORY) {
        dev_err!(
            pdev,
            "BAR2 holds the MSI-X table, which programs must not write to\n"
        );
        return Err(EINVAL);
    }
    // With the upper half of the memory's.
    if !has_addresses(pdev, &[BAR_REGISTERS, BAR_MEMORY, BAR_MEMORY + 1]) {
        dev_err!(
            pdev,
            "the device was reset, and its addresses were not brought back: remove it, and rescan the bus\n"
        );
        return Err(EIO);
    }
    Ok(())
}

/// Claims the shared memory, with the cache type that the module parameter `cache` asks for.
///
/// Says in the kernel log what is wrong.
pub(crate) fn open(pdev: &pci::Device<Bound>) -> Result<DeviceMemory> {
    let cache = match parameters::cache() {
        AUTO | CACHE_WB => Cache::WriteBack,
        CACHE_WC => Cache::WriteCombining,
        CACHE_UC => Cache::Uncached,
        other => {
            dev_err!(pdev, "cache={} is not 0, 1, 2 or 3\n", other);
            return Err(EINVAL);
        }
    };
    if guest_is_encrypted() && !cfg!(CONFIG_X86) {
        // There the kernel sets an area's protection anew after `mmap`, without the bit that makes
        // memory visible to the host.
        dev_err!(
            pdev,
            "the memory of this machine is encrypted, and programs cannot be given any that the host sees\n"
        );
        return Err(not_supported());
    }
    if !cache.is_available() {
        dev_err!(
            pdev,
            "this machine has no {} memory for programs: leave out cache=\n",
            cache.name()
        );
        return Err(not_supported());
    }
    let region = BarRegion::new(pdev, BAR_MEMORY, c"ivshmem_rs").inspect_err(|error| {
        dev_err!(
            pdev,
            "cannot claim BAR2 ({:?}): another driver has it\n",
            error
        )
    })?;
    DeviceMemory::new(region, cache)
        .inspect_err(|error| dev_err!(pdev, "cannot map BAR2 ({:?})\n", error))
}

/// The page of the registers, for programs: if the administrator allows it, and the page holds
/// nothing else. The driver has mapped the registers for itself.
pub(crate) fn open_registers(pdev: &pci::Device<Bound>) -> Option<DeviceMemory> {
    if !parameters::map_registers() {
        return None;
    }
    if guest_is_encrypted() {
        dev_warn!(
            pdev,
            "map_registers=1 ignored: in an encrypted guest programs cannot access registers\n"
        );
        return None;
    }
    let page = match holds_msix(pdev, BAR_REGISTERS) {
        true => Err(EBUSY),
        false => BarRegion::page_of(pdev, BAR_REGISTERS, c"ivshmem_rs"),
    };
    let Ok(page) = page else {
        dev_warn!(
            pdev,
            "map_registers=1 ignored: BAR0's page holds something else; \
             pci=resource_alignment={}@pci:1af4:1110 on the kernel's command line gives one\n",
            PAGE_SIZE.ilog2()
        );
        return None;
    };
    DeviceMemory::new(page, Cache::Uncached)
        .inspect_err(|error| {
            dev_warn!(
                pdev,
                "map_registers=1 ignored: cannot map the page ({:?})\n",
                error
            )
        })
        .ok()
}
