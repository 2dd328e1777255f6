// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The socket of one virtual machine.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ivshmem_model::PeerId;
use rustix::net::{shutdown, Shutdown};
use tracing::{info, warn};
use vfio_user::Server;

use crate::backend::Backend;
use crate::{layout, Host};

/// How long to wait after an error, which may be there again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket on which QEMU finds the device of one virtual machine. Dropping it closes and removes the socket; a
/// QEMU that is connected keeps its device until it ends.
#[derive(Debug)]
pub struct Endpoint {
    path: PathBuf,
    listener: UnixListener,
    stopping: Arc<AtomicBool>,
}

impl Host {
    /// Listens for the QEMU of a virtual machine at a socket path, and serves one after the other.
    ///
    /// The virtual machine is attached to the region from its QEMU's first request to the end of the connection. It has
    /// one device of a region: if it has other sockets, whoever connects there meanwhile gets a device that answers
    /// nothing. A socket that nobody listens on is replaced. A path that is not UTF-8 is refused.
    pub fn listen(&self, peer: PeerId, path: &Path) -> io::Result<Endpoint> {
        Endpoint::start(self.clone(), peer, path)
    }
}

impl Endpoint {
    fn start(host: Host, peer: PeerId, path: &Path) -> io::Result<Self> {
        if path.to_str().is_none() {
            let message =
                "the path is not UTF-8, which QEMU's JSON cannot say: choose another directory";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let device = host.with(|region| region.create_device(peer));
        let device = device.map_err(io::Error::other)?;
        let regions = layout::regions(&device, host.memory());
        let interrupts = layout::interrupts(&device);
        let listener = bind(path)?;
        let served = OwnedFd::from(listener.try_clone()?);
        let server = Server::from_owned_fd(served, true, interrupts, regions);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        thread::Builder::new()
            .name(format!("vm{peer}"))
            .spawn(move || serve(&server, &host, peer, &stop))?;
        Ok(Self {
            path: path.into(),
            listener,
            stopping,
        })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of QEMU's option `-device` that connects to the socket, in QEMU's JSON.
    pub fn qemu_device(&self) -> String {
        let path = serde_json::Value::from(self.path.to_string_lossy());
        format!(r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":{path}}}}}"#)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts. Both can only fail if somebody has removed things already.
        let _ = shutdown(&self.listener, Shutdown::Both);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes a socket, in place of one that nobody listens on any more.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // A connection to a file that is no socket is refused too.
    let stale = || {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && stale() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        result => result,
    }
}

/// Serves one QEMU after the other until the socket is closed.
fn serve(server: &Server, host: &Host, peer: PeerId, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Relaxed) {
        let mut backend = Backend::new(host.clone(), peer);
        let result = catch_unwind(AssertUnwindSafe(|| server.run(&mut backend)));
        backend.detach();
        match result {
            Ok(Ok(())) => info!("virtual machine {peer} has gone"),
            Ok(Err(_)) if stopping.load(Ordering::Relaxed) => {}
            Ok(Err(error)) => {
                warn!("virtual machine {peer}: {error}");
                // It may be that there are no descriptors to accept anybody with.
                thread::sleep(PAUSE);
            }
            Err(_) => warn!("virtual machine {peer} sent a malformed message and was disconnected"),
        }
    }
}
