// SPDX-License-Identifier: GPL-2.0

//! PCI drivers that are told when the machine wakes up.
//!
//! `kernel::pci::Adapter` leaves `struct dev_pm_ops` empty. The PCI core saves and restores the
//! device's configuration all the same, MSI-X too, but disables the device over the sleep, and the
//! driver never learns of it. This adapter fills the structure and leaves the rest to the crate's.
//!
//! Not `register_pm_notifier()`: that is called when programs run again already, belongs to no
//! device, and so would need a lock against unbinding.
//!
//! C header: [`include/linux/pm.h`](srctree/include/linux/pm.h)

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

/// A PCI driver that is told when the machine wakes up.
pub(crate) trait Resume: pci::Driver {
    /// The machine slept, to memory or to disk, and the device works again: its configuration and
    /// its interrupts are back, programs are still frozen. Process context, may sleep. Binding and
    /// unbinding wait until this returns.
    fn resume(data: Pin<&Self::Data<'_>>);
}

/// The registration of a [`Resume`] driver: `kernel::pci::Adapter` with a `struct dev_pm_ops`.
pub(crate) struct Adapter<T: Resume>(PhantomData<T>);

// SAFETY: The same as for `kernel::pci::Adapter`, whose types these are.
unsafe impl<T: Resume> DriverLayout for Adapter<T> {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: Registering and unregistering is done by `kernel::pci::Adapter`, which keeps the promise.
unsafe impl<T: Resume> RegistrationOps for Adapter<T> {
    unsafe fn register(
        pdrv: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The structure is not registered yet, and so is ours to fill.
        unsafe { (*pdrv.get()).driver.pm = Self::TABLE };
        // SAFETY: As our caller promises.
        unsafe { pci::Adapter::<T>::register(pdrv, name, module) }
    }

    unsafe fn unregister(pdrv: &Opaque<bindings::pci_driver>) {
        // SAFETY: As our caller promises.
        unsafe { pci::Adapter::<T>::unregister(pdrv) }
    }
}

impl<T: Resume> Adapter<T> {
    const TABLE: &'static bindings::dev_pm_ops = &bindings::dev_pm_ops {
        resume: Some(Self::resume),
        restore: Some(Self::resume),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the driver core, with its lock of the device held, for a device that is bound to a
    /// driver which this adapter registered.
    unsafe extern "C" fn resume(dev: *mut bindings::device) -> c_int {
        // SAFETY: The device is valid for the call; `Device` is a transparent wrapper.
        let dev = unsafe { &*dev.cast::<device::Device<CoreInternal<'_>>>() };
        // SAFETY: The device's lock is held, so probing has ended, and stored this type, and
        // unbinding has not begun.
        T::resume(unsafe { dev.drvdata_borrow::<T::Data<'_>>() });
        0
    }
}
