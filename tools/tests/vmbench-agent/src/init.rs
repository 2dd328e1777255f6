// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Process 1: mounts, starts the server, reaps orphans, powers off.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::process::{self, Command};

use rustix::mount::{mount, MountFlags};
use rustix::process::{wait, WaitOptions, WaitStatus};
use rustix::system::{reboot, RebootCommand};
use vmbench_proto::FATAL_PREFIX;

use crate::context::context;

/// What is mounted where. `devpts` lies inside `devtmpfs`, so the order counts.
const MOUNTS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("debugfs", "/sys/kernel/debug"),
    ("tmpfs", "/tmp"),
];

/// File systems that a kernel may lack without harm to most commands.
const OPTIONAL: [&str; 2] = ["devpts", "debugfs"];

/// The environment of every command.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
    ("HOME", "/root"),
    ("TERM", "dumb"),
];

/// Runs the guest until the server ends, which is an error.
pub fn run() -> Result<Infallible, String> {
    mount_all()?;
    install_busybox()?;
    let server = Command::new("/init")
        .env_clear()
        .envs(ENVIRONMENT)
        .spawn()
        .map_err(context("cannot start the server"))?;
    loop {
        let (pid, status) = wait(WaitOptions::empty())
            .map_err(io::Error::from)
            .map_err(context("cannot wait"))?
            .ok_or("wait returned without a process")?;
        if pid.as_raw_pid() as u32 == server.id() {
            return Err(format!("the server ended: {}", describe(status)));
        }
    }
}

/// Says why on the console and ends the guest: at once as process 1, by way of process 1 as the server.
pub fn give_up(reason: &str) -> ! {
    eprintln!("{FATAL_PREFIX}{reason}");
    if process::id() == 1 {
        power_off();
    }
    process::exit(1);
}

/// Ends the guest. Returns only by ending process 1, which makes the kernel panic.
pub fn power_off() -> ! {
    rustix::fs::sync();
    let failed = reboot(RebootCommand::PowerOff);
    eprintln!("cannot power off: {failed:?}");
    process::exit(1);
}

fn mount_all() -> Result<(), String> {
    for (kind, target) in MOUNTS {
        let result = fs::create_dir_all(target)
            .and_then(|()| Ok(mount(kind, target, kind, MountFlags::empty(), None)?));
        match result {
            Err(_) if OPTIONAL.contains(&kind) => {}
            other => other.map_err(context(format!("cannot mount {target}")))?,
        }
    }
    Ok(())
}

fn install_busybox() -> Result<(), String> {
    let status = Command::new("/bin/busybox")
        .args(["--install", "-s", "/bin"])
        .status()
        .map_err(context("cannot run /bin/busybox"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("busybox --install: {status}"))
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => format!("{status:?}"),
    }
}
