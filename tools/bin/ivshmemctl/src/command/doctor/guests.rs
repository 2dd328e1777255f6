// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The QEMUs that run on a host with `ivshmem-plain`: whether others see what their guests write, and for how long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::logind;
use super::patient::Patient;
use super::qemu::{self, Memory};

const CHECK: &str = "guests";

/// What is found; nothing if no such guest runs, or other users' processes are hidden.
pub fn findings(patient: &Patient) -> Vec<Finding> {
    let guests = guests(&patient.root.join("proc"));
    let mut findings: Vec<_> = guests
        .iter()
        .flat_map(|guest| faults(&patient.root, guest))
        .collect();
    if findings.is_empty() && !guests.is_empty() {
        let found = format!(
            "{} with memory from a file, which all share",
            count(guests.len())
        );
        findings.push(Finding::good(CHECK, found));
    }
    findings
}

fn count(guests: usize) -> String {
    match guests {
        1 => "one guest".into(),
        several => format!("{several} guests"),
    }
}

/// A process, and the memory of one of its devices.
struct Guest {
    process: u32,
    memory: Memory,
}

fn guests(proc: &Path) -> Vec<Guest> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut processes: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    processes.sort_unstable();
    let of_process = |process: u32| {
        let arguments =
            fs::read(proc.join(process.to_string()).join("cmdline")).unwrap_or_default();
        let memories = qemu::plain_memories(&arguments);
        memories
            .into_iter()
            .map(move |memory| Guest { process, memory })
    };
    processes.into_iter().flat_map(of_process).collect()
}

fn faults(root: &Path, guest: &Guest) -> Vec<Finding> {
    let Guest { process, memory } = guest;
    let path = &memory.path;
    if !memory.shared {
        return vec![Finding::problem(
            CHECK,
            format!("QEMU {process}: the memory in {path} is without share=on: nobody sees what this guest writes"),
            "stop the guest, and start it with share=on in that memory-backend-file",
        )];
    }
    let mut faults = Vec::new();
    if memory.discarded {
        faults.push(Finding::note(
            CHECK,
            format!("QEMU {process}: discard-data=on: when this guest ends, {path} becomes zeros for all others"),
            "leave discard-data=on out",
        ));
    }
    if let Some(user) = loser(root, path) {
        faults.push(Finding::note(
            CHECK,
            format!(
                "QEMU {process}: {path} belongs to user {user}: systemd-logind removes it when that user logs out, and \
                 guests that start later share another"
            ),
            format!("as root: loginctl enable-linger {user}, or RemoveIPC=no in /etc/systemd/logind.conf"),
        ));
    }
    faults
}

/// The user who loses this file by logging out.
fn loser(root: &Path, path: &str) -> Option<u32> {
    let name = path.strip_prefix("/dev/shm/")?;
    let file: PathBuf = [root, Path::new("dev/shm"), Path::new(name)]
        .iter()
        .collect();
    let user = fs::metadata(file).ok()?.uid();
    logind::removes_files_of(root, user).then_some(user)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::super::finding::State;
    use super::*;

    /// A host with a file in `/dev/shm`, and a QEMU with these further options for it.
    fn host(options: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let process = root.path().join("proc/42");
        fs::create_dir_all(&process).unwrap();
        let arguments = format!(
            "qemu-system-x86_64\0-object\0memory-backend-file,id=m,mem-path=/dev/shm/a,{options}\0\
             -device\0ivshmem-plain,memdev=m\0"
        );
        fs::write(process.join("cmdline"), arguments).unwrap();
        fs::create_dir_all(root.path().join("dev/shm")).unwrap();
        fs::write(root.path().join("dev/shm/a"), "").unwrap();
        root
    }

    fn found(root: &Path) -> Vec<(State, String)> {
        let patient = Patient {
            root: root.into(),
            release: "7.3.4".into(),
        };
        let findings = findings(&patient).into_iter();
        findings
            .map(|finding| (finding.state, finding.found))
            .collect()
    }

    #[test]
    fn a_guest_that_shares_is_good_and_none_is_nothing() {
        let good = "one guest with memory from a file, which all share".to_string();
        assert_eq!(found(host("share=on").path()), [(State::Good, good)]);
        assert_eq!(found(tempfile::tempdir().unwrap().path()), []);
    }

    #[test]
    fn forgotten_share_is_a_problem() {
        let found = found(host("size=1M").path());
        assert_eq!(found[0].0, State::Problem);
        assert!(
            found[0]
                .1
                .contains("QEMU 42: the memory in /dev/shm/a is without share=on"),
            "{found:?}"
        );
    }

    #[test]
    fn memory_that_ends_with_a_guest_is_told() {
        let found = found(host("share=on,discard-data=on").path());
        assert_eq!(found[0].0, State::Note);
        assert!(found[0].1.contains("discard-data=on"), "{found:?}");
    }

    #[test]
    fn memory_that_ends_with_a_session_is_told() {
        let host = host("share=on");
        let file = host.path().join("dev/shm/a");
        let user = match fs::metadata(&file).unwrap().uid() {
            // Only root can, and whoever else runs this is a person.
            0 => chown(&file, Some(1000), None).map(|()| 1000).unwrap(),
            user => user,
        };
        assert_eq!(found(host.path())[0].0, State::Good);
        fs::create_dir_all(host.path().join("run/systemd/users")).unwrap();
        let found = found(host.path());
        assert_eq!(found[0].0, State::Note);
        let expected = format!("/dev/shm/a belongs to user {user}: systemd-logind removes it");
        assert!(found[0].1.contains(&expected), "{found:?}");
    }
}
