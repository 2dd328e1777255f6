// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How a server's socket is named.

use std::path::PathBuf;

use anyhow::Result;

use crate::exit::{failure, Exit};

/// The variable that names a socket where the command line does not.
const VARIABLE: &str = "IVSHMEM_SOCKET";

/// Where the packaged server's unit has its sockets.
const DIRECTORY: &str = "/run/ivshmem";

/// The socket of this name: a path, or `NAME` for `/run/ivshmem/NAME.sock`.
pub fn path_of(name: &str) -> PathBuf {
    match name.contains('/') {
        true => name.into(),
        false => format!("{DIRECTORY}/{name}.sock").into(),
    }
}

/// The socket that the environment names.
pub fn by_default() -> Option<PathBuf> {
    let name = std::env::var(VARIABLE).ok()?;
    (!name.is_empty()).then(|| path_of(&name))
}

/// The socket of this name, or that of the environment.
pub fn given(name: Option<&str>) -> Result<PathBuf> {
    name.map(path_of).or_else(by_default).ok_or_else(|| {
        let text = format!("which server? Give its socket, or set {VARIABLE}");
        failure(Exit::Usage, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_the_packaged_server() {
        assert_eq!(path_of("demo"), PathBuf::from("/run/ivshmem/demo.sock"));
        assert_eq!(path_of("./demo"), PathBuf::from("./demo"));
        assert_eq!(path_of("/tmp/x"), PathBuf::from("/tmp/x"));
    }
}
