// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Hosts with a bridge each, on real servers and over real Zenoh. Programs of the test are peers of the memories, as those in
//! machines are.

mod carried;
mod cuts;
mod host;
mod link;
mod program;
mod refused;
mod restarts;
mod samples;
mod strangers;
mod stream;
mod tls;

// The same processes, servers and namespaces as in the tests of ivshmemctl.
#[allow(dead_code)]
#[path = "../../../ivshmemctl/tests/host/end.rs"]
mod end;
#[allow(dead_code)]
#[path = "../../../ivshmemctl/tests/host/netns.rs"]
mod netns;
#[path = "../../../ivshmemctl/tests/host/server.rs"]
mod server;

use server::{path_in, server, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ivshmem-bridge");
