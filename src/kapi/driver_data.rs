// SPDX-License-Identifier: GPL-2.0

//! What callbacks of a PCI driver get of its data.

use kernel::pci;

/// A PCI driver with callbacks besides probing and unbinding.
pub(crate) trait DriverData: pci::Driver + 'static {
    /// What of the driver's data the callbacks need.
    type Shared: 'static;

    /// That part of the driver's data.
    fn shared<'a>(data: &'a Self::Data<'_>) -> &'a Self::Shared;
}
