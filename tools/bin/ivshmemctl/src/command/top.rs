// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl top`: who has a node open.

mod openers;

use std::thread::sleep;

use anyhow::Result;
use clap::Args;
use ratatui::widgets::Paragraph;
use ratatui::Frame;
use serde_json::{json, Value};

use crate::counters::Counters;
use crate::end::{Bound, DeviceName};
use crate::exit::Exit;
use crate::fullscreen::{self, frame_of, View};
use crate::output::Output;
use crate::sampling::Sampling;
use openers::{openers, Opener, Openers};

/// Show which processes have the device open, and what each waits for
///
/// Fills the screen on a terminal: q ends it. Elsewhere, or with --plain, prints a table, once unless --count is given.
/// FD is the descriptor, as lsof writes it: r, w or u for reading, writing or both. MASK has the vectors that the file is
/// subscribed to, EVENTFDS those to which it has bound an eventfd, both in hexadecimal. SEEN counts, for each vector, the
/// interrupts that it has taken; PENDING those that it has not, which only grows where a program uses nothing but
/// eventfds. "(deleted)" is a program that has not noticed that its device went away.
///
/// Who has closed the node and kept the memory mapped is not shown; `stat` counts mappings. Other users' programs are
/// shown to root only.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo ivshmemctl top
  sudo ivshmemctl top --plain --interval 5 --count 3
  sudo ivshmemctl --json top | jq -r '.openers[].command'")]
pub struct Options {
    #[command(flatten)]
    device: DeviceName,

    #[command(flatten)]
    sampling: Sampling,

    /// Print tables even on a terminal
    #[arg(long)]
    plain: bool,
}

/// What was seen at one look.
struct Seen {
    openers: Openers,
    /// Interrupts of each vector.
    interrupts: Vec<u64>,
}

/// Shows them until told to end, or the device goes away.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let bound = options.device.bound()?;
    if output.is_terminal() && !output.is_json() && !options.plain {
        let seen = look(&bound)?;
        let mut top = Top {
            bound,
            seen,
            output,
        };
        fullscreen::run(&mut top, options.sampling.interval, options.sampling.count)?;
        return Ok(Exit::Success);
    }
    for number in 0..options.sampling.count.unwrap_or(1) {
        if number > 0 {
            sleep(options.sampling.interval);
        }
        let seen = look(&bound)?;
        output.answer(&seen.json(&bound), || seen.text(&bound, output))?;
    }
    Ok(Exit::Success)
}

fn look(bound: &Bound) -> Result<Seen> {
    let openers = openers(bound.rdev)?;
    // Afterwards, so that none has seen more than there were.
    let counters = Counters::read(&bound.function.directory)?;
    let interrupts = counters.interrupts().into();
    Ok(Seen {
        openers,
        interrupts,
    })
}

/// What fills the screen.
struct Top {
    bound: Bound,
    seen: Seen,
    output: Output,
}

impl View for Top {
    fn draw(&self, frame: &mut Frame) {
        let title = format!(
            "{}  {}",
            self.bound.node.display(),
            self.bound.function.bus_id
        );
        let foot = format!("{} open files", self.seen.openers.found.len());
        let inside = frame_of(frame, &title, &foot);
        let text = self.seen.text(&self.bound, self.output.plain());
        frame.render_widget(Paragraph::new(text), inside);
    }

    fn look(&mut self) -> Result<bool> {
        self.seen = look(&self.bound)?;
        Ok(true)
    }
}

impl Seen {
    /// The interrupts of each vector that this one could take; none where its device is another one, which is gone.
    fn pending(&self, opener: &Opener) -> Option<Vec<u64>> {
        let seen = opener.file.as_ref().filter(|_| !opener.deleted)?;
        let vectors = (0..).zip(self.interrupts.iter().zip(&seen.seen));
        let pending = vectors.map(|(vector, (interrupts, seen))| {
            let subscribed = opener.is_subscribed(vector);
            interrupts.wrapping_sub(*seen) * u64::from(subscribed)
        });
        Some(pending.collect())
    }

    fn json(&self, bound: &Bound) -> Value {
        let found = self.openers.found.iter().map(|opener| {
            json!({
                "pid": opener.pid,
                "command": opener.command,
                "fd": opener.fd,
                "access": opener.access,
                "deleted": opener.deleted,
                "subscribed": opener.file.as_ref().map(|file| vectors(file.mask)),
                "eventfds": opener.file.as_ref().map(|file| vectors(file.eventfds)),
                "seen": opener.file.as_ref().map(|file| &file.seen),
                "pending": self.pending(opener),
            })
        });
        json!({
            "node": bound.node,
            "openers": found.collect::<Vec<_>>(),
            "complete": self.openers.complete,
        })
    }

    fn text(&self, bound: &Bound, output: Output) -> String {
        let header = [
            "PID", "COMMAND", "FD", "MASK", "EVENTFDS", "PENDING", "SEEN",
        ];
        let rows = self.openers.found.iter().map(|opener| self.row(opener));
        let mut text = match self.openers.found.is_empty() {
            true => format!("nobody has {} open\n", bound.node.display()),
            false => output.table(&header, rows),
        };
        if !self.openers.complete {
            text += "other users' programs are not shown: run this as root\n";
        }
        text
    }

    fn row(&self, opener: &Opener) -> Vec<String> {
        let dash = || "-".to_string();
        let file = opener.file.as_ref();
        let hex = |mask: Option<u64>| mask.map_or_else(dash, |mask| format!("{mask:#x}"));
        let pending = self.pending(opener);
        let pending = pending.map(|all| all.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)));
        let seen = file.map(|file| {
            let seen: Vec<_> = file.seen.iter().map(u64::to_string).collect();
            seen.join(" ")
        });
        let deleted = if opener.deleted { " (deleted)" } else { "" };
        vec![
            opener.pid.to_string(),
            format!("{}{deleted}", opener.command),
            format!("{}{}", opener.fd, opener.access.letter()),
            hex(file.map(|file| file.mask)),
            hex(file.map(|file| file.eventfds)),
            pending.map_or_else(dash, |pending| pending.to_string()),
            seen.filter(|seen| !seen.is_empty()).unwrap_or_else(dash),
        ]
    }
}

/// The vectors of a mask.
fn vectors(mask: u64) -> Vec<u32> {
    (0..u64::BITS).filter(|n| mask >> n & 1 != 0).collect()
}

#[cfg(test)]
mod tests {
    use ivshmem::Sysfs;
    use openers::{Access, OpenFile};
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    use super::*;

    /// One who waits for vectors 0 and 2, and one whose device has gone.
    fn seen() -> Seen {
        let file = OpenFile {
            seen: vec![12, 0, 3],
            mask: 0b101,
            eventfds: 0b100,
        };
        let waits = Opener {
            pid: 42,
            command: "waits".into(),
            fd: 3,
            access: Access::ReadWrite,
            deleted: false,
            file: Some(file),
        };
        let gone = Opener {
            pid: 1234,
            deleted: true,
            access: Access::ReadOnly,
            ..waits.clone()
        };
        Seen {
            openers: Openers {
                found: vec![waits, gone],
                complete: true,
            },
            interrupts: vec![14, 5, 3],
        }
    }

    /// A node whose device is in a copy of sysfs.
    fn bound() -> Bound {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("bus/pci/devices/0000:00:04.0");
        std::fs::create_dir_all(&device).unwrap();
        for (name, text) in [
            ("vendor", "0x1af4"),
            ("device", "0x1110"),
            ("subsystem_vendor", "0x1af4"),
            ("subsystem_device", "0x1100"),
            ("resource", "0x0 0x0 0x0"),
        ] {
            std::fs::write(device.join(name), text).unwrap();
        }
        Bound {
            node: "/dev/ivshmem0".into(),
            rdev: 0,
            function: Sysfs::at(root.path()).functions().remove(0),
        }
    }

    const TABLE: &str = "\
PID   COMMAND          FD  MASK  EVENTFDS  PENDING  SEEN
42    waits            3u  0x5   0x4       2        12 0 3
1234  waits (deleted)  3r  0x5   0x4       -        12 0 3
";

    #[test]
    fn what_is_pending_is_what_was_not_taken_of_the_vectors_that_are_subscribed() {
        let (mut seen, bound) = (seen(), bound());
        let output = Output::new(false).plain();
        assert_eq!(seen.text(&bound, output), TABLE);
        let answer = seen.json(&bound);
        assert_eq!(answer["complete"], true);
        let first = json!({
            "pid": 42, "command": "waits", "fd": 3, "access": "read_write", "deleted": false,
            "subscribed": [0, 2], "eventfds": [2], "seen": [12, 0, 3], "pending": [2, 0, 0],
        });
        assert_eq!(answer["openers"][0], first);
        assert_eq!(answer["openers"][1]["pending"], Value::Null);

        seen.openers = Openers {
            found: Vec::new(),
            complete: false,
        };
        let text = "nobody has /dev/ivshmem0 open\nother users' programs are not shown: run this as root\n";
        assert_eq!(seen.text(&bound, output), text);
    }

    #[test]
    fn the_screen_has_the_table() {
        let top = Top {
            bound: bound(),
            seen: seen(),
            output: Output::new(false),
        };
        let mut terminal = Terminal::new(TestBackend::new(70, 8)).unwrap();
        terminal.draw(|frame| top.draw(frame)).unwrap();
        let screen = terminal.backend().to_string();
        for line in TABLE.lines() {
            assert!(screen.contains(line.trim_end()), "{screen}");
        }
        assert!(screen.contains("/dev/ivshmem0  0000:00:04.0"), "{screen}");
        assert!(screen.contains("2 open files"), "{screen}");
    }
}
