// SPDX-License-Identifier: GPL-2.0

//! PCI calls that `kernel::pci::Device` lacks.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        DeviceContext, //
    },
    error::to_result,
    pci::Device,
    prelude::*, //
};

/// The C view of `pdev`.
pub(super) fn as_raw<Ctx: DeviceContext>(pdev: &Device<Ctx>) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `struct pci_dev`.
    core::ptr::from_ref(pdev)
        .cast::<bindings::pci_dev>()
        .cast_mut()
}

/// Enables the device until it is unbound; disabling comes after every other managed resource.
///
/// `pci::Device::enable_device_mem` has no counterpart that would disable the device again.
pub(crate) fn enable_managed(pdev: &Device<Core<'_>>) -> Result {
    // SAFETY: `pdev` is a valid device that is being bound.
    to_result(unsafe { bindings::pcim_enable_device(as_raw(pdev)) })
}

/// Number of vectors in the MSI-X table, 0 if the device has no MSI-X capability.
pub(crate) fn msix_vectors(pdev: &Device<Bound>) -> u32 {
    // SAFETY: `pdev` is a valid device.
    let count = unsafe { bindings::pci_msix_vec_count(as_raw(pdev)) };
    u32::try_from(count).unwrap_or(0)
}
