// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a shell completes: it asks this program, which knows what devices and sockets there are.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use ivshmem::Sysfs;

use crate::socket;

/// The variable by which a shell's script asks.
const VARIABLE: &str = "IVSHMEMCTL_COMPLETE";

/// Answers a shell that asks, and ends the program then.
pub fn answer(program: fn() -> Command) {
    CompleteEnv::with_factory(program).var(VARIABLE).complete();
}

/// The script that makes the shell of this name ask. None for a shell that is not known.
pub fn script(shell: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(shell) else {
        return Ok(None);
    };
    shell.write_registration(VARIABLE, name, name, name, &mut script)?;
    Ok(Some(script))
}

/// What `--device` can be: numbers of nodes, and the PCI addresses of all devices.
pub fn devices() -> ArgValueCandidates {
    ArgValueCandidates::new(|| devices_of(&Sysfs::default()))
}

/// What `--join` can be: names of the packaged server's sockets.
pub fn sockets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| sockets_in(Path::new(socket::DIRECTORY)))
}

fn devices_of(sysfs: &Sysfs) -> Vec<CompletionCandidate> {
    let functions = sysfs.functions();
    let numbers = functions.iter().filter_map(|function| function.number);
    let numbers = numbers.map(|number| number.to_string());
    let addresses = functions.iter().map(|function| function.bus_id.clone());
    let all = numbers.chain(addresses);
    all.map(CompletionCandidate::new).collect()
}

fn sockets_in(directory: &Path) -> Vec<CompletionCandidate> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let names = names.filter_map(|name| Some(name.strip_suffix(".sock")?.to_string()));
    names.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(candidates: &[CompletionCandidate]) -> Vec<&str> {
        let mut values: Vec<_> = candidates
            .iter()
            .filter_map(|candidate| candidate.get_value().to_str())
            .collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn devices_are_completed_by_number_and_address() {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("bus/pci/devices/0000:00:04.0");
        fs::create_dir_all(device.join("misc/ivshmem3")).unwrap();
        for (name, text) in [
            ("vendor", "0x1af4"),
            ("device", "0x1110"),
            ("subsystem_vendor", "0x1af4"),
            ("subsystem_device", "0x1100"),
            ("resource", "0x0 0x0 0x0\n"),
        ] {
            fs::write(device.join(name), text).unwrap();
        }
        let candidates = devices_of(&Sysfs::at(root.path()));
        assert_eq!(values(&candidates), ["0000:00:04.0", "3"]);
    }

    #[test]
    fn sockets_are_completed_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.sock", "a.sock", "status"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(values(&sockets_in(directory.path())), ["a", "b"]);
        assert!(sockets_in(Path::new("/nonexistent")).is_empty());
    }
}
