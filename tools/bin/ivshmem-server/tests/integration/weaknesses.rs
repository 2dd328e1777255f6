// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What QEMU's own server (`contrib/ivshmem-server`) is known to fail at, one test each.

mod clients;
mod memory;
mod operation;
