// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Notices for whoever started the server: that clients can connect, and what its number is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A descriptor that was inherited to write the notice to.
#[derive(Debug)]
pub struct ReadyFd(File);

impl ReadyFd {
    /// Takes over the inherited descriptor `fd`.
    ///
    /// To be called once, and before the program opens anything.
    pub fn inherit(fd: RawFd) -> anyhow::Result<Self> {
        inherited("--ready-fd", fd).map(|fd| Self(fd.into()))
    }

    /// Writes the notice, and closes the descriptor.
    pub fn notify(mut self) -> io::Result<()> {
        self.0.write_all(b"READY=1\n")
    }
}

/// Takes over a descriptor that an option names.
pub fn inherited(option: &str, fd: RawFd) -> anyhow::Result<OwnedFd> {
    ivshmem_server::inherit(fd)
        .with_context(|| format!("cannot take over the descriptor of {option} {fd}"))
}

/// A file with the process ID, which is removed when the value is dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// What was in the file before.
    before: Option<Vec<u8>>,
}

impl PidFile {
    /// Writes the file, in place of one that may be there, but not where a link points to.
    pub fn write(path: &Path) -> anyhow::Result<Self> {
        let before = fs::read(path).ok();
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // Whatever the umask: who could write to it could have any process killed.
        options.mode(0o644);
        options.custom_flags(libc::O_NOFOLLOW);
        let opened = options.open(path);
        opened
            .and_then(|mut file| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write the process ID to {}", path.display()))?;
        let path = path.to_owned();
        Ok(Self { path, before })
    }

    /// Leaves the file to the process that had written it before.
    pub fn restore(&self) {
        if let Some(before) = &self.before {
            let _ = fs::write(&self.path, before);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A successor may have written its own, or somebody removed it.
        let ours = format!("{}\n", std::process::id());
        if fs::read_to_string(&self.path).is_ok_and(|text| text == ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
