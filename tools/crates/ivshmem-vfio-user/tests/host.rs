// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The adapter without a QEMU: a client of the same protocol in its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ivshmem_model::config::{offset, MSIX_ENABLE};
use ivshmem_model::flavour::AcrnHv;
use ivshmem_model::Region;
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use rustix::event::{eventfd, EventfdFlags};
use tempfile::TempDir;
use vfio_user::Client;

const SIZE: u64 = 2 << 20;
const CONFIG: u32 = 7;
const MSIX: u32 = 2;
/// `DATA_EVENTFD | ACTION_TRIGGER`, and `DATA_NONE | ACTION_TRIGGER`.
const GIVE: u32 = 0x24;
const NONE: u32 = 0x21;

const LOST: &str = "lost: the vector is masked";

struct World {
    host: Host,
    endpoint: Endpoint,
    directory: TempDir,
}

fn world() -> World {
    let memory = Backing::anonymous("test", SIZE).unwrap();
    let host = Host::new(Region::new(AcrnHv::V3_3, memory));
    let directory = TempDir::new().unwrap();
    let endpoint = host.listen(2, &directory.path().join("vm2")).unwrap();
    World {
        host,
        endpoint,
        directory,
    }
}

fn connect(path: &Path) -> Client {
    Client::new(path).unwrap()
}

fn word(client: &mut Client, region: u32, at: u64) -> u32 {
    let mut bytes = [0; 4];
    client.region_read(region, at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

/// Blocks until nobody is attached: the end of a connection is noticed in another thread.
fn until_empty(host: &Host) {
    test_limit::wait_until("the machine is gone", || {
        host.with(|region| region.peers().count()) == 0
    });
}

fn enable_msix(client: &mut Client) {
    let control = MSIX_ENABLE.to_le_bytes();
    client
        .region_write(CONFIG, offset::MSIX_CONTROL.into(), &control)
        .unwrap();
}

#[test]
fn the_device_as_qemu_sees_it() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    let sizes = [0, 1, 2, 6, 7].map(|index| client.region(index).unwrap().size);
    assert_eq!(sizes, [256, 4096, SIZE, 0, 256]);
    assert_eq!(client.get_irq_info(MSIX).unwrap().count, 8);
    assert_eq!(client.get_irq_info(0).unwrap().count, 0);
    // All of configuration space in one read, as QEMU does first.
    let mut config = [0; 256];
    client.region_read(CONFIG, 0, &mut config).unwrap();
    assert_eq!(config[..4], [0xf4, 0x1a, 0x10, 0x11]);
    assert_eq!(word(&mut client, 0, 8), 2);
}

#[test]
fn the_memory_s_descriptor_is_handed_out() {
    let world = world();
    let client = connect(world.endpoint.path());
    let shared = client.region(2).unwrap().file_offset.as_ref().unwrap();
    let mut file = shared.file().try_clone().unwrap();
    file.write_all(b"from the machine").unwrap();
    let mut seen = [0; 16];
    world
        .host
        .with(|region| ivshmem_model::Memory::read(region.memory(), 0, &mut seen));
    assert_eq!(&seen, b"from the machine");
}

#[test]
fn accesses_of_any_length_have_an_answer() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    for region in 0..9 {
        for len in 1..20 {
            let mut bytes = vec![0; len];
            for at in [0, 1, 250, u64::from(u32::MAX), u64::MAX - 3] {
                client.region_write(region, at, &bytes).unwrap();
                client.region_read(region, at, &mut bytes).unwrap();
            }
        }
    }
    assert_eq!(word(&mut client, 0, 8), 2);
}

/// What lies beyond the end of the address space is not at its beginning.
#[test]
fn an_access_does_not_wrap_around() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    for (region, begin) in [(0, 0), (CONFIG, 0)] {
        let mut before = [0; 64];
        client.region_read(region, begin, &mut before).unwrap();
        for to_end in 1..16 {
            let at = u64::MAX - to_end;
            client.region_write(region, at, &[0x55; 32]).unwrap();
            let mut bytes = [0; 32];
            client.region_read(region, at, &mut bytes).unwrap();
            assert_eq!(bytes, [0xff; 32], "region {region}, {at:#x}");
        }
        let mut after = [0; 64];
        client.region_read(region, begin, &mut after).unwrap();
        assert_eq!(before, after, "region {region}");
    }
}

#[test]
fn rings_arrive_while_an_event_is_given() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    let event = File::from(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    let count = || {
        let mut bytes = [0; 8];
        (&event)
            .read(&mut bytes)
            .map_or(0, |_| u64::from_ne_bytes(bytes))
    };
    let ring = |vector| world.host.ring(0, 2, vector).to_string();
    assert_eq!(
        ring(3),
        "lost: no such peer",
        "nothing was asked of the device yet"
    );
    enable_msix(&mut client);
    assert_eq!(ring(3), LOST);
    client
        .set_irqs(MSIX, GIVE, 3, 1, &[event.as_raw_fd()])
        .unwrap();
    assert_eq!(count(), 0, "a lost ring does not come back");
    assert_eq!(ring(3), "sent");
    assert_eq!(ring(4), LOST);
    assert_eq!(count(), 1);
    // By the register, as a guest does.
    client
        .region_write(0, 12, &(2 << 16 | 3_u32).to_le_bytes())
        .unwrap();
    assert_eq!(count(), 1);
    world.host.mask(2, 3, true);
    assert_eq!(ring(3), LOST);
    world.host.mask(2, 3, false);
    assert_eq!(ring(3), "sent");
    assert_eq!(count(), 1);
    client.set_irqs(MSIX, NONE, 0, 0, &[]).unwrap();
    assert_eq!(ring(3), LOST);
    assert_eq!(count(), 0);
}

/// A machine whose event descriptor takes no more, and blocks, holds up nobody who rings it. Otherwise this
/// test hangs.
#[test]
fn rings_never_wait_for_the_machine() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    enable_msix(&mut client);
    let full = File::from(eventfd(0, EventfdFlags::empty()).unwrap());
    (&full).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
    client
        .set_irqs(MSIX, GIVE, 0, 1, &[full.as_raw_fd()])
        .unwrap();
    // QEMU shares the flag, and can clear it again.
    rustix::io::ioctl_fionbio(&full, false).unwrap();
    assert_eq!(world.host.ring(0, 2, 0).to_string(), "sent");
}

/// Nothing else is known never to block: what is behind a file can be another program.
#[test]
fn only_eventfds_are_taken() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    enable_msix(&mut client);
    let file = File::create(world.directory.path().join("file")).unwrap();
    let (socket, mut unread) = UnixStream::pair().unwrap();
    for (vector, fd) in [(0, file.as_raw_fd()), (1, socket.as_raw_fd())] {
        client.set_irqs(MSIX, GIVE, vector, 1, &[fd]).unwrap();
    }
    for vector in [0, 1] {
        let outcome = world.host.ring(0, 2, vector).to_string();
        assert_eq!(outcome, LOST);
    }
    assert_eq!(file.metadata().unwrap().len(), 0);
    drop(socket);
    assert_eq!(unread.read(&mut [0; 8]).unwrap(), 0);
}

/// The value of a line of a descriptor's description in `/proc`.
fn described(fd: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().into())
}

/// Whoever is started later, such as the QEMU of another machine, does not get it.
#[test]
fn events_are_closed_on_exec() {
    const CLOEXEC: u32 = 0o2_000_000;
    let world = world();
    let mut client = connect(world.endpoint.path());
    enable_msix(&mut client);
    let event = File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    client
        .set_irqs(MSIX, GIVE, 0, 1, &[event.as_raw_fd()])
        .unwrap();
    let id = described(&event.as_raw_fd().to_string(), "eventfd-id:").unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let flags: Vec<u32> = descriptors
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|fd| described(fd, "eventfd-id:").as_ref() == Some(&id))
        .map(|fd| u32::from_str_radix(&described(&fd, "flags:").unwrap(), 8).unwrap())
        .collect();
    assert!(flags.len() >= 2, "this one, and the one that was received");
    assert!(flags.iter().all(|flags| flags & CLOEXEC != 0), "{flags:?}");
}

#[test]
fn an_event_can_be_the_first_thing_that_is_said() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    let event = File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    client
        .set_irqs(MSIX, GIVE, 3, 1, &[event.as_raw_fd()])
        .unwrap();
    enable_msix(&mut client);
    assert_eq!(world.host.ring(0, 2, 3).to_string(), "sent");
}

#[test]
fn a_machine_cannot_shrink_the_memory_of_the_others() {
    let world = world();
    let client = connect(world.endpoint.path());
    let shared = client.region(2).unwrap().file_offset.as_ref().unwrap();
    for len in [0, SIZE / 2, SIZE * 2] {
        assert!(shared.file().set_len(len).is_err());
    }
}

#[test]
fn one_machine_after_the_other() {
    let world = world();
    for _ in 0..3 {
        let mut client = connect(world.endpoint.path());
        enable_msix(&mut client);
        let event = File::from(eventfd(0, EventfdFlags::empty()).unwrap());
        client
            .set_irqs(MSIX, GIVE, 0, 1, &[event.as_raw_fd()])
            .unwrap();
        assert_eq!(world.host.ring(0, 2, 0).to_string(), "sent");
        client.shutdown().unwrap();
        until_empty(&world.host);
        assert_eq!(world.host.ring(0, 2, 0).to_string(), "lost: no such peer");
    }
}

#[test]
fn a_reset_is_a_new_device() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    client.region_write(0, 0, &7_u32.to_le_bytes()).unwrap();
    assert_eq!(word(&mut client, 0, 0), 7);
    client.reset().unwrap();
    assert_eq!(word(&mut client, 0, 0), 0);
}

/// As with vfio in a kernel: who does not take them away first need not give them again.
#[test]
fn events_stay_when_the_device_is_reset() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    let event = File::from(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    client
        .set_irqs(MSIX, GIVE, 3, 1, &[event.as_raw_fd()])
        .unwrap();
    client.reset().unwrap();
    enable_msix(&mut client);
    assert_eq!(world.host.ring(0, 2, 3).to_string(), "sent");
    assert_eq!(world.host.ring(0, 2, 4).to_string(), LOST);
}

/// vfio's test of an interrupt: no descriptors, and not all of them at once.
#[test]
fn an_interrupt_can_be_tried_out() {
    let world = world();
    let mut client = connect(world.endpoint.path());
    let events: [File; 3] = std::array::from_fn(|vector| {
        let event = File::from(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let fds = [event.as_raw_fd()];
        client.set_irqs(MSIX, GIVE, vector as u32, 1, &fds).unwrap();
        event
    });
    client.set_irqs(MSIX, NONE, 1, 2, &[]).unwrap();
    let counts = events.each_ref().map(|event| {
        let mut bytes = [0; 8];
        { event }
            .read(&mut bytes)
            .map_or(0, |_| u64::from_ne_bytes(bytes))
    });
    assert_eq!(counts, [0, 1, 1]);
    enable_msix(&mut client);
    assert_eq!(world.host.ring(0, 2, 2).to_string(), "sent");
}

/// Whoever comes second gets no device, and takes none away when it goes.
#[test]
fn a_machine_has_one_device_whatever_the_number_of_sockets() {
    let world = world();
    let other = world.directory.path().join("other");
    let _other = world.host.listen(2, &other).unwrap();
    let mut first = connect(world.endpoint.path());
    first.region_write(0, 0, &7_u32.to_le_bytes()).unwrap();
    for _ in 0..2 {
        let mut second = connect(&other);
        let event = File::from(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        second
            .set_irqs(MSIX, GIVE, 0, 1, &[event.as_raw_fd()])
            .unwrap();
        second.reset().unwrap();
        second.region_write(0, 0, &8_u32.to_le_bytes()).unwrap();
        assert_eq!(word(&mut second, CONFIG, 0), u32::MAX);
        assert_eq!(word(&mut second, 0, 8), u32::MAX);
        second.shutdown().unwrap();
    }
    assert_eq!(word(&mut first, 0, 0), 7);
    enable_msix(&mut first);
    assert_eq!(world.host.ring(0, 2, 0).to_string(), LOST);
}

#[test]
fn sockets_come_and_go() {
    let world = world();
    let path: PathBuf = world.endpoint.path().into();
    assert!(
        world.host.listen(2, &path).is_err(),
        "somebody listens there"
    );
    drop(world.endpoint);
    assert!(!path.exists());
    // A listener that was killed leaves its socket.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let again = world.host.listen(2, &path).unwrap();
    assert_eq!(word(&mut connect(&path), 0, 8), 2);
    drop(again);
    let file = world.directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(world.host.listen(2, &file).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_machine_that_the_region_cannot_have() {
    let world = world();
    let path = world.directory.path().join("vm16");
    let error = world.host.listen(16, &path).unwrap_err();
    assert_eq!(error.to_string(), "16 is no peer ID of this kind of device");
    assert!(!path.exists());
}

#[test]
fn paths_become_json() {
    let world = world();
    let path = world.directory.path().join("a\"b\\c\nd");
    let endpoint = world.host.listen(3, &path).unwrap();
    assert!(endpoint.qemu_device().ends_with(r#"/a\"b\\c\nd"}}"#));
    let unsaid = world.directory.path().join(OsStr::from_bytes(b"\xff"));
    let error = world.host.listen(4, &unsaid).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    assert!(!unsaid.exists());
}
