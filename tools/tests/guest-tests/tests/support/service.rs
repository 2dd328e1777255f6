// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The server as the service manager starts it.

use std::path::PathBuf;
use std::process::Child;

use rustix::process::{kill_process, Pid, Signal};

/// The program, built from this workspace.
pub fn program() -> PathBuf {
    vmbench::build::static_binary("ivshmem-server", "ivshmem-server").expect("the server builds")
}

/// A server that runs. It is killed at the end if it still does.
pub struct Running(Child);

impl Running {
    pub fn adopt(child: Child) -> Self {
        Self(child)
    }

    pub fn signal(&self, signal: Signal) {
        // It can have ended only if it was told to.
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    pub fn wait(mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
