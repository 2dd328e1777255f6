// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device by files like those that sysfs has. (The real ones are opened in guests: `guest-tests`, set `stock`.)

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ivshmem::{
    AnyEndpoint, Doorbell, Error, Link, Memory, ResourceEndpoint, SharedFile, Sysfs, Waiter, Way,
};
use tempfile::TempDir;

const AT: &str = "0000:00:04.0";
const SIZE: u64 = 1 << 16;
const PAGE: u64 = 4096;
/// Where the register of the peer ID is.
const IV_POSITION: u64 = 8;
/// BAR0 in the middle of a page, and BAR2.
const RESOURCE: &str = "0x00000000febd1100 0x00000000febd11ff 0x0000000000040200\n\
    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
    0x0000000fc0000000 0x0000000fc000ffff 0x000000000014220c\n";
const REGISTERS: u64 = 0x100;

/// The files of one device, with MSI-X and peer ID 3.
struct Device {
    root: TempDir,
}

impl Device {
    fn new() -> Self {
        let device = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(device.path("")).unwrap();
        let texts = [
            ("vendor", "0x1af4"),
            ("device", "0x1110"),
            ("subsystem_vendor", "0x1af4"),
            ("subsystem_device", "0x1100"),
            ("enable", "0"),
            ("resource", RESOURCE),
        ];
        for (name, text) in texts {
            fs::write(device.path(name), format!("{text}\n")).unwrap();
        }
        let mut config = [0; 256];
        config[..8].copy_from_slice(&[0xf4, 0x1a, 0x10, 0x11, 0, 0, 0x10, 0]);
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x11, 0, 1, 0]);
        fs::write(device.path("config"), config).unwrap();
        for (name, size) in [("resource0", PAGE), ("resource2", SIZE)] {
            let file = File::create(device.path(name)).unwrap();
            file.set_len(size).unwrap();
        }
        device.set_peer_id(3);
        device
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.root.path())
            .join("bus/pci/devices")
            .join(AT)
            .join(name)
    }

    fn set_peer_id(&self, id: u32) {
        let file = File::options()
            .write(true)
            .open(self.path("resource0"))
            .unwrap();
        file.write_all_at(&id.to_le_bytes(), REGISTERS + IV_POSITION)
            .unwrap();
    }

    fn open(&self) -> Result<ResourceEndpoint, Error> {
        ResourceEndpoint::open(&Sysfs::at(self.root.path()).functions()[0])
    }

    fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

#[test]
fn the_peer_id_is_that_of_now() {
    let device = Device::new();
    let end = device.open().unwrap();
    assert_eq!((end.peer_id(), end.info().peer_id), (3, 3));
    // As after a restore, with another server.
    device.set_peer_id(7);
    assert_eq!(end.peer_id(), 7);
    // What a device reads that is gone is nobody's ID.
    device.set_peer_id(u32::MAX);
    assert_eq!(end.peer_id(), 3);
}

#[test]
fn a_device_that_is_gone_is_told_from_another_one_at_its_address() {
    let device = Device::new();
    let end = device.open().unwrap();
    assert!(!end.is_gone());
    device.set_peer_id(u32::MAX);
    assert!(end.is_gone());
    // The registers answer again, but they are another device's: the file of this one has ended.
    device.set_peer_id(4);
    File::create(device.path("config")).unwrap();
    assert!(end.is_gone());
    let waited = end.wait_word(0, 0, Some(Duration::from_secs(60)));
    assert!(matches!(waited, Err(Error::Gone)), "{waited:?}");
}

#[test]
fn a_wait_without_a_pause_waits_for_ever_too() {
    let device = Device::new();
    let end = device.open().unwrap().with_interval(Duration::ZERO);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| end.wait_word(0, 0, None));
        assert!(!end
            .wait_word(0, 0, Some(Duration::from_millis(20)))
            .unwrap());
        assert!(!waiter.is_finished());
        end.store32(0, 1, std::sync::atomic::Ordering::Release)
            .unwrap();
        assert!(waiter.join().unwrap().unwrap());
    });
}

/// What changes after the first look is seen at the end.
fn sleeps_through_a_change(end: &(impl Link + Sync)) -> bool {
    const LIMIT: Duration = Duration::from_millis(200);
    end.store32(0, 0, Ordering::Release).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let begin = Instant::now();
            assert!(end.wait_word(0, 0, Some(LIMIT)).unwrap());
            begin.elapsed()
        });
        std::thread::sleep(LIMIT / 4);
        end.store32(0, 1, Ordering::Release).unwrap();
        waiter.join().unwrap() >= LIMIT
    })
}

#[test]
fn looks_are_as_rare_as_was_said() {
    /// A thread that begins late sees the change at its first look.
    const ATTEMPTS: usize = 20;
    const HOUR: Duration = Duration::from_secs(3600);
    let device = Device::new();
    let file = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        SharedFile::of(file).unwrap()
    };
    let resource = device.open().unwrap().with_interval(HOUR);
    assert!((0..ATTEMPTS).any(|_| sleeps_through_a_change(&resource)));
    let file = file().with_interval(HOUR);
    assert!((0..ATTEMPTS).any(|_| sleeps_through_a_change(&file)));
    assert_eq!(AnyEndpoint::Resource(resource).interval(), HOUR);
}

#[test]
fn other_programs_have_the_device_enabled_too() {
    let device = Device::new();
    // sysfs counts; a file keeps what was written last.
    let written = || {
        fs::read_to_string(device.path("enable"))
            .unwrap()
            .trim()
            .to_string()
    };
    let first = device.open().unwrap();
    assert_eq!(written(), "1");
    fs::write(device.path("enable"), "1\n").unwrap();
    let second = device.open().unwrap();
    fs::write(device.path("enable"), "2\n").unwrap();
    drop(second);
    assert_eq!(written(), "0", "the count goes down for each that went up");
    drop(first);
}

#[test]
fn memory_that_is_not_there_is_named() {
    let device = Device::new();
    let without = RESOURCE
        .replace("0x0000000fc0000000 0x0000000fc000ffff", "0x0 0x0")
        .replace("0x000000000014220c", "0x0");
    fs::write(device.path("resource"), without).unwrap();
    fs::remove_file(device.path("resource2")).unwrap();
    let said = device.refusal();
    assert!(
        said.contains("no memory") && said.contains("dmesg"),
        "{said}"
    );
}

#[test]
fn a_device_that_has_just_gone_is_gone() {
    let device = Device::new();
    let functions = Sysfs::at(device.root.path()).functions();
    fs::remove_dir_all(device.path("")).unwrap();
    let opened = ResourceEndpoint::open(&functions[0]);
    assert!(matches!(opened, Err(Error::Gone)), "{opened:?}");
}

#[test]
fn a_device_is_found_by_the_address_that_lspci_prints() {
    let sysfs = Sysfs::at(Device::new().root.path());
    assert!(matches!(sysfs.find(AT), Err(Error::NoDevice(_))));
    let device = Device::new();
    let sysfs = Sysfs::at(device.root.path());
    for name in [AT, "00:04.0"] {
        assert_eq!(sysfs.find(name).unwrap().bus_id, AT);
    }
    let said = sysfs.find("00:05.0").unwrap_err().to_string();
    assert!(said.contains("0000:00:05.0"), "{said}");
    let end = AnyEndpoint::of(&sysfs.find(AT).unwrap()).unwrap();
    assert_eq!(end.way(), Way::Resource);
}

#[test]
fn a_slot_of_who_has_ended_is_told() {
    let device = Device::new();
    let (one, other) = (device.open().unwrap(), device.open().unwrap());
    let held = one.lock(5);
    assert!(matches!(held, ivshmem::Locking::Held(_)), "{held:?}");
    assert!(matches!(other.lock(5), ivshmem::Locking::Taken));
    drop(held);
    assert!(matches!(other.lock(5), ivshmem::Locking::Held(_)));
}

#[test]
fn a_directory_cannot_be_mapped_and_is_no_device_that_has_gone() {
    let directory = File::open("/").unwrap();
    let mapped = ivshmem::Mapping::of(&directory, 0, 4096, ivshmem::Access::ReadOnly);
    assert!(matches!(mapped, Err(Error::Io { .. })), "{mapped:?}");
}
