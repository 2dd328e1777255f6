// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Live migration: a running guest gets another QEMU.

use serde_json::{json, Value};

use crate::builder::Builder;
use crate::cleanup::Directory;
use crate::guest::Guest;
use crate::session::Session;
use crate::{Error, Result};

impl Guest {
    /// Migrates the guest, while it runs, into a new QEMU that `to` describes, and blocks until it runs there and this
    /// QEMU has ended. Its programs do not notice.
    ///
    /// `to` has to describe the same machine; what may differ is where the other ends of its devices are. Commands
    /// that were started by [`Command::spawn`](crate::Command::spawn) go on, and nobody hears of them any more.
    ///
    /// If QEMU refuses, or the migration fails, the guest runs on here.
    pub fn migrate(&self, to: &Builder) -> Result<Guest> {
        let directory = Directory::new()?;
        let address = format!("unix:{}", directory.path().join("migration").display());
        let incoming = to.clone().qemu_args(["-incoming", &address]);
        let destination = Guest::new(Session::start_for(self.session(), &incoming)?);
        self.send_to(&address)?;
        destination.qmp().wait_event("RESUME", |_| true)?;
        self.qmp().execute("quit", json!({}))?;
        self.wait_exit()?;
        Ok(destination)
    }

    fn send_to(&self, address: &str) -> Result<()> {
        let qmp = self.qmp();
        let events = json!([{"capability": "events", "state": true}]);
        qmp.execute(
            "migrate-set-capabilities",
            json!({ "capabilities": events }),
        )?;
        qmp.execute("migrate", json!({ "uri": address }))?;
        let is_over = |data: &Value| data["status"] == "completed" || data["status"] == "failed";
        let end = qmp.wait_event("MIGRATION", is_over)?;
        if end.data["status"] == "completed" {
            return Ok(());
        }
        let status = qmp.execute("query-migrate", json!({}))?;
        Err(Error::Qmp {
            guest: self.name().into(),
            command: "migrate".into(),
            message: status["error-desc"].to_string(),
        })
    }
}
