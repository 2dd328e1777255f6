// SPDX-License-Identifier: GPL-2.0

//! What the driver is told, and asked, about a device between binding and unbinding.

use crate::{
    attributes,
    device::Device,
    driver::Ivshmem,
    kapi::{
        attributes::Groups,
        pci_driver::{
            PciDriver,
            GROUPS, //
        }, //
    }, //
};

impl PciDriver for Ivshmem {
    const GROUPS: &'static Groups<{ GROUPS + 1 }> = &attributes::ALL;

    fn resume(device: &Device) {
        device.resume();
    }

    fn reset_prepare(device: &Device) {
        device.pause();
    }

    fn reset_done(device: &Device) {
        device.resume();
    }
}
