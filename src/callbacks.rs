// SPDX-License-Identifier: GPL-2.0

//! What the driver is told, and asked, about a device between binding and unbinding.

use crate::{
    attributes,
    driver::{
        Ivshmem,
        Running, //
    },
    kapi::{
        attributes::RawGroups,
        pci::Configuration,
        pci_driver::PciDriver, //
    }, //
};

impl PciDriver for Ivshmem {
    const GROUPS: RawGroups<Self> = attributes::ALL.as_raw();

    fn resume(running: &Running) {
        running.resume();
    }

    fn reset_prepare(running: &Running) {
        running.pause();
    }

    fn reset_done(running: &Running) {
        running.resume();
    }

    fn error(running: &Running) {
        running.begin_recovery();
    }

    fn configuration(running: &Running) -> &Configuration {
        running.configuration()
    }

    fn recovered(running: &Running) {
        running.end_recovery();
    }

    fn lost(running: &Running) {
        running.end();
    }
}
