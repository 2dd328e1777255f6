// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the shared library shows to the dynamic linker.

mod built;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use built::Library;

fn output(program: &str, words: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(words).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, of binutils: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include/libivshmem_channel.h");
    let header = std::fs::read_to_string(header).unwrap();
    let code = header.lines().filter(|line| !line.starts_with(" *"));
    let before_argument = code.filter_map(|line| line.split_once('(').map(|(before, _)| before));
    let names = before_argument.filter_map(|before| before.rsplit([' ', '*']).next());
    names.map(str::to_string).collect()
}

#[test]
fn it_shows_what_the_header_declares_and_nothing_else() {
    let library = Library::shared();
    let symbols = output(
        "nm",
        &["--dynamic", "--defined-only", "--just-symbols"],
        &library.file(),
    );
    let symbols: BTreeSet<_> = symbols.lines().map(str::to_string).collect();
    assert_eq!(symbols, declared());
    let named = |symbol: &&String| !symbol.starts_with("ivshmem_channel_");
    assert_eq!(symbols.iter().find(named), None);
}

#[test]
fn the_package_of_debian_lists_the_same() {
    let list =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../debian/libivshmem-channel0.symbols");
    let list = std::fs::read_to_string(list).unwrap();
    let listed = list
        .lines()
        .filter_map(|line| line.strip_prefix(' ')?.split_once("@Base "))
        .map(|(name, _)| name.to_string());
    assert_eq!(listed.collect::<BTreeSet<_>>(), declared());
}

#[test]
fn its_name_has_the_version_of_the_interface() {
    let library = Library::shared();
    let dynamic = output("readelf", &["--dynamic", "--wide"], &library.file());
    let name = dynamic.lines().find(|line| line.contains("(SONAME)"));
    assert!(
        name.is_some_and(|line| line.ends_with("[libivshmem_channel.so.0]")),
        "{name:?}"
    );
}
