// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Areas under every interleaving of their accesses, by loom, in memory that was used before.

use std::ops::Range;
use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::Areas;
use loom::sync::atomic::AtomicU64;
use loom::sync::Arc;
use loom::thread;

/// The header and the first entries.
const WORDS: usize = 2 + 2 * 12;

struct Model(Vec<AtomicU64>);

impl Model {
    fn new() -> Self {
        // As if of another generation, whose tag is that of none: a generation is drawn anew in each execution, and loom can
        // only repeat those that do not depend on chance.
        let words = (0..WORDS).map(|_| AtomicU64::new(0xbeef_0000_0001));
        Self(words.collect())
    }

    fn word(&self, offset: u64) -> &AtomicU64 {
        &self.0[offset as usize / 8]
    }
}

type Access<T> = Result<T, AccessError>;

impl Memory for Model {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Access<()> {
        unreachable!("areas have words alone")
    }
    fn write(&self, _: u64, _: &[u8]) -> Access<()> {
        unreachable!("areas have words alone")
    }
    fn load32(&self, _: u64, _: Ordering) -> Access<u32> {
        unreachable!("of 64 bits")
    }
    fn store32(&self, _: u64, _: u32, _: Ordering) -> Access<()> {
        unreachable!("of 64 bits")
    }
    fn compare_exchange32(&self, _: u64, _: u32, _: u32) -> Access<Result<u32, u32>> {
        unreachable!("of 64 bits")
    }
    fn fetch_add32(&self, _: u64, _: u32) -> Access<u32> {
        unreachable!("of 64 bits")
    }
    fn store64(&self, _: u64, _: u64, _: Ordering) -> Access<()> {
        unreachable!("replaced, and never stored")
    }
    fn load64(&self, offset: u64, order: Ordering) -> Access<u64> {
        Ok(self.word(offset).load(order))
    }
    fn compare_exchange64(&self, offset: u64, old: u64, new: u64) -> Access<Result<u64, u64>> {
        let order = Ordering::SeqCst;
        Ok(self.word(offset).compare_exchange(old, new, order, order))
    }
}

fn bounded() -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder
}

/// Two programs that claim these names at the same time, each with a size of its own.
fn model(names: [&'static [&'static str]; 2], check: fn([Vec<Range<u64>>; 2])) {
    bounded().check(move || {
        let memory = Arc::new(Model::new());
        let claim = |memory: &Model, names: &[&str]| {
            let areas = Areas::open_or_create(memory, 0).unwrap();
            let size = |name: &str| 4096 * name.len() as u64;
            let all = names
                .iter()
                .map(|name| areas.claim(name, size(name)).unwrap());
            all.collect::<Vec<_>>()
        };
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || claim(&memory, names[1]))
        };
        let one = claim(&memory, names[0]);
        let two = other.join().unwrap();
        // Who comes later finds the same.
        assert_eq!(claim(&memory, names[0]), one);
        assert_eq!(claim(&memory, names[1]), two);
        check([one, two]);
    });
}

fn apart(one: &Range<u64>, two: &Range<u64>) -> bool {
    one.end <= two.start || two.end <= one.start
}

#[test]
fn one_name_is_one_area() {
    model([&["a"], &["a"]], |[one, two]| assert_eq!(one, two));
}

#[test]
fn two_names_are_two_areas() {
    model([&["a"], &["bb"]], |[one, two]| {
        assert!(apart(&one[0], &two[0]))
    });
}

#[test]
fn names_in_another_order_are_the_same_areas() {
    model([&["a", "bb"], &["bb", "a"]], |[one, two]| {
        assert_eq!([&one[0], &one[1]], [&two[1], &two[0]]);
        assert!(apart(&one[0], &one[1]));
    });
}

#[test]
fn whoever_only_looks_finds_the_area_or_none() {
    bounded().check(|| {
        let memory = Arc::new(Model::new());
        let areas = Areas::open_or_create(&*memory, 0).unwrap();
        let looks = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let areas = Areas::open_or_create(&*memory, 0).unwrap();
                areas.find("bb").unwrap()
            })
        };
        areas.claim("a", 4096).unwrap();
        let area = areas.claim("bb", 8192).unwrap();
        let found = looks.join().unwrap();
        assert!(found.is_none_or(|found| found == area));
        assert_eq!(areas.find("bb").unwrap(), Some(area));
    });
}
