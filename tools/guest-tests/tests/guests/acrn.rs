// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver on ACRN's devices: what ACRN's ivshmem tutorial promises, line by line.
//!
//! The numbers T1 to T33 are those of the table in `Documentation/acrn.rst`. Three machines with the IDs 0, 1
//! and 2 share a region of all three; 0 and 2 also share an hv-land and a dm-land region of the same name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use ivshmem_model::flavour::{AcrnDm, AcrnHv};
use ivshmem_model::Region;
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use vmbench::{boot_all, Builder, Guest};

const PROGRAMS: [&str; 7] = [
    "acrn_eventfd",
    "map",
    "plain",
    "read_events",
    "ring",
    "ring_doorbell",
    "wait_word",
];

const SIZE: u64 = 2 << 20;
const REGION_ID: u16 = 0x1234;
const VECTORS: u16 = 8;
const LIMIT: Duration = Duration::from_secs(120);

/// Where the programs `map` write.
const TEXT_AT: u64 = 4096;

/// Slots of the devices. The hv-land region is elsewhere in the pre-launched machine 0, which has no line
/// of acrn-dm that says where.
const HV: [(u16, u8); 2] = [(0, 8), (2, 5)];
const DM: u8 = 6;
const ALL: u8 = 7;

/// Regions and their sockets.
struct World {
    hv: Host,
    dm_file: PathBuf,
    endpoints: Vec<(u16, u8, Endpoint)>,
    _directory: TempDir,
}

impl World {
    fn new() -> std::io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let host = |flavour: AcrnHv, name| -> std::io::Result<Host> {
            let region = Region::new(flavour, Backing::anonymous(name, SIZE)?);
            Ok(Host::new(region.with_region_id(REGION_ID)))
        };
        let hv = host(AcrnHv::V3_3, "shm_region_0")?;
        let all = host(AcrnHv::V3_3, "all")?;
        let dm_file = directory.path().join("shm_region_0");
        let memory = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&dm_file)?;
        memory.set_len(SIZE)?;
        let dm = Host::new(Region::new(AcrnDm::V3_3, Backing::file(memory)?));
        let mut endpoints = Vec::new();
        let mut listen = |host: &Host, vm: u16, slot: u8| -> std::io::Result<()> {
            let path = directory.path().join(format!("vm{vm}-{slot}"));
            endpoints.push((vm, slot, host.listen(vm, &path)?));
            Ok(())
        };
        for (vm, slot) in HV {
            listen(&hv, vm, slot)?;
            listen(&dm, vm, DM)?;
        }
        for vm in 0..3 {
            listen(&all, vm, ALL)?;
        }
        Ok(Self {
            hv,
            dm_file,
            endpoints,
            _directory: directory,
        })
    }

    /// A machine with all devices of its ID.
    fn machine(&self, builder: &Builder, vm: u16) -> Builder {
        let mine = self.endpoints.iter().filter(|(owner, ..)| *owner == vm);
        mine.fold(builder.clone().name(format!("VM{vm}")), |builder, seat| {
            builder.qemu_args(["-device".to_string(), at_slot(&seat.2, seat.1)])
        })
    }
}

fn at_slot(endpoint: &Endpoint, slot: u8) -> String {
    let insert = format!("{{\"addr\":\"{slot:02x}.0\",");
    endpoint.qemu_device().replacen('{', &insert, 1)
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let mut bare = Guest::builder();
    for name in PROGRAMS {
        let program = artefacts::program(name, Width::Bits64)?;
        bare = bare.file(program, format!("/test/{name}"));
    }
    let plain_program = artefacts::program("plain", Width::Bits64)?;
    let builder = bare.clone().module(&module);
    let booted = builder.clone();
    let lab = Lab::new(move || {
        let world = World::new().map_err(|error| vmbench::Error::Setup(error.to_string()))?;
        let machines = [0, 1, 2].map(|vm| world.machine(&booted, vm));
        Ok(Fleet {
            guests: boot_all(&machines)?,
            world: Box::new(world),
        })
    });
    let mut trials = vec![
        lab.trial("acrn::t01_t04_t32_memory_is_shared_both_ways", memory),
        lab.trial("acrn::t02_bar2_has_the_configured_size", size),
        lab.trial("acrn::t03_dm_land_memory_is_the_host_s_file", dm_file),
        lab.trial("acrn::t05_t06_the_lands_never_meet", lands),
        lab.trial("acrn::t13_subsystem_is_the_region_id", region_id),
        lab.trial("acrn::t14_t16_three_machines_share_a_third_region", three),
        lab.trial("acrn::t15_t28_lspci_line_at_the_slot", lspci_line),
        lab.trial("acrn::t22_t24_eight_vectors_each_by_itself", vectors),
        lab.trial("acrn::t23_t25_programs_for_acrn_s_kernel", eventfds),
        lab.trial(
            "acrn::t26_dm_land_says_that_it_has_no_doorbell",
            no_doorbell,
        ),
        lab.trial("acrn::masked_vector_loses_the_ring_not_the_data", masked),
        lab.trial("acrn::t08_t29_t30_t31_uio_on_one_side", uio),
    ];
    for case in artefacts::cases(&plain_program)? {
        trials.push(
            lab.trial(format!("acrn::t26_dm_land::{case}"), move |fleet| {
                let node = node(&fleet.guests[2], DM)?;
                let command = fleet.guests[2].command(["/test/plain", &case]);
                expect_success(command.env("IVSHMEM_PLAIN", node).run())
            }),
        );
    }
    let alone = builder;
    trials.push(Trial::test(
        "acrn::machine_comes_late_stops_and_comes_back_to_stale_memory",
        move || late(&alone),
    ));
    trials.push(Trial::test(
        "acrn::releases_2_4_to_3_2_need_peer_id",
        move || lost_position(&bare, &module),
    ));
    Ok(trials)
}

fn world(fleet: &Fleet) -> Result<&World, Failed> {
    let world = fleet.world.downcast_ref::<World>();
    world.ok_or_else(|| "the fleet has another world".into())
}

/// The node of the device in a slot: what is found from the address, as the tutorial finds `uioX`.
fn node(guest: &Guest, slot: u8) -> Result<String, Failed> {
    let script = format!("ls /sys/bus/pci/devices/0000:00:{slot:02x}.0/misc");
    let name = guest.shell(&script)?.check()?.stdout_text();
    Ok(format!("/dev/{name}"))
}

/// Runs a program on the device in a slot and returns what it wrote.
fn run(guest: &Guest, slot: u8, program: &str, args: &[&str]) -> Result<String, Failed> {
    let node = node(guest, slot)?;
    let argv = [program, "-d", &node]
        .into_iter()
        .chain(args.iter().copied());
    let argv = argv.map(|word| match word == program {
        true => format!("/test/{word}"),
        false => word.to_string(),
    });
    Ok(guest.run(argv)?.check()?.stdout_text())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

fn contains(text: &str, part: &str) -> Result<(), Failed> {
    match text.contains(part) {
        true => Ok(()),
        false => Err(format!("no {part:?} in:\n{text}").into()),
    }
}

fn memory(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    run(vm0, 8, "map", &["from the pre-launched one"])?;
    equal(run(vm2, 5, "map", &[])?, "from the pre-launched one".into())?;
    run(vm2, 5, "map", &["from the post-launched one"])?;
    equal(
        run(vm0, 8, "map", &[])?,
        "from the post-launched one".into(),
    )
}

fn size(fleet: &Fleet) -> Result<(), Failed> {
    for (vm, slot) in HV.into_iter().chain([(0, DM), (2, DM), (1, ALL)]) {
        let script = format!(
            "set -- $(sed -n 3p /sys/bus/pci/devices/0000:00:{slot:02x}.0/resource); echo $(($2 - $1 + 1))"
        );
        let bytes = fleet.guests[usize::from(vm)].shell(&script)?.check()?;
        equal(bytes.stdout_text(), SIZE.to_string())?;
    }
    Ok(())
}

fn dm_file(fleet: &Fleet) -> Result<(), Failed> {
    run(&fleet.guests[0], DM, "map", &["for the Service VM"])?;
    let mut text = [0; 18];
    File::open(&world(fleet)?.dm_file)?.read_exact_at(&mut text, TEXT_AT)?;
    equal(&text, b"for the Service VM")?;
    equal(
        run(&fleet.guests[2], DM, "map", &[])?,
        "for the Service VM".into(),
    )
}

fn lands(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    run(vm0, 8, "map", &["hv"])?;
    run(vm0, DM, "map", &["dm"])?;
    equal(run(vm2, 5, "map", &[])?, "hv".into())?;
    equal(run(vm2, DM, "map", &[])?, "dm".into())
}

fn region_id(fleet: &Fleet) -> Result<(), Failed> {
    let script = "cd /sys/bus/pci/devices/0000:00:05.0 && cat subsystem_vendor subsystem_device revision class";
    let text = fleet.guests[2].shell(script)?.check()?.stdout_text();
    equal(text, "0x8086\n0x1234\n0x01\n0x050000".into())
}

fn three(fleet: &Fleet) -> Result<(), Failed> {
    run(&fleet.guests[1], ALL, "map", &["to all"])?;
    for vm in [0, 2] {
        equal(run(&fleet.guests[vm], ALL, "map", &[])?, "to all".into())?;
    }
    for to in [0_usize, 2] {
        let (vector, peer) = ("3", to.to_string());
        ring_and_read(&fleet.guests[1], ALL, &fleet.guests[to], ALL, &peer, vector)?;
    }
    Ok(())
}

/// Blocks until a program sleeps in a call that a signal would end: it waits for the device.
fn until_asleep(guest: &Guest, program: &str) -> Result<(), Failed> {
    let script =
        format!("until grep -qs 'State:.S' /proc/$(pidof {program})/status; do usleep 20000; done");
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Rings from one machine and expects that vector, and only that, in the other.
fn ring_and_read(
    from: &Guest,
    from_slot: u8,
    to: &Guest,
    to_slot: u8,
    peer: &str,
    vector: &str,
) -> Result<(), Failed> {
    let node = node(to, to_slot)?;
    let waiting = to
        .command(["/test/read_events", "-d", &node, "-w"])
        .limit(LIMIT)
        .spawn()?;
    until_asleep(to, "read_events")?;
    run(from, from_slot, "ring_doorbell", &[peer, vector])?;
    let output = waiting.wait()?.check()?.stdout_text();
    let expected = format!("this is peer {peer}, waiting\nvector {vector}: count 1");
    equal(output, expected)
}

fn vectors(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    for vector in 0..VECTORS {
        let vector = vector.to_string();
        ring_and_read(vm0, 8, vm2, 5, "2", &vector)?;
        ring_and_read(vm2, 5, vm0, 8, "0", &vector)?;
    }
    // A vector that no device has, and a machine that the region does not know: no error, no effect.
    run(vm0, 8, "ring_doorbell", &["2", "8"])?;
    run(vm0, 8, "ring_doorbell", &["1", "0"])?;
    Ok(())
}

fn eventfds(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    let node = node(vm2, 5)?;
    let program = vm2
        .command(["/test/acrn_eventfd", "-d", &node, "-w"])
        .limit(LIMIT)
        .spawn()?;
    until_asleep(vm2, "acrn_eventfd")?;
    for vector in 0..VECTORS {
        run(vm0, 8, "ring_doorbell", &["2", &vector.to_string()])?;
    }
    let output = program.wait()?.check()?.stdout_text();
    for vector in 0..VECTORS {
        contains(&output, &format!("vector {vector}: 1 interrupts"))?;
    }
    Ok(())
}

fn no_doorbell(fleet: &Fleet) -> Result<(), Failed> {
    let log = fleet.guests[2].kernel_log()?;
    let line = log
        .lines()
        .find(|line| line.contains("ivshmem_rs 0000:00:06.0"));
    contains(line.unwrap_or(&log), "no doorbell")
}

/// The ring is lost, as ACRN loses it; the waiter that looks at the memory again finds the change.
fn masked(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    let world = world(fleet)?;
    let node = node(vm2, 5)?;
    let waiter = vm2
        .command(["/test/wait_word", "-d", &node, "-w"])
        .limit(LIMIT)
        .spawn()?;
    until_asleep(vm2, "wait_word")?;
    world.hv.mask(2, 0, true);
    let outcome = world.hv.ring(0, 2, 0);
    equal(outcome.to_string(), "lost: the vector is masked".into())?;
    // The word changes and the ring for it is lost.
    run(vm0, 8, "wait_word", &["2"])?;
    world.hv.mask(2, 0, false);
    // Any later ring, for whatever reason, makes the waiter look.
    equal(world.hv.ring(0, 2, 0).to_string(), "sent".into())?;
    expect_success(waiter.wait())
}

/// One side is handed over to uio_pci_generic; the other stays with the driver.
fn uio(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    run(vm2, 5, "map", &["uio"])?;
    for module in ["uio/uio.ko.xz", "uio/uio_pci_generic.ko.xz"] {
        vm0.insert_module(&modules_dir()?.join(module), "")?;
    }
    let found = vm0.shell(
        "set -e
         cd /sys/bus/pci
         echo 0000:00:08.0 >drivers/ivshmem_rs/unbind
         echo 1af4 1110 >drivers/uio_pci_generic/new_id
         ls devices/0000:00:08.0/uio
         set -- $(sed -n 3p devices/0000:00:08.0/resource)
         devmem $(($1 + 4096)) 32
         echo 0000:00:08.0 >drivers/uio_pci_generic/unbind
         echo 0000:00:08.0 >drivers/ivshmem_rs/bind",
    )?;
    let text = found.check()?.stdout_text();
    // "uio" and a NUL, little-endian.
    equal(text.as_str(), "uio0\n0x006F6975")?;
    equal(run(vm0, 8, "map", &[])?, "uio".into())
}

/// A directory of the sandbox.
fn sandbox(key: &str) -> Result<PathBuf, Failed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .with_file_name("sandbox")
        .join("info");
    let output = std::process::Command::new(script).output()?;
    let text = String::from_utf8(output.stdout)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key}=")));
    Ok(value
        .ok_or_else(|| format!("sandbox/info has no {key}"))?
        .into())
}

fn modules_dir() -> Result<PathBuf, Failed> {
    Ok(sandbox("MODULES_DIR")?.join("kernel/drivers"))
}

/// Puts `lspci` with its libraries and names into the guest, and runs it.
fn lspci_line(fleet: &Fleet) -> Result<(), Failed> {
    let root = sandbox("SANDBOX_ROOT")?;
    let enter = sandbox("ENTER")?;
    let ldd = std::process::Command::new(enter)
        .args(["ldd", "/usr/bin/lspci"])
        .output()?;
    let libraries = String::from_utf8(ldd.stdout)?;
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for (vm, slot) in [(0_usize, 8_u8), (2, 5), (2, DM)] {
        let guest = &fleet.guests[vm];
        let files = ["/usr/bin/lspci", "/usr/share/misc/pci.ids"].into_iter();
        for path in files.chain(libraries.clone()) {
            // In the sandbox, /lib and /lib64 are links into /usr.
            let host = root.join(path.trim_start_matches('/'));
            guest.write_file(path, 0o755, &std::fs::read(host)?)?;
        }
        let text = guest
            .shell("/usr/bin/lspci | grep 'shared memory'")?
            .check()?
            .stdout_text();
        let address = format!("00:{slot:02x}.0 ");
        let line = text.lines().find(|line| line.starts_with(&address));
        let line = line.ok_or_else(|| format!("nothing at {address}in:\n{text}"))?;
        // Newer lists of names have another wording between vendor and device than the tutorial shows.
        for part in [
            "RAM memory: Red Hat, Inc. ",
            "Inter-VM shared memory",
            "(rev 01)",
        ] {
            contains(line, part)?;
        }
    }
    Ok(())
}

fn late(builder: &Builder) -> Result<(), Failed> {
    let world = World::new()?;
    let vm0 = world.machine(builder, 0).boot()?;
    // Nobody is there yet: no error, no effect.
    run(&vm0, 8, "ring_doorbell", &["2", "0"])?;
    equal(
        world.hv.ring(0, 2, 0).to_string(),
        "lost: no such peer".into(),
    )?;
    for text in ["first life", "second life"] {
        let vm2 = world.machine(builder, 2).boot()?;
        // The memory is as the last one left it.
        let found = run(&vm2, 5, "map", &[])?;
        equal(
            found.as_str(),
            if text == "first life" {
                ""
            } else {
                "first life"
            },
        )?;
        run(&vm2, 5, "map", &[text])?;
        ring_and_read(&vm0, 8, &vm2, 5, "2", "1")?;
        ring_and_read(&vm2, 5, &vm0, 8, "0", "1")?;
        vm2.poweroff()?;
        // QEMU has ended; its connection is noticed a moment later.
        let gone = || world.hv.ring(0, 2, 0).to_string() == "lost: no such peer";
        let limit = std::time::Instant::now() + LIMIT;
        while !gone() {
            if std::time::Instant::now() > limit {
                return Err("machine 2 is never gone".into());
            }
            std::thread::yield_now();
        }
        run(&vm0, 8, "ring_doorbell", &["2", "0"])?;
        equal(run(&vm0, 8, "map", &[])?.as_str(), text)?;
    }
    Ok(())
}

/// The hypervisor forgets the ID when the guest's system maps BAR0; the parameter says it again.
fn lost_position(bare: &Builder, module: &Path) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let region = Region::new(AcrnHv::V2_4, Backing::anonymous("old", SIZE)?);
    let host = Host::new(region);
    let endpoint = host.listen(2, &directory.path().join("vm2"))?;
    let guest = bare
        .clone()
        .module(module)
        .file(module, "/ivshmem_rs.ko")
        .qemu_args(["-device".to_string(), at_slot(&endpoint, 5)])
        .boot()?;
    contains(&run(&guest, 5, "ring_doorbell", &[])?, "this is peer 0")?;
    guest
        .shell("rmmod ivshmem_rs && insmod /ivshmem_rs.ko peer_id=2")?
        .check()?;
    contains(&run(&guest, 5, "read_events", &[])?, "vector 0: count 1")?;
    contains(&run(&guest, 5, "ring_doorbell", &[])?, "this is peer 2")
}
