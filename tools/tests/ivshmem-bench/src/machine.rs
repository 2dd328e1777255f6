// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The guests that are measured in: three ivshmem devices, one for this driver, one for vfio-pci, one
//! for nobody.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use vmbench::{checkout, kernel_module, Accel, Builder, Device, Guest, Region};

use crate::series::{self, Run, Unit};

/// Vectors of each device.
const VECTORS: u16 = 8;

/// vfio-pci and what it needs, in the order of loading.
const VFIO_MODULES: [&str; 5] = [
    "virt/lib/irqbypass",
    "drivers/vfio/vfio",
    "drivers/vfio/vfio_iommu_type1",
    "drivers/vfio/pci/vfio-pci-core",
    "drivers/vfio/pci/vfio-pci",
];

/// An IOMMU, without which vfio-pci does not start, and which hands memory through untranslated. Registers on
/// pages of their own, without which vfio cannot map them. No tests of the kernel's ciphers, which run in the
/// background for half a minute.
const PARAMETERS: &str =
    "intel_iommu=on iommu=pt pci=resource_alignment=pci:1af4:1110 cryptomgr.notests=1";

/// How long one program of measurements may run.
const LIMIT: Duration = Duration::from_secs(300);

/// How long a guest may take to become idle.
const SETTLE_LIMIT_SECONDS: u32 = 120;

/// What counts time in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Executed instructions, on one processor. What is measured is the same in each run.
    Instructions,
    /// The host's clock.
    Wall,
}

impl Clock {
    fn unit(self) -> Unit {
        match self {
            Self::Instructions => Unit::Instructions,
            Self::Wall => Unit::Nanoseconds,
        }
    }
}

/// A guest that is ready to be measured in.
pub struct Machine {
    guest: Guest,
    unit: Unit,
    environment: Vec<(&'static str, String)>,
    _region: Region,
}

/// What a guest is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What executes the instructions.
    pub accel: Accel,
    /// What counts time.
    pub clock: Clock,
    /// Virtual processors.
    pub cpus: u32,
    /// Bytes of shared memory, a power of two.
    pub region: u64,
    /// RAM. 5 GiB and more put the shared memory above 4 GiB.
    pub memory_mib: u32,
}

impl Machine {
    /// Boots it, gives each device its driver, and waits until the guest has nothing to do.
    pub fn boot(kind: Kind, programs: &[&str]) -> Result<Self> {
        let region = Region::start(kind.region, VECTORS)?;
        let mut builder = Guest::builder()
            .accel(kind.accel)
            .cpus(kind.cpus)
            .memory_mib(kind.memory_mib)
            .append(PARAMETERS)
            .qemu_args(["-machine", "q35,kernel-irqchip=split"])
            .qemu_args(["-device", "intel-iommu,intremap=on"])
            .command_limit(LIMIT);
        if kind.clock == Clock::Instructions {
            builder = builder.qemu_args(["-icount", "shift=1,sleep=off"]);
        }
        for _ in 0..3 {
            builder = builder.device(Device::doorbell(&region));
        }
        builder = with_modules(builder, &VFIO_MODULES)?
            .module_with(built("module/ivshmem_rs.ko")?, "map_registers=1")
            .module(built("inject/ivshmem_inject.ko")?);
        for program in programs {
            builder = builder.file(built(&format!("bench/{program}"))?, guest_path(program));
        }
        Self::prepare(builder, region, kind.clock.unit())
    }

    fn prepare(builder: Builder, region: Region, unit: Unit) -> Result<Self> {
        let guest = builder.boot()?;
        let addresses = guest
            .shell(PREPARE)?
            .check()
            .context("cannot hand out the devices")?;
        let addresses = addresses.stdout_text();
        let addresses: Vec<_> = addresses.split_whitespace().collect();
        ensure!(
            addresses.len() == 3,
            "there are {addresses:?}, not 3 devices"
        );
        let environment = ["BENCH_OURS", "BENCH_VFIO", "BENCH_BARE"]
            .into_iter()
            .zip(addresses.into_iter().map(String::from))
            .collect();
        let settle = format!("limit={SETTLE_LIMIT_SECONDS}; {SETTLE}");
        guest
            .shell(&settle)?
            .check()
            .context("the guest has always something to do")?;
        Ok(Self {
            guest,
            unit,
            environment,
            _region: region,
        })
    }

    /// The unit of times.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Runs a program and returns what it measured.
    pub fn measure(&self, program: &str, arguments: &[&str]) -> Result<Run> {
        let variables = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let mut argv = vec!["env".to_string()];
        argv.extend(variables);
        argv.push(guest_path(program));
        argv.extend(arguments.iter().map(|argument| argument.to_string()));
        let output = self.guest.run(argv)?.check()?;
        series::parse(&output.stdout_text(), self.unit)
    }
}

/// Reserves large pages for the rivals of the memory, lets memfd have them, leaves the first device to this driver, gives the second to vfio-pci and the third to nobody; prints their
/// addresses in this order.
const PREPARE: &str = r#"
set -e
echo 40 >/proc/sys/vm/nr_hugepages
echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled
ours=/sys/bus/pci/drivers/ivshmem_rs
first=$(basename "$(readlink -f /sys/class/misc/ivshmem0/device)")
echo "$first"
for address in $(ls $ours | grep '^0000:' | grep -v "$first"); do
    echo "$address" >$ours/unbind
    if [ -z "$second" ]; then
        second=$address
        echo vfio-pci >/sys/bus/pci/devices/$address/driver_override
        echo "$address" >/sys/bus/pci/drivers/vfio-pci/bind
    fi
    echo "$address"
done
"#;

/// Waits until a second was idle but for a fiftieth.
const SETTLE: &str = r#"
idle() { read _ user nice system idle rest </proc/stat; }
for second in $(seq $limit); do
    idle; from=$idle; busy=$((user + nice + system))
    sleep 1
    idle; idle=$((idle - from)); busy=$((user + nice + system - busy))
    [ $((busy * 50)) -gt $idle ] || exit 0
done
exit 1
"#;

/// Adds modules of the guests' kernel.
pub fn with_modules(mut builder: Builder, names: &[&str]) -> Result<Builder> {
    for name in names {
        if let Some(path) = kernel_module(name)? {
            builder = builder.module(path);
        }
    }
    Ok(builder)
}

/// Where a program of measurements is in the guest.
pub fn guest_path(program: &str) -> String {
    format!("/bench/{program}")
}

/// A file that `make bench` has built.
pub fn built(name: &str) -> Result<PathBuf> {
    let path = checkout().join("build").join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `make bench`",
        path.display()
    );
    Ok(path)
}
