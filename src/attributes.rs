// SPDX-License-Identifier: GPL-2.0

//! What sysfs shows of each device, below its PCI device: `ivshmem/`, `ivshmem_parameters/` and
//! `ivshmem_statistics/`. `Documentation/userspace-api.rst` describes them.

use kernel::{
    fmt,
    prelude::*,
    str::CString, //
};

use crate::{
    device::Device,
    driver::Ivshmem,
    kapi::attributes::{
        attribute_group,
        Groups, //
    },
    parameters, //
};

attribute_group!(DEVICE: Ivshmem, c"ivshmem", {
    c"size" => |running| show(running.device().window().size()),
    c"peer_id" => |running| show(running.device().peer_id()),
    c"vectors" => |running| show(running.device().vectors()),
    c"cache" => |running| show(running.device().window().cache().name()),
    c"page_order" => |running| show(running.device().window().page_order()),
    c"generation" => |running| show(running.device().events().generation()),
});

attribute_group!(PARAMETERS: Ivshmem, c"ivshmem_parameters", {
    c"cache" => |_| show(parameters::cache()),
    c"map_registers" => |_| show(u32::from(parameters::map_registers())),
    c"max_vectors" => |_| show(parameters::max_vectors()),
    c"peer_id" => |_| show(parameters::peer_id()),
});

attribute_group!(STATISTICS: Ivshmem, c"ivshmem_statistics", {
    c"interrupts" => |running| interrupts(running.device()),
    c"doorbells" => |running| show(running.device().doorbells()),
    c"wake_ups" => |running| show(running.device().wake_ups()),
    c"held_back" => |running| show(running.device().pauses()),
    c"eventfds" => |running| show(running.device().events().eventfds()),
    c"opens" => |running| show(running.device().window().opens()),
    c"mappings" => |running| show(running.device().window().mappings()),
});

/// All groups.
pub(crate) static ALL: Groups<Ivshmem, 4> = Groups::new(&[&DEVICE, &PARAMETERS, &STATISTICS]);

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
