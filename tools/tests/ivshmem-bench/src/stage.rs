// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The stages of a measurement: a set of guests, or of programs of the host, and what runs in it, several times.

use std::time::Instant;

use anyhow::Result;
use vmbench::Accel;

use crate::host;
use crate::machine::{Clock, Kind, Machine};
use crate::network::Network;
use crate::pair::Pair;
use crate::series::{Run, Unit};

/// How the whole is measured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What executes the guests' instructions.
    pub accel: Accel,
    /// How often each program runs.
    pub repeats: u32,
}

impl Settings {
    fn counting(self) -> Clock {
        match self.accel {
            Accel::Tcg => Clock::Instructions,
            Accel::Kvm => Clock::Wall,
        }
    }

    /// A guest whose one processor counts instructions, if there is no KVM.
    fn one_processor(self, memory_mib: u32) -> Kind {
        Kind {
            accel: self.accel,
            clock: self.counting(),
            cpus: 1,
            region: REGION,
            memory_mib,
        }
    }
}

/// What a stage measured: the unit, and each repeat.
#[derive(Debug)]
pub struct Measured {
    /// The unit of times.
    pub unit: Unit,
    /// The runs.
    pub runs: Vec<Run>,
}

/// A stage.
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Measures.
    pub measure: fn(Settings) -> Result<Measured>,
}

/// All stages.
pub static STAGES: [Stage; 7] = [
    Stage {
        name: "low",
        measure: low,
    },
    Stage {
        name: "high",
        measure: high,
    },
    Stage {
        name: "threads",
        measure: threads,
    },
    Stage {
        name: "pair",
        measure: pair,
    },
    Stage {
        name: "network",
        measure: network,
    },
    Stage {
        name: "channels",
        measure: channels,
    },
    Stage {
        name: "server",
        measure: server,
    },
];

const MIB: u64 = 1 << 20;

/// RAM that leaves room for the memory below 4 GiB.
const LOW_MEMORY_MIB: u32 = 768;

/// RAM that pushes the memory above 4 GiB.
const HIGH_MEMORY_MIB: u32 = 5120;

const REGION: u64 = 64 * MIB;

/// Who maps 64 MiB, and how often in a run.
const MAPPINGS: [(&str, &str); 10] = [
    ("ours", "5"),
    ("ours_populate", "5"),
    ("ours_off_by_a_page", "3"),
    ("vfio", "3"),
    ("vfio_aligned", "5"),
    ("vfio_off_by_a_page", "3"),
    ("resource2", "5"),
    ("memfd", "3"),
    ("memfd_thp", "5"),
    ("memfd_hugetlb", "5"),
];

/// What runs in a guest without arguments.
const PROGRAMS: [&str; 4] = ["doorbell", "wake", "handler", "calls"];

/// Measures the paths that a baseline is kept of, once.
pub fn hot_paths() -> Result<Run> {
    let settings = Settings {
        accel: Accel::Tcg,
        repeats: 1,
    };
    let machine = Machine::boot(settings.one_processor(LOW_MEMORY_MIB), &PROGRAMS)?;
    let mut run = Run::new();
    programs(&machine, &mut run)?;
    Ok(run)
}

fn programs(machine: &Machine, run: &mut Run) -> Result<()> {
    for program in PROGRAMS {
        run.extend(machine.measure(program, &[])?);
    }
    Ok(())
}

fn low(settings: Settings) -> Result<Measured> {
    let files = PROGRAMS.iter().copied().chain(["faults"]);
    let kind = settings.one_processor(LOW_MEMORY_MIB);
    let machine = Machine::boot(kind, &files.collect::<Vec<_>>())?;
    repeat(settings, machine.unit(), |run| {
        programs(&machine, run)?;
        mappings(&machine, run)
    })
}

fn high(settings: Settings) -> Result<Measured> {
    let machine = Machine::boot(settings.one_processor(HIGH_MEMORY_MIB), &["faults"])?;
    repeat(settings, machine.unit(), |run| mappings(&machine, run))
}

/// Who is touched by several threads.
const SHARED_MAPPINGS: [&str; 6] = [
    "ours",
    "vfio_aligned",
    "memfd_thp",
    "ours_off_by_a_page",
    "vfio_off_by_a_page",
    "memfd",
];

fn threads(settings: Settings) -> Result<Measured> {
    let kind = Kind {
        accel: settings.accel,
        clock: Clock::Wall,
        cpus: 4,
        region: REGION,
        memory_mib: HIGH_MEMORY_MIB,
    };
    let machine = Machine::boot(kind, &["faults"])?;
    let bytes = REGION.to_string();
    repeat(settings, machine.unit(), |run| {
        for threads in ["1", "2", "4"] {
            for subject in SHARED_MAPPINGS {
                run.extend(machine.measure("faults", &[subject, &bytes, threads, "10"])?);
            }
        }
        Ok(())
    })
}

fn pair(settings: Settings) -> Result<Measured> {
    let pair = Pair::boot(settings.accel)?;
    repeat(settings, Unit::Nanoseconds, |run| pair.measure(run))
}

fn network(settings: Settings) -> Result<Measured> {
    let timed = Network::boot(settings.accel, Clock::Wall)?;
    let counted = Network::boot(settings.accel, settings.counting())?;
    repeat(settings, Unit::Nanoseconds, |run| {
        timed.times(run)?;
        counted.busy(run)
    })
}

fn channels(settings: Settings) -> Result<Measured> {
    host::build_channels()?;
    repeat(settings, Unit::Nanoseconds, host::channels)
}

fn server(settings: Settings) -> Result<Measured> {
    repeat(settings, Unit::Nanoseconds, host::server)
}

fn mappings(machine: &Machine, run: &mut Run) -> Result<()> {
    let bytes = REGION.to_string();
    for (subject, samples) in MAPPINGS {
        run.extend(machine.measure("faults", &[subject, &bytes, "0", samples])?);
    }
    Ok(())
}

fn repeat(
    settings: Settings,
    unit: Unit,
    mut measure: impl FnMut(&mut Run) -> Result<()>,
) -> Result<Measured> {
    let mut runs = Vec::new();
    for number in 1..=settings.repeats {
        let from = Instant::now();
        let mut run = Run::new();
        measure(&mut run)?;
        eprintln!(
            "  run {number} of {}: {:.0} s",
            settings.repeats,
            from.elapsed().as_secs_f64()
        );
        runs.push(run);
    }
    Ok(Measured { unit, runs })
}
