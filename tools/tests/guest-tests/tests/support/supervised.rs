// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A server that can be killed while guests use it.

use std::path::PathBuf;

use tempfile::TempDir;
use vmbench::Signal;

use crate::manager::Manager;
use crate::service::Running;

/// A server whose service manager keeps all that it has.
pub struct Service {
    directory: TempDir,
    manager: Manager,
    size: u64,
    server: Option<Running>,
}

impl Service {
    /// Starts one for a memory of so many bytes, with 8 vectors for each peer, and blocks until it is ready.
    pub fn start(size: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the sockets");
        let manager = Manager::new(&directory.path().join("notify"));
        let mut service = Self {
            directory,
            manager,
            size,
            server: None,
        };
        service.spawn();
        service
    }

    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("server")
    }

    fn spawn(&mut self) {
        let socket = format!("--socket-path={}", self.socket().display());
        let size = format!("--size={}", self.size);
        self.server = Some(
            self.manager
                .start(&["--fd-store", "--vectors=8", &size, &socket]),
        );
    }

    /// Kills the server, and starts the next as systemd would.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.signal(Signal::KILL);
            server.wait();
        }
        self.manager.catch_up();
        self.spawn();
    }

    /// How many descriptors are kept for the next server.
    pub fn kept(&self) -> usize {
        self.manager.catch_up();
        self.manager.names().len()
    }
}
