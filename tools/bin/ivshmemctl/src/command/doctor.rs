// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl doctor`: finds out why a device does not work, or not well.

mod device;
mod finding;
mod module;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::output::{Output, BAD, GOOD, WARNING};
use finding::{Finding, State};

/// Find out what keeps the devices of this machine from working well, and what to do about it
///
/// Looks at the PCI devices, the kernel module, the headers it is built with, the driver of each device, the
/// rights to its node, its interrupts and the cache type of its memory. Changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl doctor
  sudo ivshmemctl doctor
  ivshmemctl --json doctor | jq '.[] | select(.state == \"problem\")'")]
pub struct Options {}

/// The machine that is looked at.
struct Patient {
    /// Where its file system begins.
    root: PathBuf,
    /// Release of the kernel that runs.
    release: String,
}

/// Looks at everything.
pub fn run(_: &Options, output: Output) -> Result<Exit> {
    let release = rustix::system::uname().release().to_string_lossy().into();
    let patient = Patient {
        root: "/".into(),
        release,
    };
    let findings = patient.findings();
    output.answer(&findings, || findings.iter().map(text).collect())?;
    let sick = findings.iter().any(|f| f.state == State::Problem);
    Ok(if sick { Exit::Wrong } else { Exit::Success })
}

impl Patient {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![device::presence(self)];
        findings.extend(module::findings(self));
        findings.extend(device::findings(self));
        findings
    }
}

fn text(finding: &Finding) -> String {
    let (style, word) = match finding.state {
        State::Good => (GOOD, "ok"),
        State::Note => (WARNING, "note"),
        State::Problem => (BAD, "problem"),
    };
    let mut text = format!("{style}{word:<8}{style:#}{}\n", finding.found);
    for line in finding.remedy.iter() {
        text += &format!("        -> {line}\n");
    }
    text
}
