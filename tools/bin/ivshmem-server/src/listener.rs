// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Sockets that clients and others connect to.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{chown, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, sockopt, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tracing::{info, warn};

use crate::error::system;
use crate::identity::Identity;
use crate::lock::Lock;
use crate::BindError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Connections that may wait at a socket that was passed in: what the kernel allows (`net.core.somaxconn`), unless
/// told otherwise.
const MOST_WAITING: usize = 4096;

/// Flag of a socket that listens, as `/proc/net/unix` has it (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 1 << 16;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    /// What to remove at the end; `None` if it is the business of who made the socket.
    place: Option<Place>,
}

/// A socket in the file system that this program made. It and its lock file are removed when
/// the value is dropped.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// The file that was created, until it is removed.
    identity: Option<Identity>,
    /// Dropped, and with it released, after the socket was removed.
    lock: Lock,
    /// Whether the files are ours to remove, and not still those of another server.
    owned: bool,
}

impl Listener {
    /// Listens at `path`, in place of a socket that a dead server left there.
    pub(crate) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, BindError> {
        let address = address(path)?;
        expect_directory(path)?;
        let lock = Lock::take(path)?;
        remove_stale(path, &address)?;
        let socket = unix_socket().map_err(system("create a socket"))?;
        net::bind(&socket, &address).map_err(|errno| failed("create", path)(errno.into()))?;
        let place = Place {
            path: path.to_owned(),
            identity: Some(Identity::at(path).map_err(failed("look at", path))?),
            lock,
            owned: true,
        };
        let listener = Self {
            socket,
            place: Some(place),
        };
        // Nobody can connect before the socket listens, so nobody gets in by the mode that the
        // umask left.
        set_access(path, mode, group)?;
        net::listen(&listener.socket, BACKLOG)
            .map_err(|errno| failed("listen on", path)(errno.into()))?;
        Ok(listener)
    }

    /// Uses a listening socket that somebody else made and takes care of.
    pub(crate) fn given(name: &str, socket: OwnedFd) -> Result<Self, BindError> {
        let listens = sockopt::socket_acceptconn(&socket) == Ok(true)
            && sockopt::socket_type(&socket) == Ok(SocketType::STREAM)
            && sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX);
        if !listens {
            return Err(BindError::NotListening(name.to_owned()));
        }
        // So that accepting does not wait for a client that has gone again.
        rustix::io::ioctl_fionbio(&socket, true).map_err(system("set up a socket"))?;
        Ok(Self {
            socket,
            place: None,
        })
    }

    /// Uses the socket at `path` that a server before this one made, and the lock that goes
    /// with it. `None` if the socket is at another path. The files stay when the value is
    /// dropped before they are [owned](Self::own).
    pub(crate) fn adopt(
        path: &Path,
        socket: OwnedFd,
        lock: Option<OwnedFd>,
    ) -> Result<Option<Self>, BindError> {
        let found = net::getsockname(&socket).map_err(system("look at a socket"))?;
        if SocketAddrUnix::try_from(found) != Ok(address(path)?) {
            return Ok(None);
        }
        let lock = match lock {
            Some(lock) => Lock::adopt(path, lock),
            None => Lock::take(path)?,
        };
        let mut listener = Self::given(&path.display().to_string(), socket)?;
        listener.place = Some(Place {
            path: path.to_owned(),
            identity: Identity::at(path).ok(),
            lock,
            owned: false,
        });
        Ok(Some(listener))
    }

    /// The lock of the place of the socket, if it is ours.
    pub(crate) fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.place.as_ref().map(|place| place.lock.as_fd())
    }

    /// Takes care of the files from now on.
    pub(crate) fn own(&mut self) {
        if let Some(place) = &mut self.place {
            place.owned = true;
        }
    }

    /// Leaves the files to a successor.
    pub(crate) fn abandon(&mut self) {
        if let Some(place) = &mut self.place {
            place.owned = false;
        }
    }

    /// Takes a connection that waits; `None` if there is none.
    pub(crate) fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        loop {
            match net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(connection) => return Ok(Some(connection)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Takes the connections that wait, but not all of those that come meanwhile, which may never end.
    pub(crate) fn accept_waiting(&self) -> impl Iterator<Item = OwnedFd> + '_ {
        std::iter::from_fn(|| self.accept().ok().flatten()).take(MOST_WAITING)
    }

    /// Removes the socket from the file system, so that nobody else connects. Connections that
    /// wait can still be accepted.
    pub(crate) fn withdraw(&mut self) {
        if let Some(place) = &mut self.place {
            place.remove_socket();
        }
    }
}

impl Place {
    fn remove_socket(&mut self) {
        let Some(ours) = self.identity.take() else {
            return;
        };
        // Somebody may have put another file in its place.
        if Identity::at(&self.path).is_ok_and(|found| found == ours) {
            if let Err(error) = fs::remove_file(&self.path) {
                warn!("cannot remove {}: {error}", self.path.display());
            }
        }
    }
}

impl fmt::Display for Listener {
    /// Where it listens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => place.path.display().fmt(f),
            None => f.write_str("a socket that was passed in"),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.owned {
            self.remove_socket();
        } else {
            self.lock.abandon();
        }
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, BindError> {
    SocketAddrUnix::new(path).map_err(|errno| match errno {
        Errno::NAMETOOLONG => BindError::PathTooLong(path.to_owned()),
        errno => failed("use", path)(errno.into()),
    })
}

/// Says which directory is missing, before the lock file could not be made in it.
fn expect_directory(path: &Path) -> Result<(), BindError> {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() || directory.exists() => Ok(()),
        Some(directory) => Err(BindError::NoDirectory {
            socket: path.to_owned(),
            directory: directory.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Sets mode and group of the socket at `path`, and of nothing else that somebody may have put there
/// meanwhile.
fn set_access(path: &Path, mode: u32, group: Option<u32>) -> Result<(), BindError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = opened.map_err(|errno| failed("look at", path)(errno.into()))?;
    let found = rustix::fs::fstat(&file).map_err(system("look at a socket"))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    // Such a descriptor takes no other way.
    let file = format!("/proc/self/fd/{}", file.as_raw_fd());
    if group.is_some() {
        chown(&file, None, group).map_err(failed("set the group of", path))?;
    }
    fs::set_permissions(&file, Permissions::from_mode(mode))
        .map_err(failed("set the mode of", path))
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes the socket that a dead server left at `path`, if there is one.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    // Asked without connecting where that is possible: QEMU's own server does not survive a client that goes
    // at once.
    if is_listened_on(path) {
        return Err(BindError::InUse(path.to_owned()));
    }
    let probe = unix_socket().map_err(system("create a socket"))?;
    match net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            info!("removing {}, on which nobody listens", path.display());
            fs::remove_file(path).map_err(failed("remove", path))
        }
        // A full backlog means that somebody listens, too.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(BindError::InUse(path.to_owned())),
        Err(errno) => Err(failed("connect to", path)(errno.into())),
    }
}

/// Whether the kernel knows of somebody who listens at `path`. Nothing is known of other network
/// namespaces, nor of who gave another name for the same place.
fn is_listened_on(path: &Path) -> bool {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")));
    let whole = parent
        .ok()
        .zip(path.file_name())
        .map(|(parent, name)| parent.join(name));
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    // Number, references, protocol, flags, type, state, inode and path.
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let flags = fields
            .get(3)
            .and_then(|text| u32::from_str_radix(text, 16).ok());
        let named = fields.get(7).map(Path::new);
        flags.is_some_and(|flags| flags & ACCEPTS != 0)
            && named.is_some_and(|named| named == path || Some(named) == whole.as_deref())
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Path {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let refused = Listener::bind(&missing.join("socket"), 0o600, None).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.ends_with(&format!("create {}", missing.display())),
            "{text}"
        );
    }

    #[test]
    fn those_who_keep_coming_are_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Listener::bind(&path, 0o600, None).unwrap();
        let connect = || UnixStream::connect(&path).unwrap();
        let mut last = connect();
        let mut taken = 0;
        for _socket in listener.accept_waiting() {
            taken += 1;
            assert!(taken <= MOST_WAITING, "there is no end");
            last = connect();
        }
        assert_eq!(taken, MOST_WAITING);
        drop(last);
    }
}
