// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A mapping reads and writes what it is asked for, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use ivshmem::{Access, AccessError, Error, Mapping, Memory};
use proptest::collection::vec;
use proptest::prelude::*;

const SIZE: usize = 4096;

fn pair(access: Access) -> (File, Mapping) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE as u64).unwrap();
    let mapping = Mapping::of(&file, 0, SIZE, access).unwrap();
    (file, mapping)
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

proptest! {
    #[test]
    fn copies_move_exactly_what_they_should(
        background in any::<u8>(),
        offset in 0..SIZE,
        // Each way to copy is among them.
        data in prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..2000)],
    ) {
        let (file, mapping) = pair(Access::ReadWrite);
        let mut expected = vec![background; SIZE];
        file.write_all_at(&expected, 0).unwrap();
        let written = mapping.write(offset as u64, &data);
        let fits = offset + data.len() <= SIZE;
        prop_assert_eq!(written.is_ok(), fits);
        if fits {
            expected[offset..offset + data.len()].copy_from_slice(&data);
            let mut read = vec![0; data.len()];
            mapping.read(offset as u64, &mut read).unwrap();
            prop_assert_eq!(read, data);
        }
        prop_assert_eq!(contents(&file), expected);
    }

    #[test]
    fn no_access_leaves_the_memory(offset in any::<u64>(), len in 0usize..64) {
        let (_file, mapping) = pair(Access::ReadWrite);
        let outside = offset.checked_add(len as u64).is_none_or(|end| end > SIZE as u64);
        prop_assert_eq!(mapping.read(offset, &mut vec![0; len]).is_err(), outside);
        prop_assert_eq!(mapping.write(offset, &vec![0; len]).is_err(), outside);
        let word = |width: u64| {
            offset % width == 0 && offset.checked_add(width).is_some_and(|end| end <= SIZE as u64)
        };
        prop_assert_eq!(mapping.load32(offset, Ordering::Acquire).is_ok(), word(4));
        prop_assert_eq!(mapping.load64(offset, Ordering::Acquire).is_ok(), word(8));
        prop_assert_eq!(mapping.store32(offset, 1, Ordering::Release).is_ok(), word(4));
        prop_assert_eq!(mapping.store64(offset, 1, Ordering::Release).is_ok(), word(8));
        prop_assert_eq!(mapping.fetch_add32(offset, 1).is_ok(), word(4));
        prop_assert_eq!(mapping.compare_exchange32(offset, 0, 1).is_ok(), word(4));
        prop_assert_eq!(mapping.compare_exchange64(offset, 0, 1).is_ok(), word(8));
    }
}

#[test]
fn words_are_in_the_cpus_byte_order() {
    let (file, mapping) = pair(Access::ReadWrite);
    mapping.store32(8, 0x0102_0304, Ordering::Release).unwrap();
    mapping.store64(16, 1 << 40 | 7, Ordering::SeqCst).unwrap();
    let bytes = contents(&file);
    assert_eq!(bytes[8..12], 0x0102_0304u32.to_ne_bytes());
    assert_eq!(bytes[16..24], (1u64 << 40 | 7).to_ne_bytes());
    assert_eq!(mapping.load32(8, Ordering::Relaxed), Ok(0x0102_0304));
    assert_eq!(mapping.load64(16, Ordering::Relaxed), Ok(1 << 40 | 7));
}

#[test]
fn words_change_in_one_step() {
    let (_file, mapping) = pair(Access::ReadWrite);
    assert_eq!(mapping.fetch_add32(4, u32::MAX), Ok(0));
    assert_eq!(mapping.fetch_add32(4, 3), Ok(u32::MAX));
    assert_eq!(mapping.compare_exchange32(4, 2, 9), Ok(Ok(2)));
    assert_eq!(mapping.compare_exchange32(4, 2, 11), Ok(Err(9)));
    assert_eq!(mapping.load32(4, Ordering::Relaxed), Ok(9));
    assert_eq!(mapping.compare_exchange64(8, 0, 1 << 40), Ok(Ok(0)));
    assert_eq!(mapping.compare_exchange64(8, 0, 1), Ok(Err(1 << 40)));
    assert_eq!(mapping.load64(8, Ordering::Relaxed), Ok(1 << 40));
}

#[test]
fn two_mappings_of_one_file_are_one_memory() {
    let (file, mapping) = pair(Access::ReadWrite);
    let other = Mapping::of(&file, 0, SIZE, Access::ReadOnly).unwrap();
    mapping.write(5, b"hello").unwrap();
    let mut read = [0; 5];
    other.read(5, &mut read).unwrap();
    assert_eq!(&read, b"hello");
}

#[test]
fn what_is_mapped_for_reading_is_not_written() {
    let (file, mapping) = pair(Access::ReadOnly);
    assert_eq!(mapping.write(0, b"x"), Err(AccessError::ReadOnly));
    assert_eq!(
        mapping.store32(0, 1, Ordering::Release),
        Err(AccessError::ReadOnly)
    );
    assert_eq!(
        mapping.store64(0, 1, Ordering::Release),
        Err(AccessError::ReadOnly)
    );
    assert_eq!(mapping.fetch_add32(0, 1), Err(AccessError::ReadOnly));
    assert_eq!(
        mapping.compare_exchange32(0, 0, 1),
        Err(AccessError::ReadOnly)
    );
    assert_eq!(
        mapping.compare_exchange64(0, 0, 1),
        Err(AccessError::ReadOnly)
    );
    assert_eq!(contents(&file), vec![0; SIZE]);
}

#[test]
fn what_cannot_be_mapped_is_an_error() {
    let (file, _) = pair(Access::ReadWrite);
    let unaligned = Mapping::of(&file, 1, SIZE, Access::ReadOnly);
    assert!(matches!(unaligned, Err(Error::Io { .. })), "{unaligned:?}");
    let empty = Mapping::of(&file, 0, 0, Access::ReadOnly);
    assert!(matches!(empty, Err(Error::Io { .. })), "{empty:?}");
}

#[test]
fn bytes_are_added_to_what_a_vector_has() {
    let (_file, mapping) = pair(Access::ReadWrite);
    let all: Vec<_> = (0..SIZE).map(|at| (at * 7 + 1) as u8).collect();
    mapping.write(0, &all).unwrap();
    for (offset, len) in [(0, 0), (3, 1), (1, 7), (5, 40), (8, 1500), (0, SIZE)] {
        let mut bytes = vec![9, 8];
        mapping.append(offset as u64, len, &mut bytes).unwrap();
        assert_eq!(bytes[..2], [9, 8]);
        assert_eq!(bytes[2..], all[offset..][..len]);
        // Again, where there is room.
        bytes.truncate(2);
        Memory::append(&&mapping, offset as u64, len, &mut bytes).unwrap();
        assert_eq!(bytes[2..], all[offset..][..len]);
        let refused = mapping.append((SIZE - len) as u64 + 1, len, &mut bytes);
        assert!(matches!(refused, Err(AccessError::OutOfBounds { .. })));
        assert_eq!(bytes.len(), 2 + len);
    }
    assert!(mapping.append(0, usize::MAX, &mut Vec::new()).is_err());
}
