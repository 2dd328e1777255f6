// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The demo: two virtual machines share memory and interrupt each other, here and now.
//!
//! Real QEMU, the distribution's kernel, the module, the server, and the programs in `samples/`.
//! `make demo` builds what this needs and runs it. The exit status is 0 if every step did what the
//! text says.

mod stage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use vmbench::{boot_all, Device, Guest, Region};

use stage::Stage;

const MEMORY: u64 = 4 << 20;
const VECTORS: u16 = 8;
const PROGRAMS: [&str; 3] = ["hello_send", "hello_receive", "pingpong"];
const MESSAGE: &str = "Hello from next door!";
const ROUNDS: &str = "500";

/// What `lspci -n` prints of the driver's devices; the small guests have no `lspci`.
const LSPCI: &str = r#"
cd /sys/bus/pci/drivers/ivshmem_rs
for device in 0000:*; do
    read class <$device/class; read vendor <$device/vendor; read id <$device/device; read rev <$device/revision
    class=${class#0x}
    echo "${device#0000:} ${class%??}: ${vendor#0x}:${id#0x} (rev ${rev#0x}), driver ivshmem_rs"
done"#;

fn main() -> Result<()> {
    vmbench::cleanup::on_signals().context("cannot catch signals")?;
    // Nothing is compiled once the story has begun.
    vmbench::build::prepare()?;
    let stage = Stage::new();
    let region = Region::start(MEMORY, VECTORS)?;
    let guests = boot(&stage, &region)?;
    let (a, b) = (&guests[0], &guests[1]);

    stage.act("Each guest's driver has found the device");
    for guest in [a, b] {
        show_device(&stage, guest)?;
    }

    stage.act("A writes a message into the shared memory and rings B's doorbell, vector 3");
    stage.say("B sleeps in poll(), wakes, reads it, and answers; A waits with an eventfd.");
    messages(&stage, a, b)?;

    stage.act("Round trips: ring, wake up, look at the memory, ring back");
    round_trips(&stage, a, b)?;

    stage.act("Both power off");
    for guest in guests {
        let name = guest.name().to_string();
        guest.poweroff()?;
        stage.line(&name, "powered off");
    }
    stage.end();
    Ok(())
}

fn boot(stage: &Stage, region: &Region) -> Result<Vec<Guest>> {
    stage.act("Two virtual machines boot, on one region of shared memory");
    stage.say(&format!(
        "ivshmem-server gives them {} KiB and {VECTORS} interrupt vectors each.",
        MEMORY / 1024
    ));
    let begin = Instant::now();
    let mut guest = Guest::builder()
        .device(Device::doorbell(region))
        .module(built("build/module/ivshmem_rs.ko")?);
    for program in PROGRAMS {
        let host = built(&format!("build/guest/{program}"))?;
        guest = guest.file(host, format!("/bin/{program}"));
    }
    let guests = boot_all(&[guest.clone().name("A"), guest.name("B")])?;
    stage.say(&format!("Up after {:.1} s.", begin.elapsed().as_secs_f32()));
    Ok(guests)
}

/// A file that `make demo` builds.
fn built(path: &str) -> Result<PathBuf> {
    let path = vmbench::checkout().join(path);
    ensure!(
        path.exists(),
        "{} is not built: run `make demo`",
        path.display()
    );
    Ok(path)
}

fn show_device(stage: &Stage, guest: &Guest) -> Result<()> {
    let name = guest.name();
    let kernel = guest.run(["uname", "-r"])?.check()?.stdout_text();
    let pci = guest.shell(LSPCI)?.check()?.stdout_text();
    let node = guest
        .run(["ls", "-l", "/dev/ivshmem0"])?
        .check()?
        .stdout_text();
    let log = guest.kernel_log()?;
    let bound = log.lines().rfind(|line| line.contains("ivshmem0:"));
    let bound = bound.context("the driver has said nothing in the kernel log")?;
    stage.line(name, &format!("Linux {kernel}"));
    stage.line(name, &pci);
    stage.line(name, bound);
    stage.line(name, &node);
    Ok(())
}

fn messages(stage: &Stage, a: &Guest, b: &Guest) -> Result<()> {
    let receiver = b.command(["hello_receive"]).spawn()?;
    let sent = a.run(["hello_send", MESSAGE])?.check()?.stdout_text();
    let received = receiver.wait()?.check()?.stdout_text();
    ensure!(
        received.contains(MESSAGE),
        "B read something else: {received}"
    );
    ensure!(sent.contains("got: "), "A has no answer: {sent}");
    let told = [("A", &sent), ("B", &received)];
    // In the order in which it happened: A's first line, B's two, A's last.
    stage.lines(told[0].0, told[0].1.lines().take(1));
    stage.lines(told[1].0, told[1].1.lines());
    stage.lines(told[0].0, told[0].1.lines().skip(1));
    Ok(())
}

fn round_trips(stage: &Stage, a: &Guest, b: &Guest) -> Result<()> {
    let other = b.command(["pingpong", "1", ROUNDS]).spawn()?;
    let table = a.run(["pingpong", "0", ROUNDS])?.check()?.stdout_text();
    other.wait()?.check()?;
    stage.lines("A", table.lines());
    stage
        .say("Under emulation these times say that it works, not how fast it is on real hardware.");
    Ok(())
}
