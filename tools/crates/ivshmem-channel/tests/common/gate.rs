// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Stops a program before one of its accesses to the memory, as a paused machine is.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Scope, ScopedJoinHandle};

use super::Polled;

/// Memory in `file` whose user stops at a gate.
pub fn gated(file: &File, id: u32) -> (Arc<Polled>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let passes = Arc::clone(&gate);
    (Polled::while_using(file, id, move || passes.pass()), gate)
}

/// Where a program is stopped.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub struct State {
    /// Accesses until the stop; `None` before they are counted and after it.
    pub left: Option<usize>,
    pub stopped: bool,
    pub ended: bool,
}

impl Gate {
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    pub fn wait(&self, wanted: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap();
        self.changed.wait_while(state, |s| !wanted(s)).unwrap()
    }

    /// Before each access.
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        match state.left {
            Some(0) => {
                state.left = None;
                state.stopped = true;
                self.changed.notify_all();
                let _go_on = self.changed.wait_while(state, |s| s.stopped).unwrap();
            }
            Some(left) => state.left = Some(left - 1),
            None => {}
        }
    }

    /// Runs `work`, which stops before access number `at`. Returns whether it has stopped: it has ended if not.
    pub fn start<'scope, T: Send + 'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        at: usize,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> (ScopedJoinHandle<'scope, T>, bool) {
        self.set(|s| s.left = Some(at));
        let runs = scope.spawn(move || {
            let _ended = Ended(self);
            work()
        });
        (runs, self.wait(|s| s.stopped || s.ended).stopped)
    }

    /// Lets the program make so many accesses; `None`: all it makes. Waits until it stops or has ended; returns whether
    /// it has stopped.
    pub fn go_on(&self, accesses: Option<usize>) -> bool {
        self.set(|s| (s.left, s.stopped) = (accesses, false));
        self.wait(|s| s.stopped || s.ended).stopped
    }
}

/// Says that a program has ended, also if it panics.
struct Ended<'a>(&'a Gate);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.set(|s| (s.left, s.ended) = (None, true));
    }
}
