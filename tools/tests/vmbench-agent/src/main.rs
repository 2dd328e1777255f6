// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The first process of a guest of vmbench.
//!
//! The program runs twice. As process 1 it prepares the file system, starts itself again as the
//! server, and from then on only reaps: it has no other children to confuse with orphans, and it survives
//! whatever happens to the server. The server runs what the host asks for. Should either fail, the
//! guest says why on its console and powers off, so the host never waits for a guest that is lost.

mod command;
mod init;
mod kmsg;
mod port;
mod server;

use vmbench_proto::FATAL_PREFIX;

fn main() {
    let outcome = if std::process::id() == 1 {
        init::run()
    } else {
        server::run()
    };
    let Err(reason) = outcome;
    give_up(&reason);
}

/// Says why on the console and ends the guest: at once as process 1, by way of process 1 as the server.
fn give_up(reason: &str) -> ! {
    eprintln!("{FATAL_PREFIX}{reason}");
    if std::process::id() == 1 {
        init::power_off();
    }
    std::process::exit(1);
}

/// An error with the step that failed, for the console.
fn context(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}
