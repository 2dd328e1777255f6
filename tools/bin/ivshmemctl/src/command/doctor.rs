// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl doctor`: finds out why a device does not work, or not well.

mod device;
mod finding;
mod guests;
mod host;
mod logind;
mod module;
mod patient;
mod qemu;

use anyhow::Result;
use clap::Args;

use crate::exit::Exit;
use crate::output::{printable, Output, BAD, GOOD, WARNING};
use finding::{Finding, State};
use patient::Patient;

/// Find out what is wrong with the devices of this system, and what to do about it
///
/// In a guest, looks at the PCI devices, the kernel module, the headers it is built with, the driver of each device, the
/// rights to its node, its interrupts and the cache type of its memory; on a host, which has no device, at QEMU, KVM,
/// the server, and the memory of guests that run without one. Changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl doctor
  sudo ivshmemctl doctor
  ivshmemctl --json doctor | jq '.[] | select(.state == \"problem\")'")]
pub struct Options {}

/// Looks at everything.
pub fn run(_: &Options, output: Output) -> Result<Exit> {
    let release = rustix::system::uname().release().to_string_lossy().into();
    let patient = Patient {
        root: "/".into(),
        release,
    };
    let host = || host::findings(&patient, &host::search());
    let is_guest = device::is_there(&patient);
    let of_host = if is_guest { None } else { host() };
    let findings = of_host.unwrap_or_else(|| findings(&patient));
    output.answer(&findings, || findings.iter().map(text).collect())?;
    let sick = findings.iter().any(|f| f.state == State::Problem);
    Ok(if sick { Exit::Wrong } else { Exit::Success })
}

fn findings(patient: &Patient) -> Vec<Finding> {
    let mut findings = vec![device::presence(patient)];
    findings.extend(module::findings(patient));
    findings.extend(device::findings(patient));
    findings
}

/// For people. Arguments of other users' processes are part of it.
fn text(finding: &Finding) -> String {
    let (style, word) = match finding.state {
        State::Good => (GOOD, "good"),
        State::Note => (WARNING, "note"),
        State::Problem => (BAD, "problem"),
    };
    let found = printable(finding.found.as_bytes());
    let mut text = format!("{style}{word:<8}{style:#}{found}\n");
    let remedy = finding.remedy.iter().flat_map(|remedy| remedy.lines());
    for (number, line) in remedy.enumerate() {
        let mark = if number == 0 { "->" } else { "  " };
        text += &format!("        {mark} {}\n", printable(line.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_others_cannot_steer_a_terminal() {
        let found = "QEMU 42: the memory in /tmp/\x1b[2Jx is without share=on";
        let text = text(&Finding::problem(
            "guests",
            found,
            "rm /tmp/\x1b[2Jx\nagain",
        ));
        assert!(!text.contains("\x1b[2J"), "{text:?}");
        assert_eq!(text.lines().count(), 3, "{text:?}");
    }
}
