// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The server: takes requests from the port, answers them, runs each command in threads of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vmbench_proto::{frame, Reply, Request};

use crate::command::{Group, Running, Spec};
use crate::context::context;
use crate::init::{give_up, power_off};
use crate::kmsg;
use crate::port::Port;

/// The way back to the host, shared by all threads.
#[derive(Clone)]
struct Host(Arc<Mutex<Port>>);

impl Host {
    /// Blocks while the host is slow to read.
    fn send(&self, reply: &Reply, payload: &[u8]) {
        let mut port = self.0.lock().unwrap();
        if let Err(error) = frame::write(&mut *port, reply, payload) {
            give_up(&format!("the host cannot be answered: {error}"));
        }
    }

    fn answer(&self, id: u64, outcome: Result<Vec<u8>, String>) {
        match outcome {
            Ok(payload) => self.send(&Reply::Done { id }, &payload),
            Err(message) => self.send(&Reply::Failed { id, message }, b""),
        }
    }
}

/// Serves the host until the port fails, which is an error.
pub fn run() -> Result<Infallible, String> {
    let port = Port::open()?;
    let mut requests = BufReader::new(port.clone());
    let server = Server {
        host: Host(Arc::new(Mutex::new(port))),
        commands: Mutex::default(),
    };
    let server = Arc::new(server);
    server.host.send(&Reply::Ready, b"");
    loop {
        let request = frame::read(&mut requests).map_err(context("a request cannot be read"))?;
        let (request, payload) = request.ok_or("the port has ended")?;
        server.handle(request, payload);
    }
}

struct Server {
    host: Host,
    commands: Mutex<HashMap<u64, Group>>,
}

impl Server {
    fn handle(self: &Arc<Self>, request: Request, payload: Vec<u8>) {
        match request {
            Request::Run {
                id,
                argv,
                env,
                cwd,
                limit_ms,
            } => {
                let spec = Spec {
                    argv,
                    env,
                    cwd,
                    stdin: payload,
                    limit: Duration::from_millis(limit_ms),
                };
                self.start(id, spec);
            }
            Request::Signal {
                id,
                command,
                signal,
            } => {
                let outcome = self.signal(command, signal);
                self.host.answer(id, outcome.map(|()| Vec::new()));
            }
            Request::Write { id, path, mode } => {
                let outcome = write_file(&path, mode, &payload);
                self.host.answer(id, outcome.map(|()| Vec::new()));
            }
            Request::Read { id, path } => {
                let outcome = fs::read(&path).map_err(context(path));
                self.host.answer(id, outcome);
            }
            Request::KernelLog { id, since } => match kmsg::read_since(since) {
                Ok((text, next)) => self.host.send(&Reply::Log { id, next }, text.as_bytes()),
                Err(error) => self.host.answer(id, Err(format!("/dev/kmsg: {error}"))),
            },
            Request::Nudge => {}
            Request::PowerOff => power_off(),
        }
    }

    fn start(self: &Arc<Self>, id: u64, spec: Spec) {
        let running = match Running::start(spec) {
            Ok(running) => running,
            Err(message) => return self.host.answer(id, Err(message)),
        };
        self.commands.lock().unwrap().insert(id, running.group());
        let server = Arc::clone(self);
        thread::spawn(move || {
            let host = server.host.clone();
            let status = running.finish(move |stream, chunk| {
                host.send(&Reply::Output { id, stream }, chunk);
            });
            server.commands.lock().unwrap().remove(&id);
            server.host.send(&Reply::Exited { id, status }, b"");
        });
    }

    fn signal(&self, command: u64, signal: i32) -> Result<(), String> {
        let signal = Signal::from_named_raw(signal).ok_or_else(|| format!("no signal {signal}"))?;
        let group = self.commands.lock().unwrap().get(&command).cloned();
        group.ok_or("the command has ended")?.signal(signal)
    }
}

fn write_file(path: &str, mode: u32, contents: &[u8]) -> Result<(), String> {
    let write = || {
        if let Some(parent) = Path::new(path).parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(path)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(contents)
    };
    write().map_err(context(path))
}
