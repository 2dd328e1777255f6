// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The text form of ACRN 2.2 to 2.7: `hv:/shm_region_0, 2, 0:2`.
//!
//! Prefix and name, size in MiB, and the IDs of the virtual machines. ACRN reads it with
//! `scenario_cfg_lib.py`, whose messages come first, and since 2.5 checks it against a schema, which takes less. Here too,
//! but for virtual machines above 9: the schema has one digit for each, and 2.2 to 2.4 took them.
//!
//! Two messages of that program are not here because no input can reach them: "The name, size of the share
//! memory should not be empty." and "The communication VM IDs of the share memory should be decimal and
//! separated by comma."; both cases end as [`Rule::Format`]. The one about start addresses needs the board.

use std::collections::BTreeMap;

use crate::check;
use crate::error::MAX_HV_REGIONS;
use crate::region::is_word;
use crate::{Bdf, Error, Member, Order, Provider, Region, RegionName, Rule, Scenario, Size, Vm};

/// ACRN's limit for the name with its prefix, in bytes.
const NAME_MAX: usize = 32;

/// Reads one region whose virtual machines are whatever it names.
pub fn parse_one(text: &str) -> Result<Region, Error> {
    let mut scenario = parse(&[text], None)?;
    match scenario.regions.pop() {
        Some(region) => Ok(region),
        None => Err(Rule::Fields.at(place(0))),
    }
}

/// Reads the regions of a scenario; empty texts are none.
///
/// Without `vms`, the virtual machines are those that the regions name, called `VM0`, `VM1` and so on.
pub fn parse(texts: &[&str], vms: Option<Vec<Vm>>) -> Result<Scenario, Error> {
    let used = texts.iter().filter(|text| !text.trim().is_empty());
    if used.count() > MAX_HV_REGIONS {
        return Err(Rule::TooManyTextRegions.at(place(MAX_HV_REGIONS)));
    }
    let mut names = Vec::new();
    let mut raw = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        let region = Raw::parse(text, vms.as_deref(), &mut names);
        raw.push(region.map_err(|rule| rule.at(place(index)))?);
    }
    let vms = vms.unwrap_or_else(|| named_vms(&raw));
    let mut regions = Vec::new();
    let mut used = BTreeMap::<u16, Vec<Bdf>>::new();
    for region in raw {
        regions.push(region.finish(&mut used)?);
    }
    Ok(Scenario { vms, regions })
}

fn place(index: usize) -> String {
    format!("hv,FEATURES,IVSHMEM,IVSHMEM_REGION,{index}")
}

/// The virtual machines that regions name.
fn named_vms(regions: &[Raw]) -> Vec<Vm> {
    let mut ids: Vec<u16> = regions
        .iter()
        .flat_map(|region| region.ids.clone())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| Vm {
            id,
            name: format!("VM{id}"),
            order: Order::default(),
        })
        .collect()
}

/// A region whose devices have no addresses yet.
struct Raw {
    provider: Provider,
    name: RegionName,
    size: Size,
    ids: Vec<u16>,
}

impl Raw {
    fn parse(text: &str, vms: Option<&[Vm]>, names: &mut Vec<String>) -> Result<Self, Rule> {
        let fields: Vec<&str> = text.split(',').collect();
        let [name, size, ids] = fields[..] else {
            return Err(match fields.len() < 3 {
                true => Rule::Fields,
                false => Rule::Format,
            });
        };
        let (name, size) = (name.trim(), size.trim());
        let ids = parse_ids(ids)?;
        if name.is_empty() || size.is_empty() || ids.len() < 2 {
            return Err(Rule::Format);
        }
        if (1..ids.len()).any(|at| ids[..at].contains(&ids[at])) {
            return Err(Rule::DuplicateId);
        }
        let known = |id| vms.is_none_or(|vms| vms.iter().any(|vm| i64::from(vm.id) == id));
        if !ids.iter().all(|id| known(*id)) {
            return Err(Rule::UnknownId);
        }
        if name.len() > NAME_MAX {
            return Err(Rule::NameLength);
        }
        let size = Size::from_mib(size.parse().map_err(|_| Rule::SizeNumber)?)?;
        if names.iter().any(|other| other == name) {
            return Err(Rule::DuplicateName(name.into()));
        }
        names.push(name.into());
        if !matches_pattern(text) {
            return Err(Rule::Pattern(text.into()));
        }
        let (provider, name) = Provider::split(name).ok_or(Rule::Format)?;
        let ids = ids.into_iter().map(u16::try_from);
        Ok(Self {
            provider,
            name: RegionName::of_acrn_2(name)?,
            size,
            ids: ids.collect::<Result<_, _>>().map_err(|_| Rule::UnknownId)?,
        })
    }

    fn finish(self, used: &mut BTreeMap<u16, Vec<Bdf>>) -> Result<Region, Error> {
        let mut members = Vec::new();
        for vm in self.ids {
            let bdf = check::free_bdf(used.entry(vm).or_default());
            let bdf = bdf.map_err(|rule| rule.at(format!("vm:id={vm}")))?;
            members.push(Member {
                vm,
                bdf,
                region_id: None,
            });
        }
        Ok(Region {
            name: self.name,
            provider: self.provider,
            size: self.size,
            id: 0,
            members,
        })
    }
}

fn parse_ids(text: &str) -> Result<Vec<i64>, Rule> {
    text.split(':')
        .map(|id| id.trim().parse().map_err(|_| Rule::Format))
        .collect()
}

/// The schema's pattern, but for IDs of several digits: `((hv)|(dm)):/\w+,\s?\d+\s?,\s?\d+\s?(:\s?\d+\s?)+`.
fn matches_pattern(text: &str) -> bool {
    let Some((_, rest)) = Provider::split(text) else {
        return false;
    };
    let fields: Vec<&str> = rest.split(',').collect();
    let [name, size, ids] = fields[..] else {
        return false;
    };
    let number = |text| {
        let digits = between_blanks(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    !name.is_empty() && is_word(name) && number(size) && ids.split(':').all(number)
}

/// Takes away at most one blank at each end.
fn between_blanks(text: &str) -> &str {
    let text = text.strip_prefix(char::is_whitespace).unwrap_or(text);
    text.strip_suffix(char::is_whitespace).unwrap_or(text)
}
