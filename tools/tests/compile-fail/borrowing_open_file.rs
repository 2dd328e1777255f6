// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! error: E0478
//!
//! An open file that borrows: it would outlive what it borrows from, which may end with the registration.

use kernel::{
    fs,
    iov::IovIterDest,
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::atomic::Atomic, //
};

use crate::kapi::{
    chardev::OpenFile,
    wait::WaitQueue, //
};

struct Borrower<'a>(&'a Atomic<u64>);

impl<'a> OpenFile for Borrower<'a> {
    type Device = &'a Atomic<u64>;

    fn open(_: &Self::Device, _: &fs::File) -> Result<Pin<KBox<Self>>> {
        Err(EINVAL)
    }

    fn release(_: Pin<KBox<Self>>, _: &fs::File) {}

    fn read(&self, _: &mut IovIterDest<'_>, _: bool) -> Result<usize> {
        Err(EINVAL)
    }

    fn poll_queue(&self) -> &WaitQueue {
        loop {}
    }

    fn poll(&self) -> u32 {
        0
    }

    fn size(&self) -> i64 {
        0
    }

    fn mmap(&self, _: &VmaNew, _: usize) -> Result {
        Err(EINVAL)
    }

    fn ioctl(&self, _: &fs::File, _: u32, _: usize) -> Result<isize> {
        Err(EINVAL)
    }

    fn show_fdinfo(&self, _: &SeqFile) {}
}
