// SPDX-License-Identifier: GPL-2.0

//! PCI drivers that are told of sleep, resets and errors, and have attributes in sysfs.
//!
//! `kernel::pci::Adapter` leaves `struct dev_pm_ops`, the error handlers and the attribute groups
//! empty. The PCI core saves and restores the device's configuration all the same, MSI-X too, but
//! switches the device off over a sleep, and a reset clears it, and the driver never learns of
//! either. After an error of a PCI Express port above the device it resets the device too, and
//! gives up one whose driver has no callbacks for that. This adapter fills the structures and
//! leaves the rest to the crate's.
//!
//! Not `register_pm_notifier()`: that is called when programs run again already, belongs to no
//! device, and so would need a lock against unbinding.
//!
//! C headers: [`include/linux/pm.h`](srctree/include/linux/pm.h),
//! [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::{
    marker::PhantomData,
    mem::offset_of, //
};

use kernel::{
    bindings,
    device::{
        self,
        CoreInternal, //
    },
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    pci,
    prelude::*,
    types::Opaque, //
};

use super::{
    attributes::RawGroups,
    driver_data::DriverData,
    pci::Configuration, //
};

/// A PCI driver that is told of sleep and resets, and has attributes.
///
/// All methods are called in process context, may sleep, and get what belongs to a bound device:
/// binding and unbinding wait until they return.
pub(crate) trait PciDriver: DriverData + Sized {
    /// The attribute groups of each device.
    const GROUPS: RawGroups<Self>;

    /// The machine slept, to memory or to disk, and the device works again: its configuration and
    /// its interrupts are back, programs are still frozen.
    fn resume(shared: &Self::Shared);

    /// The device is about to be reset: its registers and its memory will be out of reach, while
    /// programs run. [`PciDriver::reset_done`] follows.
    fn reset_prepare(shared: &Self::Shared);

    /// The device was reset and works again, or has failed to; its configuration is back.
    fn reset_done(shared: &Self::Shared);

    /// There was an error on the way to the device, as at the beginning of a reset.
    /// [`PciDriver::recovered`] follows, or [`PciDriver::lost`]; until then the PCI core can reset
    /// the device without another word. The core releases the device's lock in between: all other
    /// methods can be called before that.
    fn error(shared: &Self::Shared);

    /// What the device is to be configured as when it was reset after [`PciDriver::error`].
    fn configuration(shared: &Self::Shared) -> &Configuration;

    /// The device works again after [`PciDriver::error`]; its configuration is back.
    fn recovered(shared: &Self::Shared);

    /// The device did not come back after an error, and is given up. It stays bound until somebody
    /// removes it, and can still interrupt, sleep and be reset.
    fn lost(shared: &Self::Shared);
}

/// The registration of a [`PciDriver`]: `kernel::pci::Adapter` with what that leaves empty.
pub(crate) struct Adapter<T: PciDriver>(PhantomData<T>);

// SAFETY: `bindings::pci_driver` is a `repr(C)` structure with a `struct device_driver` at that
// offset, and `T::Data` is what `kernel::pci::Adapter`, which probes, stores as the device's
// private data.
unsafe impl<T: PciDriver> DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: Registering and unregistering is done by `kernel::pci::Adapter`, which keeps the promise.
unsafe impl<T: PciDriver> RegistrationOps for Adapter<T> {
    unsafe fn register(
        pdrv: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The structure is not registered yet, and so is ours to fill.
        let driver = unsafe { &mut *pdrv.get() };
        driver.driver.pm = Self::POWER;
        driver.err_handler = Self::ERRORS;
        driver.dev_groups = T::GROUPS.0;
        // SAFETY: The structure is valid, and is unregistered by `unregister`, as our caller
        // promises.
        unsafe { pci::Adapter::<T>::register(pdrv, name, module) }
    }

    unsafe fn unregister(pdrv: &Opaque<bindings::pci_driver>) {
        // SAFETY: Registered by `register`, as our caller promises.
        unsafe { pci::Adapter::<T>::unregister(pdrv) }
    }
}

impl<T: PciDriver> Adapter<T> {
    const POWER: &'static bindings::dev_pm_ops = &bindings::dev_pm_ops {
        resume: Some(Self::resume),
        restore: Some(Self::resume),
        ..pin_init::zeroed()
    };

    const ERRORS: &'static bindings::pci_error_handlers = &bindings::pci_error_handlers {
        error_detected: Some(Self::error_detected),
        slot_reset: Some(Self::slot_reset),
        resume: Some(Self::recovered),
        reset_prepare: Some(Self::reset_prepare),
        reset_done: Some(Self::reset_done),
        ..pin_init::zeroed()
    };

    /// Calls `f` with what belongs to `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must be bound to a driver that this adapter registered, and its lock be held.
    unsafe fn with_shared<R>(dev: *mut bindings::device, f: impl FnOnce(&T::Shared) -> R) -> R {
        // SAFETY: The device is valid while its lock is held; `Device` is a transparent wrapper.
        let dev = unsafe { &*dev.cast::<device::Device<CoreInternal<'_>>>() };
        // SAFETY: The device's lock is held, so probing has ended, and stored this type, and
        // unbinding has not begun.
        let data = unsafe { dev.drvdata_borrow::<T::Data<'_>>() };
        f(T::shared(&data))
    }

    /// # Safety
    ///
    /// Must be called by the driver core, with its lock of the device held, for a device that is
    /// bound to a driver which this adapter registered.
    unsafe extern "C" fn resume(dev: *mut bindings::device) -> c_int {
        // SAFETY: Bound and locked, as our caller promises.
        unsafe { Self::with_shared(dev, T::resume) };
        0
    }

    /// # Safety
    ///
    /// Must be called by the PCI core, which looks up the driver under the device's lock, for a
    /// device that is bound to a driver which this adapter registered.
    unsafe extern "C" fn reset_prepare(pdev: *mut bindings::pci_dev) {
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*pdev).dev };
        // SAFETY: Bound and locked, as our caller promises.
        unsafe { Self::with_shared(dev, T::reset_prepare) };
    }

    /// # Safety
    ///
    /// As [`Self::reset_prepare`].
    unsafe extern "C" fn reset_done(pdev: *mut bindings::pci_dev) {
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*pdev).dev };
        // SAFETY: Bound and locked, as our caller promises.
        unsafe { Self::with_shared(dev, T::reset_done) };
    }

    /// # Safety
    ///
    /// As [`Self::reset_prepare`].
    unsafe extern "C" fn error_detected(
        pdev: *mut bindings::pci_dev,
        state: bindings::pci_channel_state_t,
    ) -> bindings::pci_ers_result_t {
        // While the core can still reset the device, whatever this driver asks for, it is paused.
        let (callback, vote): (fn(&T::Shared), _) = match state {
            bindings::pci_channel_io_normal => (
                T::error,
                bindings::pci_ers_result_PCI_ERS_RESULT_CAN_RECOVER,
            ),
            bindings::pci_channel_io_frozen => {
                (T::error, bindings::pci_ers_result_PCI_ERS_RESULT_NEED_RESET)
            }
            _ => (T::lost, bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT),
        };
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*pdev).dev };
        // SAFETY: Bound and locked, as our caller promises.
        unsafe { Self::with_shared(dev, callback) };
        vote
    }

    /// # Safety
    ///
    /// As [`Self::reset_prepare`].
    unsafe extern "C" fn slot_reset(pdev: *mut bindings::pci_dev) -> bindings::pci_ers_result_t {
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*pdev).dev };
        // SAFETY: Locked, as our caller promises.
        let restore = |shared: &_| unsafe { T::configuration(shared).restore() };
        // SAFETY: Bound and locked, as our caller promises.
        match unsafe { Self::with_shared(dev, restore) } {
            Ok(()) => bindings::pci_ers_result_PCI_ERS_RESULT_RECOVERED,
            Err(_) => bindings::pci_ers_result_PCI_ERS_RESULT_DISCONNECT,
        }
    }

    /// # Safety
    ///
    /// As [`Self::reset_prepare`].
    unsafe extern "C" fn recovered(pdev: *mut bindings::pci_dev) {
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*pdev).dev };
        // SAFETY: Bound and locked, as our caller promises.
        unsafe { Self::with_shared(dev, T::recovered) };
    }
}
