// SPDX-License-Identifier: GPL-2.0

//! What sysfs shows of each device, below its PCI device: `ivshmem/`, `ivshmem_parameters/` and
//! `ivshmem_statistics/`. `Documentation/sysfs-abi.rst` describes them.

use kernel::{
    fmt,
    prelude::*,
    str::CString, //
};

use crate::{
    device::Device,
    driver::Ivshmem,
    kapi::{
        attributes::{
            attribute_group,
            Groups, //
        },
        pci_driver::GROUPS, //
    },
    parameters, //
};

attribute_group!(DEVICE: Ivshmem, c"ivshmem", {
    c"size" => |device| show(device.window().size()),
    c"peer_id" => |device| show(device.peer_id()),
    c"vectors" => |device| show(device.vectors()),
    c"cache" => |device| show(device.window().cache().name()),
    c"page_order" => |device| show(device.window().page_order()),
    c"generation" => |device| show(device.events().generation()),
});

attribute_group!(PARAMETERS: Ivshmem, c"ivshmem_parameters", {
    c"cache" => |_| show(parameters::cache()),
    c"map_registers" => |_| show(u32::from(parameters::map_registers())),
    c"max_vectors" => |_| show(parameters::max_vectors()),
    c"peer_id" => |_| show(parameters::peer_id()),
});

attribute_group!(STATISTICS: Ivshmem, c"ivshmem_statistics", {
    c"interrupts" => |device| interrupts(device),
    c"doorbells" => |device| show(device.doorbells()),
    c"wake_ups" => |device| show(device.wake_ups()),
    c"held_back" => |device| show(device.pauses()),
    c"eventfds" => |device| show(device.events().eventfds()),
    c"opens" => |device| show(device.window().opens()),
    c"mappings" => |device| show(device.window().mappings()),
});

/// All groups.
pub(crate) static ALL: Groups<{ GROUPS + 1 }> = Groups::new(&[&DEVICE, &PARAMETERS, &STATISTICS]);

fn show(value: impl fmt::Display) -> Result<CString> {
    CString::try_from_fmt(fmt!("{}", value))
}

/// The count of each armed vector, with blanks between them.
fn interrupts(device: &Device) -> Result<CString> {
    struct Counts<'a>(&'a Device);

    impl fmt::Display for Counts<'_> {
        fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut before = "";
            for vector in 0..self.0.vectors() {
                write!(to, "{}{}", before, self.0.events().seq(vector))?;
                before = " ";
            }
            Ok(())
        }
    }

    show(Counts(device))
}
