// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which regions there are, and where their devices go: the configuration and acrn-dm's options together.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{anyhow, bail, ensure, Context, Result};
use ivshmem_acrn::slot::{self, Slot};
use ivshmem_acrn::{text, toml_form, xml, Bdf, Member, Provider, Region, Scenario};
use tracing::warn;

use crate::cli::Options;

/// ACRN's virtual machine IDs are below.
const VMS: u16 = 16;

/// The regions to serve, their members' addresses settled.
pub fn regions(options: &Options) -> Result<Vec<Region>> {
    let mut regions = configured(options)?.regions;
    let mut by_vm = BTreeMap::<u16, Vec<&str>>::new();
    for (vm, text) in &options.slots {
        by_vm.entry(*vm).or_default().push(text);
    }
    for (vm, texts) in by_vm {
        let slots = slot::parse_all(texts).with_context(|| format!("virtual machine {vm}"))?;
        for (bdf, device) in slots.others {
            warn!("virtual machine {vm}: {device} at {bdf} is left out; give QEMU such a device after --");
        }
        let mut given = HashMap::new();
        for slot in slots.ivshmem {
            if let Some(first) = given.insert(slot.full_name(), slot.bdf) {
                bail!(
                    "virtual machine {vm}: {} is at {first} and at {}; ivshmem-emu gives a machine one device \
                     of a region: leave one -s out",
                    slot.full_name(),
                    slot.bdf
                );
            }
            if let Some(warning) = &slot.warning {
                warn!("virtual machine {vm}: {warning}");
            }
            place(&mut regions, vm, &slot)?;
        }
    }
    if regions.is_empty() {
        match &options.scenario {
            Some(path) => bail!(
                "there is no region in {}: is it a scenario?",
                path.display()
            ),
            None => bail!("there is no region: give --region, --scenario, or --vm with -s"),
        }
    }
    check(&regions)?;
    Ok(regions)
}

fn configured(options: &Options) -> Result<Scenario> {
    let Some(path) = &options.scenario else {
        let texts: Vec<&str> = options.regions.iter().map(String::as_str).collect();
        return Ok(text::parse(&texts, None)?);
    };
    let contents =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_toml = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    };
    let scenario = match is_toml(path) {
        true => toml_form::parse(&contents),
        false => xml::parse(&contents),
    };
    scenario.with_context(|| path.display().to_string())
}

/// Gives a virtual machine the device that its option asks for.
fn place(regions: &mut Vec<Region>, vm: u16, slot: &Slot) -> Result<()> {
    let name = slot.full_name();
    let known = regions.iter_mut().find(|region| region.full_name() == name);
    let region = match (known, slot.provider) {
        (Some(region), _) => region,
        // The device model asks nobody whether a region is configured.
        (None, Provider::DeviceModel) => {
            regions.push(Region {
                name: slot.name.clone(),
                provider: slot.provider,
                size: slot.size,
                id: slot.region_id,
                members: Vec::new(),
            });
            regions.last_mut().ok_or_else(|| anyhow!("no region"))?
        }
        (None, Provider::Hypervisor) => bail!(
            "virtual machine {vm}: ACRN_IOCTL_CREATE_VDEV ioctl() returned an error: Invalid argument \
             (no region {name} is configured; add --region '{name}, {}, ...')",
            slot.size.mib()
        ),
    };
    ensure!(
        region.size == slot.size,
        "virtual machine {vm}: {}",
        different_size(region, slot)
    );
    // The hypervisor's device shows what the scenario says; that of the device model, what this option says.
    let region_id = (region.provider == Provider::DeviceModel).then_some(slot.region_id);
    let member = Member {
        vm,
        bdf: slot.bdf,
        region_id,
    };
    match region.members.iter_mut().find(|member| member.vm == vm) {
        Some(configured) => *configured = member,
        None if region.provider == Provider::Hypervisor => bail!(
            "virtual machine {vm}: ACRN_IOCTL_CREATE_VDEV ioctl() returned an error: Invalid argument \
             (the configuration of {name} does not name virtual machine {vm})"
        ),
        None => region.members.push(member),
    }
    Ok(())
}

/// What ACRN says of two sizes for one region.
fn different_size(region: &Region, slot: &Slot) -> String {
    match region.provider {
        Provider::DeviceModel => format!(
            "shm size is different, cur {}, creator {}",
            slot.size.bytes(),
            region.size.bytes()
        ),
        Provider::Hypervisor => format!(
            "ACRN_IOCTL_CREATE_VDEV ioctl() returned an error: Invalid argument \
             ({} is configured with {} MB, not {} MB)",
            region.full_name(),
            region.size.mib(),
            slot.size.mib()
        ),
    }
}

/// What QEMU's guests cannot have.
fn check(regions: &[Region]) -> Result<()> {
    let mut used = BTreeMap::<(u16, Bdf), String>::new();
    for region in regions {
        for member in &region.members {
            let (vm, bdf) = (member.vm, member.bdf);
            ensure!(vm < VMS, "virtual machine {vm}: ACRN's IDs are below {VMS}");
            ensure!(
                bdf.bus == 0,
                "virtual machine {vm}: {bdf} is not on bus 0, the only one that the machine is sure to have"
            );
            if let Some(other) = used.insert((vm, bdf), region.full_name()) {
                bail!(
                    "virtual machine {vm}: pci slot {}:{} already occupied! ({other} and {} are both at {bdf})",
                    bdf.device,
                    bdf.function,
                    region.full_name()
                );
            }
        }
    }
    for (vm, bdf) in used.keys() {
        let first = Bdf {
            function: 0,
            ..*bdf
        };
        ensure!(
            used.contains_key(&(*vm, first)),
            "virtual machine {vm}: nothing is at {first}, so that no system looks for {bdf}"
        );
    }
    Ok(())
}
