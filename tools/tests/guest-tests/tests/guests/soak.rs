// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Everything that stresses the driver, at the same time and for long.
//!
//! One guest of two processors. Programs use its device at random (`fuzz`, `churn`) while it is bound and unbound, reset,
//! unplugged and plugged; while its interrupts are moved, one of the processors goes and comes, and memory is short; while a
//! peer rings it without a pause, and the server is killed. After each round the device has to work, the kernel must not have
//! complained, and what is in use is measured: it is to stay the same.
//!
//! `IVSHMEM_SOAK` says for how many hours; empty, it is a minute. `IVSHMEM_SOAK_SEED` chooses other rounds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use guest_tests::artefacts::{self, Kernel};
use guest_tests::lab::{expect_no_complaints, expect_no_leaks, Fleet, Lab};
use guest_tests::levels::{Level, Levels, Measure};
use ivshmem::Doorbell;
use ivshmem_peer::{Members, Options, Peer};
use libtest_mimic::{Failed, Trial};
use vmbench::{Guest, Running, Signal};

use super::churn::PORT;
use super::unplug::{plug, unplug};
use crate::supervised::Service;

/// Random programs in each round, which ends when they have run.
const PROGRAMS: &str = "60";

/// Large enough for large pages.
const SIZE: u64 = 8 << 20;

/// Vectors of each peer.
const VECTORS: u32 = 8;

/// Between two servers that are killed, and between two times that the device is unplugged: programs are to come to something.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it tells how far it is.
const TELLS: Duration = Duration::from_secs(60);

/// Fewer rounds cannot be compared. The first only warms up: what the kernel makes once and keeps, it makes then.
const FEWEST_ROUNDS: u32 = 3;

pub fn cases() -> Result<Vec<Trial>, String> {
    let Some(duration) = duration()? else {
        return Ok(Vec::new());
    };
    let kernel = Kernel::DEFAULT;
    let mut builder = kernel
        .guest()
        .cpus(2)
        .memory_mib(256)
        .qemu_args(PORT)
        .module(kernel.module()?);
    for program in ["fuzz", "churn", "soak"] {
        builder = builder.file(kernel.program(program)?, format!("/test/{program}"));
    }
    let lab = Lab::new(move || {
        let service = Service::start(SIZE);
        let options = Options::default().vectors(VECTORS);
        let peer = options.patience(test_limit::limit()).join(service.socket());
        let peer = peer.expect("a server that was just started lets peers join");
        let guest = builder.boot()?;
        plug(&guest, &service.socket(), "hotport")?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(World {
                service: Mutex::new(service),
                peer,
            }),
        })
    });
    Ok(vec![lab.trial("soak::everything_at_once", move |fleet| {
        soak(fleet, duration)
    })])
}

/// For how long, if at all.
fn duration() -> Result<Option<Duration>, String> {
    let Ok(text) = std::env::var("IVSHMEM_SOAK") else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Duration::from_secs(60)));
    }
    let hours = text.parse().ok().filter(|hours: &f64| *hours > 0.0);
    let duration = hours.and_then(|hours| Duration::try_from_secs_f64(hours * 3600.0).ok());
    match duration {
        Some(duration) => Ok(Some(duration)),
        None => Err(format!("IVSHMEM_SOAK={text} is not a number of hours")),
    }
}

/// The seed of the first round. Each has one more than that before.
fn first_seed() -> Result<u32, Failed> {
    match std::env::var("IVSHMEM_SOAK_SEED") {
        Ok(text) => Ok(text
            .parse()
            .map_err(|error| format!("IVSHMEM_SOAK_SEED={text}: {error}"))?),
        Err(_) => Ok(1),
    }
}

/// By how much what is in use may grow from the first quarter of the rounds to the last, each the least of its rounds, without the
/// first round. Memory is in KiB. It moves by less than a half of this without a driver's fault: the kernel frees late, keeps
/// pages for each CPU, and what shares a page with something else keeps it. Descriptors are exact, but for files that the kernel is
/// still closing.
const ROOMS: [(&str, i64); 7] = [
    ("memory", 8192),
    ("Slab", 1024),
    ("VmallocUsed", 256),
    ("Percpu", 64),
    ("files", 4),
    ("QEMU's descriptors", 0),
    ("the server's descriptors", 0),
];

/// The same of the objects in each slab cache, or half as many as the device was unplugged, if that is more: an object that is
/// left each time makes three quarters of that.
const OBJECTS: i64 = 100;

/// So many times as much on a kernel that looks for errors: it keeps each call stack that it sees for the first time.
const DEBUG_ROOM: i64 = 4;

/// Its own notes about objects, which are more when more is going on. Leaked memory is looked for at the end.
const DEBUG_CACHES: [&str; 2] = ["cache debug_objects", "cache kmemleak"];

/// What the names of the caches begin with.
const CACHE: &str = "cache ";

/// What is to be done in each soak.
const DONE: [&str; 10] = [
    "binds",
    "filled memories",
    "killed servers",
    "moved interrupts",
    "random calls",
    "replaced CPUs",
    "resets",
    "rings of the peer",
    "unplugs",
    "users' turns",
];

/// What helps to understand why a device does not work.
const STATE: &str = "grep -E 'CPU|ivshmem' /proc/interrupts; dmesg | tail -n 60
    cd /sys/bus/pci/devices/0000:01:00.0 && cat resource && hexdump -C config | head -n 6
    grep . ivshmem/* ivshmem_statistics/*; cat /sys/devices/system/cpu/online
    for i in msi_irqs/*; do i=${i##*/}; echo $i $(cat /proc/irq/$i/*smp_affinity /proc/irq/$i/effective_affinity); done";

/// What is beside the guest.
struct World {
    service: Mutex<Service>,
    /// It stays: QEMU can crash when a doorbell device is unplugged one of whose peers has left.
    peer: Peer,
}

/// A soak that goes on.
struct Soak<'a> {
    guest: &'a Guest,
    world: &'a World,
    begin: Instant,
    told: Option<Instant>,
    /// How often each thing was done, in all rounds.
    counts: BTreeMap<String, u64>,
    levels: Levels,
}

fn soak(fleet: &Fleet, duration: Duration) -> Result<(), Failed> {
    let mut soak = Soak {
        guest: &fleet.guests[0],
        world: fleet.world.downcast_ref().ok_or("the world is a World")?,
        begin: Instant::now(),
        told: None,
        counts: BTreeMap::new(),
        levels: Levels::default(),
    };
    let first = first_seed()?;
    let mut rounds = 0;
    while rounds < FEWEST_ROUNDS || soak.begin.elapsed() < duration {
        let seed = first.wrapping_add(rounds);
        rounds += 1;
        let measure = soak.round(seed).map_err(|failed| {
            let message = failed.message().unwrap_or("failed");
            format!("round {rounds}, seed {seed}: {message}")
        })?;
        soak.tell(rounds, seed, &measure);
        if rounds > 1 {
            soak.levels.add(measure);
        }
    }
    soak.report(rounds, first);
    soak.judge()?;
    unplug(soak.guest)?;
    expect_no_leaks(soak.guest)
}

impl Soak<'_> {
    /// Returns what is in use after it.
    fn round(&mut self, seed: u32) -> Result<Measure, Failed> {
        let (guest, world, seed) = (self.guest, self.world, seed.to_string());
        let mark = guest.kernel_mark()?;
        // These find the device by its node, so before it goes for the first time.
        let programs = start(guest, &["/test/fuzz", "plugged", PROGRAMS, &seed])?;
        let disturbers = start(guest, &["/test/soak", "disturb", &seed])?;
        let users = start(guest, &["/test/churn"])?;
        let over = AtomicBool::new(false);
        let (kills, unplugs) = thread::scope(|scope| {
            let kills = scope.spawn(|| kill_servers(&world.service, &over));
            let unplugs = self.unplug_until(|| programs.has_ended());
            over.store(true, Ordering::Relaxed);
            (kills.join(), unplugs)
        });
        unplugs?;
        self.count("killed servers", kills.map_err(|_| "a server failed")?);
        self.count_lines(&programs.wait()?.check()?.stdout_text());
        self.count_lines(&finish(disturbers)?);
        self.count_lines(&finish(users)?);
        self.expect_rings().map_err(|failed| self.explain(failed))?;
        let measure = self.measure()?;
        expect_no_complaints(guest, mark)?;
        Ok(measure)
    }

    /// Says once in a minute how far it is.
    fn tell(&mut self, rounds: u32, seed: u32, measure: &Measure) {
        if self.told.is_some_and(|told| told.elapsed() < TELLS) {
            return;
        }
        self.told = Some(Instant::now());
        let minutes = self.begin.elapsed().as_secs() / 60;
        let numbers = ROOMS.map(|(name, _)| {
            let number = measure.get(name).copied().unwrap_or_default();
            format!("{name} {number}")
        });
        println!(
            "soak: {minutes} min, round {rounds}, seed {seed}: {}",
            numbers.join(", ")
        );
    }

    fn report(&self, rounds: u32, first: u32) {
        let minutes = self.begin.elapsed().as_secs_f64() / 60.0;
        println!("soak: {rounds} rounds in {minutes:.1} min, seeds from {first} on");
        for (what, times) in &self.counts {
            println!("  {times:>12} {what}");
        }
        println!("     first      last      most    growth");
        for name in self.levels.names() {
            let Some(level) = self.levels.of(name) else {
                continue;
            };
            if !name.starts_with(CACHE) || level.growth() > 0 {
                let growth = level.growth();
                println!(
                    "{:>10}{:>10}{:>10}{growth:>10} {name}",
                    level.first, level.last, level.most
                );
            }
        }
    }

    /// Fails if something was never done, or more is in use than at the beginning.
    fn judge(&self) -> Result<(), Failed> {
        if let Some(never) = DONE.iter().find(|what| self.done(what) == 0) {
            return Err(format!("no {never}: nothing was tested").into());
        }
        for name in self.levels.names() {
            let growth = self.levels.of(name).map_or(0, Level::growth);
            let room = self.room(name);
            if growth > room {
                return Err(format!("{name} grew by {growth}, and {room} is allowed").into());
            }
        }
        Ok(())
    }

    /// By how much this number may grow.
    fn room(&self, name: &str) -> i64 {
        let objects = i64::try_from(self.done("unplugs") / 2).unwrap_or(i64::MAX);
        let room = match ROOMS.iter().find(|(of, _)| *of == name) {
            Some((_, room)) => *room,
            None if DEBUG_CACHES.iter().any(|cache| name.starts_with(cache)) => i64::MAX,
            None => OBJECTS.max(objects),
        };
        match artefacts::kernel_fails_allocations() {
            true => room.saturating_mul(DEBUG_ROOM),
            false => room,
        }
    }

    fn done(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// Replaces the device until it is `over`.
    fn unplug_until(&mut self, over: impl Fn() -> bool) -> Result<(), Failed> {
        while !over() {
            unplug(self.guest)?;
            // QEMU forgets to stop listening to the doorbells of a device that is unplugged, and crashes if one is rung later.
            self.wait_for_members(|members| members.peers.is_empty())?;
            let rings = self.plug_and_ring()?;
            self.count("unplugs", 1);
            self.count("rings of the peer", rings);
        }
        Ok(())
    }

    /// Blocks until the peer has heard that who is there `is_so`.
    fn wait_for_members(&self, is_so: impl Fn(&Members) -> bool) -> Result<(), Failed> {
        let mut members = self.world.peer.members();
        while !is_so(&members) {
            let next = (self.world.peer).wait_members(members.version, Some(test_limit::limit()));
            if next.version == members.version {
                return Err(format!("the peer hears of no change: {members:?}").into());
            }
            members = next;
        }
        Ok(())
    }

    /// From before there is a device, the peer rings it without a pause.
    fn plug_and_ring(&self) -> Result<u64, Failed> {
        let (socket, over) = (self.service()?.socket(), AtomicBool::new(false));
        thread::scope(|scope| {
            let rings = scope.spawn(|| ring_without_pause(&self.world.peer, &over));
            let plugged = plug(self.guest, &socket, "hotport");
            thread::sleep(PAUSE);
            over.store(true, Ordering::Relaxed);
            plugged?;
            rings.join().map_err(|_| "the peer failed")?
        })
    }

    fn service(&self) -> Result<MutexGuard<'_, Service>, Failed> {
        let service = self.world.service.lock();
        service.map_err(|_| "a server failed before".into())
    }

    fn count(&mut self, what: &str, times: u64) {
        *self.counts.entry(what.into()).or_default() += times;
    }

    /// Counts what a program says that it did, in lines such as "binds: 7".
    fn count_lines(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(times) = number_in(line, "fuzz: ", " calls") {
                self.count("random calls", times);
            } else if let Some(times) = number_in(line, " had the device ", " times") {
                self.count("users' turns", times);
            } else if let Some((what, times)) = line.rsplit_once(": ") {
                if let Ok(times) = times.parse() {
                    self.count(what, times);
                }
            }
        }
    }

    /// The device works: the guest is rung on each vector, and rings.
    fn expect_rings(&self) -> Result<(), Failed> {
        let peer = &self.world.peer;
        let before = peer.rings(0);
        let own = peer.peer_id().to_string();
        let mut hears = self.guest.command(["/test/soak", "hear", &own]).spawn()?;
        let line = hears.wait_for_output("hears")?;
        let guest = number_in(&line, "peer ", " hears").ok_or("no number of a peer")?;
        let guest = u32::try_from(guest)?;
        self.wait_for_members(|members| members.peers.get(&guest) == Some(&VECTORS))?;
        for vector in 0..VECTORS {
            peer.ring(guest, vector)?;
        }
        hears.wait()?.check()?;
        match peer.rings(0) == before {
            true => Err("the guest has not rung the peer".into()),
            false => Ok(()),
        }
    }

    fn explain(&self, failed: Failed) -> Failed {
        let state = self.guest.shell(STATE);
        let state = state.map_or_else(|error| error.to_string(), |output| output.stdout_text());
        format!("{}\n{state}", failed.message().unwrap_or_default()).into()
    }

    /// What is in use, in the guest and for it.
    fn measure(&self) -> Result<Measure, Failed> {
        let text = self.guest.run(["/test/soak", "measure"])?.check()?;
        let mut measure = Measure::new();
        for line in text.stdout_text().lines() {
            let (name, number) = line.rsplit_once(": ").ok_or("a line without a number")?;
            measure.insert(name.into(), number.trim().parse()?);
        }
        let descriptors = format!("/proc/{}/fd", self.guest.pid());
        let descriptors = std::fs::read_dir(descriptors)?.count();
        measure.insert("QEMU's descriptors".into(), i64::try_from(descriptors)?);
        let kept = self.service()?.kept();
        measure.insert("the server's descriptors".into(), i64::try_from(kept)?);
        Ok(measure)
    }
}

/// Starts a program and waits until it is ready.
fn start<'a>(guest: &'a Guest, argv: &[&str]) -> Result<Running<'a>, Failed> {
    let mut running = guest.command(argv.iter().copied()).spawn()?;
    running.wait_for_output("ready")?;
    Ok(running)
}

/// Ends a program that runs until SIGTERM, and returns what it wrote.
fn finish(running: Running<'_>) -> Result<String, Failed> {
    // One that has failed has ended; its status tells.
    let _ = running.signal(Signal::TERM);
    Ok(running.wait()?.check()?.stdout_text())
}

/// Returns how often it rang.
fn ring_without_pause(peer: &Peer, over: &AtomicBool) -> Result<u64, Failed> {
    let mut rings = 0;
    while !over.load(Ordering::Relaxed) {
        for guest in peer.members().peers.into_keys() {
            for vector in 0..VECTORS {
                peer.ring(guest, vector)?;
                rings += 1;
            }
        }
    }
    Ok(rings)
}

/// Returns how many.
fn kill_servers(service: &Mutex<Service>, over: &AtomicBool) -> u64 {
    let mut kills = 0;
    while !over.load(Ordering::Relaxed) {
        service.lock().expect("no server failed before").kill();
        kills += 1;
        thread::sleep(PAUSE);
    }
    kills
}

/// The number between two texts.
fn number_in(line: &str, before: &str, after: &str) -> Option<u64> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after)?.0.parse().ok()
}
