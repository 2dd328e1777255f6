// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's configuration of shared memory regions, with ACRN's rules and messages.
//!
//! A [`Scenario`] says which regions there are and which virtual machines use them. It is read from
//!
//! - the text form of ACRN 2.2 to 2.7, `hv:/shm_region_0, 2, 0:2` ([`text`]);
//! - a scenario XML of any release ([`xml`]);
//! - TOML with the fields of the XML ([`toml_form`]);
//! - `acrn-dm` options, `6,ivshmem,dm:/test,2` ([`slot`]).
//!
//! Whatever is wrong is said in the words that ACRN's own tools use, where they have any. What they say of the board is
//! missing, as there is none: that an address is that of a native PCI device of the Service VM
//! (`checks/vbdf_assignment.xsd`), that there is no address window for a BAR (`gpa.py`), and that the start address of a
//! region cannot be found (`scenario_cfg_lib.py`).
//!
//! ```
//! use ivshmem_acrn::{text, Provider};
//!
//! let region = text::parse_one("hv:/shm_region_0, 2, 0:2")?;
//! assert_eq!(region.provider, Provider::Hypervisor);
//! assert_eq!(region.size.bytes(), 2 << 20);
//! assert_eq!(region.members.len(), 2);
//!
//! let error = text::parse_one("hv:/shm_region_0, 3, 0:2").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "hv,FEATURES,IVSHMEM,IVSHMEM_REGION,0: The size of share Memory region should be a power of 2."
//! );
//! # Ok::<(), ivshmem_acrn::Error>(())
//! ```

#![forbid(unsafe_code)]

mod bdf;
mod check;
mod error;
mod region;
pub mod slot;
pub mod text;
pub mod toml_form;
pub mod xml;

pub use bdf::Bdf;
pub use error::{Error, Rule, MAX_HV_REGIONS};
pub use region::{Member, Order, Provider, Region, RegionName, Scenario, Size, Vm};
