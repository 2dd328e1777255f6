// SPDX-License-Identifier: GPL-2.0

//! What all mappings of the device have in common.

use kernel::{
    mm::virt::{
        flags,
        VmaNew, //
    },
    prelude::*, //
};

/// Makes `vma` a mapping that is shared, not executable, not in core dumps and cannot grow.
///
/// `EINVAL` for a private mapping, `EACCES` for an executable one.
pub(super) fn restrict(vma: &VmaNew) -> Result {
    // Not VM_SHARED, which `mmap` clears for files that are open read-only. A private mapping would
    // make `vmf_insert_pfn` a BUG.
    if vma.flags() & flags::MAYSHARE == 0 {
        return Err(EINVAL);
    }
    vma.try_clear_mayexec().map_err(|_| EACCES)?;
    vma.set_dontexpand();
    vma.set_dontdump();
    Ok(())
}
