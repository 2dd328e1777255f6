// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests and the host on one region: programs in C with the library of channels.

use std::path::PathBuf;
use std::process::Command;

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use vmbench::build::static_c_program;
use vmbench::{boot_all, Device, Guest, Region};

/// The program: see there.
const SOURCE: &str = "tools/crates/ivshmem-channel-c/tests/c/peer.c";
const ROUNDS: &str = "2000";

struct World {
    region: Region,
    /// The program on the host.
    program: PathBuf,
    _directory: TempDir,
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let program = directory.path().join("peer");
        static_c_program("ivshmem-channel-c", SOURCE, "include", &program)?;
        let region = Region::start(1 << 20, 1)?;
        let guest = Guest::builder()
            .module(&module)
            .file(&program, "/test/peer")
            .device(Device::doorbell(&region));
        let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
        let world = Box::new(World {
            region,
            program,
            _directory: directory,
        });
        Ok(Fleet { guests, world })
    });
    Ok(vec![lab.trial(
        "channel::c::talks_between_guests_and_the_host",
        talk,
    )])
}

/// One in a guest and one on the host, both ways; then one in each guest.
fn talk(fleet: &Fleet) -> Result<(), Failed> {
    let world: &World = fleet.world.downcast_ref().ok_or("another set's world")?;
    let in_guest = |number: usize, words: &[&'static str]| {
        let line = ["/test/peer", "/dev/ivshmem0"].iter().chain(words);
        fleet.guests[number].command(line.copied()).spawn()
    };
    let on_host = |words: &[&str]| {
        let mut command = Command::new(&world.program);
        command.arg(world.region.socket()).args(words);
        match command.status()? {
            status if status.success() => Ok(()),
            status => Err(Failed::from(format!("on the host: {status}"))),
        }
    };
    let echo = in_guest(0, &["echo"])?;
    on_host(&["talk", ROUNDS])?;
    echo.wait()?.check()?;
    let talk = in_guest(1, &["talk", ROUNDS])?;
    on_host(&["echo"])?;
    talk.wait()?.check()?;
    let pass = in_guest(0, &["pass"])?;
    on_host(&["talk", ROUNDS])?;
    pass.wait()?.check()?;
    // The next channel has another layout.
    Peer::join(world.region.socket())?.write(0, &[0; 4096])?;
    let subscribe = in_guest(0, &["subscribe", ROUNDS])?;
    in_guest(1, &["publish", ROUNDS])?.wait()?.check()?;
    subscribe.wait()?.check()?;
    Ok(())
}
