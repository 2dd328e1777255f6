// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Opening what is no device says what to do. (Devices are opened in guests: `guest-tests`.)

use ivshmem::{Device, Error};

#[test]
fn missing_node() {
    let error = Device::open("/dev/ivshmem-that-is-not-there").unwrap_err();
    assert!(matches!(error, Error::NoNode(_)), "{error:?}");
    assert!(error.to_string().contains("modprobe ivshmem_rs"));
}

#[test]
fn file_of_another_kind() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), "/dev/null".as_ref()] {
        let error = Device::open(path).unwrap_err();
        assert!(matches!(error, Error::NotIvshmem(_)), "{error:?}");
    }
}
