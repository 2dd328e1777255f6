// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A guest whose kernel cannot load the module (Debian's own, without Rust), and one that has it, on one region. And
//! one without it that is alone, for what befalls its device.

#[path = "stock/alone.rs"]
mod alone;
#[path = "stock/channels.rs"]
mod channels;
#[path = "stock/talk.rs"]
mod talk;

use guest_tests::artefacts::{Kernel, StockKernel};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use test_limit::limit_argument;
use vmbench::{boot_all, Arch, Builder, Device, Guest, Output, Region, Status};

/// Enough for the frames of a sample.
const SIZE: u64 = 32 << 20;
const VECTORS: u16 = 4;

/// What is copied each way.
const FILE_MIB: u32 = 16;

const PROGRAM: &str = "/bin/ivshmemctl";
const PASSWD: &str = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";

/// What `ivshmemctl` and the library call this way.
const SYSFS: &str = "the files of sysfs";

/// Stock drivers that hand devices to programs; the second is also the name of its way.
const UIO: &str = "uio_pci_generic";
const VFIO: &str = "vfio-pci";

type Case = fn(&Pair) -> Result<(), Failed>;

/// The two machines, and where the device of the one without the module is.
struct Pair<'a> {
    stock: &'a Guest,
    modern: &'a Guest,
    address: String,
}

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let image = StockKernel::beside(kernel)?;
    let x86 = kernel.runs_x86()?;
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, VECTORS)?;
        let guest = kernel
            .guest()
            .memory_mib(256 + 4 * FILE_MIB)
            .device(Device::doorbell(&region));
        let guest = guest
            .clone()
            .file(guest.static_binary("ivshmemctl", "ivshmemctl")?, PROGRAM);
        let guest = channels::with_samples(guest)?;
        let (mut stock, mut modern) = (without_module(guest.clone(), &image)?, guest);
        if x86 {
            (stock, modern) = (channels::with_c(stock)?, channels::with_c(modern)?);
            stock = channels::with_python(stock)?;
        }
        let guests = [stock.name("stock"), modern.name("modern").module(&module)];
        Ok(Fleet {
            guests: boot_all(&guests)?,
            world: Box::new(region),
        })
    });
    let cases: [(&str, Case); 9] = [
        ("doctor_says_how_to_do_without_the_module", doctor),
        ("memory_is_shared", |pair| memory(pair, SYSFS)),
        ("it_rings_a_machine_with_the_module", ring),
        ("it_cannot_be_rung_and_says_so", no_interrupts),
        ("a_word_that_the_other_changes_ends_its_wait", wait_word),
        ("it_takes_root_and_says_so", not_root),
        ("pings_go_both_ways", talk::ping),
        ("under_uio_pci_generic_it_is_the_same", uio),
        ("under_vfio_pci_it_is_rung_too", vfio),
    ];
    let channels: &[(&str, Case)] = match x86 {
        true => &[
            ("files_go_both_ways", copy),
            ("lines_go_both_ways", talk::chat),
            ("samples_of_channels_run_as_they_are", channels::samples),
            ("programs_in_c_run_as_they_are", |pair| {
                channels::in_c(pair, SYSFS)
            }),
            ("programs_in_python_run_as_they_are", |pair| {
                channels::in_python(pair, SYSFS)
            }),
            ("under_uio_pci_generic_samples_run_as_they_are", |pair| {
                pair.under(UIO, || channels::samples(pair))
            }),
            (
                "under_uio_pci_generic_programs_in_c_run_as_they_are",
                |pair| pair.under(UIO, || channels::in_c(pair, SYSFS)),
            ),
            (
                "under_uio_pci_generic_programs_in_python_run_as_they_are",
                |pair| pair.under(UIO, || channels::in_python(pair, SYSFS)),
            ),
            ("under_vfio_pci_files_go_both_ways", |pair| {
                pair.under(VFIO, || copy(pair))
            }),
            ("under_vfio_pci_lines_and_pings_go_both_ways", |pair| {
                pair.under(VFIO, || {
                    talk::chat(pair)?;
                    talk::ping(pair)
                })
            }),
            ("under_vfio_pci_samples_run_as_they_are", |pair| {
                pair.under(VFIO, || channels::samples(pair))
            }),
            ("under_vfio_pci_programs_in_c_run_as_they_are", |pair| {
                pair.under(VFIO, || channels::in_c(pair, VFIO))
            }),
            (
                "under_vfio_pci_programs_in_python_run_as_they_are",
                |pair| pair.under(VFIO, || channels::in_python(pair, VFIO)),
            ),
        ],
        // There machines exchange no words in memory that is not write-back.
        false => &[("channels_are_refused_with_the_reason", no_channels)],
    };
    let trial = |(name, case): (&str, Case)| {
        lab.trial(format!("stock::{name}"), move |fleet| {
            let [stock, modern] = &fleet.guests[..] else {
                return Err("two guests".into());
            };
            let list = run(stock, "--json list")?.check()?.stdout_text();
            let list: Value = serde_json::from_str(&list)?;
            let address = list[0]["bus_id"].as_str().ok_or("no device")?.into();
            case(&Pair {
                stock,
                modern,
                address,
            })
        })
    };
    let cases = cases.iter().chain(channels).copied();
    let mut trials: Vec<_> = cases.map(trial).collect();
    if x86 {
        trials.extend(alone::cases(kernel)?);
    }
    Ok(trials)
}

/// A guest with Debian's own kernel, its ways to hand devices to programs, and an IOMMU.
fn without_module(guest: Builder, kernel: &StockKernel) -> vmbench::Result<Builder> {
    let modules = [
        "drivers/uio/uio",
        "drivers/uio/uio_pci_generic",
        "virt/lib/irqbypass",
        "drivers/vfio/vfio",
        "drivers/vfio/vfio_iommu_type1",
        "drivers/vfio/pci/vfio-pci-core",
        "drivers/vfio/pci/vfio-pci",
    ];
    let guest = match guest.arch()? {
        Arch::X86 => guest
            .qemu_args(["-device", "intel-iommu,intremap=on"])
            .append("intel_iommu=on"),
        Arch::Arm64 => guest.qemu_args(["-machine", "iommu=smmuv3"]),
    };
    let guest = guest
        .kernel(kernel.image())
        .data("/etc/passwd", 0o644, PASSWD);
    // What is built into the kernel has no file.
    let modules = modules.map(|name| kernel.module(name)).into_iter();
    let modules = modules.filter(|path| path.exists());
    Ok(modules.fold(guest, |guest, path| guest.module(path)))
}

fn run(guest: &Guest, arguments: &str) -> vmbench::Result<Output> {
    guest.shell(&format!("{PROGRAM} {arguments}"))
}

impl Pair<'_> {
    /// Makes the memory that cp and chat use zero: they refuse to write over what other cases have left there.
    fn clear(&self) -> Result<(), Failed> {
        let zeros = format!("head -c 1048576 /dev/zero | {PROGRAM} load -");
        self.modern.shell(&zeros)?.check()?;
        Ok(())
    }

    /// Runs a command on the device of the machine without the module.
    fn bare(&self, command: &str, arguments: &str) -> vmbench::Result<Output> {
        run(
            self.stock,
            &format!("{command} -d {} {arguments}", self.address),
        )
    }

    /// A command line for that.
    fn bare_command(&self, arguments: &[&str]) -> Vec<String> {
        let device = ["--device", self.address.as_str()];
        let words = [&[PROGRAM], arguments, &device].concat();
        words.into_iter().map(String::from).collect()
    }
}

fn doctor(pair: &Pair) -> Result<(), Failed> {
    let sick = run(pair.stock, "doctor")?;
    assert_eq!(sick.status, Status::Code(7));
    let said = sick.stdout_text();
    let address = &pair.address;
    for advice in [
        &format!("-d {address} reaches the device by sysfs"),
        "is for Linux 7.2 and later",
        "modprobe vfio-pci\n",
        &format!("echo vfio-pci >/sys/bus/pci/devices/{address}/driver_override\n"),
    ] {
        assert!(said.contains(advice), "{said}");
    }
    Ok(())
}

/// Words go both ways, and the program says by which `way`.
fn memory(pair: &Pair, way: &str) -> Result<(), Failed> {
    pair.bare("poke", "0x1000 0x11223344")?.check()?;
    let seen = run(pair.modern, "peek 0x1000")?.check()?.stdout_text();
    assert!(seen.contains("11223344"), "{seen}");
    run(pair.modern, "poke 0x2000 0x55667788")?.check()?;
    let seen = pair.bare("peek", "0x2000")?.check()?;
    assert!(seen.stdout_text().contains("55667788"));
    let note = format!("note: by {way}");
    assert!(seen.stderr_text().contains(&note), "{}", seen.stderr_text());
    Ok(())
}

fn ring(pair: &Pair) -> Result<(), Failed> {
    let info = run(pair.modern, "--json info")?.check()?.stdout_text();
    let info: Value = serde_json::from_str(&info)?;
    let peer = info["peer_id"].as_u64().ok_or("no peer ID")?;
    let wait = [PROGRAM, "wait", "--timeout", &limit_argument()];
    let waiter = pair.modern.command(wait).spawn()?;
    // Rings from before it waits do not count.
    let script = format!(
        "until [ -e /woken ]; do {PROGRAM} ring -d {} {peer} 2 2>/dev/null; sleep 0.1; done",
        pair.address
    );
    let ringer = pair.stock.command(["sh", "-c", &script]).spawn()?;
    let woken = waiter.wait();
    pair.stock.shell("touch /woken")?.check()?;
    ringer.wait()?.check()?;
    pair.stock.shell("rm /woken")?.check()?;
    let said = woken?.check()?.stdout_text();
    assert!(said.contains("rung on 2"), "{said}");
    Ok(())
}

fn no_interrupts(pair: &Pair) -> Result<(), Failed> {
    let refused = pair.bare("wait", "--timeout 1s")?;
    assert_eq!(refused.status, Status::Code(6));
    let said = refused.stderr_text();
    assert!(said.contains("there are no interrupts"), "{said}");
    Ok(())
}

fn wait_word(pair: &Pair) -> Result<(), Failed> {
    pair.bare("poke", "0x3000 0")?.check()?;
    let wait = ["wait", "--word", "0x3000=0", "-t", &limit_argument()];
    let waiter = pair.stock.command(pair.bare_command(&wait)).spawn()?;
    run(pair.modern, "poke 0x3000 1")?.check()?;
    waiter.wait()?.check()?;
    Ok(())
}

/// Copies a file, with the receiver in its directory, and compares.
fn send(from: (&Guest, Vec<String>), to: (&Guest, Vec<String>), file: &str) -> Result<(), Failed> {
    let size = u64::from(FILE_MIB) << 20;
    from.0
        .shell(&format!("head -c {size} /dev/urandom >{file}"))?
        .check()?;
    to.0.shell("mkdir -p /incoming")?.check()?;
    let receiver = to.0.command(to.1).spawn()?;
    from.0.command(from.1).run()?.check()?;
    receiver.wait()?.check()?;
    let sum = |guest: &Guest, path: &str| -> Result<String, Failed> {
        let line = guest.run(["sha256sum", path])?.check()?.stdout_text();
        Ok(line.split(' ').next().unwrap_or_default().into())
    };
    assert_eq!(sum(from.0, file)?, sum(to.0, &format!("/incoming{file}"))?);
    from.0.shell(&format!("rm {file}"))?.check()?;
    to.0.shell("rm -r /incoming")?.check()?;
    Ok(())
}

fn copy(pair: &Pair) -> Result<(), Failed> {
    pair.clear()?;
    let limit = limit_argument();
    let sending = ["cp", "-t", &limit, "/file"];
    let receiving = ["cp", "-t", &limit, "--receive", "/incoming"];
    let modern = |words: &[&str]| -> Vec<String> {
        let words = [&[PROGRAM], words].concat();
        words.into_iter().map(String::from).collect()
    };
    send(
        (pair.stock, pair.bare_command(&sending)),
        (pair.modern, modern(&receiving)),
        "/file",
    )?;
    send(
        (pair.modern, modern(&sending)),
        (pair.stock, pair.bare_command(&receiving)),
        "/file",
    )
}

/// Who tries to make a channel is told why there can be none, by each way.
fn no_channels(pair: &Pair) -> Result<(), Failed> {
    let refused = || {
        let refused = pair.bare("cp", "--receive /")?;
        let said = refused.stderr_text();
        assert_eq!(refused.status, Status::Code(6), "{said}");
        assert!(said.contains("not mapped write-back"), "{said}");
        Ok(())
    };
    refused()?;
    pair.under(VFIO, refused)
}

impl Pair<'_> {
    /// Does something while another stock driver has the device.
    fn under(&self, driver: &str, does: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        bind(self.stock, &self.address, driver)?;
        does()?;
        unbind(self.stock, &self.address, driver)
    }
}

/// Gives a device to a driver, and to no other.
fn bind(guest: &Guest, address: &str, driver: &str) -> Result<(), Failed> {
    let device = format!("/sys/bus/pci/devices/{address}");
    let script = format!(
        "echo {driver} >{device}/driver_override; echo {address} >/sys/bus/pci/drivers_probe; \
         [ -e /sys/bus/pci/drivers/{driver}/{address} ]"
    );
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Takes it away again: no driver leaves behind a device that can write to memory (bit 2 of the command register).
fn unbind(guest: &Guest, address: &str, driver: &str) -> Result<(), Failed> {
    let device = format!("/sys/bus/pci/devices/{address}");
    let script = format!(
        "echo {address} >/sys/bus/pci/drivers/{driver}/unbind; echo >{device}/driver_override; \
         command=$(od -An -tx2 -j4 -N2 {device}/config | tr -d ' '); echo command $command; [ $((0x$command & 4)) = 0 ]"
    );
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Another user than root gets at the device by vfio-pci alone, once root has given it away.
fn not_root(pair: &Pair) -> Result<(), Failed> {
    let address = &pair.address;
    let peek = || {
        let line = format!("su nobody -c '{PROGRAM} peek -d {address} 0x1000'");
        pair.stock.shell(&line)
    };
    let refused = peek()?;
    assert_eq!(refused.status, Status::Code(4));
    let said = refused.stderr_text();
    assert!(
        said.contains("run this as root, or bind vfio-pci"),
        "{said}"
    );
    pair.under(VFIO, || {
        let refused = peek()?;
        assert_eq!(refused.status, Status::Code(4));
        let said = refused.stderr_text();
        assert!(said.contains("by chown or a udev rule"), "{said}");
        let group = format!("/sys/bus/pci/devices/{address}/iommu_group");
        let give = format!("chown nobody /dev/vfio/$(basename $(readlink {group}))");
        pair.stock.shell(&give)?.check()?;
        peek()?.check()?;
        Ok(())
    })
}

/// A driver that claims nothing is in nobody's way.
fn uio(pair: &Pair) -> Result<(), Failed> {
    pair.under(UIO, || {
        memory(pair, SYSFS)?;
        ring(pair)
    })
}

/// With an IOMMU there are interrupts.
fn vfio(pair: &Pair) -> Result<(), Failed> {
    pair.under(VFIO, || {
        let content = run(pair.stock, "doctor")?.check()?.stdout_text();
        assert!(content.contains("vfio-pci has the device"), "{content}");
        memory(pair, VFIO)?;
        ring(pair)?;
        let wait = ["wait", "--vectors", "1", "--timeout", &limit_argument()];
        let waiter = pair.stock.command(pair.bare_command(&wait)).spawn()?;
        let peers = "for peer in 0 1; do ivshmemctl ring $peer 1; done";
        let script = format!("until [ -e /woken ]; do {peers}; sleep 0.1; done >/dev/null 2>&1");
        let ringer = pair.modern.command(["sh", "-c", &script]).spawn()?;
        let woken = waiter.wait();
        pair.modern.shell("touch /woken")?.check()?;
        ringer.wait()?;
        pair.modern.shell("rm /woken")?.check()?;
        let said = woken?.check()?.stdout_text();
        assert!(said.contains("rung on 1"), "{said}");
        Ok(())
    })
}
