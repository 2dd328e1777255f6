// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is wrong with a configuration, in ACRN's words where ACRN has any.

/// Regions that the hypervisor has room for (`mem_regions` in `hypervisor/dm/vpci/ivshmem.c`).
pub const MAX_HV_REGIONS: usize = 8;

/// A broken rule, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {rule}")]
pub struct Error {
    /// The place in the configuration, as ACRN's tools name it.
    pub place: String,
    /// The rule.
    pub rule: Rule,
}

/// A rule of ACRN's configuration. The text is the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    // The text form: `misc/config_tools/library/scenario_cfg_lib.py`.
    /// More regions than the hypervisor has room for. ACRN counts dm-land regions too.
    #[error("The number of hv-land shmem regions should not be greater than {MAX_HV_REGIONS}.")]
    TooManyTextRegions,
    /// Fewer than three fields.
    #[error("The name, size, communication VM IDs of the share memory should be separated by comma and not be empty.")]
    Fields,
    /// An empty field, more than three, fewer than two IDs, or an ID that is no number.
    #[error("The shared memory region should be configured with format like this: hv:/shm_region_0, 2, 0:2")]
    Format,
    /// A virtual machine is named twice.
    #[error("The communication VM IDs of the share memory should not be duplicated.")]
    DuplicateId,
    /// The scenario has no such virtual machine.
    #[error("Shared Memory can be only configured for existed VMs.")]
    UnknownId,
    /// The name with its prefix is too long.
    #[error("The size of share Memory name should be in range [1,32] bytes.")]
    NameLength,
    /// The size is no number.
    #[error("The size of the shared memory region should be a decimal number.")]
    SizeNumber,
    /// The size is too small or too large.
    #[error("The size of the shared memory region should be in the range of [2MB, 512MB].")]
    SizeRange,
    /// The size is no power of two.
    #[error("The size of share Memory region should be a power of 2.")]
    SizePower,
    /// Two regions have one name.
    #[error("The names of share memory regions should not be duplicated: {0}")]
    DuplicateName(String),
    /// The schema's pattern for the text form (`types.xsd` of 2.5 to 2.7) does not match.
    #[error("\"{0}\" is not of the form hv:/NAME, MB, ID:ID or dm:/NAME, MB, ID:ID; the name has letters, digits and '_', an ID has digits, and no more than one blank stands in one place")]
    Pattern(String),

    // The structured form: `misc/config_tools/schema`.
    /// `checks/ivsh_memory.xsd`.
    #[error("VM \"{vm}\" may not be duplicated in the list of VMs that have access to the Inter-VM shared memory region \"{region}\".")]
    DuplicateVm {
        /// The virtual machine's name.
        vm: String,
        /// The region's name.
        region: String,
    },
    /// `checks/ivsh_memory.xsd`.
    #[error("InterVM shared memory region name must be set")]
    NameMissing,
    /// The configurator's form, for the pattern in `types.xsd`.
    #[error("Name must be between 1-27 characters and contain only letters, digits and \"_\".")]
    NamePattern,
    /// `checks/vbdf_assignment.xsd`.
    #[error("VM \"{vm}\" contains multiple virtual UART controllers or IVSHMEM interfaces using BDF {vbdf}. Adjust the BDF of those devices to be unique.")]
    DuplicateBdf {
        /// The virtual machine's name.
        vm: String,
        /// The PCI address.
        vbdf: String,
    },
    /// `checks/vbdf_assignment.xsd`.
    #[error("For post launched VM, the \"device\" value of a virtual BDF, which is used by {0}, shall not be '00', '01', '02' or '1f', i.e., the allowed values are between 03 and 1e, inclusive.")]
    ReservedBdf(String),
    /// `types.xsd`, VMNameType.
    #[error("Must NOT be longer than 15 characters or contain characters other than letters, digits, '_' and '-'.")]
    VmName,
    /// `types.xsd`, VBDFType.
    #[error("A string with up to two hex digits, a ``:``, two hex digits, a ``.``, and one digit between 0-7.")]
    BdfPattern,
    /// `static_allocators/lib/lib.py`: its pattern is narrower than the schema's.
    #[error("not a bdf: '{0}'")]
    NotABdf(String),
    /// `static_allocators/bdf.py`.
    #[error("Cannot find free bdf, used bdf: {0}")]
    NoFreeBdf(String),
    /// `types.xsd`, an enumeration that the schema checker reports in its own words.
    #[error("\"{0}\" is no size: choose 2, 4, 8, 16, 32, 64, 128, 256 or 512 (MB)")]
    SizeChoice(String),
    /// `types.xsd`, an enumeration.
    #[error("\"{0}\" provides no regions: choose Hypervisor or Device Model")]
    Provider(String),

    // What ACRN 3 does not check, or only when it is too late.
    /// The tutorial's rule for region IDs, which no tool checks.
    #[error("\"{0}\" is no region ID: it is 0, or from 0x1000 to 0xFFFF, in decimal or hexadecimal; 0x1 to 0xFFF are reserved")]
    RegionId(String),
    /// Only the configurator's form refuses this.
    #[error("Inter-VM shared memory region \"{0}\" needs at least two VMs: nobody could share it")]
    TooFewVms(String),
    /// The hypervisor would not compile.
    #[error("{0} regions are provided by the Hypervisor, which has room for {MAX_HV_REGIONS}")]
    TooManyHvRegions(usize),
    /// Nobody checks this.
    #[error("Inter-VM shared memory region \"{region}\" names VM \"{vm}\", which the scenario does not define")]
    UnknownVm {
        /// The virtual machine's name.
        vm: String,
        /// The region's name.
        region: String,
    },
    /// The file is no XML or TOML, or lacks something.
    #[error("{0}")]
    Syntax(String),
}

impl Rule {
    /// The error that this rule is broken at `place`.
    pub(crate) fn at(self, place: impl Into<String>) -> Error {
        Error {
            place: place.into(),
            rule: self,
        }
    }
}
