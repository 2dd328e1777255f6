// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! That the model and all it depends on do without `std`: it would bring a second panic handler, which the compiler
//! refuses. A firmware's test harness would use the model like this.

#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use ivshmem_model::flavour::AcrnHv;
use ivshmem_model::{AttachError, PeerId, Region};

/// A region of ACRN's hypervisor with these virtual machines.
pub fn region(vms: &[PeerId]) -> Result<Region<Vec<u8>>, AttachError> {
    let mut region = Region::new(AcrnHv::V3_3, vec![0; 2 << 20]);
    for vm in vms {
        region.attach(*vm)?;
    }
    Ok(region)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
