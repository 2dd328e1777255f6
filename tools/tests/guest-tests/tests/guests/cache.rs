// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a mapping really gets: the memory type and the size of its pages, seen in the page table from
//! outside the guest, under each firmware and at each place of the memory.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use guest_tests::page_table::{self, Entry};
use libtest_mimic::{Failed, Trial};
use vmbench::{Builder, Device, Firmware, Guest, Memory, Region, Signal};

const SMALL: u64 = 1 << 20;
const BIG: u64 = 64 << 20;

/// The devices of each guest: node, size in bytes. Plain and doorbell, small and big.
const DEVICES: [(&str, u64); 4] = [
    ("ivshmem0", SMALL),
    ("ivshmem1", BIG),
    ("ivshmem2", SMALL),
    ("ivshmem3", BIG),
];
const BIG_PLAIN: usize = 1;
const BIG_DOORBELL: usize = 3;

/// A mapping as a program gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    /// The name that the kernel gives the memory type.
    memory_type: &'static str,
    page_bytes: u64,
}

const fn mapping(memory_type: &'static str, page_bytes: u64) -> Mapping {
    Mapping {
        memory_type,
        page_bytes,
    }
}

const PAGE: u64 = 4 << 10;
const LARGE: u64 = 2 << 20;

/// A firmware and a place of the memory, and what comes of them.
#[derive(Clone)]
struct SetUp {
    name: &'static str,
    firmware: Firmware,
    memory_mib: u32,
    /// Where BAR2 must be for the set-up to be what its name says.
    above_4_gib: bool,
    small: Mapping,
    big: Mapping,
    /// What the file `resource2` in sysfs gives.
    naive: Mapping,
}

/// The three, in the order of the table in `Documentation/memory.rst`.
fn set_ups() -> [SetUp; 3] {
    [
        SetUp {
            name: "seabios_below_4_gib",
            firmware: Firmware::SeaBios,
            memory_mib: 768,
            above_4_gib: false,
            small: mapping("WB", PAGE),
            big: mapping("WB", LARGE),
            naive: mapping("UC-", PAGE),
        },
        SetUp {
            name: "seabios_above_4_gib",
            firmware: Firmware::SeaBios,
            memory_mib: 5120,
            above_4_gib: true,
            small: mapping("WB", PAGE),
            big: mapping("WB", LARGE),
            naive: mapping("UC-", PAGE),
        },
        SetUp {
            name: "ovmf",
            firmware: Firmware::Ovmf,
            memory_mib: 768,
            above_4_gib: true,
            small: mapping("WB", PAGE),
            big: mapping("WB", LARGE),
            naive: mapping("UC-", PAGE),
        },
    ]
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let builder = Guest::builder()
        .module(&module)
        .file(&module, "/ivshmem_rs.ko")
        .file(artefacts::program("hold", Width::Bits64)?, "/test/hold")
        .file(artefacts::program("gup", Width::Bits64)?, "/test/gup")
        .file(artefacts::program("mmap", Width::Bits64)?, "/test/mmap")
        .file(artefacts::program("paging", Width::Bits64)?, "/test/paging");
    let mut trials = Vec::new();
    for set_up in set_ups() {
        let lab = lab(&builder, &set_up)?;
        let name = set_up.name;
        for (number, (_, size)) in DEVICES.into_iter().enumerate() {
            let kind = ["plain", "doorbell"][number / 2];
            let case = format!("cache::{name}_{kind}_{}_mib", size >> 20);
            let set_up = set_up.clone();
            trials.push(lab.trial(case, move |fleet| {
                ours_and_naive(&fleet.guests[0], &set_up, number)
            }));
        }
        match name {
            "seabios_below_4_gib" => {
                trials.extend(programs(&lab)?);
                trials.extend(parameters(&lab));
            }
            "seabios_above_4_gib" => trials.push(lab.trial(
                "cache::64_mib_take_one_fault_and_33_with_small_pages",
                |fleet| faults(&fleet.guests[0]),
            )),
            _ => {}
        }
    }
    Ok(trials)
}

fn lab(builder: &Builder, set_up: &SetUp) -> Result<Lab, String> {
    let mut builder = builder
        .clone()
        .firmware(set_up.firmware.clone())
        .memory_mib(set_up.memory_mib);
    if let Some(driver) =
        vmbench::kernel_module("drivers/block/virtio_blk").map_err(|error| error.to_string())?
    {
        builder = builder.module(driver);
    }
    let disk = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    disk.as_file()
        .set_len(1 << 20)
        .map_err(|error| error.to_string())?;
    Ok(Lab::new(move || {
        let regions = [Region::start(SMALL, 4)?, Region::start(BIG, 4)?];
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.path().display());
        let guest = builder
            .clone()
            .device(Device::plain(&Memory::anonymous(SMALL)?))
            .device(Device::plain(&Memory::anonymous(BIG)?))
            .device(Device::doorbell(&regions[0]))
            .device(Device::doorbell(&regions[1]))
            .qemu_args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"])
            .boot()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(regions),
        })
    }))
}

/// What a program that touched all of a file's memory was given.
struct Held {
    entry: Entry,
    memory_type: String,
    faults: u64,
    /// `/proc/PID/fdinfo` of the file.
    fdinfo: String,
}

/// Maps a file in the guest, in which nothing else goes on, and looks at the page table.
fn hold(guest: &Guest, argv: &[&str], physical: u64) -> Result<Held, Failed> {
    let mut holder = guest.command(argv.to_vec()).spawn()?;
    let line = holder.wait_for_output("holds ")?;
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, address, faults] = words[..] else {
        return Err(format!("hold says {line:?}").into());
    };
    let entry = page_table::entry(guest, u64::from_str_radix(address, 16)?, physical);
    let fdinfo = guest.shell("cat /proc/$(pidof hold)/fdinfo/3")?.check()?;
    holder.signal(Signal::KILL)?;
    holder.wait()?;
    let entry = entry?;
    let memory_type = page_table::memory_types(guest)?
        .get(entry.attribute)
        .cloned()
        .ok_or("the kernel names fewer than eight memory types")?;
    Ok(Held {
        entry,
        memory_type,
        faults: faults.parse()?,
        fdinfo: fdinfo.stdout_text(),
    })
}

fn expect_mapping(what: &str, held: &Held, want: Mapping) -> Result<(), Failed> {
    let entry = held.entry;
    if held.memory_type == want.memory_type && entry.page_bytes == want.page_bytes {
        return Ok(());
    }
    let got = &held.memory_type;
    Err(format!("{what}: {got} with {entry:x?}, should be {want:?}").into())
}

/// The PCI device behind a node: its directory, and where BAR2 begins.
fn bar2(guest: &Guest, node: &str) -> Result<(String, u64), Failed> {
    let script = format!("cd -P /sys/class/misc/{node}/device && pwd && sed -n 3p resource");
    let output = guest.shell(&script)?.check()?.stdout_text();
    let mut words = output.split_whitespace();
    let directory = words.next().ok_or("no directory")?;
    let start = words.next().ok_or("no BAR2")?.trim_start_matches("0x");
    Ok((directory.into(), u64::from_str_radix(start, 16)?))
}

/// The driver's mapping is as it should be and as it is reported; that of sysfs is as expected.
fn ours_and_naive(guest: &Guest, set_up: &SetUp, number: usize) -> Result<(), Failed> {
    let (node, size) = DEVICES[number];
    let (directory, physical) = bar2(guest, node)?;
    if (physical >= 1 << 32) != set_up.above_4_gib {
        return Err(format!("BAR2 of {node} is at {physical:#x}").into());
    }
    let want = if size == BIG {
        set_up.big
    } else {
        set_up.small
    };
    let bytes = size.to_string();
    let ours = hold(
        guest,
        &["/test/hold", &format!("/dev/{node}"), &bytes],
        physical,
    )?;
    expect_mapping("the driver's mapping", &ours, want)?;
    expect_reported(guest, node, &ours, want)?;

    let bus_id = directory.rsplit('/').next().unwrap_or_default();
    let driver = "/sys/bus/pci/drivers/ivshmem_rs";
    guest
        .shell(&format!("echo {bus_id} >{driver}/unbind"))?
        .check()?;
    let file = format!("{directory}/resource2");
    let naive = hold(guest, &["/test/hold", &file, &bytes], physical)?;
    guest
        .shell(&format!("echo {bus_id} >{driver}/bind"))?
        .check()?;
    expect_mapping("the mapping of resource2", &naive, set_up.naive)
}

/// fdinfo, which has what `GET_INFO` has, and the kernel log tell the truth.
fn expect_reported(guest: &Guest, node: &str, held: &Held, want: Mapping) -> Result<(), Failed> {
    let (short, long) = match want.memory_type {
        "WB" => ("wb", "write-back"),
        "WC" => ("wc", "write-combining"),
        _ => ("uc", "uncached"),
    };
    let order = want.page_bytes.ilog2();
    let fdinfo = &held.fdinfo;
    for line in [format!("cache:\t{short}"), format!("page_order:\t{order}")] {
        if !fdinfo.lines().any(|found| found == line) {
            return Err(format!("no {line:?} in fdinfo:\n{fdinfo}").into());
        }
    }
    let log = guest.kernel_log()?;
    let bound = log
        .lines()
        .rfind(|line| line.contains(&format!("{node}: ")));
    match bound {
        Some(line) if line.contains(&format!("({long})")) => Ok(()),
        _ => Err(format!("the kernel log does not say {long}: {bound:?}").into()),
    }
}

/// 64 MiB are there after a fault, and after one for each 2 MiB where no large page fits.
fn faults(guest: &Guest) -> Result<(), Failed> {
    let node = DEVICES[BIG_PLAIN].0;
    let (_, physical) = bar2(guest, node)?;
    let (file, bytes) = (format!("/dev/{node}"), BIG.to_string());
    let large = hold(guest, &["/test/hold", &file, &bytes], physical)?;
    let small = hold(guest, &["/test/hold", &file, &bytes, "apart"], physical)?;
    expect_mapping("apart", &small, mapping("WB", PAGE))?;
    println!("{} faults, {} with small pages", large.faults, small.faults);
    match (large.faults, small.faults) {
        // The program itself may have some.
        (1..=8, 33..=40) => Ok(()),
        other => Err(format!("{other:?} faults").into()),
    }
}

/// Programs whose cases concern the pages, with small and with large ones.
fn programs(lab: &Lab) -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    for program in ["paging", "gup"] {
        for case in artefacts::cases(&artefacts::program(program, Width::Bits64)?)? {
            for (number, size) in [(BIG_DOORBELL, "64_mib"), (0, "1_mib")] {
                let argv = [format!("/test/{program}"), case.clone()];
                trials.push(
                    lab.trial(format!("{program}::{case}::{size}"), move |fleet| {
                        let command = fleet.guests[0].command(argv.clone());
                        let command = command
                            .env("IVSHMEM_DEV", format!("/dev/{}", DEVICES[number].0))
                            .env("IVSHMEM_DISK", "/dev/vda");
                        expect_success(command.run())
                    }),
                );
            }
        }
    }
    Ok(trials)
}

/// The module's parameter gives what it says.
fn parameters(lab: &Lab) -> Vec<Trial> {
    let trial = |(cache, want)| {
        let name = format!("cache::parameter_{cache}_gives_what_it_says");
        lab.trial(name, move |fleet| {
            let guest = &fleet.guests[0];
            reload(guest, cache)?;
            let tried = forced(guest, want);
            reload(guest, 0)?;
            tried
        })
    };
    [
        (1, mapping("WB", LARGE)),
        (2, mapping("WC", LARGE)),
        (3, mapping("UC-", LARGE)),
    ]
    .map(trial)
    .into()
}

/// Inserts the module with another `cache`.
fn reload(guest: &Guest, cache: u32) -> Result<(), Failed> {
    let bound = DEVICES.len();
    let script = format!(
        "rmmod ivshmem_rs && insmod /ivshmem_rs.ko cache={cache} && [ $(ls /dev | grep -c ivshmem) = {bound} ]"
    );
    expect_success(guest.shell(&script))
}

/// A node of a big device. Nodes are numbered in the order in which the devices came, and one that another
/// case removed and found again is the last since.
fn big_node(guest: &Guest) -> Result<String, Failed> {
    let script = format!("grep -lx {BIG} /sys/class/misc/ivshmem*/device/ivshmem/size | head -n 1");
    let path = guest.shell(&script)?.check()?.stdout_text();
    let node = path.split('/').nth(4);
    Ok(node.ok_or("no big device")?.to_string())
}

/// A big device has this mapping, and says so. Private mappings are refused with each type.
fn forced(guest: &Guest, want: Mapping) -> Result<(), Failed> {
    let node = big_node(guest)?;
    let node = node.as_str();
    let (_, physical) = bar2(guest, node)?;
    let (file, bytes) = (format!("/dev/{node}"), BIG.to_string());
    let held = hold(guest, &["/test/hold", &file, &bytes], physical)?;
    expect_mapping("the forced mapping", &held, want)?;
    expect_reported(guest, node, &held, want)?;
    let private = guest
        .command(["/test/mmap", "a_private_mapping_is_EINVAL"])
        .env("IVSHMEM_DEV", &file);
    expect_success(private.run())
}
