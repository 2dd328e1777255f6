// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `include/libivshmem_channel.h` is what cbindgen makes of the source.
//!
//! `IVSHMEM_WRITE_HEADER=1` in the environment writes it anew.

use std::path::Path;

#[test]
fn the_header_is_current() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(package.join("cbindgen.toml")).unwrap();
    let made = cbindgen::Builder::new()
        .with_src(package.join("src/lib.rs"))
        .with_config(config)
        .generate()
        .unwrap();
    let mut bytes = Vec::new();
    made.write(&mut bytes);
    let made = String::from_utf8(bytes).unwrap();
    // These comments are not kernel-doc's.
    let made = made.replace("/**\n", "/*\n");
    let path = package.join("../../../include/libivshmem_channel.h");
    if std::env::var_os("IVSHMEM_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let hint = "IVSHMEM_WRITE_HEADER=1 cargo test -p ivshmem-channel-c --test header";
    assert!(
        there == made,
        "the header is out of date. Write it by: {hint}"
    );
}
