// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A host, which has no device: what it needs to give devices to guests.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::finding::Finding;
use super::guests;
use super::patient::Patient;

/// The machine emulator that is looked for.
const QEMU: &str = "qemu-system-x86_64";
const SERVER: &str = "ivshmem-server";

/// What is found on a host; `None` if this system shows no sign of being one.
pub fn findings(patient: &Patient, search: &[PathBuf]) -> Option<Vec<Finding>> {
    let (qemu, server) = (find(search, QEMU), find(search, SERVER));
    let runs = patient.root.join("run/ivshmem");
    let kvm = patient.root.join("dev/kvm");
    if qemu.is_none() && server.is_none() && !runs.exists() && !kvm.exists() {
        return None;
    }
    let mut findings = vec![
        Finding::note(
            "device",
            "no ivshmem device (PCI 1af4:1110), and this looks like a host",
            "on a host nothing is wrong; if this is a guest, give it a device: on its host, `ivshmemctl launch \
             --dry-run` prints QEMU's options",
        ),
        qemu_finding(qemu.as_deref()),
        kvm_finding(&kvm),
        server_finding(server.as_deref()),
        sockets(&runs),
    ];
    findings.extend(guests::findings(patient));
    Some(findings)
}

/// The directories in which the shell looks for programs, and that of this one.
pub fn search() -> Vec<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut search: Vec<_> = std::env::split_paths(&paths).collect();
    let beside = std::env::current_exe();
    search.extend(beside.ok().and_then(|path| Some(path.parent()?.into())));
    search
}

fn find(search: &[PathBuf], program: &str) -> Option<PathBuf> {
    let mut paths = search.iter().map(|directory| directory.join(program));
    paths.find(|path| path.is_file())
}

fn qemu_finding(path: Option<&Path>) -> Finding {
    const CHECK: &str = "qemu";
    let Some(path) = path else {
        return Finding::note(
            CHECK,
            format!("{QEMU} is not installed"),
            "on Debian: sudo apt install qemu-system-x86; other hypervisors are not looked for",
        );
    };
    let output = Command::new(path).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match version.as_ref().map(|text| text.lines().next()) {
        Ok(Some(line)) => Finding::good(CHECK, line),
        _ => Finding::problem(
            CHECK,
            format!("{} does not run", path.display()),
            format!("see what it says: {} --version", path.display()),
        ),
    }
}

fn kvm_finding(path: &Path) -> Finding {
    const CHECK: &str = "kvm";
    if !path.exists() {
        return Finding::note(
            CHECK,
            "no /dev/kvm: guests are emulated, and slow",
            "enable virtualization in the firmware, then: sudo modprobe kvm_intel, or kvm_amd",
        );
    }
    match File::options().read(true).write(true).open(path) {
        Ok(_) => Finding::good(
            CHECK,
            "you may open /dev/kvm; whether it works shows when a guest starts",
        ),
        // QEMU emulates then, and all works.
        Err(error) => Finding::note(
            CHECK,
            format!("you may not use /dev/kvm, so guests are emulated, and slow: {error}"),
            "sudo usermod --append --groups kvm $USER, and log in again",
        ),
    }
}

fn server_finding(path: Option<&Path>) -> Finding {
    const CHECK: &str = "server";
    match path {
        Some(path) => Finding::good(CHECK, format!("{} is there", path.display())),
        None => Finding::note(
            CHECK,
            format!(
                "{SERVER} is not installed: guests can share memory, but not interrupt each other"
            ),
            "in a checkout of ivshmem-rs: make programs && sudo make install-programs",
        ),
    }
}

/// The sockets of the packaged server's unit, and whether this user gets at them.
fn sockets(runs: &Path) -> Finding {
    const CHECK: &str = "sockets";
    let entries = match std::fs::read_dir(runs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Finding::problem(
                CHECK,
                "you may not look into /run/ivshmem",
                "sudo usermod --append --groups ivshmem $USER, and log in again",
            )
        }
        Err(_) => return no_socket(),
    };
    let is_socket = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|t| t.is_socket());
    let sockets = entries.flatten().filter(is_socket);
    let names = sockets.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    match names.is_empty() {
        true => no_socket(),
        false => Finding::good(CHECK, format!("in /run/ivshmem: {}", names.join(", "))),
    }
}

fn no_socket() -> Finding {
    Finding::note(
        "sockets",
        "no server has its socket in /run/ivshmem, where packaged ones have it",
        format!(
            "if one runs with another socket, ivshmemctl info --join SOCKET asks it; else start one: sudo systemctl start ivshmem-server@NAME.socket with /etc/ivshmem/NAME.toml, or by hand \
             {SERVER} --socket-path /tmp/ivshmem.sock"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::super::finding::State;
    use super::*;

    fn states(root: &Path) -> Option<Vec<(&'static str, State)>> {
        let patient = Patient {
            root: root.into(),
            release: "7.3.4".into(),
        };
        let findings = findings(&patient, &[root.join("bin")])?;
        Some(findings.iter().map(|f| (f.check, f.state)).collect())
    }

    #[test]
    fn a_machine_with_nothing_is_not_a_host() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(states(root.path()), None);
    }

    #[test]
    fn a_host_is_told_what_it_has_and_lacks() {
        use State::{Good, Note};
        let root = tempfile::tempdir().unwrap();
        let runs = root.path().join("run/ivshmem");
        fs::create_dir_all(&runs).unwrap();
        let mut expected = vec![
            ("device", Note),
            ("qemu", Note),
            ("kvm", Note),
            ("server", Note),
            ("sockets", Note),
        ];
        assert_eq!(states(root.path()).as_ref(), Some(&expected));

        let _socket = UnixListener::bind(runs.join("demo.sock")).unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::write(root.path().join("bin").join(SERVER), "").unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev/kvm"), "").unwrap();
        for (at, check) in [(2, "kvm"), (3, "server"), (4, "sockets")] {
            expected[at] = (check, Good);
        }
        assert_eq!(states(root.path()).as_ref(), Some(&expected));
    }
}
