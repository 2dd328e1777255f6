// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Areas by name, of programs that come at the same time and die anywhere.

mod common;

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use common::{memory, Polled, SIZE};
use ivshmem::Memory;
use ivshmem_channel::{Areas, Error, MAX_AREAS};

const NAMES: [(&str, u64); 4] = [("one", 1), ("two", 5000), ("three", 4096), ("four", 10)];

/// No two areas share a byte, nor one with the directory.
fn check_apart(mut areas: Vec<Range<u64>>) {
    areas.sort_by_key(|area| area.start);
    assert!(areas[0].start >= 4096);
    assert!(
        areas.windows(2).all(|two| two[0].end <= two[1].start),
        "{areas:?}"
    );
    assert!(areas
        .iter()
        .all(|area| area.start % 4096 == 0 && area.end <= SIZE as u64));
}

fn claim_all<M: Memory>(areas: &Areas<M>) -> Vec<Range<u64>> {
    NAMES
        .map(|(name, size)| areas.claim(name, size).unwrap())
        .into()
}

#[test]
fn a_name_is_the_same_area_for_all() {
    let file = memory();
    // A directory that nobody makes: by its generation, entries of zeros would be set.
    let mut zeros_are_set = [0; 4096];
    zeros_are_set[..8].copy_from_slice(b"IVSA\x34\x12\0\0");
    for before in [[0; 4096], [0xff; 4096], zeros_are_set] {
        let ends = [0, 1].map(|id| Polled::of(&file, id));
        ends[0].write(0, &before).unwrap();
        // Who only looks finds none, and makes none.
        assert!(Areas::open(&*ends[0], 0).unwrap().is_none());
        let mut after = [1; 4096];
        ends[0].read(0, &mut after).unwrap();
        assert_eq!(after, before);
        let [one, two] = ends.map(|end| Areas::open_or_create(end, 0).unwrap());
        assert_eq!(two.find("one").unwrap(), None);
        let found = claim_all(&one);
        check_apart(found.clone());
        let looks = Polled::of(&file, 2);
        let looks = Areas::open(&*looks, 0).unwrap().unwrap();
        assert_eq!(looks.find("two").unwrap(), Some(found[1].clone()));
        assert_eq!(found[1].end - found[1].start, 8192);
        assert_eq!(claim_all(&two), found);
        assert_eq!(two.find("two").unwrap(), Some(found[1].clone()));
        assert_eq!(two.find("five").unwrap(), None);
        let other = two.claim("two", 100);
        assert!(
            matches!(
                other,
                Err(Error::OtherSize {
                    there: 8192,
                    wanted: 100
                })
            ),
            "{other:?}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let file = memory();
    let end = Polled::of(&file, 0);
    assert!(matches!(
        Areas::open_or_create(&*end, 1),
        Err(Error::Link(_))
    ));
    assert!(matches!(Areas::open(&*end, 1), Err(Error::Link(_))));
    assert!(matches!(
        Areas::open_or_create(&*end, SIZE as u64),
        Err(Error::Link(_))
    ));
    let areas = Areas::open_or_create(&*end, 4096).unwrap();
    let room = SIZE as u64 - 8192;
    for size in [room + 1, u64::MAX] {
        assert!(matches!(areas.claim("all", size), Err(Error::Layout(_))));
    }
    assert_eq!(areas.claim("all", room).unwrap(), 8192..SIZE as u64);
    assert!(matches!(areas.claim("more", 1), Err(Error::Layout(_))));
    let again = Areas::create(&*end, 4096).unwrap();
    assert_eq!(areas.find("all").unwrap(), None);
    assert_eq!(again.claim("other", 1).unwrap().start, 8192);
}

#[test]
fn there_are_as_many_areas_as_entries() {
    let file = memory();
    file.set_len((MAX_AREAS + 2) * 4096).unwrap();
    let len = ((MAX_AREAS + 2) * 4096) as usize;
    let all = ivshmem::Mapping::of(&file, 0, len, ivshmem::Access::ReadWrite).unwrap();
    let areas = Areas::open_or_create(&all, 0).unwrap();
    for number in 0..MAX_AREAS {
        let area = areas.claim(&number.to_string(), 1).unwrap();
        assert_eq!(area.start, (number + 1) * 4096);
    }
    assert!(matches!(areas.claim("one more", 1), Err(Error::Layout(_))));
    assert_eq!(areas.find("one more").unwrap(), None);
}

/// One dies before each of its accesses; another one then claims the same and other names.
#[test]
fn whoever_dies_anywhere_keeps_nobody_from_an_area() {
    let mut died = 0;
    for last in 0.. {
        let file = memory();
        // Garbage, or what a directory of an older generation left.
        let survivor = Areas::create(Polled::of(&file, 1), 0).unwrap();
        if last % 2 == 1 {
            survivor.claim("old", 8192).unwrap();
            Areas::create(Polled::of(&file, 1), 0).unwrap();
        }
        let count = AtomicU32::new(0);
        let victim = Polled::while_using(&file, 0, move || {
            if count.fetch_add(1, Ordering::Relaxed) >= last {
                std::panic::resume_unwind(Box::new("it is killed"));
            }
        });
        let claims = std::panic::AssertUnwindSafe(|| {
            let areas = Areas::open_or_create(victim, 0).unwrap();
            [("one", 1), ("other", 9000)].map(|(name, size)| areas.claim(name, size).unwrap())
        });
        let claimed = std::panic::catch_unwind(claims);
        let mut found = claim_all(&survivor);
        if let Ok([one, other]) = claimed {
            assert_eq!(found[0], one);
            found.push(other.clone());
            check_apart(found);
            assert_eq!(survivor.claim("other", 9000).unwrap(), other);
            break;
        }
        died += 1;
        let other = survivor.claim("other", 9000).unwrap();
        found.push(other);
        check_apart(found);
    }
    assert!(died > 10, "it died {died} times");
}

#[test]
fn programs_that_come_at_the_same_time_agree() {
    for _ in 0..300 {
        let file = memory();
        let found: Vec<_> = std::thread::scope(|scope| {
            let programs = [0, 1, 2].map(|id| {
                let end = Polled::of(&file, id);
                scope.spawn(move || {
                    let areas = Areas::open_or_create(Arc::clone(&end), 0).unwrap();
                    let mut names = NAMES;
                    names.rotate_left(id as usize);
                    let claim = |(name, size)| (name, areas.claim(name, size).unwrap());
                    let mut found = names.map(claim);
                    found.sort_by_key(|(name, _)| *name);
                    found
                })
            });
            programs
                .into_iter()
                .map(|program| program.join().unwrap())
                .collect()
        });
        assert!(found.windows(2).all(|two| two[0] == two[1]), "{found:?}");
        check_apart(found[0].iter().map(|(_, area)| area.clone()).collect());
    }
}
