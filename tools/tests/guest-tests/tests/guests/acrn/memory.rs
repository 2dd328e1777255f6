// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Devices and their memory, whoever looks at it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::Guest;

use super::world::{ALL, DM, HV_VM0, HV_VM2, OLD, REGION_ID, SIZE};
use super::{contains, equal, run, world};

/// Where `map` writes.
const TEXT_AT: u64 = 4096;

pub fn cases(lab: &Lab) -> Vec<Trial> {
    vec![
        lab.trial("acrn::t01_t04_t32_memory_is_shared_both_ways", both_ways),
        lab.trial("acrn::t02_bar2_has_the_configured_size", size),
        lab.trial(
            "acrn::t03_t27_dm_land_memory_is_the_host_s_file",
            file_of_the_host,
        ),
        lab.trial("acrn::t05_t06_both_lands_in_one_machine_never_meet", lands),
        lab.trial("acrn::t13_subsystem_is_the_region_id", region_id),
        lab.trial("acrn::t14_t16_three_machines_share_a_third_region", three),
        lab.trial("acrn::t15_t28_lspci_line_at_the_slot", lspci_line),
        lab.trial("acrn::t08_t29_t30_t31_uio_on_one_side", uio),
    ]
}

fn both_ways(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    for (text, from, to) in [
        ("from the pre-launched one", (vm0, HV_VM0), (vm2, HV_VM2)),
        ("from the post-launched one", (vm2, HV_VM2), (vm0, HV_VM0)),
    ] {
        run(from.0, from.1, "map", &[text])?;
        equal(run(to.0, to.1, "map", &[])?, text.into())?;
    }
    Ok(())
}

fn size(fleet: &Fleet) -> Result<(), Failed> {
    for (vm, slot) in [(0, HV_VM0), (2, HV_VM2), (1, DM), (2, DM), (1, ALL)] {
        let script = format!("stat -c %s /sys/bus/pci/devices/0000:00:{slot:02x}.0/resource2");
        let bytes = fleet.guests[vm].shell(&script)?.check()?.stdout_text();
        equal(bytes, SIZE.to_string())?;
    }
    Ok(())
}

/// Between two post-launched machines, and in the file that ACRN keeps in the Service VM.
fn file_of_the_host(fleet: &Fleet) -> Result<(), Failed> {
    let text = "from the device model";
    run(&fleet.guests[1], DM, "map", &[text])?;
    equal(run(&fleet.guests[2], DM, "map", &[])?, text.into())?;
    let mut seen = vec![0; text.len()];
    File::open(&world(fleet)?.dm_file)?.read_exact_at(&mut seen, TEXT_AT)?;
    equal(String::from_utf8_lossy(&seen).as_ref(), text)
}

fn lands(fleet: &Fleet) -> Result<(), Failed> {
    let [vm0, vm1, vm2] = [0, 1, 2].map(|vm| &fleet.guests[vm]);
    run(vm2, HV_VM2, "map", &["hv"])?;
    run(vm2, DM, "map", &["dm"])?;
    equal(run(vm2, HV_VM2, "map", &[])?, "hv".into())?;
    equal(run(vm0, HV_VM0, "map", &[])?, "hv".into())?;
    equal(run(vm1, DM, "map", &[])?, "dm".into())
}

fn region_id(fleet: &Fleet) -> Result<(), Failed> {
    let read = |vm: usize, slot: u8| -> Result<String, Failed> {
        let script = format!(
            "cd /sys/bus/pci/devices/0000:00:{slot:02x}.0 && cat subsystem_vendor subsystem_device revision class"
        );
        Ok(fleet.guests[vm].shell(&script)?.check()?.stdout_text())
    };
    let with = |ids: String| format!("{ids}\n0x01\n0x050000");
    equal(read(2, HV_VM2)?, with(format!("0x8086\n{REGION_ID:#x}")))?;
    equal(read(2, DM)?, with("0x8086\n0x0000".into()))?;
    equal(read(1, OLD)?, with("0x0000\n0x0000".into()))
}

fn three(fleet: &Fleet) -> Result<(), Failed> {
    run(&fleet.guests[1], ALL, "map", &["to all"])?;
    for vm in [0, 2] {
        equal(run(&fleet.guests[vm], ALL, "map", &[])?, "to all".into())?;
    }
    Ok(())
}

/// VM0 hands its device over to uio_pci_generic; VM2 stays with the driver.
fn uio(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    run(vm2, HV_VM2, "map", &["to uio"])?;
    let modules = PathBuf::from(sandbox("MODULES_DIR")?).join("kernel/drivers/uio");
    for module in ["uio.ko.xz", "uio_pci_generic.ko.xz"] {
        vm0.insert_module(&modules.join(module), "")?;
    }
    let output = vm0.shell(
        "set -e
         cd /sys/bus/pci
         echo 0000:00:08.0 >drivers/ivshmem_rs/unbind
         echo 1af4 1110 >drivers/uio_pci_generic/new_id
         uio=$(ls devices/0000:00:08.0/uio)
         /test/resource2 /sys/class/uio/$uio/device
         /test/resource2 /sys/class/uio/$uio/device 'from uio' >/dev/null
         echo 1af4 1110 >drivers/uio_pci_generic/remove_id
         echo 0000:00:08.0 >drivers/uio_pci_generic/unbind
         echo 0000:00:08.0 >drivers/ivshmem_rs/bind",
    )?;
    equal(
        output.check()?.stdout_text(),
        format!("{SIZE} bytes\nto uio"),
    )?;
    equal(run(vm2, HV_VM2, "map", &[])?, "from uio".into())?;
    equal(run(vm0, HV_VM0, "map", &[])?, "from uio".into())
}

/// The line that the tutorial shows, at the slot that the configuration names.
fn lspci_line(fleet: &Fleet) -> Result<(), Failed> {
    let files = lspci_files()?;
    for (vm, slot) in [(0, HV_VM0), (1, DM), (2, HV_VM2), (2, DM)] {
        let text = lspci(&fleet.guests[vm], &files)?;
        let address = format!("00:{slot:02x}.0 ");
        let line = text.lines().find(|line| line.starts_with(&address));
        let line = line.ok_or_else(|| format!("nothing at {address}in:\n{text}"))?;
        // Newer lists of names have words between vendor and device that the tutorial's had not.
        for part in [
            "RAM memory: Red Hat, Inc. ",
            "Inter-VM shared memory",
            "(rev 01)",
        ] {
            contains(line, part)?;
        }
    }
    Ok(())
}

/// `lspci`, its libraries, and the names: path and contents.
fn lspci_files() -> Result<Vec<(String, Vec<u8>)>, Failed> {
    let root = PathBuf::from(sandbox("SANDBOX_ROOT")?);
    let ldd = Command::new(sandbox("ENTER")?)
        .args(["ldd", "/usr/bin/lspci"])
        .output()?;
    let libraries = String::from_utf8(ldd.stdout)?;
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    ["/usr/bin/lspci", "/usr/share/misc/pci.ids"]
        .into_iter()
        .chain(libraries)
        .map(|path| {
            let contents = std::fs::read(root.join(path.trim_start_matches('/')))?;
            Ok((path.to_string(), contents))
        })
        .collect()
}

fn lspci(guest: &Guest, files: &[(String, Vec<u8>)]) -> Result<String, Failed> {
    for (path, contents) in files {
        guest.write_file(path, 0o755, contents)?;
    }
    let output = guest.shell("/usr/bin/lspci | grep 'shared memory'")?;
    Ok(output.check()?.stdout_text())
}

/// A line of what `sandbox/info` says.
fn sandbox(key: &str) -> Result<String, Failed> {
    let script = vmbench::checkout().join("tools/scripts/sandbox/info");
    let output = Command::new(script).output()?;
    let text = String::from_utf8(output.stdout)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}=")));
    Ok(value
        .ok_or_else(|| format!("sandbox/info has no {key}"))?
        .into())
}
