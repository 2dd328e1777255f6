// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Numbers that tell one channel, or one program, from another.

use rustix::rand::{getrandom, GetRandomFlags};

use crate::Result;

/// A number that is not 0 and that was hardly used before.
pub(crate) fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    loop {
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|error| ivshmem::Error::io(error, "getrandom failed"))?;
        match u32::from_ne_bytes(bytes) {
            0 => {}
            number => return Ok(number),
        }
    }
}
