// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which endpoint of the shared memory a command works on.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ivshmem::{
    is_pci_address, Access, AnyEndpoint, Device, Doorbell, Endpoint, Function, Link, Memory, Mode,
    Sysfs, MAX_PEER,
};
use ivshmem_peer::{JoinError, Peer, Server};
use ivshmem_protocol::DecodeError;
use rustix::fs::{major, minor};
use serde_json::json;

use crate::completion;
use crate::exit::{exit_of, failure, Exit};
use crate::output::{complain, Output, GOOD};
use crate::socket;

/// An endpoint's memory, doorbell and events, for any thread.
pub type AnyLink = Arc<dyn Link + Send + Sync>;

/// Rings a vector of a peer.
pub type Ringer = Box<dyn Fn(u32, u32) -> ivshmem::Result<Rang>>;

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rang {
    /// It was sent to a vector that is there.
    Sent,
    /// It was sent, and the device does not tell whether anything is there.
    Unconfirmed,
    /// The peer has no such vector.
    NoVector,
    /// There is no such peer.
    NoPeer,
}

/// The option that names a device.
#[derive(Args, Clone, Debug)]
pub struct DeviceName {
    /// The device: N of /dev/ivshmemN (default 0), a path, or a PCI address such as 0000:00:04.0
    #[arg(short, long, value_name = "DEVICE", env = "IVSHMEM_DEV", add = completion::devices())]
    device: Option<String>,
}

/// The options that name a device, or on a host a server.
#[derive(Args, Clone, Debug)]
pub struct End {
    #[command(flatten)]
    device: DeviceName,

    /// On a host, join the guests as a peer, through the socket of their ivshmem-server
    ///
    /// A path, or NAME for /run/ivshmem/NAME.sock. Without this option and --device, the variable IVSHMEM_SOCKET
    /// counts.
    #[arg(long, value_name = "SOCKET", add = completion::sockets())]
    join: Option<String>,
}

/// What an endpoint is.
pub enum Opened {
    /// A device of this system.
    Device(Device),
    /// A peer that has just joined, by this socket.
    Peer(Peer, PathBuf),
}

/// A peer, and the server by which it has joined.
pub struct Joined {
    peer: Arc<Peer>,
    socket: PathBuf,
}

impl Joined {
    /// Whether that server is gone and there is one again, so that it is time to join again. Blocks while that one
    /// answers.
    pub fn is_outdated(&self) -> bool {
        matches!(self.peer.server(), Server::Lost(_)) && join(&self.socket).is_ok()
    }
}

/// What a name stands for.
enum Named {
    /// A node of the driver.
    Node(PathBuf),
    /// A device to which the driver is not bound.
    Unbound(Function),
}

impl DeviceName {
    fn find(&self) -> Result<Named> {
        let name = self.device.as_deref().unwrap_or("0");
        if is_pci_address(name) {
            let function = Sysfs::default().find(name)?;
            return Ok(match function.node() {
                Some(node) => Named::Node(node),
                None => Named::Unbound(function),
            });
        }
        let node = match name.parse::<u32>() {
            Ok(number) => format!("/dev/ivshmem{number}").into(),
            Err(_) => PathBuf::from(name),
        };
        match self.absent(&node, name) {
            Some(text) => Err(failure(Exit::NoDevice, text)),
            None => Ok(Named::Node(node)),
        }
    }

    /// What to say of a node that is not there, if that is more than that the driver may not be loaded.
    fn absent(&self, node: &Path, name: &str) -> Option<String> {
        if node.try_exists().unwrap_or(true) {
            return None;
        }
        if !name.contains('/') && name.parse::<u32>().is_err() {
            return Some(format!(
                "{name} is not a device: give N of /dev/ivshmemN, a path, or a PCI address such as 0000:00:04.0"
            ));
        }
        let mut devices = Sysfs::default().functions().into_iter();
        let other = devices.find_map(|function| function.node())?;
        Some(format!(
            "{} does not exist, but {} does: `ivshmemctl list` shows all",
            node.display(),
            other.display()
        ))
    }

    /// The device, open for this.
    pub fn open(&self, mode: Mode) -> Result<Device> {
        match self.find()? {
            Named::Node(path) => Ok(Device::open_with(path, mode)?),
            Named::Unbound(function) => Err(unbound(&function)),
        }
    }

    /// The node and what sysfs has of the device, for which nobody needs the right to open the node.
    pub fn bound(&self) -> Result<Bound> {
        match self.find()? {
            Named::Node(path) => Bound::by(path),
            Named::Unbound(function) => Err(unbound(&function)),
        }
    }

    /// The device and its memory, by whatever way there is. If it is not the driver, the standard error is told.
    fn endpoint(&self) -> Result<AnyEndpoint> {
        match self.find()? {
            Named::Node(path) => Ok(AnyEndpoint::Driver(Endpoint::open(path)?)),
            Named::Unbound(function) => {
                let endpoint = AnyEndpoint::of(&function)?;
                complain(&format!("note: by {}", endpoint.way()));
                Ok(endpoint)
            }
        }
    }
}

/// A node of the driver, which is not opened.
pub struct Bound {
    /// Its path.
    pub node: PathBuf,
    /// Its device number.
    pub rdev: u64,
    /// The device.
    pub function: Function,
}

impl Bound {
    fn by(node: PathBuf) -> Result<Self> {
        let rdev = match fs::metadata(&node) {
            Ok(metadata) => metadata.rdev(),
            Err(error) => return Err(cannot_open(node, error).into()),
        };
        let device = format!("/sys/dev/char/{}:{}/device", major(rdev), minor(rdev));
        let directory = fs::canonicalize(device).unwrap_or_default();
        let functions = Sysfs::default().functions();
        let ours = |function: &Function| {
            function.number.is_some() && directory.ends_with(&function.bus_id)
        };
        match functions.into_iter().find(ours) {
            Some(function) => Ok(Self {
                node,
                rdev,
                function,
            }),
            None => Err(ivshmem::Error::NotIvshmem(node).into()),
        }
    }
}

fn cannot_open(path: PathBuf, source: io::Error) -> ivshmem::Error {
    match source.kind() {
        ErrorKind::NotFound => ivshmem::Error::NoNode(path),
        ErrorKind::PermissionDenied => ivshmem::Error::Permission(path),
        _ => ivshmem::Error::Open { path, source },
    }
}

fn unbound(function: &Function) -> anyhow::Error {
    let at = &function.bus_id;
    failure(
        Exit::NoDevice,
        format!("the driver ivshmem_rs is not bound to {at}: `ivshmemctl doctor` says what to do"),
    )
}

impl End {
    /// This server's socket, or what the options say where there is none.
    pub fn or_socket(&self, socket: Option<&str>) -> Self {
        Self {
            device: self.device.clone(),
            join: socket.map(Into::into).or_else(|| self.join.clone()),
        }
    }

    /// The server's socket, if that is what is meant.
    pub fn socket(&self) -> Option<PathBuf> {
        let by_default = || self.device.device.is_none().then(socket::by_default)?;
        self.join
            .as_deref()
            .map(socket::path_of)
            .or_else(by_default)
    }

    /// The device, where that is what is meant.
    pub fn device(&self, mode: Mode) -> Result<Device> {
        self.device.open(mode).map_err(|error| self.advise(error))
    }

    /// The device and its memory, where that is what is meant.
    fn endpoint(&self) -> Result<AnyEndpoint> {
        self.device.endpoint().map_err(|error| self.advise(error))
    }

    /// What to do where a device was not named and is not there: this may be a host.
    fn advise(&self, error: anyhow::Error) -> anyhow::Error {
        let absent = matches!(error.downcast_ref(), Some(ivshmem::Error::NoNode(_)));
        match absent && self.device.device.is_none() {
            true => failure(
                exit_of(&error),
                format!("{error} On a host, give --join SOCKET."),
            ),
            false => error,
        }
    }

    /// The device, open for reading, or a new peer.
    pub fn open(&self) -> Result<Opened> {
        Ok(match self.socket() {
            Some(socket) => Opened::Peer(join(&socket)?, socket),
            None => Opened::Device(self.device(Mode::ReadOnly)?),
        })
    }

    /// Its memory.
    pub fn memory(&self, access: Access) -> Result<Arc<dyn Memory>> {
        if let Some(socket) = self.socket() {
            return Ok(Arc::new(join(&socket)?));
        }
        let mode = match access {
            Access::ReadOnly => Mode::ReadOnly,
            Access::ReadWrite => Mode::ReadWrite,
        };
        Ok(match self.device.find()? {
            Named::Node(_) => Arc::new(self.device(mode)?.map(access)?),
            Named::Unbound(_) => Arc::new(self.endpoint()?),
        })
    }

    /// Its memory, doorbell and events.
    pub fn link(&self) -> Result<AnyLink> {
        Ok(match self.socket() {
            Some(socket) => Arc::new(join(&socket)?),
            None => Arc::new(self.endpoint()?),
        })
    }

    /// The same, which is only woken by this vector if there is one of this number; and on a host what tells whether the
    /// server is still there.
    pub fn watched_link(&self, vector: u32) -> Result<(AnyLink, Option<Joined>)> {
        if let Some(socket) = self.socket() {
            let peer = Arc::new(join(&socket)?);
            return Ok((peer.clone(), Some(Joined { peer, socket })));
        }
        let endpoint = self.endpoint()?;
        match &endpoint {
            AnyEndpoint::Driver(end) if vector < end.vectors() => {
                end.device().subscribe(1 << vector)?;
            }
            _ => {}
        }
        Ok((Arc::new(endpoint), None))
    }

    /// What rings a vector of a peer. It says whether there is one, as far as that can be known: a device does not
    /// tell.
    pub fn bell(&self) -> Result<Ringer> {
        if let Some(socket) = self.socket() {
            let peer = join(&socket)?;
            return Ok(Box::new(move |id, vector| {
                let known = |id| id == peer.peer_id() || peer.members().peers.contains_key(&id);
                Ok(match peer.try_ring(id, vector)? {
                    true => Rang::Sent,
                    false if known(id) => Rang::NoVector,
                    false => Rang::NoPeer,
                })
            }));
        }
        let endpoint = self.endpoint()?;
        Ok(Box::new(move |id, vector| {
            endpoint.ring(id, vector).map(|()| Rang::Unconfirmed)
        }))
    }
}

/// Waits until the server has told a new peer all that it tells by itself: one's own vectors come one by one, the last
/// things of all, and nothing says which is the last.
pub fn settle(peer: &Peer) {
    /// Time without news after which there are no more.
    const QUIET: Duration = Duration::from_millis(100);
    loop {
        let before = (peer.members().version, peer.vectors());
        std::thread::sleep(QUIET);
        if (peer.members().version, peer.vectors()) == before {
            return;
        }
    }
}

/// Rings a peer whose ID was read from the memory: what is no ID is nobody's.
pub fn ring_back(link: &(impl Doorbell + ?Sized), peer: u32, vector: u32) -> ivshmem::Result<()> {
    match peer <= MAX_PEER {
        true => link.ring(peer, vector),
        false => Ok(()),
    }
}

/// Tells how this endpoint, which answers `command`, is asked: on a host its ID is a new one each time.
pub fn tell_served(link: &(impl Doorbell + ?Sized), command: &str, output: Output) {
    let peer_id = link.peer_id();
    let event = json!({ "event": "serving", "peer_id": peer_id });
    let text = format!("peer {peer_id} answers: `ivshmemctl {command} {peer_id}` asks it");
    output.notice(&event, &text, GOOD);
}

/// Connects to a server.
pub fn join(socket: &Path) -> Result<Peer> {
    Peer::join(socket).map_err(|error| {
        let exit = match &error {
            JoinError::Connect { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            JoinError::Connect { .. } | JoinError::Protocol(_) => Exit::NoDevice,
            JoinError::NoAnswer(_) => Exit::TimedOut,
            _ => Exit::Failure,
        };
        let text = match &error {
            JoinError::Protocol(DecodeError::Refused) => format!(
                "the server of {} refused the connection: the region is drained, or full, or not for this user; the \
                 server's log says which",
                socket.display()
            ),
            JoinError::Protocol(DecodeError::Version(_)) => format!(
                "{} is not a server's client socket (perhaps its --status-socket or --control-socket)",
                socket.display()
            ),
            JoinError::Connect { path, source } => match source.kind() {
                ErrorKind::NotFound => format!(
                    "there is no socket at {}: does ivshmem-server run, with this --socket-path?",
                    path.display()
                ),
                ErrorKind::ConnectionRefused => format!(
                    "nobody listens at {}: ivshmem-server has ended; start it again",
                    path.display()
                ),
                _ => format!("{:#}", anyhow::Error::from(error)),
            },
            _ => format!("{:#}", anyhow::Error::from(error)),
        };
        failure(exit, text)
    })
}
