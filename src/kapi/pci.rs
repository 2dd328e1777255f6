// SPDX-License-Identifier: GPL-2.0

//! PCI calls that `kernel::pci::Device` lacks.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    device::{
        Bound,
        Core,
        DeviceContext, //
    },
    devres,
    error::to_result,
    pci::Device,
    prelude::*,
    sync::aref::ARef, //
};

/// The C view of `pdev`.
pub(super) fn as_raw<Ctx: DeviceContext>(pdev: &Device<Ctx>) -> *mut bindings::pci_dev {
    // CAST: `pci::Device` is a transparent wrapper of `struct pci_dev`.
    core::ptr::from_ref(pdev)
        .cast::<bindings::pci_dev>()
        .cast_mut()
}

/// A device that answers to accesses of its memory; dropping it disables the device.
///
/// # Invariants
///
/// The device was enabled once more for this object.
struct Enabled(ARef<Device>);

impl Drop for Enabled {
    fn drop(&mut self) {
        // SAFETY: Enabled by the type invariant.
        unsafe { bindings::pci_disable_device(as_raw(&*self.0)) };
    }
}

/// The configuration of a device as it was when it was enabled, to be brought back after an error.
///
/// The PCI core keeps one too, but takes that anew at each reset that an administrator asks for,
/// also while the device has none: between the reset of the link and `slot_reset`.
///
/// # Invariants
///
/// `saved` is a copy of the configuration of `pdev`, which this object owns.
pub(crate) struct Configuration {
    pdev: ARef<Device>,
    saved: NonNull<bindings::pci_saved_state>,
}

// SAFETY: It belongs to no thread.
unsafe impl Send for Configuration {}

// SAFETY: Nothing changes the copy.
unsafe impl Sync for Configuration {}

impl Configuration {
    /// Brings the configuration back, and the vectors, which the core knows. May sleep.
    ///
    /// # Safety
    ///
    /// The device's lock is held.
    pub(super) unsafe fn restore(&self) -> Result {
        let pdev = as_raw(&*self.pdev);
        // SAFETY: `pdev` is a valid device, whose own copy is accessed under its lock, which is
        // held. `saved` was made for it.
        to_result(unsafe { bindings::pci_load_saved_state(pdev, self.saved.as_ptr()) })?;
        // SAFETY: `pdev` is a valid device.
        unsafe { bindings::pci_restore_state(pdev) };
        Ok(())
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        // SAFETY: The copy was allocated with `kzalloc()`, and is ours.
        unsafe { bindings::kfree(self.saved.as_ptr().cast()) };
    }
}

/// Enables the device until it is unbound; disabling comes after what is managed later than this.
/// It may write to memory, without which it could not send its MSI-X messages. Returns the
/// configuration that it has then.
///
/// `pci::Device::enable_device_mem` has no counterpart that would disable the device again, and
/// `pcim_enable_device` would also free the interrupt vectors, of which `IrqVectorRegistration`
/// takes care.
pub(crate) fn enable(pdev: &Device<Core<'_>>) -> Result<Configuration> {
    pdev.enable_device_mem()?;
    // INVARIANT: Enabled just now.
    let enabled = Enabled(pdev.into());
    pdev.set_master();
    // SAFETY: `pdev` is a valid device.
    to_result(unsafe { bindings::pci_save_state(as_raw(pdev)) })?;
    // SAFETY: `pdev` is a valid device, and its configuration saved.
    let saved = unsafe { bindings::pci_store_saved_state(as_raw(pdev)) };
    // INVARIANT: A copy that is nobody else's.
    let configuration = Configuration {
        pdev: pdev.into(),
        saved: NonNull::new(saved).ok_or(ENOMEM)?,
    };
    let pdev: &Device<Bound> = pdev;
    devres::register(pdev.as_ref(), enabled, GFP_KERNEL)?;
    Ok(configuration)
}

/// Number of vectors in the MSI-X table, 0 if the device has no MSI-X capability.
pub(crate) fn msix_vectors(pdev: &Device<Bound>) -> u32 {
    // SAFETY: `pdev` is a valid device.
    let count = unsafe { bindings::pci_msix_vec_count(as_raw(pdev)) };
    u32::try_from(count).unwrap_or(0)
}

/// The 32 bits of the device's configuration at byte `at`; all ones if it does not answer.
fn read_config(pdev: &Device<Bound>, at: u32) -> u32 {
    let mut value = 0;
    // CAST: A small number.
    let at = at as c_int;
    // SAFETY: `pdev` is a valid device, `value` can be written to.
    unsafe { bindings::pci_read_config_dword(as_raw(pdev), at, &raw mut value) };
    value
}

/// Whether the device itself has an address in one of `bars`. It has none after a reset, until its
/// configuration is brought back, whatever addresses the kernel gave it.
pub(crate) fn has_addresses(pdev: &Device<Bound>, bars: &[u32]) -> bool {
    const FLAGS: u32 = 0xf;

    bars.iter()
        .map(|bar| read_config(pdev, bindings::PCI_BASE_ADDRESS_0 + 4 * bar))
        .any(|register| register & !FLAGS != 0)
}

/// Whether BAR `bar` holds the MSI-X table or its pending bits. Who can write to the table can have
/// the device write anything to any address.
pub(crate) fn holds_msix(pdev: &Device<Bound>, bar: u32) -> bool {
    // SAFETY: `pdev` is a valid device, whose capabilities do not change.
    let capability: u32 = unsafe { (*as_raw(pdev)).msix_cap }.into();
    let lies_there = |register: u32| {
        read_config(pdev, capability + register) & bindings::PCI_MSIX_TABLE_BIR == bar
    };
    capability != 0 && (lies_there(bindings::PCI_MSIX_TABLE) || lies_there(bindings::PCI_MSIX_PBA))
}
