// SPDX-License-Identifier: GPL-2.0

//! What interrupt handlers may rely on.

use core::marker::PhantomData;

#[cfg(not(CONFIG_PREEMPT_RT))]
use super::compat::local_interrupt_disable;

/// Proof that the holder runs as an interrupt handler does: with interrupts of this CPU off, or on
/// a PREEMPT_RT kernel, where spinlocks sleep and handlers are threads.
///
/// # Invariants
///
/// Exists only there, and does not leave the call that it was handed to.
pub(crate) struct IrqContext(PhantomData<*mut ()>);

impl IrqContext {
    /// Calls `f` as an interrupt handler would be. Process context; `f` must not sleep.
    pub(crate) fn enter<R>(f: impl FnOnce(&Self) -> R) -> R {
        // On PREEMPT_RT, what a handler takes are sleeping locks, for which interrupts must be on.
        #[cfg(not(CONFIG_PREEMPT_RT))]
        let _off = local_interrupt_disable();
        // INVARIANT: Interrupts are off until `_off` is dropped, or this is PREEMPT_RT.
        f(&Self(PhantomData))
    }

    /// The context of a handler.
    ///
    /// # Safety
    ///
    /// Interrupts of this CPU are off until the result is dropped, or this is a PREEMPT_RT kernel.
    pub(super) unsafe fn assume() -> Self {
        // INVARIANT: The precondition is the invariant.
        Self(PhantomData)
    }
}
