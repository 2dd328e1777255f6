// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Debian's programs in guests.

use std::path::Path;
use std::process::Command;

use vmbench::{Builder, Error, Result};

use crate::artefacts;

/// What loads a program that is linked dynamically.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// What the C library loads by itself, where a thread is cancelled.
const UNLISTED: &str = "libgcc_s.so.1";

/// A guest that has `program` at `to`, and the libraries that it is linked with: the sandbox's, and those in the program's
/// directory.
///
/// # Errors
///
/// [`Error::Setup`]: there is no sandbox, or a library is in neither place.
pub fn with_program(guest: Builder, program: &Path, to: &str) -> Result<Builder> {
    let root = artefacts::sandbox_root().map_err(Error::Setup)?;
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    // `lib64` is a link, which would be followed from the host's `/`.
    let loader = inside(&format!("/usr{LOADER}"));
    let mut places = inside(LIBRARIES).into_os_string();
    places.push(":");
    places.push(program.parent().expect("a program is in a directory"));
    let output = Command::new(&loader)
        .arg("--library-path")
        .arg(places)
        .arg("--list")
        .arg(program)
        .output()
        .map_err(|error| Error::Setup(format!("{}: {error}", loader.display())))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || listed.contains("not found") {
        let program = program.display();
        return Err(Error::Setup(format!("{program} lacks libraries: {listed}")));
    }
    // `libc.so.6 => /where/libc.so.6 (0x00007f...)`; the loader and the vDSO have no arrow.
    let libraries = listed.lines().filter_map(|line| {
        let (name, found) = line.trim().split_once(" => ")?;
        Some((name, found.split_once(" (")?.0))
    });
    let unlisted = format!("{LIBRARIES}/{UNLISTED}");
    let guest = guest.file(program, to).file(&loader, LOADER);
    let guest = guest.file(inside(&unlisted), unlisted);
    let listed = libraries.filter(|(name, _)| *name != UNLISTED);
    Ok(listed.fold(guest, |guest, (name, found)| {
        guest.file(found, format!("{LIBRARIES}/{name}"))
    }))
}
