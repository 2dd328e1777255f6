// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! systemd-logind, which removes the POSIX shared memory of users who log out.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The user IDs of people. Others have no sessions that end.
const PEOPLE: RangeInclusive<u32> = 1000..=60_000;

/// Where settings are, by rank: each yields to those after it.
const SETTINGS: [&str; 4] = [
    "usr/lib/systemd",
    "usr/local/lib/systemd",
    "run/systemd",
    "etc/systemd",
];

/// Whether the files that this user has in `/dev/shm` of the system at `root` go with the user's last session.
pub fn removes_files_of(root: &Path, user: u32) -> bool {
    let runs = root.join("run/systemd/users").exists();
    runs && PEOPLE.contains(&user) && !lingers(root, user) && remove_ipc(root)
}

/// Whether the user stays when nobody is logged in. Names that `/etc/passwd` does not know are taken for those of
/// users who do not.
fn lingers(root: &Path, user: u32) -> bool {
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then_some(name)
    });
    let lingering = root.join("var/lib/systemd/linger");
    name.is_some_and(|name| lingering.join(name).exists())
}

/// `RemoveIPC=` of `logind.conf`: the last valid one counts, and `yes` if there is none.
fn remove_ipc(root: &Path) -> bool {
    let value = |line: &str| {
        let value = line.trim().strip_prefix("RemoveIPC")?;
        boolean(value.trim_start().strip_prefix('=')?.trim())
    };
    let last = |text: String| text.lines().rev().find_map(value);
    let texts = settings(root).into_iter().rev().map(fs::read_to_string);
    texts.flatten().find_map(last).unwrap_or(true)
}

/// The files that systemd reads, in its order: one `logind.conf`, and what `logind.conf.d` adds, where a file hides those of
/// the same name in directories of a lower rank.
fn settings(root: &Path) -> Vec<PathBuf> {
    let directories = SETTINGS.map(|directory| root.join(directory));
    let mut main = None;
    let mut additions = BTreeMap::new();
    for directory in directories {
        main = Some(directory.join("logind.conf"))
            .filter(|path| path.exists())
            .or(main);
        for entry in fs::read_dir(directory.join("logind.conf.d"))
            .into_iter()
            .flatten()
        {
            let Ok(entry) = entry else { continue };
            if entry.path().extension().is_some_and(|end| end == "conf") {
                additions.insert(entry.file_name(), entry.path());
            }
        }
    }
    main.into_iter().chain(additions.into_values()).collect()
}

/// A truth value as systemd writes it.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: u32 = 1000;

    /// A system whose logind runs.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/systemd/users")).unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn removes(files: &[(&str, &str)]) -> bool {
        removes_files_of(system(files).path(), USER)
    }

    #[test]
    fn files_of_people_go_by_default() {
        let root = system(&[]);
        assert!(removes_files_of(root.path(), USER));
        // Debian's libvirt-qemu has the last one.
        for system_user in [0, 999, 64_055] {
            assert!(!removes_files_of(root.path(), system_user));
        }
    }

    #[test]
    fn nothing_goes_without_logind() {
        let root = tempfile::tempdir().unwrap();
        assert!(!removes_files_of(root.path(), USER));
    }

    #[test]
    fn the_last_setting_counts() {
        let no = "[Login]\n RemoveIPC = no\n";
        assert!(removes(&[("etc/systemd/logind.conf", "#RemoveIPC=no\n")]));
        assert!(removes(&[("etc/systemd/logind.conf", "RemoveIPC=maybe\n")]));
        assert!(!removes(&[("usr/lib/systemd/logind.conf", no)]));
        // A file in /etc hides that of a package.
        let files = [
            ("etc/systemd/logind.conf", ""),
            ("usr/lib/systemd/logind.conf", no),
        ];
        assert!(removes(&files));
        let files = [
            ("etc/systemd/logind.conf", no),
            (
                "usr/lib/systemd/logind.conf.d/50-vendor.conf",
                "RemoveIPC=yes\n",
            ),
        ];
        assert!(removes(&files));
        let files = [
            (
                "usr/lib/systemd/logind.conf.d/50-vendor.conf",
                "RemoveIPC=yes\n",
            ),
            ("etc/systemd/logind.conf.d/50-vendor.conf", no),
        ];
        assert!(!removes(&files));
    }

    #[test]
    fn files_of_a_user_who_lingers_stay() {
        let users = (
            "etc/passwd",
            "root:x:0:0::/root:\nalice:x:1000:1000::/home/alice:\n",
        );
        assert!(removes(&[users, ("var/lib/systemd/linger/bob", "")]));
        assert!(!removes(&[users, ("var/lib/systemd/linger/alice", "")]));
    }
}
