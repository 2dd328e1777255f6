// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory that guests share.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{memfd_create, MemfdFlags};
use rustix::process::Signal;

use crate::cleanup::Directory;
use crate::process::{readable_within, Child};
use crate::{build, Error, Result};

/// What the server says when it listens.
const READY: &str = "READY=1\n";

/// A region with doorbells: a server of its own, in a directory of its own.
///
/// Dropping it stops the server. Guests that are connected keep the memory and each other's doorbells.
#[derive(Debug)]
pub struct Region {
    server: Child,
    /// How long the server may take to listen, and to end.
    limit: Duration,
    log: Arc<Mutex<Vec<u8>>>,
    vectors: u16,
    directory: Directory,
}

impl Region {
    /// Starts `ivshmem-server` for `size` bytes (a power of two) and `vectors` interrupt vectors for
    /// each peer, and blocks until it listens.
    ///
    /// The server is `IVSHMEM_SERVER` if that is set, else built from this workspace.
    pub fn start(size: u64, vectors: u16) -> Result<Self> {
        let limit = test_limit::LIMIT * test_limit::scale().map_err(Error::Setup)?;
        let directory = Directory::new()?;
        let (ready, theirs) =
            UnixStream::pair().map_err(Error::io("cannot make a socket for the server"))?;
        let mut command = Command::new(build::server()?);
        command
            .arg("--socket-path")
            .arg(socket_in(directory.path()))
            .arg("--status-socket")
            .arg(status_in(directory.path()))
            .args(["--size", &size.to_string()])
            .args(["--vectors", &vectors.to_string()])
            .args(["--ready-fd", &theirs.as_raw_fd().to_string()])
            .stdout(Stdio::null());
        let mut server = Child::spawn(command, vec![theirs.into()], Signal::TERM)
            .map_err(Error::io("cannot start ivshmem-server"))?;
        wait_until_ready(&mut server, ready, limit)?;
        let log = Arc::default();
        collect(server.take_stderr(), Arc::clone(&log));
        Ok(Self {
            server,
            limit,
            log,
            vectors,
            directory,
        })
    }

    /// The server's socket. It is removed when the region is dropped.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// The server's status socket, where each connection reads a report in JSON.
    pub fn status_socket(&self) -> PathBuf {
        status_in(self.directory.path())
    }

    /// The number of vectors that the server gives each peer.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// What the server has written to standard error since it was ready.
    pub fn server_log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(|p| p.into_inner());
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The server's process id, for tests that disturb it.
    pub fn server_pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Asked first, so that it can end as it would in a user's hands; the drop of the child kills it
        // if it does not.
        let _ = self.server.signal(Signal::TERM);
        let _ = self.server.wait(self.limit);
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("server")
}

fn status_in(directory: &Path) -> PathBuf {
    directory.join("status")
}

/// Reads `pipe` to its end, in a thread: a full pipe would stop the server.
fn collect(pipe: Option<File>, log: Arc<Mutex<Vec<u8>>>) {
    let Some(mut pipe) = pipe else { return };
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            let mut log = log.lock().unwrap_or_else(|p| p.into_inner());
            log.extend_from_slice(&chunk[..len]);
        }
    });
}

fn wait_until_ready(server: &mut Child, mut socket: UnixStream, limit: Duration) -> Result<()> {
    let io = || Error::io("ivshmem-server");
    let mut said = [0; READY.len()];
    let ready = readable_within(&socket, limit).map_err(io())?
        && socket.read(&mut said).map_err(io())? > 0
        && said == READY.as_bytes();
    if ready {
        return Ok(());
    }
    // It has ended, or says something else; either way its complaint is all that helps.
    let _ = server.signal(Signal::KILL);
    let mut complaint = String::new();
    if let Some(mut stderr) = server.take_stderr() {
        let _ = stderr.read_to_string(&mut complaint);
    }
    let complaint = complaint.trim();
    Err(Error::Setup(format!(
        "ivshmem-server does not get ready: {complaint}"
    )))
}

/// Memory without doorbells, for `ivshmem-plain`. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Memory {
    file: Arc<OwnedFd>,
    size: u64,
}

impl Memory {
    /// New, zeroed memory of `size` bytes (a power of two) that is in no file system.
    pub fn anonymous(size: u64) -> Result<Self> {
        let file = memfd_create("vmbench-memory", MemfdFlags::CLOEXEC)
            .map_err(|error| Error::Setup(format!("memfd_create: {error}")))?;
        let file = File::from(file);
        file.set_len(size)
            .map_err(Error::io(format!("cannot reserve {size} bytes of memory")))?;
        Ok(Self::over(file, size))
    }

    /// The contents of a file, all of it. It must be readable and writable, and its length a power of
    /// two.
    pub fn file(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::file(path))?;
        let size = file.metadata().map_err(Error::file(path))?.len();
        Ok(Self::over(file, size))
    }

    fn over(file: File, size: u64) -> Self {
        Self {
            file: Arc::new(file.into()),
            size,
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
