// SPDX-License-Identifier: GPL-2.0

//! Which way the shared memory is shown to programs, decided once when a device is bound.
//!
//! The best that a program can get is write-back memory. The kernel gives it for bare page frames
//! only where the firmware's MTRRs do not say "uncached" over the BAR. Where they do, page-backed
//! memory is write-back all the same, if the BAR is a multiple of 2 MiB. What is left is
//! write-combining, and uncached at last.
//!
//! The page of the registers has one way only: uncached, and only if nothing else lies in it.

use kernel::{
    device::Bound,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::Arc, //
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
            Claim, //
        },
        frames::Frames,
        pci::holds_msix,
        route::{
            Cache,
            Route, //
        }, //
    }, //
};

/// Value of the module parameter `cache` that asks for the best there is.
const AUTO: u32 = 0;

/// Claims the shared memory and chooses the route that the module parameter `cache` asks for.
///
/// Says in the kernel log what is wrong if the device is of no use.
pub(crate) fn open(pdev: &pci::Device<Bound>) -> Result<KBox<dyn Route>> {
    let claim = Claim::new(pdev, BAR_MEMORY, c"ivshmem_rs").inspect_err(|error| {
        dev_err!(
            pdev,
            "cannot claim BAR2 ({:?}): another driver has it\n",
            error
        )
    })?;
    let claim = Arc::new(claim, GFP_KERNEL)?;
    match crate::module_parameters::cache.value() {
        AUTO => best(pdev, claim),
        CACHE_WB => match write_back(pdev, &claim)? {
            Some(route) => Ok(route),
            None => {
                dev_err!(pdev, "write-back is not to be had: {}\n", remedy(&claim));
                Err(EOPNOTSUPP)
            }
        },
        CACHE_WC => exactly(pdev, claim, Cache::WriteCombining),
        CACHE_UC => exactly(pdev, claim, Cache::Uncached),
        other => {
            dev_err!(pdev, "cache={} is not 0, 1, 2 or 3\n", other);
            Err(EINVAL)
        }
    }
}

/// The page of the registers, for programs, if the administrator allows it and the page holds nothing
/// else. The caller has claimed the registers, and keeps them for longer than the result.
pub(crate) fn open_registers(pdev: &pci::Device<Bound>) -> Result<Option<KBox<dyn Route>>> {
    if !crate::module_parameters::map_registers.value() {
        return Ok(None);
    }
    let page = match holds_msix(pdev, BAR_REGISTERS) {
        true => Err(EBUSY),
        false => Claim::page_of(pdev, BAR_REGISTERS, c"ivshmem_rs"),
    };
    match page {
        Ok(page) => exactly(pdev, Arc::new(page, GFP_KERNEL)?, Cache::Uncached).map(Some),
        Err(_) => {
            dev_warn!(
                pdev,
                "map_registers=1 ignored: BAR0's page holds something else; \
                 pci=resource_alignment=12@pci:1af4:1110 on the kernel's command line gives it a page\n"
            );
            Ok(None)
        }
    }
}

/// Refuses a device whose BARs cannot be what the driver takes them for: to be called before anything
/// is mapped.
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
    Ok(())
}

/// The best route there is.
fn best(pdev: &pci::Device<Bound>, claim: Arc<Claim>) -> Result<KBox<dyn Route>> {
    if let Some(route) = write_back(pdev, &claim)? {
        return Ok(route);
    }
    let route = match frames(&claim, Cache::WriteCombining)? {
        Some(route) => route,
        None => exactly(pdev, claim.clone(), Cache::Uncached)?,
    };
    dev_info!(
        pdev,
        "the memory is {}, not write-back: {}\n",
        route.cache().name(),
        remedy(&claim)
    );
    Ok(route)
}

/// A route that really gives write-back, if there is one.
fn write_back(pdev: &pci::Device<Bound>, claim: &Arc<Claim>) -> Result<Option<KBox<dyn Route>>> {
    if let Some(route) = frames(claim, Cache::WriteBack)? {
        return Ok(Some(route));
    }
    pages(pdev, claim)
}

/// Page frames with just this cache type, if the machine grants it.
fn frames(claim: &Arc<Claim>, wish: Cache) -> Result<Option<KBox<dyn Route>>> {
    let Ok(route) = Frames::new(claim.clone(), wish) else {
        return Ok(None);
    };
    if route.cache() != wish {
        return Ok(None);
    }
    Ok(Some(KBox::new(route, GFP_KERNEL)?))
}

/// As [`frames`]; says so in the kernel log and fails if the machine does not grant it.
fn exactly(pdev: &pci::Device<Bound>, claim: Arc<Claim>, wish: Cache) -> Result<KBox<dyn Route>> {
    frames(&claim, wish)?.ok_or_else(|| {
        dev_err!(pdev, "the machine does not grant {} memory\n", wish.name());
        EOPNOTSUPP
    })
}

/// Page-backed memory, where there is such a thing.
#[cfg(all(CONFIG_X86_64, CONFIG_ZONE_DEVICE))]
fn pages(pdev: &pci::Device<Bound>, claim: &Arc<Claim>) -> Result<Option<KBox<dyn Route>>> {
    match crate::kapi::pages::Pages::new(claim.clone(), pdev.into()) {
        Ok(route) => Ok(Some(KBox::new(route, GFP_KERNEL)?)),
        // The size or the place does not fit, or there is no room for the page structures.
        Err(_) => Ok(None),
    }
}

/// Page-backed memory, where there is such a thing.
#[cfg(not(all(CONFIG_X86_64, CONFIG_ZONE_DEVICE)))]
fn pages(_pdev: &pci::Device<Bound>, _claim: &Arc<Claim>) -> Result<Option<KBox<dyn Route>>> {
    Ok(None)
}

/// Why there is no write-back, and what to do about it.
fn remedy(claim: &Claim) -> &'static str {
    const PAGE_BACKED: u64 = 2 << 20;

    if claim.size() < PAGE_BACKED {
        "an MTRR of the firmware makes BAR2 uncached; a region of at least 2 MiB would be write-back"
    } else {
        "an MTRR of the firmware makes BAR2 uncached, and it lies where no page structures can be"
    }
}
