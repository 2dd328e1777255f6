// SPDX-License-Identifier: GPL-2.0

//! What the open files share, alive until the last of them is closed, longer than the device.
//!
//! Two lifetimes: [`crate::driver::Data`] dies when the driver is unbound; a [`Device`] is counted
//! by references, of which each open file has one; interrupt handlers have the [`Events`] only.
//! Nothing that a `Device` holds needs the PCI device to be there: the registers are revoked and
//! the window is closed at unbind.
//!
//! Lock order, outermost first. There is no place that takes two of a line.
//!
//! 1. the device's lock (driver core), `mmap_lock` and the locks of areas
//! 2. `misc_mtx`
//! 3. the locks of [`Window`], [`Exports`] and [`crate::vectors::Vectors`]
//! 4. `i_mmap_rwsem`, page table locks (kernel)
//!
//! The spinlocks of [`Events`], with interrupts off, are taken under none of the above and with
//! none of them inside. No user memory is touched under any of these locks.

use kernel::{
    fs,
    io::Io,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
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
    eventfds::FileId,
    events::Events,
    kapi::{
        barrier::write_barrier,
        cache::Cache,
        compat::{
            not_supported,
            DevresBar, //
        },
        dma_buf::Exports,
        trace,
        window::Window, //
    },
    moderation::Moderation, //
};

/// The registers, inaccessible once the device is unbound.
pub(crate) type Registers = DevresBar<{ regs::END }>;

/// What was found out when the device was bound and does not change.
pub(crate) struct Properties {
    /// The N of `/dev/ivshmemN`.
    pub(crate) number: u32,
    /// Peer ID that the administrator wants to be reported instead of the device's.
    pub(crate) peer_override: Option<u32>,
    /// Armed vectors, 0 if the device cannot interrupt this machine.
    pub(crate) vectors: usize,
    /// Vectors of the MSI-X table, 0 if the device has no doorbell.
    pub(crate) vectors_offered: u32,
    /// PCI revision.
    pub(crate) revision: u8,
    /// PCI subsystem vendor and device.
    pub(crate) subsystem: (u16, u16),
    /// PCI address with a NUL.
    pub(crate) bus_id: [u8; BUS_ID_LEN],
}

/// Counters that hot paths write, away from what they read.
#[repr(align(64))]
struct Statistics {
    doorbells: Atomic<u64>,
    wake_ups: Atomic<u64>,
}

/// A device as its open files see it.
pub(crate) struct Device {
    registers: Registers,
    events: Arc<Events>,
    window: Arc<Window>,
    exports: Arc<Exports>,
    register_page: Option<Arc<Window>>,
    moderation: Arc<Moderation>,
    properties: Properties,
    /// Peer ID that the device reports.
    position: Atomic<u32>,
    files: Atomic<u64>,
    statistics: Statistics,
}

impl Device {
    /// Puts the parts together.
    pub(crate) fn new(
        registers: Registers,
        events: Arc<Events>,
        exports: Arc<Exports>,
        register_page: Option<Arc<Window>>,
        moderation: Arc<Moderation>,
        position: u32,
        properties: Properties,
    ) -> Self {
        Self {
            registers,
            events,
            window: exports.window().clone(),
            exports,
            register_page,
            moderation,
            properties,
            position: Atomic::new(position),
            files: Atomic::new(0),
            statistics: Statistics {
                doorbells: Atomic::new(0),
                wake_ups: Atomic::new(0),
            },
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

    /// The dma-bufs of the shared memory.
    pub(crate) fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// The page of the registers; `None` if programs may not map it.
    pub(crate) fn register_page(&self) -> Option<&Arc<Window>> {
        self.register_page.as_ref()
    }

    /// Remembers an open file, so that its mappings are found when the device goes. `ENODEV` once
    /// it is gone.
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

    /// How many vectors are armed.
    pub(crate) fn vectors(&self) -> usize {
        self.properties.vectors
    }

    /// Mask of the armed vectors.
    pub(crate) fn armed(&self) -> u64 {
        match self.properties.vectors {
            0 => 0,
            vectors => u64::MAX >> (64 - vectors),
        }
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

    /// `EOPNOTSUPP` if the device has no doorbell. Whether it can interrupt this machine is another
    /// question.
    pub(crate) fn check_can_ring(&self) -> Result {
        if self.properties.vectors_offered == 0 {
            return Err(not_supported());
        }
        Ok(())
    }

    /// `EOPNOTSUPP` if no vector is armed, so that nothing can ever be pending.
    pub(crate) fn check_can_wait(&self) -> Result {
        if self.properties.vectors == 0 {
            return Err(not_supported());
        }
        Ok(())
    }

    /// Rings peers, unless the device is being reset, when doorbells would be lost; whether it did.
    /// `ENODEV` once the device is gone. Does not sleep.
    #[inline(always)]
    pub(crate) fn ring(&self, doorbells: impl IntoIterator<Item = Doorbell>) -> Result<bool> {
        // From here on a critical section of RCU, as `is_paused` asks for.
        let registers = self.registers.try_access().ok_or(ENODEV)?;
        if self.window.is_paused() {
            return Ok(false);
        }
        // Everything that this thread wrote to the shared memory goes before the doorbells. The
        // peer's half of this pair: its interrupt handler counts fully ordered, and its programs
        // have a read barrier after the count (`Events::count`, `Events::observed`).
        write_barrier();
        let mut count = 0u64;
        for doorbell in doorbells {
            trace::ring(self.properties.number, doorbell.peer(), doorbell.vector());
            registers.write32(doorbell.bits(), regs::DOORBELL);
            count += 1;
        }
        self.statistics.doorbells.add(count, Relaxed);
        Ok(true)
    }

    /// Number of doorbells rung since the driver bound.
    pub(crate) fn doorbells(&self) -> u64 {
        self.statistics.doorbells.load(Relaxed)
    }

    /// A thread slept for events and was woken.
    pub(crate) fn count_wake_up(&self) {
        self.statistics.wake_ups.add(1u64, Relaxed);
    }

    /// Number of times that a thread slept for events and was woken.
    pub(crate) fn wake_ups(&self) -> u64 {
        self.statistics.wake_ups.load(Relaxed)
    }

    /// How often a vector was held back because peers rang too fast.
    pub(crate) fn pauses(&self) -> u64 {
        self.moderation.pauses()
    }

    /// Answers `GET_INFO`.
    pub(crate) fn info(&self) -> Info {
        let properties = &self.properties;
        let mut flags = 0;
        if properties.vectors_offered > 0 {
            flags |= INFO_DOORBELL;
        }
        if properties.peer_override.is_some() {
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
            // CAST: At most 64.
            vectors: properties.vectors as u32,
            vectors_offered: properties.vectors_offered,
            revision: properties.revision.into(),
            subsystem_vendor: properties.subsystem.0,
            subsystem_device: properties.subsystem.1,
            cache: match self.window.cache() {
                Cache::WriteBack => CACHE_WB,
                Cache::WriteCombining => CACHE_WC,
                Cache::Uncached => CACHE_UC,
            },
            page_order: self.window.page_order(),
            generation: self.events.generation(),
            bus_id: properties.bus_id,
            reserved: [0; 8],
        }
    }

    /// The peer ID to report.
    pub(crate) fn peer_id(&self) -> u32 {
        self.properties
            .peer_override
            .unwrap_or_else(|| self.position.load(Relaxed))
    }

    /// The machine slept, or the device was reset, and it works again. Nothing has to be written to
    /// it: the PCI core has brought back the vectors, and the interrupt mask means nothing with
    /// MSI-X. The peer ID can be another: a machine that wakes from disk has connected anew.
    ///
    /// Does nothing once the device is gone. Called under the device's lock.
    pub(crate) fn resume(&self) {
        if self.events.is_dead() {
            return;
        }
        if let Some(registers) = self.registers.try_access() {
            // What failed to come back reads all ones.
            let position = registers.read32(regs::IV_POSITION);
            if position <= regs::MAX_PEER {
                self.position.store(position, Relaxed);
            }
        }
        // In this order: who sees the memory again sees the new generation, and who is woken sees
        // the memory.
        self.events.begin_generation();
        for window in self.windows() {
            window.resume();
        }
        self.exports.resume();
        self.events.resume(self.properties.vectors);
    }

    /// The device is about to be reset, and does not work until [`Device::resume`].
    ///
    /// Called under the device's lock. May sleep.
    pub(crate) fn pause(&self) {
        self.exports.pause();
        for window in self.windows() {
            window.pause();
        }
    }

    /// What programs can map of the device.
    fn windows(&self) -> impl Iterator<Item = &Arc<Window>> {
        let windows = [Some(&self.window), self.register_page.as_ref()];
        windows.into_iter().flatten()
    }

    /// The end of the device, called when it is unbound: no interrupt comes any more, no file can
    /// be opened. Wakes everybody, then takes the memory away. May sleep.
    ///
    /// Called before that, and so twice, if the PCI core gives the device up. Then it can still be
    /// opened, which fails.
    pub(crate) fn close(&self) {
        self.events.die();
        self.exports.close();
        for window in self.windows() {
            window.close();
        }
    }
}
