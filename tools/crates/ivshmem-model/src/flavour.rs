// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What differs between the hypervisors that offer the device.
//!
//! A flavour is a set of rules over the state in a [`Function`]. Each flavour is one file, and each of its
//! rules names the place in the hypervisor's source that it was read from.
//!
//! | | [`Qemu`] plain | [`Qemu`] doorbell | [`AcrnHv`] | [`AcrnDm`] |
//! |---|---|---|---|---|
//! | subsystem | 1af4:1100 | 1af4:1100 | 8086:region ID | 8086:region ID |
//! | MSI-X vectors | none | 1 to 2048 | 8 | none |
//! | IVPosition | 0 | peer ID | VM ID | 0 |
//! | IntrMask, IntrStatus | stored; reading IntrStatus clears it | the same | stored | read 0 |
//! | Doorbell reads | 0 | 0 | 0 | all ones |
//! | vector in the doorbell | - | 8 bits | 16 bits | - |
//! | ring of a masked vector | - | pending | lost | - |
//! | accesses other than aligned 32 bits | cut or widened | the same | ignored; a read is stale | by offset |
//! | unaligned accesses to configuration space | by byte | by byte | ignored; a read is all ones | the same |
//! | memory enable, bus master | obeyed | obeyed | ignored | only BAR0 and BAR1 |
//! | moving BAR2 | works | works | works | loses the memory |
//! | BARs decode before software writes them | no | no | no | yes |
//!
//! Those of [`Vmm`] have no doorbell: their registers read 0, and writes are ignored.
//!
//! | | Cloud Hypervisor | kvmtool | StratoVirt |
//! |---|---|---|---|
//! | subsystem | 0:0 | 0:0 | 0:0 |
//! | revision, class | 1, 05.00 | 0, ff.00 | 1, 05.00 |
//! | BAR0 | 256 bytes | I/O ports, as many as the memory has bytes | 256 bytes |
//! | MSI-X vectors | none | 2, never raised | 2, raised by the host |
//! | BAR2 | 64 bits, prefetchable | 32 bits | 64 bits, prefetchable |
//! | addresses of BARs | any | any | multiples of the size |
//! | memory enable | needed to move a BAR | ignored | obeyed |
//! | moving BAR2 | works | without effect | works |
//! | BARs decode before software writes them | yes | yes | no |

mod acrn_dm;
mod acrn_hv;
mod qemu;
mod vmm;

use core::fmt;

pub use acrn_dm::AcrnDm;
pub use acrn_hv::{AcrnHv, Position};
pub use qemu::Qemu;
pub use vmm::Vmm;

use crate::function::Function;
use crate::width::Width;

/// Name of one end of a region: QEMU's peer ID, ACRN's virtual machine ID.
pub type PeerId = u16;

/// What a device is created for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The virtual machine.
    pub peer: PeerId,
    /// Bytes of shared memory, a power of two.
    pub memory: u64,
    /// ACRN's region ID.
    pub region_id: u16,
}

/// A write to the doorbell register, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Whom it is for.
    pub peer: PeerId,
    /// The vector.
    pub vector: u16,
}

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target sent its MSI-X message.
    Sent,
    /// The target has set the vector's pending bit and will send the message when it is unmasked.
    Pending,
    /// Nothing happened, and nothing will.
    Lost(Lost),
}

/// Why a ring was lost. No guest is ever told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nobody has this peer ID.
    NoSuchPeer,
    /// The flavour has no interrupts.
    NoDoorbell,
    /// The target has fewer vectors.
    NoSuchVector,
    /// MSI-X is off at the target; on ACRN also: its function mask is set.
    Disabled,
    /// The target's vector is masked, and the flavour has no pending bits.
    Masked,
    /// The target may not write to memory: its bus master bit is clear.
    NotMaster,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "sent",
            Self::Pending => "pending",
            Self::Lost(Lost::NoSuchPeer) => "lost: no such peer",
            Self::Lost(Lost::NoDoorbell) => "lost: the device has no doorbell",
            Self::Lost(Lost::NoSuchVector) => "lost: no such vector",
            Self::Lost(Lost::Disabled) => "lost: MSI-X is off",
            Self::Lost(Lost::Masked) => "lost: the vector is masked",
            Self::Lost(Lost::NotMaster) => "lost: bus mastering is off",
        })
    }
}

/// The rules of one hypervisor's device.
///
/// Offsets and widths come as the guest gave them, aligned or not. BAR2 is not seen here: it is memory.
pub trait Flavour: fmt::Debug + Send + Sync {
    /// A short name for logs.
    fn name(&self) -> &'static str;

    /// Number of peer IDs: valid ones are below.
    fn peers(&self) -> u32;

    /// A device as it is after power-on.
    fn create(&self, birth: &Birth) -> Function;

    /// Puts a BAR at an address, as the hypervisor or the firmware does before the guest's system runs.
    fn place_bar(&self, function: &mut Function, bar: usize, address: u64);

    /// The guest's machine is reset.
    fn reset(&self, function: &mut Function, birth: &Birth);

    /// A read of at most 32 bits of configuration space.
    fn config_read(&self, function: &Function, offset: u16, width: Width) -> u64 {
        function.config.read(offset, width)
    }

    /// A write of at most 32 bits to configuration space.
    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64);

    /// A read of BAR0.
    fn register_read(&self, function: &mut Function, offset: u64, width: Width) -> u64;

    /// A write to BAR0. `ring` is called for each write of the doorbell in it.
    fn register_write(
        &self,
        function: &mut Function,
        offset: u64,
        width: Width,
        value: u64,
        ring: &mut dyn FnMut(Ring),
    );

    /// A read of BAR1.
    fn msix_read(&self, function: &mut Function, offset: u64, width: Width) -> u64;

    /// A write to BAR1.
    fn msix_write(&self, function: &mut Function, offset: u64, width: Width, value: u64);

    /// Somebody rang a vector of this device.
    fn interrupt(&self, function: &mut Function, vector: u16) -> Outcome;
}

/// Replaces a device by a new one whose BARs are put where the hypervisor had put those of the old one.
fn make_anew(flavour: &dyn Flavour, function: &mut Function, birth: &Birth) {
    let placed = function.quirks.placed;
    *function = flavour.create(birth);
    for (bar, address) in placed.into_iter().enumerate() {
        if let Some(address) = address {
            flavour.place_bar(function, bar, address);
        }
    }
}
