// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A guest whose kernel cannot load the module (Debian's own, without Rust), and one that has it, on one region.

use guest_tests::artefacts::{self, StockKernel};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use test_limit::limit_argument;
use vmbench::{boot_all, build, Device, Guest, Output, Region, Signal, Status};

const SIZE: u64 = 4 << 20;
const VECTORS: u16 = 4;

/// What is copied each way.
const FILE_MIB: u32 = 16;

const PROGRAM: &str = "/bin/ivshmemctl";
const SAMPLE: &str = "/bin/rpc";

type Case = fn(&Pair) -> Result<(), Failed>;

/// The two machines, and where the device of the one without the module is.
struct Pair<'a> {
    stock: &'a Guest,
    modern: &'a Guest,
    address: String,
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let kernel = StockKernel::find()?;
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, VECTORS)?;
        let guest = Guest::builder()
            .memory_mib(256 + 4 * FILE_MIB)
            .file(build::static_binary("ivshmemctl", "ivshmemctl")?, PROGRAM)
            .file(
                build::static_binary("ivshmem-channel-samples", "rpc")?,
                SAMPLE,
            )
            .device(Device::doorbell(&region));
        let stock = guest
            .clone()
            .name("stock")
            .kernel(kernel.image())
            .module(kernel.module("drivers/uio/uio"))
            .module(kernel.module("drivers/uio/uio_pci_generic"))
            .module(kernel.module("virt/lib/irqbypass"))
            .module(kernel.module("drivers/vfio/vfio"))
            .module(kernel.module("drivers/vfio/vfio_iommu_type1"))
            .module(kernel.module("drivers/vfio/pci/vfio-pci-core"))
            .module(kernel.module("drivers/vfio/pci/vfio-pci"))
            .qemu_args(["-device", "intel-iommu,intremap=on"])
            .append("intel_iommu=on");
        let modern = guest.name("modern").module(&module);
        Ok(Fleet {
            guests: boot_all(&[stock, modern])?,
            world: Box::new(region),
        })
    });
    let cases: [(&str, Case); 9] = [
        ("doctor_says_how_to_do_without_the_module", doctor),
        ("memory_is_shared", |pair| {
            memory(pair, "the files of sysfs")
        }),
        ("it_rings_a_machine_with_the_module", ring),
        ("it_cannot_be_rung_and_says_so", no_interrupts),
        ("a_word_that_the_other_changes_ends_its_wait", wait_word),
        ("files_go_both_ways", copy),
        ("a_sample_of_channels_runs_as_it_is", channel),
        ("under_uio_pci_generic_it_is_the_same", uio),
        ("under_vfio_pci_it_is_rung_too", vfio),
    ];
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
    Ok(cases.map(trial).into())
}

fn run(guest: &Guest, arguments: &str) -> vmbench::Result<Output> {
    guest.shell(&format!("{PROGRAM} {arguments}"))
}

impl Pair<'_> {
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
    let advice = format!("-d {} reaches the device by sysfs", pair.address);
    assert!(
        sick.stdout_text().contains(&advice),
        "{}",
        sick.stdout_text()
    );
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
    // It refuses to write over what other cases have left there.
    let zeros = format!("head -c 1048576 /dev/zero | {PROGRAM} load -");
    pair.modern.shell(&zeros)?.check()?;
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

impl Pair<'_> {
    /// Does something while another stock driver has the device.
    fn under(&self, driver: &str, does: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        let address = &self.address;
        let choice = format!("/sys/bus/pci/devices/{address}/driver_override");
        let bound = format!("/sys/bus/pci/drivers/{driver}");
        let bind = format!(
            "echo {driver} >{choice}; echo {address} >/sys/bus/pci/drivers_probe; [ -e {bound}/{address} ]"
        );
        self.stock.shell(&bind)?.check()?;
        does()?;
        let unbind = format!("echo {address} >{bound}/unbind; echo >{choice}");
        self.stock.shell(&unbind)?.check()?;
        Ok(())
    }
}

/// Requests and replies between the two machines, each of which serves once.
fn channel(pair: &Pair) -> Result<(), Failed> {
    // A channel with another layout is not replaced, neither here nor by those who come later.
    let forget = || {
        pair.modern
            .shell("head -c 4096 /dev/zero >/zeros && ivshmemctl load /zeros")
    };
    let (stock, modern) = ((pair.stock, &*pair.address), (pair.modern, "/dev/ivshmem0"));
    forget()?.check()?;
    for (serves, asks) in [(modern, stock), (stock, modern)] {
        let mut serving = serves.0.command([SAMPLE, serves.1, "serve"]).spawn()?;
        serving.wait_for_output("serving")?;
        let asked = asks.0.run([SAMPLE, asks.1, "ask", "100"])?.check()?;
        assert_eq!(asked.stdout_text(), "100 answers");
        serving.signal(Signal::KILL)?;
        serving.wait()?;
    }
    forget()?.check()?;
    Ok(())
}

/// A driver that claims nothing is in nobody's way.
fn uio(pair: &Pair) -> Result<(), Failed> {
    pair.under("uio_pci_generic", || {
        memory(pair, "the files of sysfs")?;
        ring(pair)?;
        channel(pair)
    })
}

/// With an IOMMU there are interrupts.
fn vfio(pair: &Pair) -> Result<(), Failed> {
    pair.under("vfio-pci", || {
        memory(pair, "vfio-pci")?;
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
        copy(pair)?;
        channel(pair)
    })
}
