// SPDX-License-Identifier: GPL-2.0

//! What system calls on an open `/dev/ivshmemN` do.

use kernel::{
    fs::{
        self,
        file::flags, //
    },
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
            Stretch, //
        },
        pci::MAX_VECTORS, //
    },
    cursor::Among,
    device::Device,
    file::File,
    ioctl,
    kapi::{
        chardev::OpenFile,
        wait::{
            ready,
            PollTable, //
        }, //
    }, //
};

impl OpenFile for File {
    type Device = Arc<Device>;

    fn open(device: &Arc<Device>, file: &fs::File) -> Result<Pin<KBox<Self>>> {
        Self::new(device, file)
    }

    fn release(this: Pin<KBox<Self>>, file: &fs::File) {
        for vector in 0..MAX_VECTORS {
            this.device().events().unbind(this.cursor().owner, vector);
        }
        this.device().detach(file);
    }

    fn read(&self, file: &fs::File, to: &mut IovIterDest<'_>) -> Result<usize> {
        const RECORD: usize = size_of::<Event>();

        let room = to.len() / RECORD;
        if room == 0 {
            return Err(EINVAL);
        }
        let taken = self.next_events(room, file.flags() & flags::O_NONBLOCK != 0)?;
        let delivered = to.copy_to_iter(taken.records().as_bytes()) / RECORD;
        // A record that did not arrive whole counts as not delivered.
        let undelivered = taken.records().get(delivered..).unwrap_or(&[]);
        self.cursor().put_back(self.device().events(), undelivered);
        if delivered == 0 {
            return Err(EFAULT);
        }
        Ok(delivered * RECORD)
    }

    fn poll(&self, file: &fs::File, table: &PollTable<'_>) -> u32 {
        let events = self.device().events();
        events.queue().poll(file, table);
        let mut now = 0;
        if events.is_dead() {
            now |= ready::ERROR | ready::HANG_UP;
        }
        if self.device().check_doorbell().is_err() {
            now |= ready::ERROR;
        }
        if self.cursor().pending(events, Among::Subscribed) != 0 {
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
        let stretch = Stretch::new(first_page as u64, len, PAGE_SHIFT as u32).ok_or(EINVAL)?;
        match stretch.region() {
            Region::Memory if stretch.fits(self.device().window().size()) => {
                self.device().window().map(vma)
            }
            Region::Events if stretch.offset() == 0 => self.device().events().page().map(vma),
            Region::Registers => match self.device().register_page() {
                Some(page) if stretch.fits(page.size()) => page.map(vma),
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
        for seen in self.cursor().seen() {
            seq_print!(to, "{}{}", before, seen);
            before = " ";
        }
        seq_print!(to, "\nmask:\t{:x}\n", self.cursor().subscribed());
        let bound = self.device().events().bound_vectors(self.cursor().owner);
        seq_print!(to, "eventfds:\t{:x}\n", bound);
        seq_print!(
            to,
            "cache:\t{}\n",
            self.device().window().cache().short_name()
        );
        seq_print!(to, "page_order:\t{}\n", self.device().window().page_order());
    }
}
