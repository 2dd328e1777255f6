// SPDX-License-Identifier: GPL-2.0

//! The interrupt handlers of a device: one for each MSI-X vector, feeding its [`Events`].

use kernel::{
    device::{
        self,
        Bound, //
    },
    pci,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::Delta, //
};

use crate::{
    events::Events,
    index::Index,
    kapi::{
        irq,
        irq_context::IrqContext, //
    },
    moderation::{
        Moderation,
        Sampler, //
    }, //
};

/// The armed vectors of one device.
pub(crate) type Vectors = irq::Vectors<Vector>;

/// One vector.
pub(crate) struct Vector {
    index: usize,
    events: Arc<Events>,
    sampler: Sampler,
    moderation: Arc<Moderation>,
    device: ARef<device::Device>,
}

impl irq::Handler for Vector {
    /// The device's status register is not asked: with MSI-X it says nothing.
    #[inline(always)]
    fn handle(&self, context: &IrqContext) -> Option<Delta> {
        let seq = self.events.count(self.index)?;
        let sample = self.moderation.sample(seq);
        self.events.notify(self.index, seq, context);
        sample.and_then(|start| self.moderate(start))
    }
}

impl Vector {
    /// For how long to hold the vector back, if at all, whose handler began at `start`.
    #[cold]
    #[inline(never)]
    fn moderate(&self, start: i64) -> Option<Delta> {
        let pause = self.moderation.judge(&self.sampler, start);
        if pause.is_some() && self.moderation.may_say() {
            dev_warn!(
                self.device,
                "a peer rings vector {} faster than this machine keeps up with: held back\n",
                self.index
            );
        }
        pause
    }
}

/// Arms the vectors of `pdev`, at most `most` and at most as many as the device has.
/// `/proc/interrupts`, and on PREEMPT_RT the threads that handle them, show them as
/// `ivshmemN-VECTOR`.
///
/// One may fire at once, for a ring that was meant for somebody who had the device before.
pub(crate) fn arm(
    pdev: &pci::Device<Bound>,
    index: &Index,
    events: &Arc<Events>,
    moderation: &Arc<Moderation>,
    most: usize,
) -> Result<Vectors> {
    Vectors::new(pdev, most, |vector| {
        let name = CString::try_from_fmt(fmt!("ivshmem{}-{}", index.get(), vector))?;
        let handler = Vector {
            index: vector,
            events: events.clone(),
            sampler: Sampler::new(),
            moderation: moderation.clone(),
            device: pdev.as_ref().into(),
        };
        Ok((name, handler))
    })
}
