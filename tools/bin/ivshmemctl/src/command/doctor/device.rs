// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Each device: its driver, its node, its interrupts, its memory.

use ivshmem::{Cache, Device, Error, Function, Info, Mode, Sysfs};

use super::finding::Finding;
use super::module::DRIVER;
use super::patient::Patient;
use crate::output::size;

/// What the next larger page than the smallest has.
const LARGE_PAGE: u64 = 2 << 20;

/// The drivers of every kernel with which programs reach the device all the same.
const VFIO: &str = "vfio-pci";
const UIO: &str = "uio_pci_generic";

/// Whether there is a device at all.
pub fn is_there(patient: &Patient) -> bool {
    !functions(patient).is_empty()
}

/// What is to say of that.
pub fn presence(patient: &Patient) -> Finding {
    const CHECK: &str = "device";
    match functions(patient).len() {
        0 => Finding::problem(
            CHECK,
            "this system has no ivshmem device (PCI 1af4:1110)",
            "give it one on the host: `ivshmemctl launch --dry-run` prints QEMU's options",
        ),
        1 => Finding::good(CHECK, "one ivshmem device"),
        several => Finding::good(CHECK, format!("{several} ivshmem devices")),
    }
}

/// All about each device.
pub fn findings(patient: &Patient) -> Vec<Finding> {
    let of_function = |function| of_function(patient, function);
    functions(patient).iter().flat_map(of_function).collect()
}

fn functions(patient: &Patient) -> Vec<Function> {
    Sysfs::at(patient.root.join("sys")).functions()
}

fn of_function(patient: &Patient, function: &Function) -> Vec<Finding> {
    let mut findings = vec![driver(function)];
    findings.extend(choice(patient, function));
    let Some(node) = function.node() else {
        return findings;
    };
    let device = Device::open(&node);
    findings.push(rights(&node.display().to_string(), device.as_ref().err()));
    // Who may not write may still be allowed to look.
    let device = device.or_else(|_| Device::open_with(&node, Mode::ReadOnly));
    if let Ok(info) = device.and_then(|device| device.info()) {
        findings.push(vectors(function, &info));
        findings.push(cache(function, &info));
        findings.extend(pages(&info));
    }
    findings
}

fn driver(function: &Function) -> Finding {
    const CHECK: &str = "driver";
    let at = &function.bus_id;
    match function.driver.as_deref() {
        Some(DRIVER) => Finding::good(CHECK, format!("{at}: the driver is bound")),
        Some(VFIO) => handed_out(
            function,
            VFIO,
            "with interrupts, and memory that is not cached",
            String::new(),
        ),
        Some(UIO) => handed_out(
            function,
            UIO,
            "as root by sysfs, slower and without interrupts",
            interrupts(function),
        ),
        Some(other) => Finding::problem(
            CHECK,
            format!("{at}: another driver, {other}, has the device"),
            format!(
                "as root:\n\
                 \x20 echo {at} >/sys/bus/pci/drivers/{other}/unbind\n\
                 \x20 echo {at} >/sys/bus/pci/drivers/{DRIVER}/bind\n\
                 and for good:\n\
                 \x20 echo blacklist {other} >/etc/modprobe.d/{other}.conf"
            ),
        ),
        None => Finding::problem(
            CHECK,
            format!("{at}: no driver is bound"),
            format!(
                "load the driver, as root:\n\
                 \x20 modprobe {DRIVER}\n\
                 if it is loaded, bind it; dmesg | grep {at} has the reason for a refusal:\n\
                 \x20 echo {at} >/sys/bus/pci/drivers/{DRIVER}/bind\n\
                 if this kernel cannot load it (no Rust), -d {at} reaches the device by sysfs, as root, slower and \
                 without interrupts\n\
                 {}",
                interrupts(function)
            ),
        ),
    }
}

/// A driver by which programs reach the device in this way, and how to do better where the kernel cannot load ours.
fn handed_out(function: &Function, driver: &str, way: &str, better: String) -> Finding {
    let at = &function.bus_id;
    let separator = if better.is_empty() { "" } else { "\n" };
    Finding::note(
        "driver",
        format!("{at}: {driver} has the device: -d {at} reaches it {way}"),
        format!(
            "{better}{separator}{DRIVER} is faster, where the kernel can load it; as root:\n\
             \x20 echo {at} >/sys/bus/pci/drivers/{driver}/unbind\n\
             \x20 echo {DRIVER} >/sys/bus/pci/devices/{at}/driver_override\n\
             \x20 echo {at} >/sys/bus/pci/drivers_probe"
        ),
    )
}

/// How to be interrupted without the driver.
fn interrupts(function: &Function) -> String {
    let at = &function.bus_id;
    let bind = format!(
        "  modprobe {VFIO}\n\
         \x20 echo {VFIO} >/sys/bus/pci/devices/{at}/driver_override\n\
         \x20 echo {at} >/sys/bus/pci/drivers_probe"
    );
    match function.directory.join("iommu_group").exists() {
        true => format!("for interrupts without the driver, as root:\n{bind}"),
        false => format!(
            "for interrupts without the driver, give the guest an IOMMU (QEMU: -device intel-iommu,intremap=on and \
             the kernel's intel_iommu=on; on arm64 -machine iommu=smmuv3), then as root:\n{bind}"
        ),
    }
}

/// What the administrator has chosen for this device alone, where that keeps the driver away.
fn choice(patient: &Patient, function: &Function) -> Option<Finding> {
    let at = &function.bus_id;
    let file = format!("sys/bus/pci/devices/{at}/driver_override");
    let chosen = std::fs::read_to_string(patient.root.join(file)).ok()?;
    // The kernel's word for none. What is bound, and works, was meant.
    let chosen = Some(chosen.trim()).filter(|name| !["(null)", "", DRIVER].contains(name))?;
    if [VFIO, UIO].contains(&chosen) && function.driver.as_deref() == Some(chosen) {
        return None;
    }
    Some(Finding::problem(
        "driver-override",
        format!("{at}: driver_override allows the driver {chosen} only"),
        format!("as root: echo >/sys/bus/pci/devices/{at}/driver_override, then bind it"),
    ))
}

fn rights(node: &str, error: Option<&Error>) -> Finding {
    const CHECK: &str = "rights";
    match error {
        None => Finding::good(CHECK, format!("{node}: you may read and write")),
        Some(Error::Permission(_)) => Finding::problem(
            CHECK,
            format!("{node}: you may not read and write"),
            "join the group that owns it (sudo usermod --append --groups ivshmem $USER, and log in again), or give it \
             one with a udev rule: KERNEL==\"ivshmem*\", SUBSYSTEM==\"misc\", GROUP=\"ivshmem\", MODE=\"0660\"",
        ),
        Some(error) => Finding::problem(
            CHECK,
            format!("{node}: {error}"),
            "look into the kernel log: dmesg | grep ivshmem",
        ),
    }
}

fn vectors(function: &Function, info: &Info) -> Finding {
    const CHECK: &str = "vectors";
    let at = &function.bus_id;
    let (armed, offered) = (info.vectors, info.vectors_offered);
    let most = max_vectors(at);
    let expected = offered.min(most);
    if offered == 0 {
        return Finding::note(
            CHECK,
            format!("{at}: no MSI-X, so no doorbell: memory only"),
            "if it shall interrupt, give it ivshmem-doorbell and a server instead of ivshmem-plain \
             (on ACRN: hv-land instead of dm-land)",
        );
    }
    if armed < expected {
        return Finding::problem(
            CHECK,
            format!("{at}: only {armed} of {offered} vectors are armed"),
            format!("the kernel ran out of interrupts, or they failed: dmesg | grep {at}"),
        );
    }
    let found = format!("{at}: {armed} of {offered} vectors are armed");
    if armed < offered {
        return Finding::note(
            CHECK,
            found,
            format!(
                "peers must not ring the others; the driver's parameter max_vectors={most} allows no more"
            ),
        );
    }
    Finding::good(CHECK, found)
}

/// What the driver's parameter says, or the default of a driver that does not show it.
fn max_vectors(at: &str) -> u32 {
    const DEFAULT: u32 = 8;
    let path = format!("/sys/bus/pci/devices/{at}/ivshmem_parameters/max_vectors");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(DEFAULT)
}

fn cache(function: &Function, info: &Info) -> Finding {
    const CHECK: &str = "cache";
    let at = &function.bus_id;
    if info.cache == Cache::WriteBack {
        return Finding::good(CHECK, format!("{at}: the memory is write-back"));
    }
    Finding::note(
        CHECK,
        format!(
            "{at}: the memory is {}, not write-back: slow to read",
            info.cache
        ),
        "the module was loaded with cache=, which asks for that: leave it out (grep -r ivshmem_rs /etc/modprobe.d)",
    )
}

/// Small pages are of no interest where the memory has no room for large ones.
fn pages(info: &Info) -> Option<Finding> {
    const CHECK: &str = "pages";
    let at = &info.bus_id;
    let found = format!("{at}: pages of up to {}", size(info.page_size));
    if info.size < LARGE_PAGE {
        return None;
    }
    Some(match info.page_size >= LARGE_PAGE {
        true => Finding::good(CHECK, found),
        false => Finding::note(
            CHECK,
            found,
            "large pages need a kernel with transparent huge pages; PREEMPT_RT has none",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::command::doctor::finding::State;

    const AT: &str = "0000:00:04.0";

    /// A guest with one device, whose driver, if any, and whose override are these.
    fn findings_of(driver: &str, chosen: &str) -> Vec<Finding> {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("sys/bus/pci/devices").join(AT);
        fs::create_dir_all(&device).unwrap();
        let ids = [("vendor", "0x1af4"), ("device", "0x1110")];
        let subsystem = [
            ("subsystem_vendor", "0x1af4"),
            ("subsystem_device", "0x1100"),
        ];
        let others = [("resource", "0x0 0x0 0x0"), ("driver_override", chosen)];
        for (name, text) in [ids, subsystem, others].concat() {
            fs::write(device.join(name), format!("{text}\n")).unwrap();
        }
        if !driver.is_empty() {
            symlink(Path::new("../drivers").join(driver), device.join("driver")).unwrap();
        }
        let patient = Patient {
            root: root.path().into(),
            release: "7.3.4".into(),
        };
        findings(&patient)
    }

    fn remedy(finding: &Finding) -> &str {
        assert_eq!(finding.state, State::Problem);
        finding.remedy.as_deref().unwrap()
    }

    #[test]
    fn another_driver_is_named_with_what_keeps_it_away() {
        let found = findings_of("virtio_msg_ivshmem", "(null)");
        assert_eq!(found.len(), 1);
        assert!(found[0]
            .found
            .contains("another driver, virtio_msg_ivshmem, has"));
        assert!(remedy(&found[0]).contains("echo blacklist virtio_msg_ivshmem >"));
    }

    #[test]
    fn each_step_of_a_remedy_is_a_line_and_our_driver_comes_first() {
        let found = findings_of("", "(null)");
        let remedy = remedy(&found[0]);
        let commands: Vec<_> = remedy
            .lines()
            .filter_map(|l| l.strip_prefix("  "))
            .collect();
        let bind = format!("echo {AT} >/sys/bus/pci/drivers/{DRIVER}/bind");
        assert_eq!(commands[..2], [&format!("modprobe {DRIVER}"), &bind]);
        assert_eq!(commands[2], format!("modprobe {VFIO}"));
        assert!(!commands.concat().contains(';'), "{remedy}");
    }

    #[test]
    fn drivers_that_hand_out_the_device_are_no_problem() {
        for driver in [VFIO, UIO] {
            let found = findings_of(driver, driver);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].state, State::Note);
            assert!(found[0].found.contains(&format!("-d {AT} reaches it")));
            assert!(!format!("{found:?}").contains("blacklist"));
        }
        let found = findings_of(UIO, UIO);
        let advice = found[0].remedy.as_deref().unwrap();
        assert!(advice.contains("give the guest an IOMMU"), "{advice}");
        assert!(advice.contains(&format!(
            "echo {VFIO} >/sys/bus/pci/devices/{AT}/driver_override"
        )));
    }

    #[test]
    fn a_driver_override_is_told() {
        let found = findings_of("another", "vfio-pci");
        assert_eq!(found[1].check, "driver-override");
        let expected = format!("echo >/sys/bus/pci/devices/{AT}/driver_override");
        assert!(remedy(&found[1]).contains(&expected));
        assert_eq!(findings_of(DRIVER, DRIVER).len(), 1);
    }
}
