// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A region of the model, shared by the threads that serve its virtual machines.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ivshmem_abi::pci::BAR_MSIX;
use ivshmem_model::flavour::{Outcome, Ring};
use ivshmem_model::{PeerId, Region, Width};
use tracing::{debug, error};

use crate::event::Event;
use crate::Backing;

/// Bytes of an MSI-X table entry, and of what stands before its mask bit.
const ENTRY: u64 = 16;
const ENTRY_CONTROL: u64 = 12;

/// A region whose virtual machines are QEMUs. Clones are the same region.
///
/// Calls block for as long as another thread is in the region, which is microseconds, and those that interrupt a machine
/// as long as that holds its event descriptor up; see [the crate's documentation](crate#trust).
#[derive(Clone, Debug)]
pub struct Host {
    state: Arc<Mutex<State>>,
    memory: Backing,
}

#[derive(Debug)]
struct State {
    region: Region<Backing>,
    /// Event descriptors that QEMU gave, by virtual machine and vector.
    events: BTreeMap<(PeerId, u16), Arc<Event>>,
}

/// Interrupts for machines, whose event descriptors are signalled when nobody's call waits for it.
type Signals = Vec<(PeerId, Arc<Event>)>;

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
        self.change(|state| action(&mut state.region))
    }

    /// Does something with everything, and delivers the interrupts that follow from it.
    fn change<R>(&self, action: impl FnOnce(&mut State) -> R) -> R {
        let (result, signals) = {
            let mut state = self.lock();
            (action(&mut state), state.signals())
        };
        for (peer, event) in signals {
            signal(peer, &event);
        }
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
        self.with(|region| set_mask(region, peer, vector, masked));
    }

    pub(crate) fn memory(&self) -> &Backing {
        &self.memory
    }

    /// QEMU gives an event descriptor for a vector, or takes it away.
    pub(crate) fn set_event(&self, peer: PeerId, vector: u16, file: Option<File>) {
        let event = file.map(Event::new).and_then(|event| {
            event
                .inspect_err(|reason| error!("virtual machine {peer}: vector {vector}: {reason}"))
                .ok()
        });
        let old = self.change(|state| {
            // The guest's table is QEMU's; this is all that is known of its mask bit.
            set_mask(&mut state.region, peer, vector, event.is_none());
            match event {
                Some(event) => state.events.insert((peer, vector), Arc::new(event)),
                None => state.events.remove(&(peer, vector)),
            }
        });
        if let Some(old) = old {
            Event::retire(old);
        }
    }

    /// QEMU tries out its event descriptor for a vector, which has nothing to do with the device.
    pub(crate) fn try_event(&self, peer: PeerId, vector: u16) {
        let event = self.lock().events.get(&(peer, vector)).cloned();
        if let Some(event) = event {
            signal(peer, &event);
        }
    }

    /// A virtual machine is reset. Its event descriptors stay, and so does what is known from them.
    pub(crate) fn reset(&self, peer: PeerId) {
        self.change(|state| {
            state.region.reset(peer);
            let owned = state.events.keys().filter(|(owner, _)| *owner == peer);
            for (_, vector) in owned {
                set_mask(&mut state.region, peer, *vector, false);
            }
        });
    }

    /// The virtual machine has gone, with its event descriptors.
    pub(crate) fn detach(&self, peer: PeerId) {
        let gone = {
            let mut state = self.lock();
            state.region.detach(peer);
            let events = mem::take(&mut state.events).into_iter();
            let (gone, kept) = events.partition(|((owner, _), _)| *owner == peer);
            state.events = kept;
            gone
        };
        let gone: BTreeMap<_, _> = gone;
        gone.into_values().for_each(Event::retire);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one thread leaves a region that is as consistent as any guest can make it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is to be signalled now.
    fn signals(&mut self) -> Signals {
        let mut signals = Signals::new();
        while let Some(interrupt) = self.region.next_interrupt() {
            let (peer, vector) = (interrupt.peer, interrupt.vector);
            match self.events.get(&(peer, vector)) {
                Some(event) => signals.push((peer, Arc::clone(event))),
                None => debug!("virtual machine {peer} has no event for vector {vector}"),
            }
        }
        signals
    }
}

fn signal(peer: PeerId, event: &Event) {
    if let Err(reason) = event.signal() {
        debug!("cannot interrupt virtual machine {peer}: {reason}");
    }
}

/// Sets or clears the mask bit of a vector in the model's table.
fn set_mask(region: &mut Region<Backing>, peer: PeerId, vector: u16, masked: bool) {
    let control = u64::from(vector) * ENTRY + ENTRY_CONTROL;
    let (bar, value) = (BAR_MSIX as usize, u64::from(masked));
    region.bar_write(peer, bar, control, Width::U32, value);
}
