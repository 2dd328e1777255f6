// SPDX-License-Identifier: GPL-2.0

//! What system calls on an open `/dev/ivshmemN` do.

use kernel::{
    fs,
    iov::IovIterDest,
    mm::virt::VmaNew,
    page::PAGE_SHIFT,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

use crate::{
    abi::{
        events::Event,
        mmap::{
            Region,
            RegionRange, //
        }, //
    },
    device::Device,
    file::File,
    ioctl,
    kapi::{
        chardev::OpenFile,
        wait::{
            ready,
            WaitQueue, //
        }, //
    }, //
};

impl OpenFile for File {
    type Device = Arc<Device>;

    fn open(device: &Arc<Device>, file: &fs::File) -> Result<Pin<KBox<Self>>> {
        Self::new(device, file)
    }

    fn release(this: Pin<KBox<Self>>, file: &fs::File) {
        this.close(file);
    }

    fn read(&self, to: &mut IovIterDest<'_>, nonblocking: bool) -> Result<usize> {
        const RECORD: usize = size_of::<Event>();

        if to.len() < RECORD {
            return Err(EINVAL);
        }
        let mut event = self.next_event(nonblocking)?;
        let mut total = 0;
        loop {
            // A record that did not arrive whole counts as not delivered.
            if to.copy_to_iter(event.as_bytes()) < RECORD {
                // CAST: `u32` fits into `usize`.
                self.put_back([(event.vector as usize, event.count)].into_iter());
                return if total > 0 { Ok(total) } else { Err(EFAULT) };
            }
            total += RECORD;
            if to.len() < RECORD {
                return Ok(total);
            }
            // Each vector once, lowest first: one that is rung all the time keeps no other back.
            match self.event_above(event.vector) {
                Some(next) => event = next,
                None => return Ok(total),
            }
        }
    }

    fn poll_queue(&self) -> &WaitQueue {
        self.waiters().queue()
    }

    fn poll(&self) -> u32 {
        self.waiters().join();
        let mut now = 0;
        if self.device().events().is_dead() {
            now |= ready::ERROR | ready::HANG_UP;
        }
        if self.device().check_can_wait().is_err() {
            now |= ready::ERROR;
        }
        if self.is_pending() {
            now |= ready::READ;
        }
        now
    }

    fn size(&self) -> i64 {
        // CAST: A BAR's size is far below 2^63.
        self.device().window().size() as i64
    }

    fn mmap(&self, vma: &VmaNew, first_page: usize) -> Result {
        self.device().check_alive()?;
        // CAST: `usize` is at most 64 bits wide, and page shifts are small.
        let len = (vma.end() - vma.start()) as u64;
        let range = RegionRange::new(first_page as u64, len, PAGE_SHIFT as u32).ok_or(EINVAL)?;
        match range.region() {
            Region::Memory if range.fits(self.device().window().size()) => {
                self.device().window().map(vma)
            }
            Region::Events if range.offset() == 0 => self.device().events().page().map(vma),
            Region::Registers => match self.device().register_page() {
                Some(page) if range.fits(page.size()) => page.map(vma),
                Some(_) => Err(EINVAL),
                None => Err(EACCES),
            },
            Region::Memory | Region::Events => Err(EINVAL),
        }
    }

    fn ioctl(&self, file: &fs::File, command: u32, argument: usize) -> Result<isize> {
        ioctl::dispatch(self, file, command, argument)
    }

    fn show_fdinfo(&self, to: &SeqFile) {
        seq_print!(to, "seen:\t");
        let mut before = "";
        for seen in (0..).map_while(|vector| self.cursor().seen(vector)) {
            seq_print!(to, "{}{}", before, seen);
            before = " ";
        }
        seq_print!(to, "\nmask:\t{:x}\n", self.subscribed());
        seq_print!(to, "eventfds:\t{:x}\n", self.eventfds());
        seq_print!(
            to,
            "cache:\t{}\n",
            self.device().window().cache().short_name()
        );
        seq_print!(to, "page_order:\t{}\n", self.device().window().page_order());
    }
}
