// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The real server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use vmbench::build::static_binary;

/// A server that is killed with the test.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs the server with these arguments until it is dropped; its sockets are there when this returns.
pub fn server(arguments: &[&str]) -> Server {
    let program = static_binary("ivshmem-server", "ivshmem-server").unwrap();
    let mut command = Command::new(program);
    // It says READY=1 there, and closes it.
    command.args(arguments).args(["--ready-fd", "3"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 3>&1 >/dev/null", "sh"])
        .arg(command.get_program());
    let child = shell
        .args(command.get_args())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Server(child.spawn().unwrap());
    let ready = std::io::read_to_string(server.0.stdout.take().unwrap()).unwrap();
    assert_eq!(ready, "READY=1\n");
    server
}

/// The path of a file in there.
pub fn path_in(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}
