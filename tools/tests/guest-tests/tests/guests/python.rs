// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Guests with the sandbox's Python; in one the sample, which rings itself.

use std::fs;
use std::path::Path;

use guest_tests::artefacts;
use guest_tests::debian;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Builder, Device, Guest, Region, DEFAULT_MEMORY_MIB};

/// Where Debian has the standard library.
const LIBRARY: &str = "usr/lib/python3.13";
/// Where Debian has libraries.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What of the standard library is in directories, and needed at the start or by the programs here.
const PACKAGES: [&str; 10] = [
    "",
    "asyncio",
    "collections",
    "concurrent",
    "concurrent/futures",
    "ctypes",
    "encodings",
    "importlib",
    "logging",
    "re",
];
/// Its modules that are not built into the interpreter, and needed here.
const MODULES: [&str; 3] = ["_contextvars", "_ctypes", "mmap"];
/// What the modules are linked with, and the interpreter is not.
const LINKED: [&str; 1] = ["libffi.so.8"];

/// MiB for the files above.
pub const ROOM_MIB: u32 = 64;

pub fn trial() -> Result<Trial, String> {
    let root = artefacts::sandbox_root()?;
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let region = Region::start(1 << 20, 1)?;
        let guest = Guest::builder()
            .memory_mib(DEFAULT_MEMORY_MIB + ROOM_MIB)
            .module(&module)
            .file(
                artefacts::sample_script("python/hello.py").unwrap(),
                "/bin/hello.py",
            )
            .device(Device::doorbell(&region));
        let guests = boot_all(&[with_python(guest, &root)?.name("a")])?;
        let world = Box::new(region);
        Ok(Fleet { guests, world })
    });
    Ok(lab.trial("samples::python_hello_is_heard", hello))
}

/// A guest that has `python3` of the sandbox at `root`.
pub fn with_python(guest: Builder, root: &Path) -> vmbench::Result<Builder> {
    let program = root.join("usr/bin/python3.13");
    let mut guest = debian::with_program(guest, &program, "/usr/bin/python3")?;
    let modules =
        MODULES.map(|name| format!("{LIBRARY}/lib-dynload/{name}.cpython-313-x86_64-linux-gnu.so"));
    let linked = LINKED.map(|name| format!("{LIBRARIES}/{name}"));
    for path in modules.into_iter().chain(linked) {
        guest = guest.file(root.join(&path), format!("/{path}"));
    }
    for package in PACKAGES {
        let directory = root.join(LIBRARY).join(package);
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| {
            panic!("{}: {error}", directory.display());
        });
        for entry in entries.flatten() {
            let path = entry.path();
            let is_py = path.extension().is_some_and(|extension| extension == "py");
            // One is a link to what is not installed.
            if is_py && path.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let package = Path::new("/").join(LIBRARY).join(package);
                guest = guest.file(&path, package.join(&*name).display().to_string());
            }
        }
    }
    Ok(guest)
}

fn hello(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let mut waiter = guest.command(["python3", "/bin/hello.py"]).spawn()?;
    let said = waiter.wait_for_output("in another guest")?;
    let id = said
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .split('"')
        .next()
        .unwrap_or_default();
    guest.run(["python3", "/bin/hello.py", id])?.check()?;
    let heard = waiter.wait()?.check()?.stdout_text();
    let wanted = format!("vector 0: hello from peer {id}");
    match heard.contains(&wanted) {
        true => Ok(()),
        false => Err(heard.into()),
    }
}
