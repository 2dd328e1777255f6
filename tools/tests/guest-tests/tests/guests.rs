// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The guest tests: real kernels, real QEMU, real server. One named case each.

/// The service manager of the server's own tests.
#[path = "../../../bin/ivshmem-server/tests/integration/manager.rs"]
#[expect(dead_code)] // Those tests want more of it.
mod manager;
#[path = "support/service.rs"]
mod service;
#[path = "support/supervised.rs"]
mod supervised;

mod guests {
    pub mod acrn;
    pub mod alone;
    pub mod arm;
    pub mod built_in;
    pub mod cache;
    pub mod channel;
    pub mod channel_c;
    pub mod churn;
    pub mod ctl;
    pub mod faults;
    pub mod flavours;
    pub mod fuzz;
    pub mod hibernate;
    pub mod import;
    pub mod impostor;
    pub mod load;
    pub mod migration;
    pub mod mixed;
    pub mod nested;
    pub mod network;
    pub mod odd;
    pub mod pair;
    pub mod python;
    pub mod realtime;
    pub mod registers;
    pub mod samples;
    pub mod server;
    pub mod soak;
    pub mod stock;
    pub mod suspend;
    pub mod trio;
    pub mod unplug;
    pub mod vectors;
}

use guest_tests::artefacts::{chosen_kernel, driver_is_built_in, module_is_given, Kernel};
use guest_tests::filter;
use libtest_mimic::{Arguments, Trial};

type Cases = fn() -> Result<Vec<Trial>, String>;

/// The sets of cases, each with its set-up of guests.
const SETS: [(&str, Cases); 26] = [
    ("load", || guests::load::cases(Kernel::DEFAULT)),
    ("odd", guests::odd::cases),
    ("flavours", || guests::flavours::cases(Kernel::DEFAULT)),
    ("alone", guests::alone::cases),
    ("unplug", || guests::unplug::cases(Kernel::DEFAULT)),
    ("import", guests::import::cases),
    ("churn", guests::churn::cases),
    ("registers", || guests::registers::cases(Kernel::DEFAULT)),
    ("vectors", guests::vectors::cases),
    ("suspend", || guests::suspend::cases(Kernel::DEFAULT)),
    ("hibernate", || guests::hibernate::cases(Kernel::DEFAULT)),
    ("migration", || guests::migration::cases(Kernel::DEFAULT)),
    ("cache", guests::cache::cases),
    ("pair", || guests::pair::cases(Kernel::DEFAULT)),
    ("trio", || guests::trio::cases(Kernel::DEFAULT)),
    ("server", guests::server::cases),
    ("acrn", guests::acrn::cases),
    ("samples", || guests::samples::cases(Kernel::DEFAULT)),
    ("ctl", || guests::ctl::cases(Kernel::DEFAULT)),
    ("network", guests::network::cases),
    ("nested", guests::nested::cases),
    ("stock", || guests::stock::cases(Kernel::DEFAULT)),
    ("channel", || guests::channel::cases(Kernel::DEFAULT)),
    ("channel::c", guests::channel_c::cases),
    ("faults", guests::faults::cases),
    ("fuzz", guests::fuzz::cases),
];

/// A kernel that differs from the default in what the sets tell, with the sets that run there too.
type Other = (&'static str, &'static [(&'static str, Cases)]);

const RT: Kernel = Kernel::named("rt");
const CLOUD: Kernel = Kernel::named("cloud");
const OTHERS: [Other; 2] = [
    (
        "rt",
        &[
            ("rt::alone", || guests::alone::cases_on(RT)),
            ("rt::unplug", || guests::unplug::cases(RT)),
            ("rt::registers", || guests::registers::cases(RT)),
            ("rt::pair", || guests::pair::cases(RT)),
            ("rt::realtime", || guests::realtime::cases(RT)),
        ],
    ),
    (
        "cloud",
        &[
            ("cloud::load", || guests::load::cases(CLOUD)),
            ("cloud::alone", || guests::alone::cases_on(CLOUD)),
        ],
    ),
];

/// The first of `tools/scripts/sandbox/kernels`, on which all sets run.
const DEFAULT: &str = "amd64";
const AMD64: Kernel = Kernel::named(DEFAULT);
const ARM64: Kernel = Kernel::named("arm64");
const ARM64_16K: Kernel = Kernel::named("16k");
const OLDER: Kernel = Kernel::named("7.2");
const CANDIDATE: Kernel = Kernel::named("7.3-rc7");

/// Those that differ in more, and take longer to make: only when they are chosen.
const ON_REQUEST: [Other; 4] = [
    (
        "arm64",
        &[
            ("arm64::load", || guests::load::cases(ARM64)),
            ("arm64::alone", || guests::alone::cases_on(ARM64)),
            ("arm64::unplug", || guests::unplug::cases(ARM64)),
            ("arm64::registers", || guests::registers::cases(ARM64)),
            ("arm64::suspend", || guests::suspend::cases(ARM64)),
            ("arm64::migration", || guests::migration::cases(ARM64)),
            ("arm64::pair", || guests::pair::cases(ARM64)),
            ("arm64::trio", || guests::trio::cases(ARM64)),
            ("arm64::samples", || guests::samples::cases(ARM64)),
            ("arm64::ctl", || guests::ctl::cases(ARM64)),
            ("arm64::channel", || guests::channel::cases(ARM64)),
            ("arm64::arm", || guests::arm::cases(ARM64)),
            ("arm64::stock", || guests::stock::cases(ARM64)),
            ("arm64::flavours", || guests::flavours::cases(ARM64)),
            ("arm64::mixed", || guests::mixed::cases([ARM64, AMD64])),
        ],
    ),
    (
        "16k",
        &[
            ("16k::load", || guests::load::cases(ARM64_16K)),
            ("16k::alone", || guests::alone::cases_on(ARM64_16K)),
            ("16k::unplug", || guests::unplug::cases(ARM64_16K)),
            ("16k::pair", || guests::pair::cases(ARM64_16K)),
        ],
    ),
    (
        "7.2",
        &[
            ("7.2::load", || guests::load::cases(OLDER)),
            ("7.2::alone", || guests::alone::cases_on(OLDER)),
            ("7.2::unplug", || guests::unplug::cases(OLDER)),
            ("7.2::registers", || guests::registers::cases(OLDER)),
            ("7.2::pair", || guests::pair::cases(OLDER)),
        ],
    ),
    (
        "7.3-rc7",
        &[
            ("7.3-rc7::load", || guests::load::cases(CANDIDATE)),
            ("7.3-rc7::alone", || guests::alone::cases_on(CANDIDATE)),
            ("7.3-rc7::unplug", || guests::unplug::cases(CANDIDATE)),
            ("7.3-rc7::pair", || guests::pair::cases(CANDIDATE)),
        ],
    ),
];

/// For a kernel that has the driver built in.
const BUILT_IN: [(&str, Cases); 2] = [
    ("built_in", guests::built_in::cases),
    ("alone", guests::alone::cases_built_in),
];

/// On whatever kernel, if it is asked for.
const SOAK: (&str, Cases) = ("soak", guests::soak::cases);

/// The sets for the kernel that was chosen, or those of every run; else the name of a kernel for which none are named.
fn sets() -> Result<Vec<(&'static str, Cases)>, String> {
    if driver_is_built_in() {
        return Ok(BUILT_IN.to_vec());
    }
    let others = || OTHERS.into_iter().flat_map(|(_, sets)| sets).copied();
    let mut special = OTHERS.into_iter().chain(ON_REQUEST);
    let mut sets: Vec<_> = match chosen_kernel() {
        None if module_is_given() => SETS.to_vec(),
        None => SETS.into_iter().chain(others()).collect(),
        Some(kernel) if kernel == DEFAULT => SETS.to_vec(),
        Some(kernel) => match special.find(|(name, _)| *name == kernel) {
            Some((_, sets)) => sets.to_vec(),
            None => return Err(kernel),
        },
    };
    sets.push(SOAK);
    Ok(sets)
}

const HERE: &str = "tools/tests/guest-tests/tests/guests.rs";

fn main() {
    let mut arguments = Arguments::from_args();
    // Guests are many threads already; cases of one lab take turns anyway.
    arguments.test_threads.get_or_insert(1);
    let (mut trials, mut unlisted) = (Vec::new(), Vec::new());
    let sets = sets().unwrap_or_else(|kernel| {
        let reason = format!("{HERE} does not say which sets run on the kernel {kernel}");
        trials.push(filter::unlisted(&kernel, reason));
        Vec::new()
    });
    for (name, cases) in sets {
        match cases() {
            Ok(cases) => trials.extend(cases),
            Err(reason) => {
                unlisted.push(reason.clone());
                trials.push(filter::unlisted(name, reason));
            }
        }
    }
    if let Some(text) = filter::warning(&arguments, &trials) {
        eprintln!("{text}");
    }
    trials.extend(filter::absent(&arguments, &trials, &unlisted));
    libtest_mimic::run(&arguments, trials).exit();
}
