// SPDX-License-Identifier: GPL-2.0

//! A peer that rings without a pause takes a bounded share of a CPU.
//!
//! Peers need not be trusted, and each ring is an interrupt here. So the time that handlers take is
//! estimated: of every [`SAMPLE`] interrupts of a vector, one is timed. When the vectors of a
//! device take more than half of a CPU, the one that was sampled is held back for [`PAUSE`] times
//! what its last interrupts took, and for 2 ms at the most. Nothing is lost by that: rings
//! coalesce, and those that come meanwhile make one interrupt when it is over.
//!
//! An interrupt that is not sampled pays for one comparison; there is no lock, and nothing that
//! vectors share is written but at samples.

use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Of so many interrupts of a vector, one is timed.
const SAMPLE: u32 = 64;

/// What an interrupt takes at the least besides the handler: entry, exit, the interrupt controller.
const OVERHEAD_NS: i64 = 2_000;

/// No vector is held back for longer than this.
const LONGEST_PAUSE_NS: i64 = 2_000_000;

/// The share is that of a window, which ends with the first sample after this time.
const WINDOW_NS: i64 = 20_000_000;

/// How long a vector is held back, in times of what its last interrupts took.
const PAUSE: i64 = 3;

/// Time spent on interrupts of one device by one CPU, away from those of others. Written by that
/// CPU, but for interrupts that move to another one meanwhile, which make the estimate a little
/// wrong.
#[repr(align(64))]
struct Cpu {
    since: Atomic<i64>,
    busy: Atomic<i64>,
}

/// The moderation of one device.
pub(crate) struct Moderation {
    begin: Instant<Monotonic>,
    cpus: KVec<Cpu>,
    pauses: Atomic<u64>,
    /// When it was last said in the kernel log, in nanoseconds; 0: never.
    said: Atomic<i64>,
}

/// What the last sampled interrupt of one vector took, in nanoseconds. Written by its handler
/// alone.
pub(crate) struct Sampler(Atomic<i64>);

impl Sampler {
    /// A vector without samples yet.
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// The shorter of this time and the one before: what was stolen from one sample, by the
    /// hypervisor or by a thread of higher priority, says nothing of the vector.
    fn shorter(&self, took: i64) -> i64 {
        let before = self.0.load(Relaxed);
        self.0.store(took, Relaxed);
        before.min(took)
    }
}

impl Moderation {
    /// Makes the moderation of a device. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // CAST: `u32` fits into `usize`.
        let count = nr_cpu_ids() as usize;
        let mut cpus = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let cpu = Cpu {
                since: Atomic::new(0),
                busy: Atomic::new(0),
            };
            cpus.push(cpu, GFP_KERNEL)?;
        }
        Ok(Self {
            begin: Instant::now(),
            cpus,
            pauses: Atomic::new(0),
            said: Atomic::new(0),
        })
    }

    /// When the handler of the interrupt began that made the count of its vector `seq`, if that is
    /// one to be timed: for [`Moderation::judge`]. Any context.
    #[inline(always)]
    pub(crate) fn sample(&self, seq: u64) -> Option<i64> {
        (seq % u64::from(SAMPLE) == 0).then(|| self.now())
    }

    /// For how long the vector of this sampler is to be held back, if at all, whose handler began
    /// at `start` and has just ended. Any context, on one CPU at a time for each vector.
    pub(crate) fn judge(&self, sampler: &Sampler, start: i64) -> Option<Delta> {
        let end = self.now();
        // As much again for what the handler causes around it.
        let each = 2 * sampler.shorter(end - start) + OVERHEAD_NS;
        let took = each.saturating_mul(SAMPLE.into());
        self.exceeds(took, end).then(|| {
            self.pauses.add(1u64, Relaxed);
            Delta::from_nanos(took.saturating_mul(PAUSE).min(LONGEST_PAUSE_NS))
        })
    }

    /// Adds what the last interrupts of a vector took until `now`; whether this CPU has more than
    /// half of its time to spend.
    fn exceeds(&self, took: i64, now: i64) -> bool {
        // CAST: `u32` fits into `usize`.
        let Some(cpu) = self.cpus.get(u32::from(CpuId::current()) as usize) else {
            return false;
        };
        let elapsed = now - cpu.since.load(Relaxed);
        let busy = cpu.busy.load(Relaxed).saturating_add(took);
        // A window can be longer, on a machine so slow that one sample lasts for it. After a time
        // without interrupts it is so long that nothing exceeds half of it.
        if elapsed > WINDOW_NS {
            cpu.since.store(now, Relaxed);
            cpu.busy.store(0, Relaxed);
        } else {
            cpu.busy.store(busy, Relaxed);
        }
        busy > elapsed / 2
    }

    /// How often a vector was held back since the driver bound.
    pub(crate) fn pauses(&self) -> u64 {
        self.pauses.load(Relaxed)
    }

    /// Whether it is time to say in the kernel log that a vector is held back: every ten seconds at
    /// the most. Any context.
    pub(crate) fn may_say(&self) -> bool {
        const EVERY_NS: i64 = 10_000_000_000;

        let (now, said) = (self.now(), self.said.load(Relaxed));
        (said == 0 || now - said > EVERY_NS) && self.said.cmpxchg(said, now.max(1), Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn now(&self) -> i64 {
        self.begin.elapsed().as_nanos()
    }
}
