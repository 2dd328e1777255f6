// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a guest and a host process have in common: memory, a way to ring, a way to sleep.

use std::sync::Arc;
use std::time::Duration;

use crate::{Bell, Error, Locking, Memory, Result, POLL_INTERVAL};

/// A way to interrupt other peers.
pub trait Doorbell {
    /// The ID by which others ring this end. 0 is a real ID. It can become another one when a guest is resumed.
    fn peer_id(&self) -> u32;

    /// Vectors by which this end can be rung; 0 if it cannot be. It may be able to ring all the same.
    fn vectors(&self) -> u32;

    /// Rings vector `vector` of peer `peer`; oneself is allowed. What this thread wrote to the shared
    /// memory before is visible to who wakes. Success does not mean that anybody heard it. Blocks only
    /// while the device is reset.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument), [`Error::NoDoorbell`](crate::Error::NoDoorbell),
    /// [`Error::Gone`](crate::Error::Gone).
    fn ring(&self, peer: u32, vector: u32) -> Result<()>;

    /// Locks number `number` of the memory against other programs of this system. Does not block.
    fn lock(&self, _number: u64) -> Locking {
        Locking::Unknown
    }

    /// Whether the memory has been taken away, so that touching it would end the process. Takes a system call where
    /// that can happen.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A way to sleep until something happens.
///
/// Times are measured on `CLOCK_MONOTONIC`. `None` waits for ever, and zero only looks.
pub trait Waiter {
    /// Sleeps until a vector of the mask `vectors` was rung; 0 stands for all. Returns the vectors that
    /// were, as a mask, and forgets their rings; 0 if the time is over.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::Gone`](crate::Error::Gone),
    /// [`Error::NoDoorbell`](crate::Error::NoDoorbell), [`Error::Argument`](crate::Error::Argument).
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64>;

    /// Sleeps while the aligned 32-bit word at byte `offset` of the memory is `value`. Whoever changes it
    /// has to ring this end, on any vector. Returns whether the word differs; `false` if the time is over.
    ///
    /// Load the word again, with acquire order, before reading what it guards.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`Error::Access`](crate::Error::Access).
    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool>;

    /// A descriptor that is ready once vector `vector` was rung from now on, or the device is gone. Waits hear these
    /// rings too.
    ///
    /// # Errors
    ///
    /// [`Error::NoDoorbell`](crate::Error::NoDoorbell), also from links that have no such descriptors;
    /// [`Error::Argument`](crate::Error::Argument), [`Error::Gone`](crate::Error::Gone),
    /// [`Error::Io`](crate::Error::Io).
    fn bell(&self, _vector: u32) -> Result<Bell> {
        Err(Error::NoDoorbell)
    }

    /// From one look to the next at what is waited for, where nobody can ring this end.
    fn interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

/// All that is needed to talk to other peers: what channels are built on.
pub trait Link: Memory + Doorbell + Waiter {}

impl<T: Memory + Doorbell + Waiter + ?Sized> Link for T {}

macro_rules! forward_link {
    ($(<$T:ident> for $holder:ty),+) => {$(
        impl<$T: Doorbell + ?Sized> Doorbell for $holder {
            fn peer_id(&self) -> u32 {
                (**self).peer_id()
            }
            fn vectors(&self) -> u32 {
                (**self).vectors()
            }
            fn ring(&self, peer: u32, vector: u32) -> Result<()> {
                (**self).ring(peer, vector)
            }
            fn lock(&self, number: u64) -> Locking {
                (**self).lock(number)
            }
            fn is_gone(&self) -> bool {
                (**self).is_gone()
            }
        }

        impl<$T: Waiter + ?Sized> Waiter for $holder {
            fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
                (**self).wait(vectors, timeout)
            }
            fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
                (**self).wait_word(offset, value, timeout)
            }
            fn bell(&self, vector: u32) -> Result<Bell> {
                (**self).bell(vector)
            }
            fn interval(&self) -> Duration {
                (**self).interval()
            }
        }
    )+};
}

forward_link!(<T> for &T, <T> for Arc<T>);
