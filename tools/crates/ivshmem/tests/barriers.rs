// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What orders accesses to memory that is not write-back, on x86: other instructions than compilers make of orderings. That one
//! is missing shows in no emulator and on no memory that a test can have, so this looks at the instructions: of this crate as cargo
//! builds it for tests, without optimisation, and of `include/libivshmem.h` by the compiler for C.
#![cfg(all(target_arch = "x86_64", debug_assertions))]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Mapping, Memory};

type Load32 = fn(&Mapping, u64, Ordering) -> Result<u32, AccessError>;
type Store32 = fn(&Mapping, u64, u32, Ordering) -> Result<(), AccessError>;
type Exchange32 = fn(&Mapping, u64, u32, u32) -> Result<Result<u32, u32>, AccessError>;
type Load64 = fn(&Mapping, u64, Ordering) -> Result<u64, AccessError>;
type Store64 = fn(&Mapping, u64, u64, Ordering) -> Result<(), AccessError>;
type Exchange64 = fn(&Mapping, u64, u64, u64) -> Result<Result<u64, u64>, AccessError>;
type Add32 = fn(&Mapping, u64, u32) -> Result<u32, AccessError>;

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, of binutils: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A name or code without brackets, which depend on how the compiler writes names.
fn plain(text: &str) -> String {
    text.replace(['<', '>'], "")
}

/// This program's functions, and what it calls through a table.
struct Program {
    path: String,
    /// Names by addresses, which have 16 digits.
    names: BTreeMap<String, String>,
    /// Addresses by places in the table.
    table: BTreeMap<String, String>,
}

impl Program {
    fn this() -> Self {
        let path = std::env::current_exe().unwrap();
        let path = path.to_str().unwrap().to_string();
        let names = output("nm", &["--demangle", &path]);
        // An address, a letter, and the name.
        let names = names.lines().filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            Some((address.to_string(), rest.get(2..)?.to_string()))
        });
        let table = output("objdump", &["--dynamic-reloc", &path]);
        let table = table.lines().filter_map(|line| {
            let (place, rest) = line.split_once(' ')?;
            let (_, address) = rest.split_once("*ABS*+0x")?;
            Some((
                place.trim_start_matches('0').to_string(),
                address.to_string(),
            ))
        });
        Self {
            names: names.collect(),
            table: table.collect(),
            path,
        }
    }

    /// The code of each function whose name without brackets begins with `name`.
    fn code_of(&self, name: &str) -> Vec<String> {
        let is_it =
            |symbol: &&String| plain(symbol).starts_with(name) && !symbol.contains("closure");
        let symbols: BTreeSet<_> = self.names.values().filter(is_it).collect();
        assert!(!symbols.is_empty(), "there is no {name}");
        let disassemble = |symbol: &String| {
            let symbol = format!("--disassemble={symbol}");
            let words = ["--demangle", "--no-show-raw-insn", &symbol, &self.path];
            let code = output("objdump", &words);
            code.lines().map(|line| self.named(line)).collect()
        };
        symbols.into_iter().map(disassemble).collect()
    }

    /// A line of code, with the name of what is called through the table.
    fn named(&self, line: &str) -> String {
        let place = line
            .split_once("# ")
            .and_then(|(_, rest)| rest.split(' ').next());
        let address = place.and_then(|place| self.table.get(place));
        let name = address.and_then(|address| self.names.get(address));
        plain(&format!("{line} {}\n", name.map_or("", String::as_str)))
    }

    /// Looks that each function of this name has these in this order.
    fn has(&self, name: &str, in_order: &[&str]) {
        for code in self.code_of(name) {
            // Not its own name, nor where it jumps to in itself.
            let is_code = |line: &&str| line.starts_with(' ') && !line.contains(" j");
            let mut lines = code.lines().filter(is_code);
            for wanted in in_order {
                let found = lines.any(|line| line.contains(wanted));
                assert!(found, "{name} has no {wanted} there: {code}");
            }
        }
    }
}

#[test]
fn accesses_are_between_barriers() {
    // So that they are there.
    black_box((
        <Mapping as Memory>::load32 as Load32,
        <Mapping as Memory>::store32 as Store32,
        <Mapping as Memory>::compare_exchange32 as Exchange32,
        <Mapping as Memory>::fetch_add32 as Add32,
    ));
    black_box((
        <Mapping as Memory>::load64 as Load64,
        <Mapping as Memory>::store64 as Store64,
        <Mapping as Memory>::compare_exchange64 as Exchange64,
        <Mapping as Memory>::fence as fn(&Mapping),
        <Mapping as Memory>::fence_loads as fn(&Mapping),
    ));
    let program = Program::this();
    const MAPPING: &str = "ivshmem::mapping::Mapping";
    let [before, after, exchange] =
        ["before", "after", "exchange"].map(|name| format!("{MAPPING}::{name}"));
    let barrier = "ivshmem::mapping::full_barrier";
    let of = |method: &str| format!("{MAPPING} as ivshmem::memory::Memory::{method}");
    for width in ["32", "64"] {
        program.has(&of(&format!("load{width}")), &["::load", &after]);
        program.has(&of(&format!("store{width}")), &[&before, "::store", &after]);
        program.has(&of(&format!("compare_exchange{width}")), &[&exchange]);
    }
    program.has(&of("fetch_add32"), &[&exchange]);
    program.has(&exchange, &[&before, "closure", &after]);
    for each in [&before, &after, &of("fence"), &of("fence_loads")] {
        program.has(each, &[barrier]);
    }
    program.has(barrier, &["mfence"]);
}

#[test]
fn the_header_for_c_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("each.c");
    let code = "#include <libivshmem.h>\n\
        uint32_t load(const void *at) { return ivshmem_load(at); }\n\
        void store(void *at, uint32_t value) { ivshmem_store(at, value); }\n\
        void fence(void) { ivshmem_fence(); }\n";
    std::fs::write(&source, code).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../include");
    let [include, uapi] = [include.clone(), include.join("uapi")].map(|path| {
        let path = path.to_str().unwrap();
        format!("-I{path}")
    });
    let source = source.to_str().unwrap();
    let words = ["-std=gnu11", "-O2", "-S", "-o-", &include, &uapi, source];
    let code = output("cc", &words);
    let body = |name: &str| {
        let (_, rest) = code.split_once(&format!("\n{name}:\n")).unwrap();
        rest.split_once("ret\n").unwrap().0.to_string()
    };
    let in_order = |name: &str, wanted: [&str; 2]| {
        let body = body(name);
        let [first, second] = wanted.map(|wanted| {
            let at = body.find(wanted);
            at.unwrap_or_else(|| panic!("{name} has no {wanted}: {body}"))
        });
        assert!(first < second, "{name}: {body}");
    };
    in_order("load", ["(%rdi), %e", "lfence"]);
    in_order("store", ["sfence", ", (%rdi)"]);
    assert!(body("fence").contains("mfence"));
}
