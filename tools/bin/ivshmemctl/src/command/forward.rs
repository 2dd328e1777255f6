// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl forward`: TCP connections and UNIX sockets from one guest to another.

mod address;
mod carrier;
mod connection;
mod flow;
mod frame;
mod lane;
mod others;
mod report;
mod session;
mod settings;
mod stream;

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tokio::select;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::exit::Exit;
use crate::mesh::{serve, Area, Mesh, Program, Purpose};
use crate::output::Output;
use address::{Allowed, Forward};
use report::{Report, Side};
use session::Session;
use settings::Settings;
use stream::Listener;

/// Bytes of what an endpoint tells of itself, at most. Not a size that another command has.
const NOTICE: u32 = 128;
const _: () = assert!(address::LONGEST_NAME < NOTICE as usize - 4);

/// Vector that wakes an endpoint. Not that of another command.
const VECTOR: u32 = 1;

/// Bytes of a ring below which it is of no use: some messages of the longest text.
const LEAST_RING: u64 = 16 << 10;

/// Forward TCP ports and UNIX sockets to other guests, as ssh -L and -R do
///
/// Each guest that takes part, and the host with --join, runs this. One that is only connected to has no -L and -R, and says
/// with --allow what the others may use. Whoever can write to the memory counts as one of them. There can
/// be up to 1024 connections with each other endpoint; one whose reader is slow holds up no others. A signal ends it; then,
/// and on SIGUSR1, it tells who is there and what is open.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl forward --name web --allow localhost:80
  ivshmemctl forward -L 8080:web:localhost:80
  ivshmemctl forward --join example -L unix:/run/db.sock:3:unix:/run/postgresql/.s.PGSQL.5432
  ivshmemctl forward -R 2222:web:localhost:22")]
pub struct Options {
    #[command(flatten)]
    area: Area,

    /// Listen here, and have each connection made from PEER to HOST:PORT
    ///
    /// As `[ADDRESS:]PORT:PEER:HOST:PORT`. PEER is another endpoint's --name or peer ID. Without an ADDRESS this endpoint
    /// listens on 127.0.0.1, with * on all of IPv4. unix:PATH can stand for `[ADDRESS:]PORT`, and for HOST:PORT.
    #[arg(short = 'L', value_name = "FORWARD")]
    local: Vec<Forward>,

    /// Have PEER listen, and make each connection from here to HOST:PORT
    ///
    /// Written as for -L. PEER has to allow it with --allow-listen.
    #[arg(short = 'R', value_name = "FORWARD")]
    remote: Vec<Forward>,

    /// Let other endpoints connect from here to HOST:PORT or unix:PATH; * stands for any host, port or path
    #[arg(long, value_name = "TARGET")]
    allow: Vec<Allowed>,

    /// Let other endpoints listen here at ADDRESS:PORT, PORT of 127.0.0.1, or unix:PATH; * stands for any
    #[arg(long, value_name = "ADDRESS")]
    allow_listen: Vec<Allowed>,

    /// The name of this endpoint for -L and -R of others; without this option the host name
    #[arg(long, value_name = "NAME", value_parser = address::name)]
    name: Option<String>,
}

/// Forwards until a signal comes.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let output = output.detached()?;
    let purpose = Purpose {
        notice: NOTICE,
        least_ring: LEAST_RING,
        remedy: "fewer --endpoints or a larger memory",
        vector: VECTOR,
    };
    let settings = Settings {
        local: options.local.clone(),
        remote: options.remote.clone(),
        allow: options.allow.clone(),
        allow_listen: options.allow_listen.clone(),
        name: options.name.clone().unwrap_or_else(host_name),
    };
    let report = Rc::new(Report::new(output));
    let mut forwarder = Forwarder {
        settings: Rc::new(settings),
        report: report.clone(),
        listeners: Vec::new(),
    };
    raise_limit();
    let status = || report.status();
    serve(&options.area, purpose, output, &mut forwarder, status)
}

/// Lets this process have as many open files as it may: each connection has one.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // With fewer, fewer connections are accepted at a time.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// This system's host name, if it can be that of an endpoint.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    address::name(&name).unwrap_or_default()
}

struct Forwarder {
    settings: Rc<Settings>,
    report: Rc<Report>,
    /// What `-L` says, in its order. They stay while the memory is away.
    listeners: Vec<Rc<Listener>>,
}

/// Ends a session with the work on it.
struct Ending(Rc<Session>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Program for Forwarder {
    async fn run(&mut self, mesh: Mesh) -> Result<()> {
        self.listen().await?;
        let session = Session::new(mesh, self.settings.clone(), self.report.clone())?;
        let _ending = Ending(session.clone());
        let incoming = session.incoming()?;
        for (number, listener) in self.listeners.iter().enumerate() {
            session.accept(listener.clone(), number);
        }
        // In a task of its own, which has its turn when all that it has caused have had theirs: what others say does not
        // come faster than it is dealt with.
        let mut hearing = JoinSet::new();
        let hearer = session.clone();
        hearing.spawn_local(async move { hearer.hear_all(incoming).await });
        select! {
            Some(done) = hearing.join_next() => done?,
            done = session.watch() => done,
        }
    }
}

impl Forwarder {
    /// Listens where that is not done yet.
    async fn listen(&mut self) -> Result<()> {
        let turns = Arc::new(Semaphore::new(1));
        for forward in &self.settings.local[self.listeners.len()..] {
            let listener = Listener::bind(&forward.listen, &turns).await;
            let listener =
                listener.with_context(|| format!("cannot listen on {}", forward.listen))?;
            self.listeners.push(Rc::new(listener));
            self.report.listening(forward, Side::Here);
        }
        Ok(())
    }
}
