// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A region of the model, shared by the threads that serve its virtual machines.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ivshmem_abi::pci::BAR_MSIX;
use ivshmem_model::flavour::{Outcome, Ring};
use ivshmem_model::{PeerId, Region, Width};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use tracing::{debug, error};

use crate::Backing;

/// Bytes of an MSI-X table entry, and of what stands before its mask bit.
const ENTRY: u64 = 16;
const ENTRY_CONTROL: u64 = 12;

/// A region whose virtual machines are QEMUs. Clones are the same region.
///
/// Calls block for as long as another thread is in the region, which is microseconds.
#[derive(Clone, Debug)]
pub struct Host {
    state: Arc<Mutex<State>>,
    memory: Backing,
}

#[derive(Debug)]
struct State {
    region: Region<Backing>,
    /// Event descriptors that QEMU gave, by virtual machine and vector.
    events: BTreeMap<(PeerId, u16), File>,
}

impl Host {
    /// A host for a region to which nobody is attached.
    pub fn new(region: Region<Backing>) -> Self {
        Self {
            memory: region.memory().clone(),
            state: Arc::new(Mutex::new(State {
                region,
                events: BTreeMap::new(),
            })),
        }
    }

    /// Does something with the region, and delivers the interrupts that follow from it.
    pub fn with<R>(&self, action: impl FnOnce(&mut Region<Backing>) -> R) -> R {
        let mut state = self.lock();
        let result = action(&mut state.region);
        state.deliver();
        result
    }

    /// Rings a doorbell as if the virtual machine `from` had.
    pub fn ring(&self, from: PeerId, to: PeerId, vector: u16) -> Outcome {
        self.with(|region| region.ring(from, Ring { peer: to, vector }))
    }

    /// Sets or clears the mask bit of a vector in the model's own table, which is what rings look at.
    ///
    /// QEMU says only when a guest unmasks a vector for the first time. A test that needs the loss of a ring during
    /// a later mask states it with this.
    pub fn mask(&self, peer: PeerId, vector: u16, masked: bool) {
        let control = u64::from(vector) * ENTRY + ENTRY_CONTROL;
        self.with(|region| {
            region.bar_write(
                peer,
                BAR_MSIX as usize,
                control,
                Width::U32,
                u64::from(masked),
            );
        });
    }

    pub(crate) fn memory(&self) -> &Backing {
        &self.memory
    }

    /// QEMU gives an event descriptor for a vector, or takes it away.
    pub(crate) fn set_event(&self, peer: PeerId, vector: u16, event: Option<File>) {
        let event = event.filter(|event| {
            prepare(event)
                .inspect_err(|reason| error!("virtual machine {peer}: vector {vector}: {reason}"))
                .is_ok()
        });
        let installed = event.is_some();
        {
            let mut state = self.lock();
            match event {
                Some(event) => state.events.insert((peer, vector), event),
                None => state.events.remove(&(peer, vector)),
            };
        }
        // The guest's table is QEMU's; this is all that is known of its mask bit.
        self.mask(peer, vector, !installed);
    }

    /// The virtual machine has gone, with its event descriptors.
    pub(crate) fn detach(&self, peer: PeerId) {
        let mut state = self.lock();
        state.region.detach(peer);
        state.events.retain(|(owner, _), _| *owner != peer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one thread leaves a region that is as consistent as any guest can make it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&mut self) {
        while let Some(interrupt) = self.region.next_interrupt() {
            let (peer, vector) = (interrupt.peer, interrupt.vector);
            match self.events.get_mut(&(peer, vector)) {
                Some(event) => {
                    if let Err(reason) = signal(event) {
                        debug!("cannot interrupt virtual machine {peer}: {reason}");
                    }
                }
                None => debug!("virtual machine {peer} has no event for vector {vector}"),
            }
        }
    }
}

/// Makes sure that a descriptor is an eventfd, and that nobody's ring waits for its machine.
fn prepare(event: &File) -> io::Result<()> {
    // With any other file, poll() and write() can block: another program can be behind it.
    let kind = fs::read_link(format!("/proc/self/fd/{}", event.as_raw_fd()))?;
    if kind.as_os_str() != "anon_inode:[eventfd]" {
        let message = format!("{} is no eventfd, and not used", kind.display());
        return Err(io::Error::other(message));
    }
    // `vfio_user` receives descriptors without it.
    rustix::io::fcntl_setfd(event, FdFlags::CLOEXEC)?;
    // As QEMU has it already.
    Ok(rustix::io::ioctl_fionbio(event, true)?)
}

/// Adds 1 to an event's counter. One that is full says that the machine was interrupted already.
fn signal(event: &File) -> Result<(), Errno> {
    // Not left to O_NONBLOCK alone, which QEMU shares and can clear.
    let mut fds = [PollFd::new(event, PollFlags::OUT)];
    // A signal ends this look only where there is no room.
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) | Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    if !fds[0].revents().contains(PollFlags::OUT) {
        return Ok(());
    }
    match rustix::io::write(event, &1u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error),
    }
}
