// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The kernel module, and what it is built with.

use std::fs;
use std::path::PathBuf;

use super::finding::{Finding, State};
use super::patient::Patient;

/// The driver's name, which is the module's too.
pub const DRIVER: &str = "ivshmem_rs";

const CHECK: &str = "module";

/// The first Linux that the module is for.
const FIRST: (u32, u32) = (7, 2);

/// How to get the module into the running kernel, where it can be built for it.
const BUILD: &str =
    "in a checkout of ivshmem-rs:\n  make && sudo make install && sudo modprobe ivshmem_rs";

/// The same where only headers are there that lack the kernel's Rust metadata, as Debian's do.
fn build_for_debian(release: &str) -> String {
    format!(
        "install the package ivshmem-rs-dkms, which a checkout of ivshmem-rs makes by: sudo make packages\n\
         or build on another machine, and copy the module:\n\
         \x20 make {}\n\
         \x20 insmod ivshmem_rs.ko",
        sandbox_kernel(release)
    )
}

/// Whether the kernel is one of Debian's, by the names that it gives them.
fn is_debian(release: &str) -> bool {
    ["-amd64", "-arm64", "-arm64-16k"]
        .iter()
        .any(|end| release.ends_with(end))
}

/// Which of the sandbox's kernels is of this flavour.
fn sandbox_kernel(release: &str) -> &'static str {
    let kernels = [
        ("-rt-", "KERNEL=rt"),
        ("-cloud-", "KERNEL=cloud"),
        ("-arm64-16k", "KERNEL=16k"),
        ("-arm64", "KERNEL=arm64"),
    ];
    let kernel = kernels.iter().find(|(part, _)| release.contains(part));
    kernel.map_or("KDIR=sandbox", |(_, kernel)| kernel)
}

pub fn findings(patient: &Patient) -> Vec<Finding> {
    if is_too_old(&patient.release) {
        return vec![too_old(&patient.release)];
    }
    let loaded = loaded(patient);
    let built = loaded.state == State::Good || installed(patient, &patient.release);
    let mut findings = vec![loaded];
    // Who has a module needs no headers.
    if !built {
        findings.push(headers(patient));
    }
    findings
}

/// Whether no module can be built for this kernel.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < FIRST,
        _ => false,
    }
}

fn too_old(release: &str) -> Finding {
    let (major, minor) = FIRST;
    Finding::note(
        CHECK,
        format!("the module {DRIVER} is for Linux {major}.{minor} and later, and {release} runs"),
        "programs reach the device without it, by its PCI address, as is said below; or boot a later kernel, with Rust",
    )
}

fn loaded(patient: &Patient) -> Finding {
    if patient.root.join("sys/module").join(DRIVER).exists() {
        return Finding::good(CHECK, "the module ivshmem_rs is loaded");
    }
    let release = &patient.release;
    if installed(patient, release) {
        return Finding::problem(
            CHECK,
            format!(
                "the module ivshmem_rs is installed for this kernel ({release}), but not loaded"
            ),
            "sudo modprobe ivshmem_rs",
        );
    }
    let build = match is_debian(release) && !has_metadata(patient) {
        true => build_for_debian(release),
        false => BUILD.into(),
    };
    match other_release(patient) {
        Some(other) => Finding::problem(
            CHECK,
            format!("the module ivshmem_rs is installed for kernel {other}, but {release} runs"),
            format!("boot {other}, or build the module for {release}:\n{build}"),
        ),
        None => Finding::problem(CHECK, "the module ivshmem_rs is not installed", build),
    }
}

/// Whether the module is installed for a kernel; depmod's list says so.
fn installed(patient: &Patient, release: &str) -> bool {
    let list = modules(patient).join(release).join("modules.dep");
    let list = fs::read_to_string(list).unwrap_or_default();
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.strip_prefix(DRIVER)
            .is_some_and(|rest| rest.starts_with(".ko"))
    })
}

fn other_release(patient: &Patient) -> Option<String> {
    let entries = fs::read_dir(modules(patient)).ok()?.flatten();
    let mut releases = entries.filter_map(|entry| entry.file_name().into_string().ok());
    releases.find(|release| installed(patient, release))
}

fn modules(patient: &Patient) -> PathBuf {
    patient.root.join("lib/modules")
}

/// Whether a module can be built with the headers of the running kernel.
fn has_metadata(patient: &Patient) -> bool {
    let build = modules(patient).join(&patient.release).join("build");
    build.join("rust/libkernel.rmeta").exists()
}

/// Where headers come from.
fn get_headers(release: &str) -> String {
    if !is_debian(release) {
        return format!("install those of {release}, from where the kernel comes from");
    }
    let mut series = release.split('.');
    let (major, minor) = (
        series.next().unwrap_or_default(),
        series.next().unwrap_or_default(),
    );
    format!(
        "the package ivshmem-rs-dkms needs them, and the kernel's source:\n\
         \x20 sudo apt install linux-headers-{release} linux-source-{major}.{minor}\n\
         for make they are not enough, as Debian's lack the kernel's Rust metadata"
    )
}

/// What the module would be built with.
fn headers(patient: &Patient) -> Finding {
    const CHECK: &str = "headers";
    let release = &patient.release;
    let build = modules(patient).join(release).join("build");
    let of = match fs::read_to_string(build.join("include/config/kernel.release")) {
        Ok(of) => of.trim().to_string(),
        Err(_) => {
            return Finding::problem(
                CHECK,
                format!("there are no headers of the kernel that runs, {release}"),
                get_headers(release),
            )
        }
    };
    if of != *release {
        return Finding::problem(
            CHECK,
            format!("the headers are stale: they are of kernel {of}, and {release} runs"),
            format!("boot {of}, or install the headers of {release}"),
        );
    }
    match has_metadata(patient) {
        true => Finding::good(CHECK, format!("headers of {release}, with Rust metadata")),
        false => Finding::problem(
            CHECK,
            format!("the headers of {release} lack the kernel's Rust metadata (rust/libkernel.rmeta)"),
            "make KDIR=sandbox, on any machine, builds for Debian's stock kernel, and the package ivshmem-rs-dkms makes \
             the metadata; see Documentation/building.rst for others",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(release: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Patient) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let patient = Patient {
            root: root.path().into(),
            release: release.into(),
        };
        (root, patient)
    }

    fn found(files: &[(&str, &str)]) -> Vec<(&'static str, State, String)> {
        found_on("7.3.4", files)
    }

    fn found_on(release: &str, files: &[(&str, &str)]) -> Vec<(&'static str, State, String)> {
        let (_root, patient) = patient(release, files);
        let findings = findings(&patient).into_iter();
        findings
            .map(|f| {
                (
                    f.check,
                    f.state,
                    f.found + " -> " + &f.remedy.unwrap_or_default(),
                )
            })
            .collect()
    }

    const DEP: &str = "kernel/a.ko.xz:\nupdates/ivshmem_rs.ko.xz: kernel/a.ko.xz\n";

    #[test]
    fn loaded_is_enough() {
        let found = found(&[("sys/module/ivshmem_rs/refcnt", "0")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, State::Good);
    }

    #[test]
    fn nobody_is_told_to_build_it_for_a_kernel_that_is_too_old() {
        for (release, old) in [
            ("6.12.48+deb13-amd64", true),
            ("7.1.0-rc3", true),
            ("7.2-amd64", false),
            ("7.10.1", false),
            ("10.0", false),
            ("mine", false),
        ] {
            assert_eq!(is_too_old(release), old, "{release}");
        }
        let patient = Patient {
            root: "/nonexistent".into(),
            release: "6.12.48".into(),
        };
        let found = findings(&patient);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].state, State::Note);
    }

    #[test]
    fn installed_and_not_loaded() {
        let found = found(&[("lib/modules/7.3.4/modules.dep", DEP)]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].2.ends_with("-> sudo modprobe ivshmem_rs"),
            "{found:?}"
        );
    }

    #[test]
    fn installed_for_another_kernel_and_no_headers() {
        let found = found(&[
            (
                "lib/modules/7.3.4/modules.dep",
                "kernel/ivshmem_rs_other.ko:\n",
            ),
            ("lib/modules/7.3.3/modules.dep", DEP),
        ]);
        assert!(
            found[0].2.contains("for kernel 7.3.3, but 7.3.4 runs"),
            "{found:?}"
        );
        assert!(found[1].2.contains("install those of 7.3.4"), "{found:?}");
    }

    #[test]
    fn nobody_is_told_to_build_with_headers_of_debian_alone() {
        for (release, kernel) in [
            ("7.3.4+deb13-amd64", "make KDIR=sandbox"),
            ("7.3.4+deb13-rt-amd64", "make KERNEL=rt"),
            ("7.3.4+deb13-cloud-amd64", "make KERNEL=cloud"),
            ("7.3.4+deb13-arm64", "make KERNEL=arm64"),
            ("7.3.4+deb13-arm64-16k", "make KERNEL=16k"),
        ] {
            let found = found_on(release, &[]);
            let (module, headers) = (&found[0].2, &found[1].2);
            assert!(!module.contains("make && sudo make install"), "{module}");
            assert!(module.contains("ivshmem-rs-dkms"), "{module}");
            assert!(module.contains(&format!("{kernel}\n")), "{module}");
            let packages = format!("linux-headers-{release} linux-source-7.3\n");
            assert!(headers.contains(&packages), "{headers}");
        }
        let with_metadata = "lib/modules/7.3.4-amd64/build/rust/libkernel.rmeta";
        let found = found_on("7.3.4-amd64", &[(with_metadata, "")]);
        assert!(
            found[0].2.contains("make && sudo make install"),
            "{found:?}"
        );
    }

    #[test]
    fn headers_can_be_stale_or_lack_metadata() {
        const RELEASE: &str = "lib/modules/7.3.4/build/include/config/kernel.release";
        const META: &str = "lib/modules/7.3.4/build/rust/libkernel.rmeta";
        let stale = found(&[(RELEASE, "7.3.2\n")]);
        assert!(
            stale[1].2.contains("stale: they are of kernel 7.3.2"),
            "{stale:?}"
        );
        let bare = found(&[(RELEASE, "7.3.4\n")]);
        assert!(bare[1].2.contains("make KDIR=sandbox"), "{bare:?}");
        let good = found(&[(RELEASE, "7.3.4\n"), (META, "")]);
        assert_eq!(good[1].1, State::Good);
    }
}
