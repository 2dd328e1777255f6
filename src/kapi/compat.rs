// SPDX-License-Identifier: GPL-2.0

//! What moved in the `kernel` crate between the kernels that this module is built for.
//!
//! The rest of `kapi`, and nothing outside of it, also may ask for `before_7_3`, which Kbuild sets:
//! where a kernel has no such thing at all. Small differences within a series are bridged
//! without asking for it.

use core::borrow::Borrow;

use kernel::{
    bindings,
    error::Error,
    ffi::c_uint,
    module_param::ModuleParamAccess, //
};

pub(crate) use series::*;

#[cfg(not(before_7_3))]
mod series {
    use kernel::bindings;

    pub(crate) use kernel::{
        pci::DevresBar,
        pci_device_table, //
    };

    #[cfg(not(CONFIG_PREEMPT_RT))]
    pub(in crate::kapi) use kernel::interrupt::local_interrupt_disable;
    pub(in crate::kapi) use kernel::{
        sync::{
            lock::spinlock::SpinLockIrqBackend,
            SpinLockIrq, //
        }, //
    };

    /// What `probe` is told of the entry of the table that matched.
    pub(crate) type MatchedInfo<'bound, T> = Option<&'bound T>;

    /// The type of a module parameter that is on or off.
    pub(crate) type Flag = bool;

    /// Calls the macro `$declare` with the type of a module parameter that is on or off, and with
    /// its value for off.
    macro_rules! with_flag_type {
        ($declare:ident) => {
            $declare!(bool, false);
        };
    }
    pub(crate) use with_flag_type;

    /// Whom open files keep loaded.
    pub(in crate::kapi) const OWNER: *mut bindings::module =
        kernel::module::this_module::<crate::LocalModule>().as_ptr();
}

#[cfg(before_7_3)]
mod series {
    use kernel::{
        bindings,
        devres::Devres,
        ffi::{
            c_char,
            c_ulong, //
        },
        pci,
        sync::lock::{
            Backend,
            Lock, //
        }, //
    };

    use crate::kapi::helpers;

    pub(crate) type DevresBar<const SIZE: usize> = Devres<pci::Bar<'static, SIZE>>;
    pub(crate) type MatchedInfo<'bound, T> = &'bound T;
    pub(crate) type Flag = u8;
    pub(in crate::kapi) type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

    pub(in crate::kapi) const OWNER: *mut bindings::module = crate::THIS_MODULE.as_ptr();

    /// Interrupts of this CPU are off until it is dropped.
    pub(in crate::kapi) struct InterruptsOff(c_ulong);

    pub(in crate::kapi) fn local_interrupt_disable() -> InterruptsOff {
        InterruptsOff(helpers::ivshmem_irq_save())
    }

    impl Drop for InterruptsOff {
        fn drop(&mut self) {
            helpers::ivshmem_irq_restore(self.0);
        }
    }

    /// A `spinlock_t` that is taken with interrupts off.
    pub(in crate::kapi) struct SpinLockIrqBackend;

    // SAFETY: `spinlock_t` ensures mutual exclusion.
    unsafe impl Backend for SpinLockIrqBackend {
        type State = bindings::spinlock_t;
        type GuardState = c_ulong;

        unsafe fn init(
            lock: *mut Self::State,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: The lock can be written to, name and key live for ever, as the caller
            // promises.
            unsafe { bindings::__spin_lock_init(lock, name, key) }
        }

        unsafe fn lock(lock: *mut Self::State) -> Self::GuardState {
            // SAFETY: The lock is initialised, as the caller promises.
            unsafe { helpers::ivshmem_lock_irqsave(lock) }
        }

        unsafe fn unlock(lock: *mut Self::State, flags: &Self::GuardState) {
            // SAFETY: The lock is held, and was taken with these flags, as the caller promises.
            unsafe { helpers::ivshmem_unlock_irqrestore(lock, *flags) }
        }

        unsafe fn try_lock(_lock: *mut Self::State) -> Option<Self::GuardState> {
            // Nobody tries.
            None
        }

        unsafe fn assert_is_held(lock: *mut Self::State) {
            // SAFETY: The lock is initialised, as the caller promises.
            unsafe { bindings::spin_assert_is_held(lock) }
        }
    }

    macro_rules! with_flag_type {
        ($declare:ident) => {
            $declare!(u8, 0);
        };
    }
    pub(crate) use with_flag_type;

    macro_rules! pci_device_table {
        ($table:ident, $($rest:tt)*) => {
            ::kernel::pci_device_table!($table, MODULE_PCI_TABLE, $($rest)*);
        };
    }
    pub(crate) use pci_device_table;
}

/// The value of a module parameter.
pub(crate) fn value<T: Copy>(parameter: &ModuleParamAccess<T>) -> T {
    let value = parameter.value();
    // It is the value, or a reference to it.
    *Borrow::<T>::borrow(&value)
}

/// Whether a module parameter of the type of [`with_flag_type!`] is on.
pub(crate) fn is_on(parameter: &ModuleParamAccess<Flag>) -> bool {
    value(parameter) != Flag::default()
}

/// `EOPNOTSUPP`, which not all kernels have among the crate's error codes.
pub(crate) fn not_supported() -> Error {
    // CAST: A small number.
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}

/// Waits until all who read under RCU now have ended that. May sleep.
pub(super) fn synchronize_rcu() {
    // SAFETY: Called where one may sleep.
    unsafe { bindings::synchronize_rcu() };
}

/// A value of a C enumeration, which the bindings have as a number or as a structure with one.
///
/// # Safety
///
/// All bits that an `E` has room for are a valid `E`.
const unsafe fn enumerator<E: Copy>(value: c_uint) -> E {
    const { assert!(size_of::<E>() == size_of::<c_uint>()) };
    // SAFETY: They have one size, as was just asserted, and any bits are an `E`, as the caller
    // promises.
    unsafe { core::mem::transmute_copy(&value) }
}

/// `IRQ_HANDLED`.
// SAFETY: It is an integer, or a structure with one public integer.
pub(super) const HANDLED: bindings::irqreturn_t = unsafe { enumerator(1) };

/// `HRTIMER_NORESTART`.
// SAFETY: It is an integer, or a structure with one public integer.
pub(super) const NO_RESTART: bindings::hrtimer_restart = unsafe { enumerator(0) };

/// `DMA_TO_DEVICE`.
// SAFETY: It is an integer, or a structure with one public integer.
#[cfg(dma_bufs)]
pub(super) const TO_DEVICE: bindings::dma_data_direction = unsafe { enumerator(1) };
