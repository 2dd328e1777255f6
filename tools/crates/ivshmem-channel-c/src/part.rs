// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages where they are.

use std::ffi::c_void;
use std::ops::Range;

use ivshmem::Memory;

use crate::boundary::written;
use crate::error::Failure;

/// Part of a message, in the shared memory.
#[repr(C)]
pub struct Part {
    /// Where it begins; null if it has no bytes.
    pub at: *mut c_void,
    /// Its length in bytes.
    pub len: usize,
}

/// Gives out where a message is in `memory`.
///
/// # Safety
///
/// As [`written`], for two parts.
pub(crate) unsafe fn parts(
    out: *mut Part,
    memory: &impl Memory,
    ranges: [Range<u64>; 2],
) -> Result<(), Failure> {
    // SAFETY: The caller's promise is the same.
    let out = unsafe { written(out, ranges.len())? };
    for (out, range) in out.iter_mut().zip(ranges) {
        // CAST: A length in memory that is mapped.
        let len = (range.end - range.start) as usize;
        let at = match len {
            0 => std::ptr::null_mut(),
            _ => memory
                .address(range.start, len)
                .ok_or(Failure::Argument("the memory has no address"))?
                .as_ptr(),
        };
        out.write(Part { at: at.cast(), len });
    }
    Ok(())
}
