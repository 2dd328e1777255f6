// SPDX-License-Identifier: GPL-2.0

//! A device's interrupt vectors together with their handlers.
//!
//! `kernel::irq::Registration` borrows from the `IrqVectorRegistration` that it must not outlive.
//! A driver keeps both in one structure, which safe Rust cannot express; this is that structure.

use kernel::{
    device::Bound,
    irq::{
        Flags,
        Handler,
        IrqRequest,
        Registration, //
    },
    pci::{
        Device,
        IrqType,
        IrqTypes,
        IrqVectorRegistration, //
    },
    prelude::*, //
};

/// MSI-X vectors, each with a handler of type `H`.
///
/// Dropping it frees the handlers, waits until none of them runs any more, and frees the vectors.
// The handlers must go before the vectors: fields are dropped in the order of their declaration.
pub(crate) struct Vectors<'bound, H: Handler + 'bound> {
    handlers: KVec<Pin<KBox<Registration<'bound, H>>>>,
    _vectors: KBox<IrqVectorRegistration<'bound>>,
}

impl<'bound, H: Handler + 'bound> Vectors<'bound, H> {
    /// Allocates 1 to `names.len()` MSI-X vectors and requests each with the handler that `handler`
    /// makes for its index. Interrupts can come before this returns.
    ///
    /// `names` are what `/proc/interrupts` shows.
    pub(crate) fn new(
        pdev: &'bound Device<Bound>,
        names: &[&'static CStr],
        handler: impl Fn(usize) -> H,
    ) -> Result<Self> {
        let most = u32::try_from(names.len())?;
        let types = IrqTypes::default().with(IrqType::MsiX);
        let vectors = KBox::new(pdev.alloc_irq_vectors(1, most, types)?, GFP_KERNEL)?;
        // SAFETY: The box is kept in the returned structure, whose `handlers`, which use this
        // reference, are dropped before it.
        let borrowed: &'bound IrqVectorRegistration<'bound> =
            unsafe { &*core::ptr::from_ref(&*vectors) };

        let mut handlers = KVec::with_capacity(borrowed.len(), GFP_KERNEL)?;
        for (index, &name) in names.iter().enumerate().take(borrowed.len()) {
            let request = IrqRequest::from(borrowed.index(index)?);
            // SAFETY: The registration goes into `handlers`, which is dropped with the structure
            // that is returned or, on failure, here; it is never forgotten.
            let registration = unsafe {
                Registration::new(request, Flags::TRIGGER_NONE, name, Ok(handler(index)))
            };
            handlers.push(KBox::pin_init(registration, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self {
            handlers,
            _vectors: vectors,
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.handlers.len()
    }
}
