// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The guest's file system: an uncompressed cpio archive, written without root.

use std::collections::BTreeSet;
use std::io::{self, Write};

use cpio::newc::{self, ModeFileType};

/// Major and minor number of `/dev/console`, from the kernel's list of devices.
const CONSOLE: (u32, u32) = (5, 1);

/// Directories that the agent mounts file systems on or that programs expect.
const DIRECTORIES: [&str; 6] = ["bin", "dev", "proc", "root", "sys", "tmp"];

/// A regular file in a guest.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Absolute path in the guest.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    pub contents: Vec<u8>,
}

/// Writes an archive that holds `files`, the directories above them, and `/dev/console`.
///
/// The console must be in the archive: the kernel opens it for the first process, which is what
/// mounts `/dev`.
pub(crate) fn write(mut archive: impl Write, files: &[File]) -> io::Result<()> {
    for directory in directories(files) {
        let entry = newc::Builder::new(&directory)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory);
        entry.write(&mut archive, 0).finish()?;
    }
    let console = newc::Builder::new("dev/console")
        .mode(0o600)
        .set_mode_file_type(ModeFileType::Char)
        .rdev_major(CONSOLE.0)
        .rdev_minor(CONSOLE.1);
    console.write(&mut archive, 0).finish()?;
    for file in files {
        let size = u32::try_from(file.contents.len())
            .map_err(|_| io::Error::other(format!("{} has 4 GiB or more", file.path)))?;
        let entry = newc::Builder::new(relative(&file.path))
            .mode(file.mode & 0o7777)
            .set_mode_file_type(ModeFileType::Regular);
        let mut entry = entry.write(&mut archive, size);
        entry.write_all(&file.contents)?;
        entry.finish()?;
    }
    newc::trailer(&mut archive)?;
    archive.flush()
}

/// All directories that `files` need; a parent sorts before its children, as the kernel wants them.
fn directories(files: &[File]) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = DIRECTORIES.iter().map(|name| name.to_string()).collect();
    for file in files {
        let path = relative(&file.path);
        let parents = path
            .match_indices('/')
            .map(|(at, _)| path[..at].to_string());
        all.extend(parents);
    }
    all
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn file(path: &str, mode: u32, contents: &[u8]) -> File {
        File {
            path: path.into(),
            mode,
            contents: contents.into(),
        }
    }

    /// Name, mode with type, device, contents.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    /// Reads the archive back.
    fn list(archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut rest = archive;
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).unwrap();
            let entry = reader.entry();
            let device = (entry.rdev_major(), entry.rdev_minor());
            entries.push((entry.name().into(), entry.mode(), device, contents));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn files_directories_and_the_console_are_there() {
        let files = [
            file("/init", 0o755, b"agent"),
            file("/opt/a/b/data", 0o640, &[0, 1, 2, 255, b'\n']),
        ];
        let mut archive = Vec::new();
        write(&mut archive, &files).unwrap();
        let entries = list(&archive);
        let find = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap();
        assert_eq!(find("init").1, 0o100755);
        assert_eq!(find("init").3, b"agent");
        assert_eq!(find("opt/a/b/data").1, 0o100640);
        assert_eq!(find("opt/a/b/data").3, [0, 1, 2, 255, b'\n']);
        assert_eq!(find("dev/console").1, 0o020600);
        assert_eq!(find("dev/console").2, CONSOLE);
        assert_eq!(find("proc").1, 0o040755);
    }

    #[test]
    fn parents_come_first() {
        let mut archive = Vec::new();
        write(&mut archive, &[file("/opt/a/b/c", 0o644, b"")]).unwrap();
        let names: Vec<String> = list(&archive).into_iter().map(|entry| entry.0).collect();
        let at = |name: &str| names.iter().position(|other| other == name).unwrap();
        assert!(at("opt") < at("opt/a") && at("opt/a") < at("opt/a/b"));
        assert!(at("opt/a/b") < at("opt/a/b/c"));
        assert!(at("dev") < at("dev/console"));
    }
}
