// SPDX-License-Identifier: GPL-2.0

//! The module parameters, which hold for all devices of this machine and never change.

use crate::{
    kapi::compat::{
        is_on,
        value, //
    },
    module_parameters, //
};

/// Cache type that is asked for: 0 the best there is, or one of `abi::ioctl::CACHE_*`.
pub(crate) fn cache() -> u32 {
    value(&module_parameters::cache)
}

/// Whether programs may map the register page.
pub(crate) fn map_registers() -> bool {
    is_on(&module_parameters::map_registers)
}

/// Most vectors to arm.
pub(crate) fn max_vectors() -> u32 {
    value(&module_parameters::max_vectors)
}

/// Peer ID to report instead of the device's; negative: the device's.
pub(crate) fn peer_id() -> i32 {
    value(&module_parameters::peer_id)
}
