// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! TCP connections and UNIX sockets of this machine.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::net::{shutdown, Shutdown};
use rustix::process::umask;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::address::Address;

/// A connection. Dropped before it is [finished](Self::finish) it is reset, so that nobody takes a part for the whole. (Of a
/// UNIX socket the other endpoint sees that only if it writes.)
pub struct Stream {
    socket: Socket,
    finished: Cell<bool>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects; a name is looked up when it is its turn.
    pub async fn connect(address: &Address, turns: &Arc<Semaphore>) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(host, port) => {
                let addresses = look_up(host, *port, turns).await?;
                Self::tcp(TcpStream::connect(&addresses[..]).await?)
            }
            Address::Unix(path) => Self::of(Socket::Unix(UnixStream::connect(path).await?)),
        })
    }

    fn tcp(stream: TcpStream) -> Self {
        // What comes in pieces is passed on in pieces. Where this is not to be had, it is later.
        let _ = stream.set_nodelay(true);
        Self::of(Socket::Tcp(stream))
    }

    fn of(socket: Socket) -> Self {
        Self {
            socket,
            finished: Cell::new(false),
        }
    }

    /// Waits for bytes and reads them; 0 at the end. Nothing is lost if this is dropped while it waits.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &self.socket {
                Socket::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
                Socket::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
            };
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Writes what it can take now, of `bytes`. Does not block.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.socket {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Waits until it may take bytes.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.writable().await,
            Socket::Unix(stream) => stream.writable().await,
        }
    }

    /// Says that no more bytes come.
    pub fn end(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => shutdown(stream, Shutdown::Write)?,
            Socket::Unix(stream) => shutdown(stream, Shutdown::Write)?,
        }
        Ok(())
    }

    /// It may be closed: both directions have ended.
    pub fn finish(&self) {
        self.finished.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Socket::Tcp(stream), false) = (&self.socket, self.finished.get()) {
            // Closed in this state, it is reset. If it cannot be, it is gone already.
            let _ = stream.set_zero_linger();
        }
    }
}

/// The addresses of a host.
async fn look_up(host: &str, port: u16, turns: &Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let turn = turns.clone().acquire_owned().await;
    let turn = turn.map_err(io::Error::other)?;
    let host = host.to_string();
    let look = spawn_blocking(move || {
        // The thread goes on when nobody waits for it any more, and keeps its turn until then.
        let _turn = turn;
        (&host[..], port).to_socket_addrs().map(Vec::from_iter)
    });
    look.await?
}

/// What accepts connections.
pub enum Listener {
    /// At a port.
    Tcp(TcpListener),
    /// At a path, which is removed when this is dropped.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens; a name is looked up when it is its turn. Nobody but this user may connect to a UNIX socket.
    pub async fn bind(address: &Address, turns: &Arc<Semaphore>) -> io::Result<Self> {
        match address {
            Address::Tcp(host, port) => {
                let addresses = look_up(host, *port, turns).await?;
                Ok(Self::Tcp(TcpListener::bind(&addresses[..]).await?))
            }
            Address::Unix(path) => {
                remove_stale(path).await?;
                let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
                let bound = UnixListener::bind(path);
                umask(before);
                Ok(Self::Unix(bound?, path.clone()))
            }
        }
    }

    /// Waits for a connection. Nothing is lost if this is dropped while it waits.
    pub async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => Stream::tcp(listener.accept().await?.0),
            Self::Unix(listener, _) => Stream::of(Socket::Unix(listener.accept().await?.0)),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Somebody else may have removed it, and put something else there.
            if is_socket(path).is_ok_and(|is| is) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Removes a socket to which nobody listens any more; an error if something else is there.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match is_socket(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        // A connection to it would be refused, too.
        Ok(false) => {
            let text = "what is there is not a socket: give another path, or remove it";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        found => found?,
    };
    let refused = UnixStream::connect(path).await;
    match refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        true => std::fs::remove_file(path),
        // Somebody listens, as binding says.
        false => Ok(()),
    }
}

fn is_socket(path: &Path) -> io::Result<bool> {
    Ok(std::fs::symlink_metadata(path)?.file_type().is_socket())
}
