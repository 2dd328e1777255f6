// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What becomes of guests when others come and go, and when the server does.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_no_complaints, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use vmbench::{boot_all, Builder, Device, Guest, Mark, Region};

use super::unplug::{disconnect, plug, PLUGGED};
use crate::supervised::Service;

const SIZE: u64 = 1 << 20;

/// Vectors of each guest's device. The server has as many as the last.
const VECTORS: [u16; 4] = [4, 5, 6, 8];
const MOST: usize = 8;

/// How often the server is killed while guests run.
const KILLS: usize = 3;

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder().module(artefacts::module()?);
    let four = builder
        .clone()
        .file(artefacts::program("trio", Width::Bits64)?, "/test/trio");
    let lab = Lab::new(move || boot_four(&four));
    let (plugged, alone) = (builder.clone().root_ports(1), builder);
    Ok(vec![
        lab.trial("server::four_guests_of_4_to_8_vectors", different_vectors),
        lab.trial("server::no_doorbell_is_lost_in_a_storm_of_joins", storm),
        lab.trial("server::killed_and_followed_unnoticed", killed),
        Trial::test(
            "server::plugging_is_a_join_and_the_end_of_the_chardev_a_leave",
            move || plugging(&plugged),
        ),
        Trial::test(
            "server::reboot_is_silent_and_a_crash_is_a_leave",
            move || reboot_and_crash(&alone),
        ),
    ])
}

fn boot_four(builder: &Builder) -> vmbench::Result<Fleet> {
    let service = Service::start(SIZE);
    let builders = VECTORS.map(|vectors| {
        let socket = service.socket();
        let device = Device::Doorbell { socket, vectors };
        builder
            .clone()
            .name(format!("{vectors} vectors"))
            .device(device)
    });
    Ok(Fleet {
        guests: boot_all(&builders)?,
        world: Box::new(Mutex::new(service)),
    })
}

/// Has all four send messages to each other, with a doorbell for each, while `meanwhile` is done
/// until it is told that they have finished. A doorbell that was lost would stop them.
fn talk(
    fleet: &Fleet,
    messages: &str,
    meanwhile: impl FnOnce(&AtomicBool) -> Result<(), Failed> + Send,
) -> Result<(), Failed> {
    let mut running = Vec::new();
    for (me, guest) in fleet.guests.iter().enumerate() {
        let (count, me) = (VECTORS.len().to_string(), me.to_string());
        let argv = ["/test/trio", &count, &me, messages];
        running.push(guest.command(argv).spawn()?);
    }
    let finished = AtomicBool::new(false);
    let (outputs, done) = std::thread::scope(|scope| {
        let other = scope.spawn(|| meanwhile(&finished));
        let outputs: Vec<_> = running.into_iter().map(|command| command.wait()).collect();
        finished.store(true, Ordering::Relaxed);
        (outputs, other.join())
    });
    for output in outputs {
        output?.check()?;
    }
    done.map_err(|_| "the host's part failed")?
}

fn service(fleet: &Fleet) -> Result<&Mutex<Service>, Failed> {
    let service = fleet.world.downcast_ref();
    service.ok_or_else(|| "no service".into())
}

fn socket(fleet: &Fleet) -> Result<PathBuf, Failed> {
    let service = service(fleet)?.lock().map_err(|_| "a case failed before")?;
    Ok(service.socket())
}

fn different_vectors(fleet: &Fleet) -> Result<(), Failed> {
    for (guest, vectors) in fleet.guests.iter().zip(VECTORS) {
        let log = guest.kernel_log()?;
        if !log.contains(&format!("{vectors} of {vectors} vectors")) {
            return Err(format!("{} has another number:\n{log}", guest.name()).into());
        }
    }
    talk(fleet, "200", |_| Ok(()))
}

fn storm(fleet: &Fleet) -> Result<(), Failed> {
    let path = socket(fleet)?;
    talk(fleet, "1000", |finished| {
        let mut joins = 0;
        while !finished.load(Ordering::Relaxed) || joins < 10 {
            let mut peer = HostPeer::join(&path)?;
            peer.greeting(VECTORS.len())?;
            joins += 1;
        }
        println!("{joins} joins");
        Ok(())
    })
}

fn killed(fleet: &Fleet) -> Result<(), Failed> {
    let (service, path) = (service(fleet)?, socket(fleet)?);
    talk(fleet, "1000", |_| {
        let mut service = service.lock().map_err(|_| "a case failed before")?;
        for _ in 0..KILLS {
            service.kill();
            // Who comes is told of all guests, and they of it.
            HostPeer::join(&path)?.greeting(VECTORS.len())?;
        }
        Ok(())
    })
}

/// A client that only looks at the numbers. Descriptors are dropped by the kernel, as there is no
/// place where they could be received.
struct HostPeer(UnixStream);

impl HostPeer {
    fn join(path: &Path) -> Result<Self, Failed> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(test_limit::limit()))?;
        let mut peer = Self(socket);
        match peer.next()? {
            0 => Ok(peer),
            version => Err(format!("version {version}").into()),
        }
    }

    fn next(&mut self) -> Result<i64, Failed> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(i64::from_le_bytes(bytes))
    }

    fn expect(&mut self, numbers: &[i64]) -> Result<(), Failed> {
        for expected in numbers {
            let found = self.next()?;
            if found != *expected {
                return Err(format!("{found} came instead of {expected}").into());
            }
        }
        Ok(())
    }

    /// Reads what is left of the greeting where there are so many others. Returns the own ID.
    fn greeting(&mut self, others: usize) -> Result<i64, Failed> {
        let own = self.next()?;
        self.expect(&[-1])?;
        for _ in 0..others * MOST {
            let id = self.next()?;
            if id < 0 || id == own {
                return Err(format!("{id} instead of another peer").into());
            }
        }
        self.expect(&[own; MOST])?;
        Ok(own)
    }

    /// Whether nothing has come.
    fn is_silent(&mut self) -> Result<bool, Failed> {
        self.0.set_nonblocking(true)?;
        let silent = self
            .0
            .read(&mut [0])
            .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        self.0.set_nonblocking(false)?;
        Ok(silent)
    }
}

fn plugging(builder: &Builder) -> Result<(), Failed> {
    let region = Region::start(SIZE, 8)?;
    let mut witness = HostPeer::join(&region.socket())?;
    witness.greeting(0)?;
    let guest = builder.boot()?;
    plug(&guest, &region.socket(), "port0")?;
    witness.expect(&[1; MOST])?;
    guest.qmp().unplug(PLUGGED)?;
    guest.shell("[ ! -e /dev/ivshmem0 ]")?.check()?;
    // The connection is the chardev's.
    if !witness.is_silent()? {
        return Err("the server says something when the device goes".into());
    }
    disconnect(&guest)?;
    witness.expect(&[1])?;
    expect_no_complaints(&guest, Mark::BOOT)
}

fn reboot_and_crash(builder: &Builder) -> Result<(), Failed> {
    let region = Region::start(SIZE, 8)?;
    let mut witness = HostPeer::join(&region.socket())?;
    witness.greeting(0)?;
    let guest = builder.clone().device(Device::doorbell(&region)).boot()?;
    witness.expect(&[1; MOST])?;
    // Guests of the test bench end when they reboot, unless told otherwise.
    guest
        .qmp()
        .execute("set-action", json!({"reboot": "reset"}))?;
    guest.qmp().execute("system_reset", json!({}))?;
    guest.wait_for_console("Run /init as init process", 2)?;
    // It has the same ID again, and what it is rung by.
    guest.insert_module(&artefacts::module()?, "")?;
    guest.wait_for_console("peer 1, 8 of 8 vectors", 2)?;
    if !witness.is_silent()? {
        return Err("the server says something when a guest boots again".into());
    }
    // QEMU is killed.
    drop(guest);
    witness.expect(&[1])?;
    let mut next = HostPeer::join(&region.socket())?;
    match next.greeting(1)? {
        2 => Ok(()),
        id => Err(format!("ID {id} is used again").into()),
    }
}
