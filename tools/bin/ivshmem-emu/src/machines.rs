// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The QEMUs: their command lines, and their execution.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{anyhow, Context, Result};

use crate::cli::Options;
use crate::world::Seat;

/// Most bytes of a line that are kept until it ends. A longer one is shown in parts: a guest may never end it.
const LINE: u64 = 64 << 10;

/// One QEMU's words.
#[derive(Debug)]
pub struct Machine {
    /// The virtual machine.
    pub vm: u16,
    /// The command and its arguments.
    pub words: Vec<String>,
}

/// A machine for each virtual machine that has a device.
pub fn machines(seats: &[Seat], options: &Options) -> Vec<Machine> {
    let mut by_vm = BTreeMap::<u16, Vec<&Seat>>::new();
    for seat in seats {
        by_vm.entry(seat.vm).or_default().push(seat);
    }
    by_vm
        .into_iter()
        .map(|(vm, seats)| {
            let id = vm.to_string();
            let mut words = options.qemu.clone();
            words.extend(options.qemu_args.iter().map(|arg| arg.replace("{vm}", &id)));
            for seat in &seats {
                words.extend(["-device".into(), device(seat, &seats)]);
            }
            Machine { vm, words }
        })
        .collect()
}

/// QEMU's device for a seat, at its address. It has no ROM: QEMU would warn about the one that ACRN's hv-land device
/// seems to have, because software can write its ROM address register.
fn device(seat: &Seat, of_vm: &[&Seat]) -> String {
    let bdf = seat.bdf;
    let shares = |other: &&&Seat| other.bdf.device == bdf.device && other.bdf != bdf;
    let several = match bdf.function == 0 && of_vm.iter().any(|other| shares(&other)) {
        true => r#""multifunction":true,"#,
        false => "",
    };
    let address = format!(
        r#"{{"addr":"{:02x}.{}","rombar":0,{several}"#,
        bdf.device, bdf.function
    );
    seat.endpoint.qemu_device().replacen('{', &address, 1)
}

impl Machine {
    /// The words as a shell would need them.
    pub fn shell_line(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| quote(word)).collect();
        words.join(" ")
    }
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Starts all machines, shows what they write with their names before it, and which have ended badly, and blocks until
/// all have ended. True if all ended with the exit status 0.
///
/// A machine that outlives this process is ended by itself.
pub fn run(machines: &[Machine]) -> Result<bool> {
    let mut running = Vec::new();
    for machine in machines {
        let (vm, (child, readers)) = (machine.vm, start(machine)?);
        running.push(thread::spawn(move || watch(vm, child, readers)));
    }
    let mut good = true;
    for machine in running {
        let ended = machine.join().map_err(|_| anyhow!("a thread panicked"))?;
        good &= ended?.success();
    }
    Ok(good)
}

/// Blocks until a machine has ended, and shows how if it was not well.
fn watch(vm: u16, mut child: Child, readers: Readers) -> Result<ExitStatus> {
    let status = child.wait()?;
    for reader in readers {
        // It ends with the pipe; that it panicked would have been seen.
        let _ = reader.join();
    }
    if !status.success() {
        let _ = writeln!(std::io::stderr(), "[VM{vm}] QEMU ended with {status}");
    }
    Ok(status)
}

type Readers = [JoinHandle<()>; 2];

fn start(machine: &Machine) -> Result<(Child, Readers)> {
    let mut child = Command::new(&machine.words[0])
        .args(&machine.words[1..])
        .args(["-run-with", "exit-with-parent=on"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {}: install QEMU 11.1 or later, or name it with --qemu",
                machine.words[0]
            )
        })?;
    let name = format!("[VM{}] ", machine.vm);
    let out = child.stdout.take().context("no pipe")?;
    let err = child.stderr.take().context("no pipe")?;
    let readers = [
        pass_on(out, name.clone(), std::io::stdout()),
        pass_on(err, name, std::io::stderr()),
    ];
    Ok((child, readers))
}

/// Copies lines with a name before each. What cannot be written is not worth stopping a machine for.
fn pass_on(
    pipe: impl Read + Send + 'static,
    name: String,
    mut to: impl Write + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(
            lines.by_ref().take(LINE).read_until(b'\n', &mut line),
            Ok(1..)
        ) {
            let text = String::from_utf8_lossy(&line);
            let _ = writeln!(to, "{name}{}", text.trim_end_matches(['\r', '\n']));
            line.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("-m"), "-m");
        assert_eq!(quote(r#"{"a":"b"}"#), r#"'{"a":"b"}'"#);
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
