// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! QEMU's machine protocol for a guest.

use serde_json::{json, Value};

use crate::board::Missed;
use crate::monitor::{Event, Failure};
use crate::session::Session;
use crate::{Error, Result};

/// QEMU's machine protocol for one guest; see [`Guest::qmp`](crate::Guest::qmp).
#[derive(Clone, Copy, Debug)]
pub struct Qmp<'a> {
    session: &'a Session,
}

impl<'a> Qmp<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// Executes a command, such as `device_del` with `json!({"id": "ivshmem0"})`, and returns its
    /// answer. Blocks until QEMU answers, or the guest's [`limit`](crate::Builder::limit) has passed.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.session
            .monitor()
            .execute(command, arguments)
            .map_err(|failure| self.error(command, failure))
    }

    /// Blocks until QEMU has told of an event of this name whose data `accept` accepts, and takes it out
    /// of the queue. Events since boot that nobody has taken count. It is an error if it does not come within
    /// the guest's [`limit`](crate::Builder::limit).
    pub fn wait_event(&self, name: &str, accept: impl Fn(&Value) -> bool) -> Result<Event> {
        self.session
            .monitor()
            .wait_event(name, accept)
            .map_err(|failure| self.error(name, failure))
    }

    /// Unplugs the device `id` and blocks until the guest has let go of it.
    pub fn unplug(&self, id: &str) -> Result<()> {
        self.execute("device_del", json!({ "id": id }))?;
        self.wait_event("DEVICE_DELETED", |data| data["device"] == id)
            .map(drop)
    }

    fn error(&self, command: &str, failure: Failure) -> Error {
        match failure {
            Failure::Refused(message) => Error::Qmp {
                guest: self.session.name().into(),
                command: command.into(),
                message,
            },
            Failure::Closed => {
                let what = format!("QMP {command}");
                self.session.missed(Missed::Closed, what)
            }
        }
    }
}
