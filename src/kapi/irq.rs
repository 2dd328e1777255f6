// SPDX-License-Identifier: GPL-2.0

//! A device's MSI-X vectors together with their handlers.
//!
//! On the C interface: `kernel::irq::Registration` borrows from the `IrqVectorRegistration` that it
//! must not outlive, has static names only, must not be forgotten, and changes with each release.
//!
//! C headers: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h),
//! [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h),
//! [`include/linux/pci.h`](srctree/include/linux/pci.h)

use kernel::{
    bindings,
    container_of,
    device::Bound,
    devres,
    error::to_result,
    new_mutex,
    pci::Device,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::Delta,
    types::Opaque, //
};

use super::{
    compat::{
        HANDLED,
        NO_RESTART, //
    },
    irq_context::IrqContext,
    pci::as_raw, //
};

/// What to do at an interrupt.
pub(crate) trait Handler: Send + Sync + 'static {
    /// An interrupt came. Runs as `context` says, on one CPU at a time; must not sleep. With a
    /// time, the vector is held back for so long: what comes meanwhile makes one interrupt after
    /// it.
    fn handle(&self, context: &IrqContext) -> Option<Delta>;
}

/// On PREEMPT_RT too, the timer runs in interrupt context: real-time programs that keep a CPU busy
/// would hold up a soft interrupt, and so the vector. Enabling an MSI-X vector takes raw spinlocks
/// only.
const TIMER_MODE: bindings::hrtimer_mode = bindings::hrtimer_mode_HRTIMER_MODE_REL_HARD;

/// A vector that was requested, with what its handler needs.
#[pin_data]
struct Line<H> {
    number: c_uint,
    name: CString,
    handler: H,
    /// Ends the time for which the vector is held back.
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    /// The vector is disabled, and the timer is to enable it. Set by the handler, cleared by the
    /// timer.
    held_back: Atomic<bool>,
    /// The vector is about to be freed, or its device to be reset: it is not held back any more.
    ending: Atomic<bool>,
}

// SAFETY: The timer has a lock of its own and belongs to no thread; all else is `Send`, as handlers
// are.
unsafe impl<H: Handler> Send for Line<H> {}

// SAFETY: The timer is accessed by functions that take its lock; all else is `Sync`, as handlers
// are.
unsafe impl<H: Handler> Sync for Line<H> {}

/// The vectors of a device that were requested.
type Lines<H> = KVec<Pin<KBox<Line<H>>>>;

/// # Invariants
///
/// While `lines` is something, vectors of `pdev` are allocated, and each of the lines was requested
/// with its address as the cookie.
#[pin_data(PinnedDrop)]
struct Armed<H: Handler> {
    pdev: ARef<Device>,
    #[pin]
    lines: Mutex<Option<Lines<H>>>,
}

impl<H: Handler> Armed<H> {
    /// Frees handlers and vectors unless that was done before; waits for handlers that run.
    fn free(&self) {
        let mut lines = self.lines.lock();
        let Some(requested) = lines.take() else {
            return;
        };
        for line in &requested {
            line.end_pause();
            // SAFETY: Requested with this cookie by the type invariant, and freed once only, as it
            // was taken out.
            unsafe { bindings::free_irq(line.number, line.cookie()) };
        }
        // SAFETY: The vectors are allocated by the type invariant, and no handler uses one any
        // more.
        unsafe { bindings::pci_free_irq_vectors(as_raw(&*self.pdev)) };
    }

    /// Calls `f` with each vector that is requested.
    fn for_each(&self, f: impl Fn(&Line<H>)) {
        let lines = self.lines.lock();
        lines.iter().flatten().for_each(|line| f(line));
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Armed<H> {
    fn drop(self: Pin<&mut Self>) {
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
/// Dropping it frees them. Should it be forgotten, the same happens when the device is unbound.
pub(crate) struct Vectors<H: Handler> {
    armed: Arc<Armed<H>>,
    count: usize,
}

impl<H: Handler> Vectors<H> {
    /// Allocates 1 to `most` MSI-X vectors and requests each under the name, and with the handler,
    /// that `line` makes for its index. Interrupts can come before this returns. May sleep.
    pub(crate) fn new(
        pdev: &Device<Bound>,
        most: usize,
        line: impl Fn(usize) -> Result<(CString, H)>,
    ) -> Result<Self> {
        // INVARIANT: None is allocated yet.
        let armed = pin_init!(Armed {
            pdev: pdev.into(),
            lines <- new_mutex!(None, "msix_vectors"),
        });
        let armed = Arc::pin_init(armed, GFP_KERNEL)?;
        let lines = KVec::with_capacity(most, GFP_KERNEL)?;
        // SAFETY: The device is valid and bound; there is a driver for its interrupts.
        let count = unsafe {
            bindings::pci_alloc_irq_vectors(
                as_raw(pdev),
                1,
                u32::try_from(most)?,
                bindings::PCI_IRQ_MSIX,
            )
        };
        to_result(count)?;
        let count = usize::try_from(count)?;
        let mut requested = armed.lines.lock();
        // INVARIANT: Allocated just now; no line yet.
        let lines = requested.insert(lines);
        for index in 0..count {
            let line = Self::request(pdev, index, line(index)?)?;
            // INVARIANT: Requested just now. There is room, as was reserved.
            lines.push(line, GFP_KERNEL)?;
        }
        drop(requested);
        devres::register(pdev.as_ref(), AtUnbind(armed.clone()), GFP_KERNEL)?;
        Ok(Self { armed, count })
    }

    /// Requests vector `index`, which is allocated.
    fn request(
        pdev: &Device<Bound>,
        index: usize,
        (name, handler): (CString, H),
    ) -> Result<Pin<KBox<Line<H>>>> {
        // SAFETY: The device is valid; the function checks the index.
        let number = unsafe { bindings::pci_irq_vector(as_raw(pdev), u32::try_from(index)?) };
        to_result(number)?;
        let number = c_uint::try_from(number)?;
        let line = KBox::pin_init(Line::new(number, name, handler), GFP_KERNEL)?;
        // SAFETY: Name and cookie live in a box that is kept until `free_irq`, and `Line<H>` is
        // what the handler takes the cookie for.
        to_result(unsafe {
            bindings::request_threaded_irq(
                line.number,
                Some(handle::<H>),
                None,
                0,
                line.name.as_char_ptr(),
                line.cookie(),
            )
        })?;
        Ok(line)
    }

    /// Frees the handlers, waits until none of them runs any more, and frees the vectors, unless
    /// that was done before. May sleep.
    pub(crate) fn free(&self) {
        self.armed.free();
    }

    /// Ends the time for which any of them is held back, and holds none back until
    /// [`Vectors::allow_pauses`]. May sleep.
    pub(crate) fn end_pauses(&self) {
        self.armed.for_each(Line::end_pause);
    }

    /// Lets vectors be held back again. May sleep.
    pub(crate) fn allow_pauses(&self) {
        self.armed
            .for_each(|line| line.ending.store(false, Relaxed));
    }

    /// How many there are, or were before they were freed.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

impl<H: Handler> Drop for Vectors<H> {
    fn drop(&mut self) {
        self.free();
    }
}

impl<H: Handler> Line<H> {
    fn new(number: c_uint, name: CString, handler: H) -> impl PinInit<Self> {
        pin_init!(Self {
            number,
            name,
            handler,
            // SAFETY: `slot` can be written to; the clock and the mode exist.
            timer <- Opaque::ffi_init(|slot| unsafe {
                bindings::hrtimer_setup(
                    slot,
                    Some(end_pause::<H>),
                    // CAST: A small constant.
                    bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                    TIMER_MODE,
                )
            }),
            held_back: Atomic::new(false),
            ending: Atomic::new(false),
        })
    }

    /// What the interrupt core hands to [`handle`].
    fn cookie(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// Holds the vector back. Called by its handler.
    #[cold]
    #[inline(never)]
    fn pause(&self, time: Delta) {
        // Twice before the timer has run: an interrupt that was under way on another CPU.
        if self.ending.load(Acquire) || self.held_back.xchg(true, Full) {
            return;
        }
        // SAFETY: The vector is requested while its handler runs. Until the interrupt core masks
        // it, at the next interrupt, what comes is remembered, and made up for when it is enabled.
        unsafe { bindings::disable_irq_nosync(self.number) };
        // SAFETY: The timer is set up, and cancelled before it is freed.
        unsafe {
            bindings::hrtimer_start_range_ns(self.timer.get(), time.as_nanos(), 0, TIMER_MODE)
        };
    }

    /// Sees to it that the vector is enabled, and not held back again. May sleep.
    fn end_pause(&self) {
        self.ending.store(true, Release);
        // SAFETY: The vector is requested. After this, every handler sees that the end has come.
        unsafe { bindings::synchronize_irq(self.number) };
        // SAFETY: The timer is set up.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
        self.enable();
    }

    /// Enables the vector if it is held back.
    fn enable(&self) {
        if self.held_back.xchg(false, Full) {
            // SAFETY: The vector is requested, and was disabled once when `held_back` was set.
            unsafe { bindings::enable_irq(self.number) };
        }
    }
}

/// # Safety
///
/// Must be called by the interrupt core, for a line that [`Vectors::request`] requested.
unsafe extern "C" fn handle<H: Handler>(_: c_int, line: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: The cookie is the address of a boxed `Line<H>`, which lives until `free_irq` has
    // waited for this call.
    let line = unsafe { &*line.cast::<Line<H>>() };
    // SAFETY: A handler runs with interrupts off, also as a thread (`threadirqs`), but not so on
    // PREEMPT_RT. The context ends with the handler's call.
    let context = unsafe { IrqContext::assume() };
    if let Some(time) = line.handler.handle(&context) {
        line.pause(time);
    }
    HANDLED
}

/// # Safety
///
/// Must be called by the timer code, for the timer of a `Line<H>`.
unsafe extern "C" fn end_pause<H: Handler>(
    timer: *mut bindings::hrtimer,
) -> bindings::hrtimer_restart {
    // SAFETY: The timer is the field of a boxed `Line<H>`, which lives until `hrtimer_cancel` has
    // waited for this call.
    let line = unsafe { &*container_of!(Opaque::cast_from(timer), Line<H>, timer) };
    line.enable();
    NO_RESTART
}
