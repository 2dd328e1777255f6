// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How a server's socket is named.

use std::path::PathBuf;

/// The variable that names a socket where the command line does not.
const VARIABLE: &str = "IVSHMEM_SOCKET";

/// Where the packaged server's unit has its sockets.
pub const DIRECTORY: &str = "/run/ivshmem";

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
