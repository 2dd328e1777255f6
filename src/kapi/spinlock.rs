// SPDX-License-Identifier: GPL-2.0

//! A spinlock that interrupt handlers take too.
//!
//! `kernel::sync::SpinLockIrq`, with a way in for handlers that costs them no more than a plain
//! spinlock, where the kernel has it.

use core::ops::DerefMut;

use kernel::{
    prelude::*,
    sync::LockClassKey, //
};

use super::{
    compat::SpinLockIrq,
    irq_context::IrqContext, //
};

/// Data behind a spinlock that is taken with interrupts off.
#[pin_data]
pub(crate) struct IrqSpinLock<T: Unpin> {
    #[pin]
    inner: SpinLockIrq<T>,
}

impl<T: Unpin> IrqSpinLock<T> {
    /// Used by [`new_irq_spinlock!`].
    pub(crate) fn new(
        value: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self { inner <- SpinLockIrq::new(value, name, key) })
    }

    /// Takes the lock in process context. Nothing may sleep until it is released, but on
    /// PREEMPT_RT.
    pub(crate) fn lock(&self) -> impl DerefMut<Target = T> + '_ {
        self.inner.lock()
    }

    /// Takes the lock in an interrupt handler.
    pub(crate) fn lock_in_irq<'a>(
        &'a self,
        _context: &'a IrqContext,
    ) -> impl DerefMut<Target = T> + 'a {
        #[cfg(not(any(CONFIG_PREEMPT_RT, before_7_3)))]
        {
            // SAFETY: By the invariant of `IrqContext`, interrupts are off, and stay so for as long
            // as the context is borrowed.
            let off = unsafe { kernel::interrupt::LocalInterruptDisabled::assume_disabled() };
            self.inner.lock_with(off)
        }
        #[cfg(any(CONFIG_PREEMPT_RT, before_7_3))]
        self.inner.lock()
    }
}

/// Creates the initialiser of an [`IrqSpinLock`] with a lock class of its own.
macro_rules! new_irq_spinlock {
    ($value:expr, $name:literal) => {
        $crate::kapi::spinlock::IrqSpinLock::new($value, $name, ::kernel::static_lock_class!())
    };
}
pub(crate) use new_irq_spinlock;
