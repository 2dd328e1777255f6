// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The guest tests: real kernels, real QEMU, real server. One named case each.

/// The service manager of the server's own tests.
#[path = "../../../bin/ivshmem-server/tests/integration/manager.rs"]
#[expect(dead_code)] // Those tests want more of it.
mod manager;
#[path = "support/service.rs"]
mod service;

mod guests {
    pub mod acrn;
    pub mod alone;
    pub mod cache;
    pub mod channel;
    pub mod churn;
    pub mod ctl;
    pub mod faults;
    pub mod impostor;
    pub mod load;
    pub mod odd;
    pub mod pair;
    pub mod registers;
    pub mod samples;
    pub mod server;
    pub mod suspend;
    pub mod trio;
    pub mod unplug;
    pub mod vectors;
}

use guest_tests::filter;
use libtest_mimic::{Arguments, Trial};

type Cases = fn() -> Result<Vec<Trial>, String>;

/// The sets of cases, each with its set-up of guests.
const SETS: [(&str, Cases); 17] = [
    ("load", guests::load::cases),
    ("odd", guests::odd::cases),
    ("alone", guests::alone::cases),
    ("unplug", guests::unplug::cases),
    ("churn", guests::churn::cases),
    ("registers", guests::registers::cases),
    ("vectors", guests::vectors::cases),
    ("suspend", guests::suspend::cases),
    ("cache", guests::cache::cases),
    ("pair", guests::pair::cases),
    ("trio", guests::trio::cases),
    ("server", guests::server::cases),
    ("acrn", guests::acrn::cases),
    ("samples", guests::samples::cases),
    ("ctl", guests::ctl::cases),
    ("channel", guests::channel::cases),
    ("faults", guests::faults::cases),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Guests are many threads already; cases of one lab take turns anyway.
    arguments.test_threads.get_or_insert(1);
    let (mut trials, mut unlisted) = (Vec::new(), Vec::new());
    for (name, cases) in SETS {
        match cases() {
            Ok(cases) => trials.extend(cases),
            Err(reason) => {
                unlisted.push(reason.clone());
                // What keeps a set from being listed must be seen as a failure, not as a smaller number.
                trials.push(Trial::test(name, move || Err(reason.into())));
            }
        }
    }
    if let Some(text) = filter::warning(&arguments, &trials) {
        eprintln!("{text}");
    }
    trials.extend(filter::absent(&arguments, &trials, &unlisted));
    libtest_mimic::run(&arguments, trials).exit();
}
