// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rules of the structured form, whichever file it was read from.

use std::collections::BTreeMap;

use crate::error::MAX_HV_REGIONS;
use crate::{Bdf, Error, Member, Order, Provider, Region, RegionName, Rule, Scenario, Size, Vm};

/// Devices that a post-launched virtual machine needs for itself.
const RESERVED: [u8; 4] = [0x00, 0x01, 0x02, 0x1f];

/// First region ID that is not reserved.
const FIRST_ID: u16 = 0x1000;

/// The name of a virtual machine, and an address in it, as they were written.
pub(crate) type Place = (String, Option<String>);

/// A region as it was written, all values still text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub name: String,
    pub provided_by: Option<String>,
    pub size: Option<String>,
    pub id: Option<String>,
    pub vms: Vec<Place>,
}

/// Makes a scenario of drafts. `vuarts` are the ends of each connection of virtual UARTs on PCI: they take
/// addresses as regions do.
pub(crate) fn scenario(
    vms: Vec<Vm>,
    vuarts: &[Vec<Place>],
    drafts: &[Draft],
) -> Result<Scenario, Error> {
    for vm in &vms {
        vm_name(&vm.name).map_err(|rule| rule.at(format!("vm:id={},name", vm.id)))?;
    }
    let mut used = BTreeMap::new();
    for (index, ends) in vuarts.iter().enumerate() {
        use_bdfs(
            &mut used,
            &vms,
            &format!("vuart_connection[{}]", index + 1),
            ends,
        )?;
    }
    for (index, draft) in drafts.iter().enumerate() {
        use_bdfs(
            &mut used,
            &vms,
            &format!("IVSHMEM_REGION[{}]", index + 1),
            &draft.vms,
        )?;
    }
    let mut regions = Vec::<Region>::new();
    for (index, draft) in drafts.iter().enumerate() {
        let place = |rule: Rule| rule.at(format!("IVSHMEM_REGION[{}]", index + 1));
        let region = region(draft, &vms, &mut used).map_err(place)?;
        let full = region.full_name();
        if regions.iter().any(|other| other.full_name() == full) {
            return Err(place(Rule::DuplicateName(full)));
        }
        regions.push(region);
    }
    let hv = |region: &&Region| region.provider == Provider::Hypervisor;
    match regions.iter().filter(hv).count() {
        0..=MAX_HV_REGIONS => Ok(Scenario { vms, regions }),
        count => Err(Rule::TooManyHvRegions(count).at("IVSHMEM")),
    }
}

/// `VMNameType`.
fn vm_name(name: &str) -> Result<(), Rule> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match (1..=15).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(Rule::VmName),
    }
}

/// Marks addresses that are given as used, by virtual machine; they must be known before others are chosen.
fn use_bdfs(
    used: &mut BTreeMap<u16, Vec<Bdf>>,
    vms: &[Vm],
    element: &str,
    places: &[Place],
) -> Result<(), Error> {
    for (name, bdf) in places {
        let place = |rule: Rule| rule.at(format!("{element}/{name}"));
        vm_name(name).map_err(place)?;
        let (Some(vm), Some(text)) = (vms.iter().find(|vm| vm.name == *name), bdf) else {
            continue;
        };
        let bdf: Bdf = text.parse().map_err(place)?;
        if vm.order == Order::PostLaunched && RESERVED.contains(&bdf.device) {
            return Err(place(Rule::ReservedBdf(name.clone())));
        }
        let used = used.entry(vm.id).or_default();
        if used.contains(&bdf) {
            return Err(place(Rule::DuplicateBdf {
                vm: name.clone(),
                vbdf: text.clone(),
            }));
        }
        used.push(bdf);
    }
    Ok(())
}

/// The next address for a region in a virtual machine that uses these, and marks it used.
pub(crate) fn free_bdf(used: &mut Vec<Bdf>) -> Result<Bdf, Rule> {
    let free = Bdf::AUTOMATIC
        .map(Bdf::device)
        .find(|bdf| !used.contains(bdf));
    match free {
        Some(bdf) => {
            used.push(bdf);
            Ok(bdf)
        }
        None => {
            let used: Vec<String> = used.iter().map(|bdf| format!("'{bdf}'")).collect();
            Err(Rule::NoFreeBdf(format!("[{}]", used.join(", "))))
        }
    }
}

fn region(draft: &Draft, vms: &[Vm], used: &mut BTreeMap<u16, Vec<Bdf>>) -> Result<Region, Rule> {
    let name: RegionName = draft.name.parse()?;
    let provider = match &draft.provided_by {
        Some(text) => text.parse()?,
        None => Provider::Hypervisor,
    };
    let size = match &draft.size {
        Some(text) => text
            .parse()
            .ok()
            .and_then(|mib| Size::from_mib(mib).ok())
            .ok_or_else(|| Rule::SizeChoice(text.clone()))?,
        None => Size::MIN,
    };
    let id = match &draft.id {
        Some(text) => region_id(text)?,
        None => 0,
    };
    if draft.vms.len() < 2 {
        return Err(Rule::TooFewVms(draft.name.clone()));
    }
    let mut members = Vec::<Member>::new();
    for (vm_name, bdf) in &draft.vms {
        let member = member(draft, vm_name, bdf.as_deref(), vms, used)?;
        if members.iter().any(|other| other.vm == member.vm) {
            return Err(Rule::DuplicateVm {
                vm: vm_name.clone(),
                region: draft.name.clone(),
            });
        }
        members.push(member);
    }
    Ok(Region {
        name,
        provider,
        size,
        id,
        members,
    })
}

fn member(
    draft: &Draft,
    name: &str,
    bdf: Option<&str>,
    vms: &[Vm],
    used: &mut BTreeMap<u16, Vec<Bdf>>,
) -> Result<Member, Rule> {
    let vm = vms.iter().find(|vm| vm.name == name);
    let vm = vm.ok_or_else(|| Rule::UnknownVm {
        vm: name.into(),
        region: draft.name.clone(),
    })?;
    let bdf = match bdf {
        Some(text) => text.parse()?,
        None => free_bdf(used.entry(vm.id).or_default())?,
    };
    Ok(Member {
        vm: vm.id,
        bdf,
        region_id: None,
    })
}

/// The tutorial's rule: 0, or 0x1000 to 0xFFFF, in decimal or hexadecimal.
pub(crate) fn region_id(text: &str) -> Result<u16, Rule> {
    let wrong = || Rule::RegionId(text.into());
    let hex = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |digits| (digits, 16));
    if digits.starts_with('+') {
        return Err(wrong());
    }
    match u16::from_str_radix(digits, radix).map_err(|_| wrong())? {
        id if id == 0 || id >= FIRST_ID => Ok(id),
        _ => Err(wrong()),
    }
}
