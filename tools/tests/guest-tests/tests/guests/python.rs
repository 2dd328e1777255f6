// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The sample in Python, in a guest with the sandbox's Python, which rings itself.

use std::fs;
use std::path::Path;

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Builder, Device, Guest, Region, DEFAULT_MEMORY_MIB};

/// Where Debian has the standard library.
const LIBRARY: &str = "usr/lib/python3.13";
/// What of it is in directories, and needed at the start or by the sample.
const PACKAGES: [&str; 5] = ["", "collections", "encodings", "importlib", "re"];
/// What the interpreter is linked with, and the one module of the sample that is not built in.
const BINARIES: [(&str, &str); 7] = [
    ("usr/bin/python3.13", "/usr/bin/python3"),
    (
        "usr/lib64/ld-linux-x86-64.so.2",
        "/lib64/ld-linux-x86-64.so.2",
    ),
    (
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libc.so.6",
    ),
    (
        "usr/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/x86_64-linux-gnu/libm.so.6",
    ),
    (
        "usr/lib/x86_64-linux-gnu/libz.so.1",
        "/lib/x86_64-linux-gnu/libz.so.1",
    ),
    (
        "usr/lib/x86_64-linux-gnu/libexpat.so.1",
        "/lib/x86_64-linux-gnu/libexpat.so.1",
    ),
    (
        "usr/lib/python3.13/lib-dynload/mmap.cpython-313-x86_64-linux-gnu.so",
        "/usr/lib/python3.13/lib-dynload/mmap.cpython-313-x86_64-linux-gnu.so",
    ),
];

/// MiB for the files above.
const ROOM_MIB: u32 = 64;

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
        let guests = boot_all(&[with_python(guest, &root).name("a")])?;
        let world = Box::new(region);
        Ok(Fleet { guests, world })
    });
    Ok(lab.trial("samples::python_hello_is_heard", hello))
}

fn with_python(mut guest: Builder, root: &Path) -> Builder {
    for (from, to) in BINARIES {
        guest = guest.file(root.join(from), to);
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
    guest
}

fn hello(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let mut waiter = guest.command(["python3", "/bin/hello.py"]).spawn()?;
    let said = waiter.wait_for_output("in another machine")?;
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
