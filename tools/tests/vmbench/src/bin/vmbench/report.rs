// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the user sees: output as it comes, and the results at the end.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde_json::json;
use vmbench::{Error, Guest, Output, Splat, Status, Stream};

use crate::cli::{exit, Cli};

/// Colours of the guests' names, in turn: green, yellow, blue, magenta, cyan.
const COLOURS: [u8; 5] = [32, 33, 34, 35, 36];

/// Prints what the guests say, a line at a time.
pub struct Printer {
    quiet: bool,
    named: bool,
    coloured: bool,
    /// Keeps lines of different guests apart.
    turn: Mutex<()>,
}

impl Printer {
    /// A quiet printer prints nothing; a naming one begins each line with the guest's name.
    pub fn new(quiet: bool, named: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            quiet,
            named,
            coloured: io::stdout().is_terminal() && !no_color,
            turn: Mutex::default(),
        }
    }

    /// Where the output of one guest goes.
    pub fn lines(&self, number: usize, name: &str) -> Lines<'_> {
        let prefix = match (self.named, self.coloured) {
            (false, _) => String::new(),
            (true, false) => format!("{name}: "),
            (true, true) => format!("\x1b[{}m{name}:\x1b[0m ", COLOURS[number % COLOURS.len()]),
        };
        Lines {
            printer: self,
            prefix,
            rest: [Vec::new(), Vec::new()],
        }
    }

    fn print(&self, prefix: &str, stream: Stream, line: &[u8]) {
        if self.quiet {
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(|p| p.into_inner());
        let text = [prefix.as_bytes(), line, b"\n"].concat();
        // A reader that has gone away is no reason to stop the guests.
        let _ = match stream {
            Stream::Stdout => io::stdout().write_all(&text),
            Stream::Stderr => io::stderr().write_all(&text),
        };
    }
}

/// Cuts one guest's output into lines.
pub struct Lines<'a> {
    printer: &'a Printer,
    prefix: String,
    rest: [Vec<u8>; 2],
}

impl Lines<'_> {
    /// Prints the lines that `chunk` completes.
    pub fn take(&mut self, stream: Stream, chunk: &[u8]) {
        let rest = &mut self.rest[usize::from(stream == Stream::Stderr)];
        rest.extend_from_slice(chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.printer.print(&self.prefix, stream, &rest[..end]);
            rest.drain(..=end);
        }
    }

    /// Prints what is left without a newline.
    pub fn flush(&mut self) {
        for (rest, stream) in self.rest.iter().zip([Stream::Stdout, Stream::Stderr]) {
            if !rest.is_empty() {
                self.printer.print(&self.prefix, stream, rest);
            }
        }
    }
}

/// What became of one guest, or of all if none could be booted.
pub struct Outcome {
    name: String,
    exit_code: u8,
    output: Option<Output>,
    splats: Vec<Splat>,
    failure: Option<String>,
    console: String,
}

impl Outcome {
    /// The command ran.
    pub fn of_output(guest: &Guest, output: Output, splats: Vec<Splat>, check: bool) -> Self {
        let exit_code = match output.status {
            Status::Code(0) if check && !splats.is_empty() => exit::SPLAT,
            // The kernel keeps eight bits of an exit code.
            Status::Code(code) => code as u8,
            Status::Signal(signal) => exit::SIGNAL.wrapping_add(signal as u8),
            Status::TimedOut => exit::TIME_OUT,
        };
        let failure = match output.status {
            Status::TimedOut => Some(format!(
                "guest {}: the command was killed, as it had gone silent",
                guest.name()
            )),
            _ => None,
        };
        Self {
            name: guest.name().into(),
            exit_code,
            output: Some(output),
            splats,
            failure,
            console: guest.console(),
        }
    }

    /// The guest failed, or none could be booted.
    pub fn of_error(guest: Option<&Guest>, error: Error) -> Self {
        let exit_code = match error {
            Error::Panic { .. } => exit::PANIC,
            Error::NoAnswer { .. } => exit::TIME_OUT,
            _ => exit::SETUP,
        };
        let (name, console) = match error.console() {
            Some((name, console)) => (name.to_string(), console.to_string()),
            None => guest.map_or_else(Default::default, |guest| {
                (guest.name().to_string(), guest.console())
            }),
        };
        Self {
            name,
            exit_code,
            output: None,
            splats: vmbench::splat::find(&console),
            failure: Some(error.to_string()),
            console,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let splats: Vec<&str> = self
            .splats
            .iter()
            .map(|splat| splat.text.as_str())
            .collect();
        json!({
            "name": self.name,
            "exit_code": self.exit_code,
            "stdout": self.output.as_ref().map(|output| text(&output.stdout)),
            "stderr": self.output.as_ref().map(|output| text(&output.stderr)),
            "error": self.failure,
            "kernel_reports": splats,
        })
    }
}

/// Shows or stores everything that is left to tell, and returns the exit code.
pub fn finish(cli: &Cli, outcomes: &[Outcome]) -> Result<u8> {
    if let Some(directory) = &cli.keep_log {
        keep_logs(directory, outcomes)?;
    }
    let codes = outcomes.iter().map(|outcome| outcome.exit_code);
    let exit_code = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    if cli.json {
        let guests: Vec<_> = outcomes.iter().map(Outcome::to_json).collect();
        let report = json!({"exit_code": exit_code, "guests": guests});
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(exit_code);
    }
    for outcome in outcomes {
        if let Some(failure) = &outcome.failure {
            eprintln!("vmbench: {failure}");
        }
        for splat in &outcome.splats {
            let name = &outcome.name;
            eprintln!("vmbench: guest {name}: its kernel reports:\n{}", splat.text);
        }
    }
    Ok(exit_code)
}

fn keep_logs(directory: &Path, outcomes: &[Outcome]) -> Result<()> {
    let shown = directory.display();
    fs::create_dir_all(directory).with_context(|| format!("cannot make {shown}"))?;
    for outcome in outcomes.iter().filter(|outcome| !outcome.name.is_empty()) {
        let path = directory.join(format!("{}.log", outcome.name));
        fs::write(&path, &outcome.console)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
