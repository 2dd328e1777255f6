// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The descriptor of a handle.

use std::os::fd::AsRawFd;

use ivshmem_channel::{Selectable, Watch};

use crate::error::Failure;

/// What a handle has for event loops.
#[derive(Debug, Default)]
pub(crate) struct EventLoop {
    watch: Option<Watch>,
    armed: bool,
}

impl EventLoop {
    fn watch(&mut self) -> Result<&Watch, Failure> {
        if self.watch.is_none() {
            self.watch = Some(Watch::new()?);
        }
        self.watch.as_ref().ok_or(Failure::Panic)
    }

    /// The descriptor, always the same.
    pub fn fd(&mut self) -> Result<i32, Failure> {
        Ok(self.watch()?.as_raw_fd())
    }

    /// Returns 1 if it is armed, and 0 if there is something by now.
    pub fn arm(&mut self, end: &mut impl Selectable) -> Result<i32, Failure> {
        let armed = self.watch()?.arm(end)?;
        self.armed |= armed;
        Ok(i32::from(armed))
    }

    pub fn disarm(&mut self, end: &impl Selectable) -> Result<i32, Failure> {
        if let Some(watch) = &self.watch {
            watch.disarm(end)?;
        }
        Ok(0)
    }

    /// Comes before each use of `end` that touches the memory, which may be gone if that was long ago.
    pub fn awake(&mut self, end: &impl Selectable) -> Result<(), Failure> {
        if let (Some(watch), true) = (&self.watch, std::mem::take(&mut self.armed)) {
            watch.awake(end)?;
        }
        Ok(())
    }
}
