// SPDX-License-Identifier: GPL-2.0

//! The interrupt handlers of a device: one for each MSI-X vector, feeding its [`Events`].

use kernel::{
    irq::{
        Handler,
        IrqReturn, //
    },
    prelude::*,
    sync::Arc, //
};

use crate::{
    abi::pci::MAX_VECTORS,
    events::Events,
    kapi::irq, //
};

/// What `/proc/interrupts` shows.
const NAMES: [&CStr; MAX_VECTORS] = [
    c"ivshmem-0",
    c"ivshmem-1",
    c"ivshmem-2",
    c"ivshmem-3",
    c"ivshmem-4",
    c"ivshmem-5",
    c"ivshmem-6",
    c"ivshmem-7",
];

/// The armed vectors of one device.
pub(crate) type Vectors<'bound> = irq::Vectors<'bound, Vector>;

/// One vector.
pub(crate) struct Vector {
    index: usize,
    events: Arc<Events>,
}

impl Handler for Vector {
    /// The device's status register is not asked: with MSI-X it says nothing.
    fn handle(&self) -> IrqReturn {
        self.events.interrupt(self.index);
        IrqReturn::Handled
    }
}

/// Arms the vectors of `pdev`, at most [`MAX_VECTORS`] and at most as many as the device has.
///
/// One may fire at once, for a ring that was meant for somebody who had the device before.
pub(crate) fn arm<'bound>(
    pdev: &'bound kernel::pci::Device<kernel::device::Bound>,
    events: &Arc<Events>,
) -> Result<Vectors<'bound>> {
    irq::Vectors::new(pdev, &NAMES, |index| Vector {
        index,
        events: events.clone(),
    })
}
