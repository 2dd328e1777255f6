// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The first process of a guest of vmbench.
//!
//! The program runs twice. As process 1 it prepares the file system, starts itself again as the
//! server, and from then on only reaps: it has no other children to confuse with orphans, and it survives
//! whatever happens to the server. The server runs what the host asks for. Should either fail, the
//! guest says why on its console and powers off, so the host never waits for a guest that is lost.

mod command;
mod context;
mod init;
mod kmsg;
mod port;
mod server;

fn main() {
    let outcome = if std::process::id() == 1 {
        init::run()
    } else {
        server::run()
    };
    let Err(reason) = outcome;
    init::give_up(&reason);
}
