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
    cursor::Batch,
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

        let mut room = to.len() / RECORD;
        if room == 0 {
            return Err(EINVAL);
        }
        let mut batch = Batch::new();
        // Each vector once, lowest first: one that is rung all the time keeps no other back.
        let (mut total, mut left) = (0, u64::MAX);
        while room > 0 && left != 0 {
            // What was delivered is not to be lost: from the second batch on, this neither waits
            // nor fails.
            match self.next_events(left, room, nonblocking || total > 0, &mut batch) {
                Ok(()) => {}
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            }
            let records = batch.records();
            let delivered = to.copy_to_iter(records.as_bytes()) / RECORD;
            total += delivered;
            room -= delivered;
            // A record that did not arrive whole counts as not delivered.
            let undelivered = records.get(delivered..).unwrap_or(&[]);
            // CAST: `u32` fits into `usize`.
            self.put_back(
                undelivered
                    .iter()
                    .map(|event| (event.vector as usize, event.count)),
            );
            if !undelivered.is_empty() || records.len() < Batch::MAX {
                break;
            }
            let last = records.last().map_or(u32::MAX, |event| event.vector);
            left = u64::MAX.checked_shl(last.saturating_add(1)).unwrap_or(0);
        }
        if total == 0 {
            return Err(EFAULT);
        }
        Ok(total * RECORD)
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
        let mut before = "seen:\t";
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
