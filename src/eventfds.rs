// SPDX-License-Identifier: GPL-2.0

//! The eventfds that open files have bound to one vector.

use kernel::prelude::*;

use crate::kapi::eventfd::EventFd;

/// Tells the open files of a device apart; never used twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(pub(crate) u64);

/// An eventfd that the open file `owner` has bound.
pub(crate) struct Binding {
    owner: FileId,
    pub(crate) eventfd: EventFd,
    /// The vector's count when it was bound: it is signalled by the interrupts after that.
    pub(crate) since: u64,
    next: Option<KBox<Binding>>,
}

impl Binding {
    /// A binding that is in no list yet.
    pub(crate) fn new(owner: FileId, eventfd: EventFd) -> Self {
        Self {
            owner,
            eventfd,
            since: 0,
            next: None,
        }
    }
}

/// A list of bindings. Under a spinlock nothing may be allocated, and freeing takes long: so what
/// goes in was boxed before, and what comes out is freed after.
pub(crate) struct EventFds {
    first: Option<KBox<Binding>>,
    /// The count for which the list was last signalled.
    signalled: u64,
    len: u32,
    closed: bool,
}

impl EventFds {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            signalled: 0,
            len: 0,
            closed: false,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether the list is at its end: nothing is to be put into it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the file has bound one.
    pub(crate) fn contains(&self, owner: FileId) -> bool {
        self.iter().any(|binding| binding.owner == owner)
    }

    /// Adds a binding.
    pub(crate) fn insert(&mut self, mut binding: KBox<Binding>) {
        binding.next = self.first.take();
        self.first = Some(binding);
        self.len += 1;
    }

    /// Takes out the binding of a file, if there is one.
    pub(crate) fn remove(&mut self, owner: FileId) -> Option<KBox<Binding>> {
        let mut place = &mut self.first;
        while place.as_ref()?.owner != owner {
            place = &mut place.as_mut()?.next;
        }
        let mut removed = place.take()?;
        *place = removed.next.take();
        self.len -= 1;
        Some(removed)
    }

    /// Takes all out, for good.
    pub(crate) fn close(&mut self) -> Self {
        let all = core::mem::replace(self, Self::new());
        self.closed = true;
        all
    }

    /// Signals those that are concerned by the interrupt that made the vector's count `seq`. Any
    /// context.
    pub(crate) fn signal(&mut self, seq: u64) {
        // An interrupt that was counted before the binding does not concern it.
        for binding in self.iter().filter(|binding| is_after(seq, binding.since)) {
            binding.eventfd.signal();
        }
        if is_after(seq, self.signalled) {
            self.signalled = seq;
        }
    }

    /// Until which count the interrupts that concern `binding`, which was in the list, were
    /// signalled.
    pub(crate) fn signalled_since(&self, binding: &Binding) -> u64 {
        match is_after(self.signalled, binding.since) {
            true => self.signalled,
            false => binding.since,
        }
    }

    /// Signals all. Any context.
    pub(crate) fn signal_all(&self) {
        self.iter().for_each(|binding| binding.eventfd.signal());
    }

    fn iter(&self) -> impl Iterator<Item = &Binding> {
        core::iter::successors(self.first.as_deref(), |binding| binding.next.as_deref())
    }
}

/// Whether count `a` is later than `b`; counts may wrap.
pub(crate) fn is_after(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).wrapping_sub(1) < u64::MAX / 2
}

impl Drop for EventFds {
    fn drop(&mut self) {
        // One by one: dropping the first would drop the others from within, each on the stack of
        // the one before.
        while let Some(mut binding) = self.first.take() {
            self.first = binding.next.take();
        }
    }
}
