// SPDX-License-Identifier: GPL-2.0

//! What the open files share, alive until the last of them is closed, longer than the device.
//!
//! Two lifetimes: [`crate::driver::Data`] dies when the driver is unbound; a [`Device`] is counted
//! by references, of which each open file has one; interrupt handlers have the [`Events`] only. Nothing that a
//! `Device` holds needs the PCI device to be there: the registers are revoked and the window is
//! closed at unbind.
//!
//! Lock order, outermost first. There is no place that takes two of a line.
//!
//! 1. the device's lock (driver core), `mmap_lock` and the locks of areas
//! 2. `misc_mtx`
//! 3. the lock of [`Window`]
//! 4. `i_mmap_rwsem`, page table locks (kernel)
//!
//! The spinlocks of [`Events`] and of the files' cursors (in this order, see `events.rs`) are taken
//! with interrupts off, under none of the above and with none of them inside. No user memory is
//! touched under any of these locks.

use kernel::{
    fs,
    io::Io,
    pci,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        barrier::{
            mb,
            Write, //
        },
        Arc, //
    }, //
};

use crate::{
    abi::{
        ioctl::{
            Info,
            ABI_VERSION,
            BUS_ID_LEN,
            CACHE_UC,
            CACHE_WB,
            CACHE_WC,
            INFO_DOORBELL,
            INFO_PEER_ID_OVERRIDDEN,
            INFO_REGISTERS_MAPPABLE, //
        },
        regs::{
            self,
            Doorbell, //
        }, //
    },
    events::{
        Events,
        FileId, //
    },
    kapi::{
        cache::Cache,
        window::Window, //
    }, //
};

/// The registers, inaccessible once the device is unbound.
pub(crate) type Registers = pci::DevresBar<{ regs::END }>;

/// What was found out when the device was bound and does not change.
pub(crate) struct Facts {
    /// Peer ID that the device reports.
    pub(crate) position: u32,
    /// Peer ID that the administrator wants to be reported instead.
    pub(crate) peer_override: Option<u32>,
    /// Armed vectors, 0 if the device cannot interrupt.
    pub(crate) vectors: usize,
    /// Vectors of the MSI-X table.
    pub(crate) vectors_offered: u32,
    /// PCI revision.
    pub(crate) revision: u8,
    /// PCI subsystem vendor and device.
    pub(crate) subsystem: (u16, u16),
    /// PCI address with a NUL.
    pub(crate) bus_id: [u8; BUS_ID_LEN],
}

/// A device as its open files see it.
pub(crate) struct Device {
    registers: Registers,
    events: Arc<Events>,
    window: Arc<Window>,
    register_page: Option<Arc<Window>>,
    facts: Facts,
    files: Atomic<u64>,
    doorbells: Atomic<u64>,
}

impl Device {
    /// Puts the parts together.
    pub(crate) fn new(
        registers: Registers,
        events: Arc<Events>,
        window: Arc<Window>,
        register_page: Option<Arc<Window>>,
        facts: Facts,
    ) -> Self {
        Self {
            registers,
            events,
            window,
            register_page,
            facts,
            files: Atomic::new(0),
            doorbells: Atomic::new(0),
        }
    }

    /// The events.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The shared memory.
    pub(crate) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// The page of the registers; `None` if programs may not map it.
    pub(crate) fn register_page(&self) -> Option<&Arc<Window>> {
        self.register_page.as_ref()
    }

    /// Remembers an open file, so that its mappings are found when the device goes. `ENODEV` once it
    /// is gone.
    pub(crate) fn attach(&self, file: &fs::File) -> Result {
        self.window.attach(file)?;
        match &self.register_page {
            Some(page) => page.attach(file).inspect_err(|_| self.window.detach(file)),
            None => Ok(()),
        }
    }

    /// Forgets an open file that was attached; its mappings are gone.
    pub(crate) fn detach(&self, file: &fs::File) {
        self.window.detach(file);
        if let Some(page) = &self.register_page {
            page.detach(file);
        }
    }

    /// Mask of the armed vectors.
    pub(crate) fn armed(&self) -> u64 {
        (1 << self.facts.vectors) - 1
    }

    /// A number for a new open file.
    pub(crate) fn next_file(&self) -> FileId {
        FileId(self.files.fetch_add(1, Relaxed))
    }

    /// `ENODEV` once the device is gone.
    pub(crate) fn check_alive(&self) -> Result {
        if self.events.is_dead() {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// `EOPNOTSUPP` if the device can neither interrupt nor be rung.
    pub(crate) fn check_doorbell(&self) -> Result {
        if self.facts.vectors == 0 {
            return Err(EOPNOTSUPP);
        }
        Ok(())
    }

    /// Rings a peer; `ENODEV` once the device is gone. Does not sleep.
    pub(crate) fn ring(&self, doorbell: Doorbell) -> Result {
        let registers = self.registers.try_access().ok_or(ENODEV)?;
        // Everything that this thread wrote to the shared memory goes before the doorbell, also if
        // the memory is mapped write-combining, which the ordering inside of `writel` would not
        // cover. The peer's half of this pair: its interrupt handler counts with Release, and its
        // programs see the count with Acquire (`Events::interrupt`, `Events::seq`).
        mb(Write);
        registers.write32(doorbell.bits(), regs::DOORBELL);
        self.doorbells.add(1u64, Relaxed);
        Ok(())
    }

    /// Number of doorbells rung since the driver bound.
    pub(crate) fn doorbells(&self) -> u64 {
        self.doorbells.load(Relaxed)
    }

    /// Answers `GET_INFO`.
    pub(crate) fn info(&self) -> Info {
        let facts = &self.facts;
        let mut flags = 0;
        if facts.vectors > 0 {
            flags |= INFO_DOORBELL;
        }
        if facts.peer_override.is_some() {
            flags |= INFO_PEER_ID_OVERRIDDEN;
        }
        if self.register_page.is_some() {
            flags |= INFO_REGISTERS_MAPPABLE;
        }
        Info {
            abi_version: ABI_VERSION,
            flags,
            shm_size: self.window.size(),
            peer_id: self.peer_id(),
            // CAST: At most 8.
            vectors: facts.vectors as u32,
            vectors_offered: facts.vectors_offered,
            revision: facts.revision.into(),
            subsystem_vendor: facts.subsystem.0,
            subsystem_device: facts.subsystem.1,
            cache: match self.window.cache() {
                Cache::WriteBack => CACHE_WB,
                Cache::WriteCombining => CACHE_WC,
                Cache::Uncached => CACHE_UC,
            },
            page_order: self.window.page_order(),
            generation: self.events.generation(),
            bus_id: facts.bus_id,
            reserved: [0; 8],
        }
    }

    /// The peer ID to report.
    pub(crate) fn peer_id(&self) -> u32 {
        self.facts.peer_override.unwrap_or(self.facts.position)
    }

    /// The machine slept, and the device works again. Nothing has to be written to it: the PCI core
    /// has brought back the vectors, and the interrupt mask means nothing with MSI-X.
    pub(crate) fn resume(&self) {
        self.events.resume(self.facts.vectors);
    }

    /// The end of the device, called when it is unbound: no interrupt comes any more, no file can
    /// be opened. Wakes everybody, then takes the memory away. May sleep.
    pub(crate) fn close(&self) {
        self.events.die();
        self.window.close();
        if let Some(page) = &self.register_page {
            page.close();
        }
    }
}
