// SPDX-License-Identifier: GPL-2.0

//! A device's MSI-X vectors together with their handlers.
//!
//! On the C interface: `kernel::irq::Registration` borrows from the `IrqVectorRegistration` that it
//! must not outlive, has static names only, must not be forgotten, and changes with each release.
//!
//! C headers: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::Bound,
    devres,
    error::to_result,
    pci::Device,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    }, //
};

use super::pci::as_raw;

/// Proof that the holder runs as an interrupt handler does: with interrupts of this CPU off, or on a
/// PREEMPT_RT kernel, where spinlocks sleep and handlers are threads.
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
        let _off = kernel::interrupt::local_interrupt_disable();
        // INVARIANT: Interrupts are off until `_off` is dropped, or this is PREEMPT_RT.
        f(&Self(PhantomData))
    }
}

/// What to do at an interrupt.
pub(crate) trait Handler: Send + Sync + 'static {
    /// An interrupt came. Runs as `context` says, on one CPU at a time; must not sleep.
    fn handle(&self, context: &IrqContext);
}

/// A vector that was requested, with what its handler needs.
struct Line<H> {
    number: c_uint,
    name: CString,
    handler: H,
}

/// # Invariants
///
/// While `armed` is true, vectors of `pdev` are allocated, and each of `lines` was requested with its
/// address as the cookie.
struct Armed<H: Handler> {
    pdev: ARef<Device>,
    lines: KVec<KBox<Line<H>>>,
    armed: Atomic<bool>,
}

impl<H: Handler> Armed<H> {
    /// Frees handlers and vectors unless that was done before; waits for handlers that run.
    fn free(&self) {
        if !self.armed.xchg(false, Full) {
            return;
        }
        for line in &self.lines {
            // SAFETY: Requested with this cookie by the type invariant, and freed once only, as
            // `armed` was true.
            unsafe { bindings::free_irq(line.number, cookie(line)) };
        }
        // SAFETY: The vectors are allocated by the type invariant, and no handler uses one any more.
        unsafe { bindings::pci_free_irq_vectors(as_raw(&*self.pdev)) };
    }
}

impl<H: Handler> Drop for Armed<H> {
    fn drop(&mut self) {
        self.free();
    }
}

/// Frees the vectors when the driver core releases what the device manages, at the latest.
struct AtUnbind<H: Handler>(Arc<Armed<H>>);

impl<H: Handler> Drop for AtUnbind<H> {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// MSI-X vectors, each with a handler of type `H`.
///
/// Dropping it frees the handlers, waits until none of them runs any more, and frees the vectors. Should
/// it be forgotten, the same happens when the device is unbound.
pub(crate) struct Vectors<H: Handler>(Arc<Armed<H>>);

impl<H: Handler> Vectors<H> {
    /// Allocates 1 to `most` MSI-X vectors and requests each under the name, and with the handler, that
    /// `line` makes for its index. Interrupts can come before this returns. May sleep.
    pub(crate) fn new(
        pdev: &Device<Bound>,
        most: usize,
        line: impl Fn(usize) -> Result<(CString, H)>,
    ) -> Result<Self> {
        let most = u32::try_from(most)?;
        // SAFETY: The device is valid and bound; there is a driver for its interrupts.
        let count = unsafe {
            bindings::pci_alloc_irq_vectors(as_raw(pdev), 1, most, bindings::PCI_IRQ_MSIX)
        };
        to_result(count)?;
        // INVARIANT: Allocated just now; no line yet.
        let mut armed = Armed {
            pdev: pdev.into(),
            lines: KVec::new(),
            armed: Atomic::new(true),
        };
        let count = usize::try_from(count)?;
        armed.lines.reserve(count, GFP_KERNEL)?;
        for index in 0..count {
            let line = Self::request(pdev, index, line(index)?)?;
            // INVARIANT: Requested just now. There is room, as was reserved.
            armed.lines.push(line, GFP_KERNEL)?;
        }
        let armed = Arc::new(armed, GFP_KERNEL)?;
        devres::register(pdev.as_ref(), AtUnbind(armed.clone()), GFP_KERNEL)?;
        Ok(Self(armed))
    }

    /// Requests vector `index`, which is allocated.
    fn request(
        pdev: &Device<Bound>,
        index: usize,
        (name, handler): (CString, H),
    ) -> Result<KBox<Line<H>>> {
        // SAFETY: The device is valid; the function checks the index.
        let number = unsafe { bindings::pci_irq_vector(as_raw(pdev), u32::try_from(index)?) };
        to_result(number)?;
        let line = Line {
            number: c_uint::try_from(number)?,
            name,
            handler,
        };
        let line = KBox::new(line, GFP_KERNEL)?;
        // SAFETY: Name and cookie live in a box that is kept until `free_irq`, and `Line<H>` is what
        // the handler takes the cookie for.
        to_result(unsafe {
            bindings::request_threaded_irq(
                line.number,
                Some(handle::<H>),
                None,
                0,
                line.name.as_char_ptr(),
                cookie(&line),
            )
        })?;
        Ok(line)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lines.len()
    }
}

impl<H: Handler> Drop for Vectors<H> {
    fn drop(&mut self) {
        self.0.free();
    }
}

fn cookie<H>(line: &KBox<Line<H>>) -> *mut c_void {
    core::ptr::from_ref::<Line<H>>(line).cast_mut().cast()
}

/// # Safety
///
/// Must be called by the interrupt core, for a line that [`Vectors::request`] requested.
unsafe extern "C" fn handle<H: Handler>(_: c_int, line: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The cookie is the address of a boxed `Line<H>`, which lives until `free_irq` has waited
    // for this call.
    let line = unsafe { &*line.cast::<Line<H>>() };
    // INVARIANT: A handler runs with interrupts off, also as a thread (`threadirqs`), but not so on
    // PREEMPT_RT.
    line.handler.handle(&IrqContext(PhantomData));
    bindings::irqreturn::IRQ_HANDLED
}
