// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Descriptors that this server got from its service manager or its predecessor.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::os::fd::OwnedFd;

use crate::succession::names;
use crate::sys;

/// First number of the descriptors that a service manager passes.
const FIRST: i32 = 3;

/// Descriptors that were passed to this process, by name.
///
/// Listening sockets that the service manager opened are named after the region that they are
/// for, or `REGION.PEER`. All others have names that only servers know the meaning of.
#[derive(Debug, Default)]
pub struct Inheritance {
    fds: Vec<(String, OwnedFd)>,
    /// Whether the server that gave them still runs, and uses them.
    shared: bool,
}

impl Inheritance {
    /// What the service manager passed, as `sd_listen_fds(3)` describes.
    ///
    /// To be called once, and before the program opens anything.
    ///
    /// # Errors
    ///
    /// The environment speaks of descriptors that are not there.
    pub fn from_environment() -> io::Result<Self> {
        let number = |name| {
            env::var(name)
                .ok()
                .and_then(|text| text.parse::<u32>().ok())
        };
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(Self::default());
        }
        let count = number("LISTEN_FDS").unwrap_or(0);
        let count = i32::try_from(count).map_err(io::Error::other)?;
        let all_names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut all_names = all_names.split(':');
        let fds = (FIRST..FIRST.saturating_add(count)).map(|number| {
            let name = all_names.next().unwrap_or_default();
            Ok((name.to_owned(), sys::inherit(number)?))
        });
        Ok(Self {
            fds: fds.collect::<io::Result<_>>()?,
            shared: false,
        })
    }

    /// What a server gives that still runs: nothing yet.
    pub(crate) fn shared() -> Self {
        Self {
            shared: true,
            ..Self::default()
        }
    }

    /// Whether the server that gave them still runs.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// All of these, and those of another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.fds.extend(other.fds);
        self
    }

    /// Adds a descriptor.
    pub fn push(&mut self, name: impl Into<String>, fd: OwnedFd) {
        self.fds.push((name.into(), fd));
    }

    /// Takes the descriptor of this name.
    pub(crate) fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.fds.iter().position(|(found, _)| found == name)?;
        Some(self.fds.swap_remove(index).1)
    }

    /// Takes all descriptors of this name, in no particular order.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<OwnedFd> {
        std::iter::from_fn(|| self.take(name)).collect()
    }

    /// The names of what was not taken yet, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.fds.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many descriptors of a server there are by each name.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (name, _) in self.fds.iter().filter(|(name, _)| names::is_ours(name)) {
            *counts.entry(name.clone()).or_default() += 1;
        }
        counts
    }

    /// Takes what no server named: sockets of the service manager whose name was not asked for.
    pub(crate) fn take_foreign(&mut self) -> Vec<(String, OwnedFd)> {
        let all = std::mem::take(&mut self.fds);
        let (ours, foreign) = all.into_iter().partition(|(name, _)| names::is_ours(name));
        self.fds = ours;
        foreign
    }
}
