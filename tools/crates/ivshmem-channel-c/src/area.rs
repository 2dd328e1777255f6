// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Parts of the memory by name.

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use ivshmem_channel::{Areas, Error};

use crate::boundary::{guard, some, tell, text};
use crate::error::Failure;
use crate::link::{link as of_link, Link};

/// Finds the area `name` by the directory at byte `base` of the memory, a multiple of 4096, or makes it, with at least `size`
/// bytes. The directory takes 4096 bytes and is made if it is not there; areas follow it. All programs have to ask for the
/// same size. Sets `start` to the byte of the memory where the area begins, a multiple of 4096: what an area is for is
/// its users' matter, for example a channel with that base. Does not block, and a program that is killed meanwhile keeps
/// nobody from it. Names are told apart by 48 bits that are computed from them.
///
/// Returns 0; -EEXIST if the area has another size; -ENOSPC if there is no room for it or for its entry; -EOPNOTSUPP if the
/// memory is not mapped write-back and this machine needs that; -ESTALE if somebody recreates the directory at the same time;
/// -EINVAL if a pointer is null, `base` cannot be, or the name is not UTF-8; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_area_claim(
    link: Option<&Link>,
    base: u64,
    name: *const c_char,
    size: u64,
    start: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `text` asks.
        let name = unsafe { name_of(name)? };
        let start = some(start, "the start")?;
        let areas = Areas::open_or_create(of_link(link)?, base)?;
        start.write(areas.claim(name, size).map_err(no_room)?.start);
        Ok(0)
    })
}

/// Finds the area `name` as ivshmem_channel_area_claim() does, and makes neither it nor the directory. Sets `start` to the byte
/// of the memory where it begins, and `size` to its bytes, a multiple of 4096; each may be null.
///
/// Returns 0; -ENOENT if nobody has claimed it; else as ivshmem_channel_area_claim().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_area_find(
    link: Option<&Link>,
    base: u64,
    name: *const c_char,
    start: Option<&mut MaybeUninit<u64>>,
    size: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `text` asks.
        let name = unsafe { name_of(name)? };
        let areas = Areas::open(of_link(link)?, base)?.ok_or(Failure::NoArea)?;
        let area = areas.find(name).map_err(no_room)?;
        let area = area.ok_or(Failure::NoArea)?;
        tell(start, area.start);
        tell(size, area.end - area.start);
        Ok(0)
    })
}

/// # Safety
///
/// As [`text`].
unsafe fn name_of<'a>(name: *const c_char) -> Result<&'a str, Failure> {
    // SAFETY: The caller's promise is the same.
    let name = unsafe { text(name, "the name")? };
    name.to_str()
        .ok_or(Failure::Argument("the name is not UTF-8"))
}

fn no_room(error: Error) -> Failure {
    match error {
        Error::Layout(why) => Failure::NoRoom(why),
        other => other.into(),
    }
}
