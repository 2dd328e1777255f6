// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl server`: asks a server how it stands, and has it change something.

mod metrics;
mod report;
mod text;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{json, Value};

use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::parse;
use report::Report;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a terminal empty, and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show the state of an ivshmem-server on this host, or make it drop or refuse clients
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Show a server's regions, and who is connected
    #[command(after_help = "\
Examples:
  ivshmem-server --socket-path /tmp/ivshmem.sock --status-socket /tmp/ivshmem.status &
  ivshmemctl server status /tmp/ivshmem.status
  ivshmemctl server status --watch=500ms /tmp/ivshmem.status
  ivshmemctl --json server status /tmp/ivshmem.status | jq '.regions[].peers'")]
    Status {
        /// Show it again and again, at this interval
        #[arg(short, long, value_name = "TIME", num_args = 0..=1, require_equals = true,
              default_missing_value = "1s", value_parser = parse::interval)]
        watch: Option<Duration>,

        /// The server's --status-socket
        socket: PathBuf,
    },
    /// Write a server's state as metrics in OpenMetrics text, for Prometheus
    #[command(after_help = "\
Examples:
  ivshmemctl server metrics /tmp/ivshmem.status
  ivshmemctl server metrics -o /var/lib/prometheus/node-exporter/ivshmem.prom /tmp/ivshmem.status")]
    Metrics {
        /// File to write to, which is replaced in one step
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,

        /// The server's --status-socket
        socket: PathBuf,
    },
    /// Have a server let nobody else join a region; its clients stay connected
    ///
    /// The region stays drained when another server takes over.
    #[command(after_help = "\
Examples:
  ivshmemctl server drain /tmp/ivshmem.control frames
  ivshmemctl server drain --undo /tmp/ivshmem.control frames")]
    Drain {
        /// Let clients join again
        #[arg(long)]
        undo: bool,

        /// The server's --control-socket
        socket: PathBuf,

        /// Name of the region
        region: String,
    },
    /// Have a server drop a client
    ///
    /// The others are told that it left, and stop ringing it. Until it ends it keeps the memory that it has mapped and the
    /// eventfds that it was given; QEMU goes on without a message, and cannot join again.
    #[command(after_help = "\
Examples:
  ivshmemctl server drop /tmp/ivshmem.control frames 3")]
    Drop {
        /// The server's --control-socket
        socket: PathBuf,

        /// Name of the region
        region: String,

        /// ID of the client
        peer: u16,
    },
}

/// Asks.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    match &options.question {
        Question::Status { watch, socket } => loop {
            show(socket, watch.is_some(), output)?;
            match watch {
                Some(time) => sleep(*time),
                None => break,
            }
        },
        Question::Drain {
            undo,
            socket,
            region,
        } => {
            let word = if *undo { "admit" } else { "drain" };
            command(
                socket,
                &json!({ "command": word, "region": region }),
                output,
            )?;
        }
        Question::Drop {
            socket,
            region,
            peer,
        } => {
            let drop = json!({ "command": "drop", "region": region, "peer": peer });
            command(socket, &drop, output)?;
        }
        Question::Metrics {
            output: file,
            socket,
        } => {
            if output.is_json() {
                let message = "metrics are written as OpenMetrics text only; `ivshmemctl --json server status` has the same as JSON";
                return Err(failure(Exit::Usage, message));
            }
            let text = metrics::text(&understand(socket, ask(socket)?)?);
            match file {
                Some(path) => replace(path, &text)
                    .with_context(|| format!("cannot write {}", path.display()))?,
                None => std::io::stdout().write_all(text.as_bytes())?,
            }
        }
    }
    Ok(Exit::Success)
}

/// Has a server do something.
fn command(path: &Path, command: &Value, output: Output) -> Result<()> {
    let mut socket = connect(path, "--control-socket")?;
    // Who is not obeyed is told so at once; what it says then is not read.
    let _ = socket.write_all(format!("{command}\n").as_bytes());
    let answer = read(socket, path, "--control-socket")?;
    if let Some(error) = answer["error"].as_str() {
        return Err(failure(
            Exit::Unable,
            format!("the server refuses: {error}"),
        ));
    }
    // The socket for questions answers whatever it is told with a report.
    if answer["ok"] != true {
        let path = path.display();
        return Err(failure(
            Exit::Failure,
            format!("{path} takes no commands: it may be the server's --status-socket; give that of --control-socket"),
        ));
    }
    output.answer(&answer, String::new)?;
    Ok(())
}

/// Shows a report, on a terminal in place of the one before if there will be more.
fn show(socket: &Path, again: bool, output: Output) -> Result<()> {
    let report = ask(socket)?;
    let people = understand(socket, report.clone())?;
    let clear = again && output.is_terminal() && !output.is_json();
    output.answer(&report, || {
        let start = if clear { CLEAR } else { "" };
        format!("{start}{}", text::text(&people, output))
    })?;
    Ok(())
}

fn understand(socket: &Path, report: Value) -> Result<Report> {
    serde_json::from_value(report).with_context(|| {
        format!(
            "what {} says is not a report of an ivshmem-server of this version",
            socket.display()
        )
    })
}

/// Puts a file in the place of another: whoever reads it sees the one or the other.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

fn ask(path: &Path) -> Result<Value> {
    read(connect(path, "--status-socket")?, path, "--status-socket")
}

fn connect(path: &Path, option: &str) -> Result<UnixStream> {
    let socket = UnixStream::connect(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::NoDevice,
        };
        let message = format!(
            "{}: {error}: give the path of the server's {option}, and run as the server's user",
            path.display()
        );
        failure(exit, message)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// What a server says: one line of JSON.
fn read(socket: UnixStream, path: &Path, option: &str) -> Result<Value> {
    let path = path.display();
    let mut lines = BufReader::new(socket);
    let greeting = lines.fill_buf().with_context(|| {
        format!("{path}: no answer came: is it another program's socket? Give that of {option}")
    })?;
    // Clients are greeted with numbers, and no line ever ends.
    if greeting.first() == Some(&0) {
        let message = format!("{path} is the server's socket for clients: give that of {option}");
        return Err(failure(Exit::Failure, message));
    }
    let advice =
        || format!("{path}: this is not an answer of ivshmem-server: give the socket of {option}");
    let mut text = String::new();
    lines.read_line(&mut text).with_context(advice)?;
    serde_json::from_str(&text).with_context(advice)
}
