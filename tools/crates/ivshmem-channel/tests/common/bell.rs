// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The doorbell of the models, by loom.

use std::sync::atomic::Ordering;

use ivshmem::Memory;
use loom::sync::{Condvar, Mutex};

/// One end's doorbell: what WAIT_WORD makes of an interrupt. Rung again and again it is rung once.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.wake.notify_one();
    }

    /// Sleeps while the word is `value`, and looks at it only when rung: if a ring is missing, loom reports
    /// that all threads sleep.
    pub fn wait_word(&self, memory: &impl Memory, offset: u64, value: u32) {
        while memory.load32(offset, Ordering::Relaxed) == Ok(value) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.wake.wait(rung).unwrap();
            }
            *rung = false;
        }
    }
}
