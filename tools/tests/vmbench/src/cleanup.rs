// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What must not stay behind when a signal ends the program.
//!
//! Guests and servers are stopped when their handles are dropped, and the kernel kills them when the
//! process that started them ends in whatever way. Only the directory of a
//! [`Region`](crate::Region)'s socket needs somebody to remove it, and drops do not run when a
//! signal ends a program. [`on_signals`] closes that gap.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::thread;

use rustix::process::{pidfd_send_signal, waitid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tempfile::TempDir;

use crate::{Error, Result};

#[derive(Debug)]
enum Thing {
    Process(Arc<OwnedFd>),
    Directory(PathBuf),
}

#[derive(Default)]
struct Registry {
    next: u64,
    things: BTreeMap<u64, Thing>,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Keeps a thing in the registry until dropped.
#[derive(Debug)]
pub(crate) struct Registered(u64);

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = lock().as_mut() {
            registry.things.remove(&self.0);
        }
    }
}

/// Remembers a child process, to be killed.
pub(crate) fn register_process(pidfd: Arc<OwnedFd>) -> Registered {
    register(Thing::Process(pidfd))
}

/// A directory of our own for sockets, which is removed with its contents when it is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    directory: TempDir,
    _registered: Registered,
}

impl Directory {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("vmbench-")
            .tempdir()
            .map_err(Error::io("cannot make a directory for sockets"))?;
        Ok(Self {
            _registered: register(Thing::Directory(directory.path().into())),
            directory,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end this process only after all its guests and servers are
/// gone and their files removed. The process then ends by the signal, as its parent expects.
///
/// Call it once, early, in a program that shall clean up when it is interrupted; further calls do
/// nothing. Handlers that the program has set itself keep working.
pub fn on_signals() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = Signals::new([SIGINT, SIGTERM, SIGHUP]).map(|mut signals| {
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    end_by(signal);
                }
            });
        });
    });
    result
}

fn end_by(signal: i32) {
    // The lock is kept to the end, so that nobody starts another process meanwhile.
    let mut registry = lock();
    let things = registry.take().unwrap_or_default().things;
    let processes = || {
        things.values().filter_map(|thing| match thing {
            Thing::Process(pidfd) => Some(pidfd),
            Thing::Directory(_) => None,
        })
    };
    for pidfd in processes() {
        // A process that has ended already is as good.
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
    for pidfd in processes() {
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
    for thing in things.values() {
        if let Thing::Directory(path) = thing {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    // Not reached if it works; the process would go on otherwise.
    let _ = emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

fn register(thing: Thing) -> Registered {
    let mut registry = lock();
    let registry = registry.get_or_insert_with(Registry::default);
    let id = registry.next;
    registry.next += 1;
    registry.things.insert(id, thing);
    Registered(id)
}

fn lock() -> MutexGuard<'static, Option<Registry>> {
    REGISTRY
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
