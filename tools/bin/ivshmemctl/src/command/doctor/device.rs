// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Each device: its driver, its node, its interrupts, its memory.

use ivshmem::{Cache, Device, Error, Function, Info, Mode, Sysfs};

use super::finding::Finding;
use super::kernel_log::reason_against_write_back;
use super::module::DRIVER;
use super::patient::Patient;
use crate::output::size;

/// The smallest region that is write-back whatever the firmware says.
const ALWAYS_WRITE_BACK: u64 = 2 << 20;

/// Whether there is a device at all.
pub fn presence(patient: &Patient) -> Finding {
    const CHECK: &str = "device";
    match functions(patient).len() {
        0 => Finding::problem(
            CHECK,
            "this machine has no ivshmem device (PCI 1af4:1110)",
            "give it one on the host: `ivshmemctl launch --dry-run` prints QEMU's options",
        ),
        1 => Finding::good(CHECK, "one ivshmem device"),
        several => Finding::good(CHECK, format!("{several} ivshmem devices")),
    }
}

/// All about each device.
pub fn findings(patient: &Patient) -> Vec<Finding> {
    functions(patient).iter().flat_map(of_function).collect()
}

fn functions(patient: &Patient) -> Vec<Function> {
    Sysfs::at(patient.root.join("sys")).functions()
}

fn of_function(function: &Function) -> Vec<Finding> {
    let mut findings = vec![driver(function)];
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
        Some(other) => Finding::problem(
            CHECK,
            format!("{at}: another driver, {other}, has the device"),
            format!(
                "as root: echo {at} >/sys/bus/pci/drivers/{other}/unbind; \
                 echo {at} >/sys/bus/pci/drivers/{DRIVER}/bind"
            ),
        ),
        None => Finding::problem(
            CHECK,
            format!("{at}: no driver is bound"),
            format!(
                "as root: modprobe {DRIVER}; if it is loaded: echo {at} >/sys/bus/pci/drivers/{DRIVER}/bind, \
                 and the reason for a refusal is in: dmesg | grep {at}"
            ),
        ),
    }
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
    let said = reason_against_write_back(at);
    let remedy = said.unwrap_or_else(|| match info.size < ALWAYS_WRITE_BACK {
        true => "make the region 2 MiB or larger on the host (--size 2M)".into(),
        false => format!("the reason is in the kernel log: sudo dmesg | grep {at}"),
    });
    Finding::note(
        CHECK,
        format!(
            "{at}: the memory is {}, not write-back: slow to read",
            info.cache
        ),
        remedy,
    )
}

/// Small pages are of no interest where the memory has no room for large ones.
fn pages(info: &Info) -> Option<Finding> {
    const CHECK: &str = "pages";
    let at = &info.bus_id;
    let found = format!("{at}: pages of up to {}", size(info.page_size));
    if info.size < ALWAYS_WRITE_BACK {
        return None;
    }
    Some(match info.page_size >= ALWAYS_WRITE_BACK {
        true => Finding::good(CHECK, found),
        false => Finding::note(CHECK, found, why_small(ram())),
    })
}

/// Below that Linux has no large pages.
const MUCH_RAM: u64 = 512 << 20;

fn why_small(ram: u64) -> &'static str {
    match ram < MUCH_RAM {
        true => "this machine has less than 512 MiB of RAM, where Linux has no large pages: give it more",
        false => "large pages need BAR2 at a multiple of 2 MiB; see Documentation/memory.rst",
    }
}

/// Bytes of RAM, as the kernel counts them.
fn ram() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram * u64::from(info.mem_unit)
}
