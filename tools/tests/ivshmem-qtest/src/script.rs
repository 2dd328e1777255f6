// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Random but reproducible accesses to a device, and their comparison on two targets.

use std::fmt;

use ivshmem_model::config::offset;
use ivshmem_model::Width;

use crate::{Result, Target};

/// RAM that MSI-X messages are pointed at: one word for each of [`MAILBOXES`].
const MAILBOX: u64 = 0x10_0000;
const MAILBOXES: u64 = 16;

/// Where each BAR may be put: disjoint ranges between RAM and the chipset's own addresses.
const HOMES: [u64; 3] = [0xe000_0000, 0xe100_0000, 0xe800_0000];

/// BAR2 is also put this far above.
const ABOVE_4G: u64 = 0x8_0000_0000;

/// What a script may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of each BAR; 0: absent.
    pub bars: [u64; 3],
    /// Vectors in the MSI-X table.
    pub vectors: u16,
    /// False for a device behind vfio-user, much of which QEMU emulates itself: leaves out what differs there,
    /// which is MSI-X switched off while something is pending, rings while bus mastering is off, the pending
    /// bits, configuration space other than command, base addresses and message control, and the order of vectors
    /// that are unmasked at once.
    pub everything: bool,
}

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read configuration space.
    ConfigRead(u16, Width),
    /// Write configuration space.
    ConfigWrite(u16, Width, u32),
    /// Read guest physical memory.
    Read(u64, Width),
    /// Write guest physical memory.
    Write(u64, Width, u64),
    /// Reset the machine.
    Reset,
}

/// An endless sequence of steps that depends on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Script {
    random: Random,
    limits: Limits,
    /// Who is mostly rung.
    rung: Vec<u16>,
    /// Where the script has put each BAR last.
    places: [u64; 3],
    /// Steps that were decided upon already, the last one first.
    queue: Vec<Op>,
}

/// SplitMix64, so that a seed means the same for ever.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn width(&mut self) -> Width {
        Width::ALL[self.below(4) as usize]
    }
}

impl Script {
    /// The script of a seed.
    pub fn new(seed: u64, limits: Limits) -> Self {
        let mut script = Self {
            random: Random(seed),
            limits,
            rung: vec![0],
            places: [0; 3],
            queue: Vec::new(),
        };
        script.set_up();
        script
    }

    /// Has these peers rung mostly from now on, instead of peer 0. Panics if there are none.
    pub fn ring_mostly(&mut self, peers: &[u16]) {
        assert!(!peers.is_empty());
        self.rung = peers.into();
    }

    /// Queues what a firmware and a driver do first, so that the script begins with a live device.
    fn set_up(&mut self) {
        for bar in 0..3 {
            self.move_bar(bar);
        }
        self.queue
            .push(Op::ConfigWrite(offset::COMMAND, Width::U16, 6));
        if self.limits.vectors > 0 {
            self.queue
                .push(Op::ConfigWrite(offset::MSIX_CONTROL, Width::U16, 0x8000));
        }
        self.queue.reverse();
    }

    /// A register of `width` within the first `size` bytes, mostly within the first `hot`.
    fn place(&mut self, hot: u64, size: u64, width: Width) -> u64 {
        let size = if self.random.one_in(8) { size } else { hot };
        let place = self.random.below(size - width.bytes() + 1);
        match self.random.one_in(4) {
            true => place,
            false => place & !(width.bytes() - 1),
        }
    }

    fn registers(&mut self) -> Op {
        let width = self.random.width();
        let at = self.place(16, self.limits.bars[0], width);
        let address = self.places[0] + at;
        if self.random.one_in(2) {
            return Op::Read(address, width);
        }
        Op::Write(address, width, self.random.next() & width.ones())
    }

    /// Rings somebody, mostly on a vector that exists.
    fn doorbell(&mut self) -> Op {
        let peer = match self.rung[..] {
            _ if self.random.one_in(8) => self.random.below(0x1_0000),
            [only] => only.into(),
            ref several => several[self.random.below(several.len() as u64) as usize].into(),
        };
        let vector = match self.random.below(8) {
            0 => self.random.below(0x1_0000),
            _ => self.random.below(u64::from(self.limits.vectors).max(1)),
        };
        Op::Write(self.places[0] + 12, Width::U32, peer << 16 | vector)
    }

    fn msix(&mut self) -> Op {
        let width = self.random.width();
        let table = u64::from(self.limits.vectors) * 16;
        let pba = self.limits.everything && self.random.one_in(6);
        let at = match pba {
            true => 0x800 + self.place(8, 64, width),
            false => self.place(table, 0x800, width),
        };
        let address = self.places[1] + at;
        if pba || self.random.one_in(3) {
            return Op::Read(address, width);
        }
        Op::Write(address, width, self.table_bytes(at, width))
    }

    /// A mailbox for a vector: any, or one of its own two where the order in which several pending vectors are
    /// delivered is that of QEMU's event loop.
    fn mailbox(&mut self, vector: u64) -> u64 {
        match self.limits.everything {
            true => self.random.below(MAILBOXES),
            false => (2 * vector + self.random.below(2)) % MAILBOXES,
        }
    }

    /// Bytes for the table that leave every vector's address in a mailbox, however they are cut.
    fn table_bytes(&mut self, at: u64, width: Width) -> u64 {
        let words: Vec<u64> = (at / 4..=(at + width.bytes()) / 4)
            .map(|word| match word % 4 {
                0 => MAILBOX + 4 * self.mailbox(word / 4),
                1 => 0,
                2 => self.random.next(),
                // Mostly unmasked, sometimes with bits that mean nothing.
                _ => (self.random.below(3) / 2) | (u64::from(self.random.one_in(4)) << 7),
            })
            .collect();
        (0..width.bytes()).fold(0, |value, byte| {
            let word = words[((at + byte) / 4 - at / 4) as usize];
            let byte_of_word = word >> ((at + byte) % 4 * 8) & 0xff;
            value | byte_of_word << (byte * 8)
        })
    }

    fn memory(&mut self) -> Op {
        let width = self.random.width();
        let at = self.place(64, self.limits.bars[2], width);
        let address = self.places[2] + at;
        match self.random.one_in(2) {
            true => Op::Read(address, width),
            false => Op::Write(address, width, self.random.next() & width.ones()),
        }
    }

    /// Queues the writes that put a BAR somewhere else.
    fn move_bar(&mut self, bar: usize) {
        let size = self.limits.bars[bar];
        if size == 0 {
            return;
        }
        let mut place = HOMES[bar] + self.random.below(8) * size.max(4096);
        if bar == 2 && self.random.one_in(2) {
            place += ABOVE_4G;
        }
        self.places[bar] = place;
        let register = offset::BAR + 4 * bar as u16;
        if bar == 2 {
            let high = (place >> 32) as u32;
            self.queue
                .push(Op::ConfigWrite(register + 4, Width::U32, high));
        }
        self.queue
            .push(Op::ConfigWrite(register, Width::U32, place as u32));
        self.queue.push(Op::ConfigRead(register, Width::U32));
    }

    /// Queues what a system does to find the size of a BAR, with decoding on or off as it is.
    fn size_bar(&mut self, bar: usize) {
        let register = offset::BAR + 4 * bar as u16;
        self.move_bar(bar);
        self.queue.push(Op::ConfigRead(register, Width::U32));
        if bar == 2 {
            // Not both halves at once: QEMU would see a BAR over the end of the address space.
            self.queue.push(Op::ConfigRead(register + 4, Width::U32));
        }
        self.queue
            .push(Op::ConfigWrite(register, Width::U32, u32::MAX));
    }

    fn config(&mut self) -> Op {
        match self.random.below(10) {
            0 => {
                // Memory decoding is mostly on, so that the other steps find something.
                let memory = u32::from(!self.random.one_in(3)) << 1;
                let master = u32::from(!self.limits.everything) << 2;
                let value = self.random.below(8) as u32 | memory | master;
                Op::ConfigWrite(offset::COMMAND, Width::U16, value)
            }
            1 | 2 if self.limits.vectors > 0 => {
                let enable = !self.limits.everything || !self.random.one_in(3);
                let control = u32::from(enable) << 15 | u32::from(self.random.one_in(3)) << 14;
                // The size of the table cannot be written.
                let value = control | self.random.below(1 << 14) as u32;
                Op::ConfigWrite(offset::MSIX_CONTROL, Width::U16, value)
            }
            3 => {
                let bar = self.random.below(3) as usize;
                self.move_bar(bar);
                self.queue.reverse();
                self.queue.pop().unwrap_or(Op::ConfigRead(0, Width::U32))
            }
            4 => {
                let bar = self.random.below(3) as usize;
                self.size_bar(bar);
                self.queue.pop().unwrap_or(Op::ConfigRead(0, Width::U32))
            }
            choice => self.any_config(choice < 7),
        }
    }

    /// An access to any byte of configuration space; writes leave out what would move a BAR.
    fn any_config(&mut self, write: bool) -> Op {
        let width = Width::ALL[self.random.below(3) as usize];
        let at = self.random.below(256 / width.bytes()) * width.bytes();
        let at = at as u16;
        let bars = (offset::BAR..offset::CAPABILITIES - 0xc).contains(&(at & !3));
        if !self.limits.everything {
            return Op::ConfigRead(offset::COMMAND, Width::U16);
        }
        if write && !bars {
            return Op::ConfigWrite(at, width, self.random.next() as u32 & width.ones() as u32);
        }
        Op::ConfigRead(at, width)
    }

    fn decide(&mut self) -> Op {
        let msix = self.limits.vectors > 0;
        match self.random.below(1000) {
            0 => Op::Reset,
            1..=250 => self.registers(),
            251..=400 => self.doorbell(),
            401..=600 if msix => self.msix(),
            601..=720 if msix => {
                let at = MAILBOX + 4 * self.random.below(MAILBOXES);
                Op::Read(at, Width::U32)
            }
            721..=850 => self.config(),
            _ => self.memory(),
        }
    }
}

impl Iterator for Script {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let op = match self.queue.pop() {
            Some(op) => op,
            None => self.decide(),
        };
        if op == Op::Reset {
            // What a reset forgets is set up again; until then nothing decodes.
            self.set_up();
        }
        Some(op)
    }
}

/// The machines of one side of a comparison, which share a region.
pub trait Machines {
    /// A machine that is there.
    fn machine(&mut self, number: usize) -> &mut dyn Target;

    /// Blocks until every doorbell that was rung before has had its effect in every machine.
    fn settle(&mut self) -> Result<()>;
}

impl<T: Target> Machines for Vec<T> {
    fn machine(&mut self, number: usize) -> &mut dyn Target {
        &mut self[number]
    }

    fn settle(&mut self) -> Result<()> {
        self.iter_mut().try_for_each(Target::settle)
    }
}

/// Machines of two sides that disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Number of the step, counted from 0.
    pub step: usize,
    /// The machine that did it, and what.
    pub op: (usize, Op),
    /// What the first side read.
    pub first: u64,
    /// What the second side read.
    pub second: u64,
    /// The steps before, the oldest first.
    pub before: Vec<(usize, Op)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (machine, op) in &self.before {
            writeln!(f, "        {machine}: {op:x?}")?;
        }
        let Self {
            step,
            op: (machine, op),
            first,
            second,
            ..
        } = self;
        write!(
            f,
            "step {step}: {machine}: {op:x?} gives {first:#x} and {second:#x}"
        )
    }
}

/// Steps that a [`Difference`] shows.
const SHOWN: usize = 40;

/// Runs `steps` steps on two sides, each that of one machine's script, chosen by `turns`, and returns the first step
/// whose results differ.
pub fn difference(
    scripts: &mut [&mut Script],
    turns: &mut Turns,
    steps: usize,
    first: &mut dyn Machines,
    second: &mut dyn Machines,
) -> Result<Option<Difference>> {
    let mut before = Vec::new();
    for step in 0..steps {
        let machine = turns.next(scripts.len());
        let Some(op) = scripts[machine].next() else {
            break;
        };
        let results = (run(op, machine, first)?, run(op, machine, second)?);
        let op = (machine, op);
        if results.0 != results.1 {
            return Ok(Some(Difference {
                step,
                op,
                first: results.0,
                second: results.1,
                before,
            }));
        }
        if before.len() == SHOWN {
            before.remove(0);
        }
        before.push(op);
    }
    Ok(None)
}

/// Whose turn it is: by chance, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Turns(Random);

impl Turns {
    /// The turns of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    fn next(&mut self, machines: usize) -> usize {
        // CAST: Below a number of that type.
        self.0.below(machines as u64) as usize
    }
}

/// Runs one step; writes give 0.
fn run(op: Op, machine: usize, machines: &mut dyn Machines) -> Result<u64> {
    let target = machines.machine(machine);
    match op {
        Op::ConfigRead(offset, width) => return Ok(target.config_read(offset, width)?.into()),
        Op::ConfigWrite(offset, width, value) => target.config_write(offset, width, value)?,
        Op::Read(address, width) => return target.read(address, width),
        Op::Write(address, width, value) => {
            target.write(address, width, value)?;
            if (HOMES[0]..HOMES[1]).contains(&address) {
                machines.settle()?;
            }
        }
        Op::Reset => target.reset()?,
    }
    Ok(0)
}
