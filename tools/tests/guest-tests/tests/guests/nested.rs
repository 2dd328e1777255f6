// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! QEMU in a guest, for whose machine the device's memory is its RAM.

use guest_tests::artefacts::{self, Kernel};
use guest_tests::debian;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory as _;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Region};

const SIZE: u64 = 1 << 20;

const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";

/// MiB for QEMU and its libraries, which are there twice while the guest starts.
const MEMORY_MIB: u32 = 512;

/// A firmware that is never run: a machine does not start without one.
const FIRMWARE: (&str, usize) = ("/firmware", 64 << 10);

/// What this side writes and the machine reads, and where; and what the machine writes. From 640 KiB on, RAM of a PC is behind other things.
const FROM_HOST: (u64, u64) = (0x200, 0x7473_6f68_206d_6f72);
const FROM_MACHINE: (u64, u64) = (0x9_fef8, 0x656e_6968_6361_6d20);

pub fn cases() -> Result<Vec<Trial>, String> {
    let kernel = Kernel::DEFAULT;
    let module = kernel.module()?;
    let qemu = artefacts::sandbox_root()?.join(PROGRAM.trim_start_matches('/'));
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, 1)?;
        let guest = debian::with_program(kernel.guest(), &qemu, PROGRAM)?
            .memory_mib(MEMORY_MIB)
            .data(FIRMWARE.0, 0o644, vec![0; FIRMWARE.1])
            .module(&module)
            .device(Device::doorbell(&region))
            .boot()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let cases = [
        ("the_memory_is_RAM_of_a_machine_in_the_guest", ""),
        ("it_is_so_with_prealloc", ",prealloc=on"),
    ];
    let trials = cases.map(|(name, options)| {
        lab.trial(format!("nested::{name}"), move |fleet| {
            is_ram(fleet, options)
        })
    });
    Ok(trials.into())
}

/// QEMU's generic loader writes to the machine's RAM, and its monitor reads there. The machine's processor never runs.
fn is_ram(fleet: &Fleet, options: &str) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("another set's world")?;
    let peer = Peer::join(region.socket())?;
    let (at, word) = FROM_HOST;
    peer.write(at, &word.to_le_bytes())?;
    let (loaded_at, loaded) = FROM_MACHINE;
    peer.write(loaded_at, &[0; 8])?;

    let memory =
        format!("memory-backend-file,id=ram,mem-path=/dev/ivshmem0,size={SIZE},share=on{options}");
    let loader = format!("loader,addr={loaded_at:#x},data={loaded:#x},data-len=8");
    let command = [
        PROGRAM,
        "-S",
        "-nodefaults",
        "-machine",
        "pc,memory-backend=ram",
        "-bios",
        FIRMWARE.0,
        "-m",
        "1M",
        "-object",
        &memory,
        "-device",
        &loader,
        "-display",
        "none",
        "-monitor",
        "stdio",
    ];
    let read = format!("xp /1gx {at:#x}\nquit\n");
    let output = fleet.guests[0].command(command).stdin(read).run()?;
    let shown = output.check()?.stdout_text();
    if !shown.contains(&format!("{word:#018x}")) {
        return Err(format!("QEMU shows another word: {shown}").into());
    }
    let mut arrived = [0; 8];
    peer.read(loaded_at, &mut arrived)?;
    match u64::from_le_bytes(arrived) {
        word if word == loaded => Ok(()),
        other => Err(format!("{other:#x} arrived instead of {loaded:#x}").into()),
    }
}
