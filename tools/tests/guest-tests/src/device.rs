// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The device in one slot of a guest, for set-ups with several, and what samples say of it.

use libtest_mimic::Failed;
use vmbench::Guest;

/// The node of the device in a slot of bus 0, found by its address.
pub fn node(guest: &Guest, slot: u8) -> Result<String, Failed> {
    let script = format!("ls /sys/bus/pci/devices/0000:00:{slot:02x}.0/misc");
    let name = guest.shell(&script)?.check()?.stdout_text();
    Ok(format!("/dev/{name}"))
}

/// Runs a sample on the device in a slot and returns what it wrote.
pub fn run(guest: &Guest, slot: u8, sample: &str, args: &[&str]) -> Result<String, Failed> {
    let mut words = vec![format!("/test/{sample}"), "-d".into(), node(guest, slot)?];
    words.extend(args.iter().map(|arg| arg.to_string()));
    Ok(guest.run(words)?.check()?.stdout_text())
}

/// Blocks until a program sleeps in a call that a signal would end: it waits for the device.
pub fn until_asleep(guest: &Guest, program: &str) -> Result<(), Failed> {
    let script =
        format!("until grep -qs 'State:.S' /proc/$(pidof {program})/status; do usleep 20000; done");
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Fails unless both are the same.
pub fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

/// Fails unless the text has this part.
pub fn contains(text: &str, part: &str) -> Result<(), Failed> {
    match text.contains(part) {
        true => Ok(()),
        false => Err(format!("no {part:?} in:\n{text}").into()),
    }
}
