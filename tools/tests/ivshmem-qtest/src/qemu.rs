// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A QEMU that executes no guest: its devices are driven by qtest.
//!
//! The protocol is lines of text, documented at the top of QEMU's `system/qtest.c`: a command such as
//! `readl 0xe0000000`, an answer such as `OK 0x1`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ivshmem_model::Width;
use serde_json::{json, Value};
use tempfile::TempDir;

use crate::{Error, Result};

/// Bytes of RAM, from address 0.
pub(crate) const RAM: u64 = 128 << 20;

/// Ports of PCI configuration mechanism #1.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// The PC's reset control register, and the value that resets at once.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_NOW: u8 = 6;

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    directory: TempDir,
}

impl Qemu {
    /// Starts a machine of type `pc` or `q35` with these additional arguments. It has 128 MiB of RAM and
    /// nothing but what the machine type brings.
    pub fn start(machine: &str, args: &[String]) -> Result<Self> {
        let words = vmbench::qemu()?;
        let start = |source| Error::Start {
            command: words[0].clone(),
            source,
        };
        let directory = tempfile::Builder::new()
            .prefix("ivshmem-qtest-")
            .tempdir()
            .map_err(start)?;
        let monitor = directory.path().join("monitor");
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args([
                "-machine",
                machine,
                "-m",
                &format!("{RAM}B"),
                "-accel",
                "qtest",
            ])
            // A test that is killed leaves nothing behind.
            .args(["-run-with", "exit-with-parent=on"])
            .args(["-qtest", "stdio", "-qtest-log", "none", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let missing = || start(io::ErrorKind::BrokenPipe.into());
        let mut qemu = Self {
            commands: process.stdin.take().ok_or_else(missing)?,
            answers: BufReader::new(process.stdout.take().ok_or_else(missing)?),
            process,
            directory,
        };
        // The first answer comes when the machine is complete.
        qemu.round_trip()?;
        Ok(qemu)
    }

    /// QEMU's process ID.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends a command and returns what follows `OK`.
    pub fn command(&mut self, command: &str) -> Result<String> {
        let answer = self.exchange(command).map_err(|source| Error::Gone {
            command: command.into(),
            source,
            complaints: self.complaints(),
        })?;
        match answer.strip_prefix("OK") {
            Some(rest) => Ok(rest.trim().to_string()),
            None => Err(Error::Answer {
                command: command.into(),
                answer,
            }),
        }
    }

    fn exchange(&mut self, command: &str) -> io::Result<String> {
        self.commands.write_all(format!("{command}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Interrupt lines are announced at any time.
            if !line.starts_with("IRQ ") {
                return Ok(line.trim_end().to_string());
            }
        }
    }

    /// What QEMU has written to standard error. It has ended, or is killed.
    fn complaints(&mut self) -> String {
        let mut text = String::new();
        let _ = self.process.kill();
        if let Some(stderr) = &mut self.process.stderr {
            // What cannot be read is no reason to hide the failure that it would explain.
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    fn value(&mut self, command: &str) -> Result<u64> {
        let answer = self.command(command)?;
        let digits = answer.strip_prefix("0x").unwrap_or(&answer);
        u64::from_str_radix(digits, 16).map_err(|_| Error::Answer {
            command: command.into(),
            answer,
        })
    }

    /// Lets QEMU's main loop turn once.
    fn round_trip(&mut self) -> Result<()> {
        self.command("endianness").map(drop)
    }

    /// Blocks until QEMU has acted on every event descriptor that was signalled before the call.
    ///
    /// The first answer says that a turn of the main loop has begun with the descriptors readable, the
    /// second that this turn is over.
    pub fn settle(&mut self) -> Result<()> {
        self.round_trip()?;
        self.round_trip()
    }

    /// Reads guest physical memory.
    pub fn read(&mut self, address: u64, width: Width) -> Result<u64> {
        self.value(&format!("read{} {address:#x}", letter(width)))
    }

    /// Writes guest physical memory.
    pub fn write(&mut self, address: u64, width: Width, value: u64) -> Result<()> {
        let command = format!("write{} {address:#x} {value:#x}", letter(width));
        self.command(&command).map(drop)
    }

    /// Reads an I/O port: 8, 16 or 32 bits.
    pub fn port_in(&mut self, port: u16, width: Width) -> Result<u32> {
        let value = self.value(&format!("in{} {port:#x}", letter(width)))?;
        // CAST: A port has at most 32 bits.
        Ok(value as u32)
    }

    /// Writes an I/O port: 8, 16 or 32 bits.
    pub fn port_out(&mut self, port: u16, width: Width, value: u32) -> Result<()> {
        let command = format!("out{} {port:#x} {value:#x}", letter(width));
        self.command(&command).map(drop)
    }

    /// Reads configuration space of function 0 of a slot of bus 0. The access must not cross 32 bits.
    pub fn config_read(&mut self, slot: u8, offset: u16, width: Width) -> Result<u32> {
        let port = self.select(slot, offset)?;
        self.port_in(port, width)
    }

    /// Writes configuration space, as [`Qemu::config_read`] reads it.
    pub fn config_write(&mut self, slot: u8, offset: u16, width: Width, value: u32) -> Result<()> {
        let port = self.select(slot, offset)?;
        self.port_out(port, width, value)
    }

    fn select(&mut self, slot: u8, offset: u16) -> Result<u16> {
        let address = 1 << 31 | u32::from(slot) << 11 | u32::from(offset & 0xfc);
        self.port_out(CONFIG_ADDRESS, Width::U32, address)?;
        Ok(CONFIG_DATA + (offset & 3))
    }

    /// Resets the machine, as its guest would.
    pub fn reset(&mut self) -> Result<()> {
        self.port_out(RESET_CONTROL, Width::U8, RESET_NOW.into())?;
        // The reset happens at the end of the main loop's turn.
        self.settle()
    }

    /// Connects to the machine's monitor.
    pub fn monitor(&self) -> io::Result<Monitor> {
        Monitor::connect(&self.directory.path().join("monitor"))
    }

    /// A directory for this machine's files, removed with it.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().into()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const fn letter(width: Width) -> char {
    match width {
        Width::U8 => 'b',
        Width::U16 => 'w',
        Width::U32 => 'l',
        Width::U64 => 'q',
    }
}

/// A connection to QEMU's monitor, in JSON.
#[derive(Debug)]
pub struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(test_limit::limit()))?;
        let mut monitor = Self {
            lines: BufReader::new(stream),
        };
        monitor.line()?; // The greeting.
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Executes a command and returns what it returns; QEMU's own words are the error.
    pub fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.lines.get_mut(), "{request}")?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(error.to_string()));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Blocks until an event of this name comes. It is an error if QEMU says nothing for the tests' time limit.
    pub fn wait_for(&mut self, event: &str) -> io::Result<Value> {
        loop {
            let line = self.line()?;
            if line["event"] == event {
                return Ok(line);
            }
        }
    }
}
