// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands that look at the shared memory and change it.

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use serde_json::json;

use super::{answer, peer_id, refused, run, text, PROGRAM};

pub fn wait_word(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    text(a, "poke 0x800 7")?;
    refused(b, "wait --word 0x800=7 --timeout 100ms", 5, "nobody rang")?;
    refused(
        b,
        "wait --word 0x801=7",
        6,
        "offset 2049 is not a multiple of 4",
    )?;
    let mut waiting = b.command([PROGRAM, "wait", "--word", "0x800=7"]).spawn()?;
    // It may not sleep yet: then it finds the word changed, which is just as good.
    text(a, "poke 0x800 9")?;
    text(a, &format!("ring {}", peer_id(b)?))?;
    waiting.wait_for_output("0x9")?;
    waiting.wait()?.check()?;
    let word = answer(b, "wait --word 0x800=7")?;
    assert_eq!(word, json!({ "offset": 0x800, "value": 9 }));
    Ok(())
}

pub fn peek_and_poke(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    text(a, "poke 0x100 0x12345678 42")?;
    text(a, "poke --width 1 0x108 0xab 0xcd")?;
    assert_eq!(
        text(b, "peek 0x100 -c 2")?,
        "0x00000100: 0x12345678\n0x00000104: 0x0000002a"
    );
    assert_eq!(text(b, "peek --width 2 0x108")?, "0x00000108: 0xcdab");
    assert_eq!(
        text(b, "peek --width 8 0x100")?,
        "0x00000100: 0x0000002a12345678"
    );
    let peeked = answer(b, "peek --width 1 0x108 -c 2")?;
    assert_eq!(
        peeked,
        json!({ "offset": 0x108, "width": 1, "values": [0xab, 0xcd] })
    );
    let poked = answer(a, "poke 0x100 1 2 3")?;
    assert_eq!(poked, json!({ "offset": 0x100, "width": 4, "count": 3 }));
    refused(
        a,
        "peek 4M",
        6,
        "offset 0x400000 is not inside of the memory, which has 4 MiB",
    )?;
    refused(a, "peek 0x102", 6, "offset 258 is not a multiple of 4")?;
    refused(a, "poke 4M 1", 6, "not inside of")?;
    refused(
        a,
        "poke --width 2 0x200 0x10000",
        2,
        "does not fit into 2 bytes",
    )
}

pub fn dump_and_load(fleet: &Fleet) -> Result<(), Failed> {
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    a.shell("head -c 300007 /dev/urandom >/original")?.check()?;
    let loaded = answer(a, "load --offset 0x1001 /original")?;
    assert_eq!(loaded, json!({ "offset": 0x1001, "length": 300_007 }));
    let dumped = text(b, "dump --offset 0x1001 --length 300007 --output /copy")?;
    assert_eq!(dumped, "/copy: 300007 bytes from offset 0x1001 on");
    assert!(
        a.read_file("/original")? == b.read_file("/copy")?,
        "it arrived damaged"
    );
    let raw = run(b, "dump -s 0x1001 -n 300007 -o - | cmp - /copy")?;
    raw.check()?;

    a.shell(&format!("head -c 64 /dev/zero | {PROGRAM} load -s 1M -"))?
        .check()?;
    a.shell(&format!(
        "printf 'Hello, neighbour' | {PROGRAM} load -s 0x100010 -"
    ))?
    .check()?;
    let hex = "00100000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n\
               00100010  48 65 6c 6c 6f 2c 20 6e  65 69 67 68 62 6f 75 72  |Hello, neighbour|\n\
               00100020";
    assert_eq!(text(b, "dump -s 1M -n 32")?, hex);
    let dumped = answer(b, "dump -s 0x100010 -n 5")?;
    assert_eq!(
        dumped,
        json!({ "offset": 0x100010, "length": 5, "hex": "48656c6c6f" })
    );

    refused(a, "dump --offset 5M", 6, "the memory has 4 MiB")?;
    refused(a, "dump --length 5M", 6, "is followed by only")?;
    refused(
        a,
        "load --offset 0x3ffff0 /original",
        6,
        "longer than the 16 bytes",
    )?;
    refused(a, "load /absent", 1, "cannot read /absent")
}
