// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Joining a server.

use super::{row, Group};

/// On the host.
pub static GROUP: Group = Group {
    name: "joining",
    title: "Joining a server",
    stage: "join",
    method: "A client on the host connects to ivshmem-server and reads until it has the memory and all doorbells, of 8 vectors \
             each, 200 times. The rival is a thread that sends as many messages, each with a descriptor that it has already.",
    limits: "The server has more to do than to pass descriptors: it tells each of the others of the newcomer, with each of its \
             doorbells, and of the one before who has left. By the host's clock.",
    rows: &[
        row("no others", "join.server_0", "join.floor_0", "passing 11 messages"),
        row("16 others", "join.server_16", "join.floor_16", "passing 139 messages"),
    ],
};
