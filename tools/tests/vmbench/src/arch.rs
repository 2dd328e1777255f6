// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What differs between guests of different architectures: QEMU, its machine, and how programs are built.

use crate::{Error, Result};

/// The architecture of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86 with 64 bits.
    X86,
    /// Arm with 64 bits.
    Arm64,
}

impl Arch {
    /// As the kernel calls it.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "x86" => Ok(Self::X86),
            "arm64" => Ok(Self::Arm64),
            _ => Err(Error::Setup(format!(
                "guests of the architecture {name} are not known"
            ))),
        }
    }

    /// The QEMU that emulates it.
    pub(crate) fn qemu(self) -> &'static str {
        match self {
            Self::X86 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// QEMU's machine. Each has PCI Express and an interrupt controller for messages, on arm64 the GICv3 with its ITS.
    pub(crate) fn machine(self) -> &'static str {
        match self {
            Self::X86 => "q35",
            Self::Arm64 => "virt,gic-version=3",
        }
    }

    /// The value of QEMU's `-cpu` under emulation. Arm's own algorithm for signed pointers would be slow.
    pub(crate) fn emulated_cpu(self) -> &'static str {
        match self {
            Self::X86 => "max",
            Self::Arm64 => "max,pauth-impdef=on",
        }
    }

    /// The kernel's parameters for this machine. On a busy host an emulated timer of a PC does not tick within the time
    /// that the kernel gives it for a test.
    pub(crate) fn parameters(self) -> &'static str {
        match self {
            Self::X86 => "console=ttyS0 no_timer_check",
            Self::Arm64 => "console=ttyAMA0",
        }
    }

    /// Rust's name of the target of programs.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::X86 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}
