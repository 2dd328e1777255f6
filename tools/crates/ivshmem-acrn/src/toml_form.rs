// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The structured form as TOML: the fields of the XML, without its noise.
//!
//! ```
//! let scenario = ivshmem_acrn::toml_form::parse(r#"
//!     [[vm]]
//!     id = 0
//!     name = "SAFETY_VM0"
//!     load_order = "PRE_LAUNCHED_VM"
//!
//!     [[vm]]
//!     id = 2
//!     name = "POST_STD_VM1"
//!
//!     [[region]]
//!     name = "shm_region_0"
//!     provided_by = "Hypervisor"      # or "Device Model"; default: Hypervisor
//!     size = 2                        # MB; default: 2
//!     id = 0x1000                     # default: 0
//!     vms = [{ name = "SAFETY_VM0", vbdf = "00:08.0" }, { name = "POST_STD_VM1" }]
//! "#)?;
//! assert_eq!(scenario.regions[0].members[0].bdf.to_string(), "00:08.0");
//! # Ok::<(), ivshmem_acrn::Error>(())
//! ```

use serde::Deserialize;

use crate::check::{self, Draft};
use crate::{Error, Order, Rule, Scenario, Vm};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    vm: Vec<VmTable>,
    #[serde(default)]
    region: Vec<RegionTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VmTable {
    id: u16,
    name: String,
    #[serde(default)]
    load_order: LoadOrder,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(clippy::enum_variant_names, reason = "ACRN's names")]
enum LoadOrder {
    PreLaunchedVm,
    ServiceVm,
    #[default]
    PostLaunchedVm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionTable {
    #[serde(default)]
    name: String,
    provided_by: Option<String>,
    size: Option<i64>,
    id: Option<Id>,
    #[serde(default)]
    vms: Vec<MemberTable>,
}

/// A region ID: a number, or a text as the XML has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    name: String,
    vbdf: Option<String>,
}

/// Reads a scenario file's contents.
pub fn parse(toml: &str) -> Result<Scenario, Error> {
    let file: File =
        toml::from_str(toml).map_err(|error| Rule::Syntax(error.to_string()).at("scenario"))?;
    let vms = file.vm.into_iter().map(|vm| Vm {
        id: vm.id,
        name: vm.name,
        order: match vm.load_order {
            LoadOrder::PreLaunchedVm => Order::PreLaunched,
            LoadOrder::ServiceVm => Order::Service,
            LoadOrder::PostLaunchedVm => Order::PostLaunched,
        },
    });
    let drafts = file.region.into_iter().map(|region| Draft {
        name: region.name,
        provided_by: region.provided_by,
        size: region.size.map(|mib| mib.to_string()),
        id: region.id.map(|id| match id {
            Id::Number(number) => number.to_string(),
            Id::Text(text) => text,
        }),
        vms: region
            .vms
            .into_iter()
            .map(|vm| (vm.name, vm.vbdf))
            .collect(),
    });
    let drafts: Vec<Draft> = drafts.collect();
    check::scenario(vms.collect(), &[], &drafts)
}
