// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which processes have a node open: what `/proc` says of their descriptors.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde::Serialize;

use crate::output::printable;

/// Where the processes are.
const PROC: &str = "/proc";

/// A descriptor of an open node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Whose it is.
    pub pid: u32,
    /// The name of that process.
    pub command: String,
    /// Its number.
    pub fd: u32,
    /// What it was opened for.
    pub access: Access,
    /// Whether the node has gone meanwhile, and the device with it.
    pub deleted: bool,
    /// What the driver says of the open file; none where it says nothing.
    pub file: Option<OpenFile>,
}

impl Opener {
    /// Whether it is told of this vector.
    pub fn is_subscribed(&self, vector: u32) -> bool {
        let mask = self.file.as_ref().map_or(0, |file| file.mask);
        mask.checked_shr(vector).unwrap_or(0) & 1 != 0
    }
}

/// What a descriptor was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    ReadOnly,
    WriteOnly,
    ReadWrite,
}

impl Access {
    /// As in the flags of open(2).
    fn of_flags(flags: u32) -> Option<Self> {
        match flags & 3 {
            0 => Some(Self::ReadOnly),
            1 => Some(Self::WriteOnly),
            2 => Some(Self::ReadWrite),
            _ => None,
        }
    }

    /// As lsof has it.
    pub fn letter(self) -> char {
        match self {
            Self::ReadOnly => 'r',
            Self::WriteOnly => 'w',
            Self::ReadWrite => 'u',
        }
    }
}

/// What the driver says of an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Interrupts of each armed vector that it has taken.
    pub seen: Vec<u64>,
    /// The vectors that it is subscribed to.
    pub mask: u64,
    /// The vectors to which it has bound an eventfd.
    pub eventfds: u64,
}

/// All descriptors that could be found.
#[derive(Debug, Default)]
pub struct Openers {
    /// By process and number.
    pub found: Vec<Opener>,
    /// Whether all processes could be looked into.
    pub complete: bool,
}

/// Who has the character device of this number open. Processes that end meanwhile are left out.
///
/// # Errors
///
/// If there is no `/proc`.
pub fn openers(rdev: u64) -> io::Result<Openers> {
    let mut openers = Openers {
        found: Vec::new(),
        complete: true,
    };
    for entry in fs::read_dir(PROC)?.flatten() {
        let Some(pid) = number(&entry.file_name().to_string_lossy()) else {
            continue;
        };
        match of_process(pid, &entry.path(), rdev) {
            Ok(found) => openers.found.extend(found),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => openers.complete = false,
            Err(_) => {}
        }
    }
    openers.found.sort_by_key(|opener| (opener.pid, opener.fd));
    Ok(openers)
}

fn of_process(pid: u32, directory: &Path, rdev: u64) -> io::Result<Vec<Opener>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory.join("fd"))?.flatten() {
        let Ok(metadata) = fs::metadata(entry.path()) else {
            continue;
        };
        let Some(fd) = number(&entry.file_name().to_string_lossy()) else {
            continue;
        };
        if metadata.file_type().is_char_device() && metadata.rdev() == rdev {
            found.extend(opener(pid, directory, fd));
        }
    }
    Ok(found)
}

/// None if it was closed meanwhile.
fn opener(pid: u32, directory: &Path, fd: u32) -> Option<Opener> {
    let info = fs::read_to_string(directory.join(format!("fdinfo/{fd}"))).ok()?;
    let path = fs::read_link(directory.join(format!("fd/{fd}"))).ok()?;
    let command = fs::read(directory.join("comm")).ok()?;
    let flags = u32::from_str_radix(value(&info, "flags")?, 8).ok()?;
    Some(Opener {
        pid,
        command: printable(command.trim_ascii_end()),
        fd,
        access: Access::of_flags(flags)?,
        deleted: path.to_string_lossy().ends_with(" (deleted)"),
        file: open_file(&info),
    })
}

/// What the driver's lines say.
fn open_file(info: &str) -> Option<OpenFile> {
    let hex = |name| u64::from_str_radix(value(info, name)?, 16).ok();
    let seen = value(info, "seen").unwrap_or_default().split_whitespace();
    Some(OpenFile {
        seen: seen.map(str::parse).collect::<Result<_, _>>().ok()?,
        mask: hex("mask")?,
        eventfds: hex("eventfds")?,
    })
}

/// The value of a line: a name, a colon, a tab and it.
fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let after = |line: &'a str| line.strip_prefix(name)?.strip_prefix(":\t");
    info.lines().find_map(after).map(str::trim_end)
}

fn number(name: &str) -> Option<u32> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use rustix::pty::{openpt, OpenptFlags};

    use super::*;

    #[test]
    fn the_drivers_lines_are_understood() {
        let info = "pos:\t0\nflags:\t0100002\nmnt_id:\t15\nino:\t9\n\
            seen:\t12 0 3\nmask:\tff\neventfds:\t8\ncache:\twb\npage_order:\t21\n";
        let file = open_file(info).unwrap();
        assert_eq!(file.seen, [12, 0, 3]);
        assert_eq!((file.mask, file.eventfds), (0xff, 8));
        // Nothing is armed.
        let plain = "flags:\t0100000\nseen:\t\nmask:\t0\neventfds:\t0\n";
        assert_eq!(open_file(plain).unwrap().seen, [0; 0]);
        assert_eq!(open_file("flags:\t02\n"), None);
    }

    #[test]
    fn who_has_a_device_open_is_found_and_nobody_else() {
        // A device of which there is no second one, and which nobody else opens.
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let name = rustix::pty::ptsname(&device, Vec::new()).unwrap();
        let name = name.to_str().unwrap();
        rustix::pty::grantpt(&device).unwrap();
        rustix::pty::unlockpt(&device).unwrap();
        let rdev = fs::metadata(name).unwrap().rdev();
        let ours = || openers(rdev).unwrap().found;
        assert_eq!(ours(), []);
        let read = File::open(name).unwrap();
        let both = File::options().read(true).write(true).open(name).unwrap();
        let mut expected = [(&read, Access::ReadOnly), (&both, Access::ReadWrite)];
        expected.sort_by_key(|(file, _)| file.as_raw_fd());
        let found = ours();
        assert_eq!(found.len(), 2);
        for (opener, (file, access)) in found.iter().zip(expected) {
            assert_eq!(opener.pid, std::process::id());
            assert_eq!(opener.fd.to_string(), file.as_raw_fd().to_string());
            assert_eq!(opener.access, access);
            assert_eq!((opener.deleted, &opener.file), (false, &None));
        }
    }
}
