// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What clients cost the server, and each other.

use crate::row::{count, row, Group};

const SENDMSG: &str = "sendmsg with a descriptor";

const BUFFERS: &str = "Five sixths of the server's time for a message are in sendmmsg, which is more than a sendmsg: nobody has \
    read what 1,000 sockets got before, so that the kernel makes new buffers, where one socket that is read all the time has the old ones.";

/// By the CPU time of the server, and by the clock of who waits.
pub static GROUP: Group = Group {
    name: "server",
    title: "What clients cost the server, and each other",
    stage: "server",
    method: "A message of a join: the server's CPU time for the last tenth of so many clients with 8 vectors each, by their \
             messages, beside sendmsg of a message with a descriptor in one thread, measured before and after. Clients that never \
             read hold all that they can; memory is the server's peak in KiB, and the wait that of somebody who comes when all \
             of them leave at once, in microseconds.",
    limits: "The join among those who never read is compared with one among as many who read: both are told of 30 others.",
    rows: &[
        row("a message of a join, 100 clients", "server.join.100", "server.join.100.floor", SENDMSG),
        row("a message of a join, 1,000 clients", "server.join.1000", "server.join.1000.floor", SENDMSG)
            .goal(1.1)
            .missed_because(BUFFERS),
        row("the same with --fd-store, 100 clients", "server.join.kept.100", "server.join.kept.100.floor", SENDMSG).goal(2.0),
        row("a join among 30 who never read", "server.join.among_silent", "server.join.among_readers", "30 who read").goal(2.0),
        count("memory, 1,000 who never read, 8 vectors", "server.silent.1000x8.memory").goal(12_288.0),
        count("memory, 250 who never read, 64 vectors", "server.silent.250x64.memory").goal(12_288.0),
        count("wait while 1,000 who never read leave", "server.silent.1000x8.waits").goal(100_000.0),
        count("wait while 2,000 who never read leave", "server.silent.2000x8.waits").goal(200_000.0),
    ],
};
