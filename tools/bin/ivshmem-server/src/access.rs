// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who can connect.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::{self, Credentials};

/// Mode of the socket unless told otherwise: for the same user only.
pub const DEFAULT_SOCKET_MODE: u32 = 0o600;

/// Who can connect: the file system decides first, by mode and group of the socket, then the
/// lists, if there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Access {
    /// Mode of the socket, whatever the umask: who can write to it can connect, read and write
    /// all of the memory and interrupt every client.
    pub socket_mode: u32,
    /// Group of the socket, if not the one that new files get.
    pub socket_group: Option<u32>,
    /// Users who are served.
    pub uids: BTreeSet<u32>,
    /// Groups whose members are served, be it their first or any other group. If both lists are
    /// empty, everybody is served who can connect.
    pub gids: BTreeSet<u32>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            socket_mode: DEFAULT_SOCKET_MODE,
            socket_group: None,
            uids: BTreeSet::new(),
            gids: BTreeSet::new(),
        }
    }
}

/// Why somebody is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    #[error("user {uid} with first group {gid} is not allowed to connect")]
    NotListed { uid: u32, gid: u32 },
    #[error("cannot find out who it is: {0}")]
    Unknown(#[from] io::Error),
}

impl Access {
    /// Checks who is at the other end of a connection.
    pub(crate) fn check(&self, socket: BorrowedFd<'_>) -> Result<Credentials, Denial> {
        let found = sys::credentials(socket)?;
        let everybody = self.uids.is_empty() && self.gids.is_empty();
        if everybody || self.uids.contains(&found.uid) || self.gids.contains(&found.gid) {
            return Ok(found);
        }
        if !self.gids.is_empty() {
            let groups = sys::supplementary_groups(socket)?;
            if groups.iter().any(|group| self.gids.contains(group)) {
                return Ok(found);
            }
        }
        Err(Denial::NotListed {
            uid: found.uid,
            gid: found.gid,
        })
    }
}

/// A text that names no user or group.
#[derive(Debug, thiserror::Error)]
pub enum ParseOwnerError {
    /// There is none of this name in the file.
    #[error("{0} has no {1}; give the number instead if it is defined elsewhere")]
    Missing(&'static str, String),
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(&'static str, #[source] io::Error),
}

/// The user of this number, or of this name in `/etc/passwd`.
///
/// # Errors
///
/// There is no such user.
pub fn parse_user(text: &str) -> Result<u32, ParseOwnerError> {
    lookup("/etc/passwd", text)
}

/// The group of this number, or of this name in `/etc/group`.
///
/// # Errors
///
/// There is no such group.
pub fn parse_group(text: &str) -> Result<u32, ParseOwnerError> {
    lookup("/etc/group", text)
}

/// In both files the name comes first, and the number third.
fn lookup(path: &'static str, text: &str) -> Result<u32, ParseOwnerError> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let table = fs::read_to_string(path).map_err(|error| ParseOwnerError::File(path, error))?;
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok())?
        })
        .next()
        .ok_or_else(|| ParseOwnerError::Missing(path, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn users_and_groups() {
        assert_eq!(parse_user("1234").unwrap(), 1234);
        assert_eq!(parse_user("root").unwrap(), 0);
        assert_eq!(parse_group("root").unwrap(), 0);
        let error = parse_group("no-such-group").unwrap_err();
        assert!(error.to_string().contains("give the number"), "{error}");
    }

    #[test]
    fn lists_decide() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let serves = |uids: &[u32], gids: &[u32]| {
            let access = Access {
                uids: uids.iter().copied().collect(),
                gids: gids.iter().copied().collect(),
                ..Access::default()
            };
            access.check(ours.as_fd()).is_ok()
        };
        assert!(serves(&[], &[]));
        assert!(serves(&[uid], &[]));
        assert!(serves(&[uid + 1], &[gid]));
        assert!(!serves(&[uid + 1], &[]));
        assert!(!serves(&[], &[u32::MAX - 1]));
    }
}
