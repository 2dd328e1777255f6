// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Gives the shared library its name for the dynamic linker.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libivshmem_channel.so.0");
}
