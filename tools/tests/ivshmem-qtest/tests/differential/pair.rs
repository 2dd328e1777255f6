// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two machines of one region: both do anything, ring each other, and one of them leaves and comes again.

use std::path::PathBuf;

use ivshmem_model::config::offset;
use ivshmem_model::{flavour, PeerId, Region, Width};
use ivshmem_qtest::{InModel, InQemu, Limits, Machines, Script, Target, Turns};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use tempfile::TempDir;

use crate::{
    assert_tried, count_outcomes, doorbell, emulated, model, run, seed, start, steps,
    wait_until_told, SIZE,
};

/// How often the second machine comes and leaves, each time with the next ID, as QEMU's do.
const VISITS: PeerId = 4;

const VECTORS: u16 = 8;

/// One side of the comparison.
trait Side: Machines {
    /// The next machine comes, and everybody knows of it.
    fn come(&mut self, id: PeerId);

    /// The last machine leaves, and everybody knows that.
    fn leave(&mut self);
}

/// QEMU's own devices, at a server.
struct OfQemu {
    server: vmbench::Region,
    machines: Vec<InQemu>,
}

impl OfQemu {
    fn new(eventfds: u16) -> Self {
        Self {
            server: vmbench::Region::start(SIZE, eventfds).unwrap(),
            machines: Vec::new(),
        }
    }

    fn wait(&mut self) {
        let count = self.machines.len();
        wait_until_told(&self.server, &mut self.machines, count);
    }
}

impl Machines for OfQemu {
    fn machine(&mut self, number: usize) -> &mut dyn Target {
        self.machines.machine(number)
    }

    fn settle(&mut self) -> ivshmem_qtest::Result<()> {
        self.machines.settle()
    }
}

impl Side for OfQemu {
    fn come(&mut self, _id: PeerId) {
        self.machines.push(start(&doorbell(&self.server, VECTORS)));
        self.wait();
    }

    fn leave(&mut self) {
        self.machines.pop();
        self.wait();
    }
}

impl Side for Vec<InModel<Vec<u8>>> {
    fn come(&mut self, id: PeerId) {
        let new = self[0].attach(id).unwrap();
        self.push(new);
    }

    fn leave(&mut self) {
        self.pop().unwrap().detach();
    }
}

/// The model behind vfio-user, each machine in a QEMU of its own.
struct Emulated {
    host: Host,
    machines: Vec<InQemu>,
    endpoints: Vec<(PeerId, Endpoint)>,
    directory: TempDir,
}

impl Emulated {
    fn new(flavour: flavour::Qemu) -> Self {
        let memory = Backing::anonymous("pair", SIZE).unwrap();
        Self {
            host: Host::new(Region::new(flavour, memory)),
            machines: Vec::new(),
            endpoints: Vec::new(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self, id: PeerId) -> PathBuf {
        self.directory.path().join(id.to_string())
    }
}

impl Machines for Emulated {
    fn machine(&mut self, number: usize) -> &mut dyn Target {
        self.machines.machine(number)
    }

    fn settle(&mut self) -> ivshmem_qtest::Result<()> {
        for machine in &mut self.machines {
            // QEMU does not wait for writes to be done, but for reads, which come after them.
            machine.config_read(offset::VENDOR, Width::U16)?;
        }
        self.machines.settle()
    }
}

impl Side for Emulated {
    fn come(&mut self, id: PeerId) {
        let endpoint = self.host.listen(id, &self.socket(id)).unwrap();
        let device = emulated(&endpoint);
        self.machines.push(start(&["-device".into(), device]));
        self.endpoints.push((id, endpoint));
    }

    fn leave(&mut self) {
        self.machines.pop();
        let (id, _) = self.endpoints.pop().unwrap();
        test_limit::wait_until("the machine has gone", || {
            self.host
                .with(|region| region.peers().all(|peer| peer != id))
        });
    }
}

/// Runs the scripts of two machines on both sides, while the second one comes and goes.
fn compare(first: &mut dyn Side, second: &mut dyn Side, everything: bool) {
    let limits = Limits {
        bars: [256, 4096, SIZE],
        vectors: VECTORS,
        everything,
    };
    let steps = steps() / (2 * usize::from(VISITS));
    let mut turns = Turns::new(seed());
    let mut one = Script::new(seed(), limits);
    for id in 1..=VISITS {
        first.come(id);
        second.come(id);
        let mut two = Script::new(seed() + u64::from(id), limits);
        // Also the one that left, and itself.
        for script in [&mut one, &mut two] {
            script.ring_mostly(&[0, id, id - 1]);
        }
        run(&mut [&mut one, &mut two], &mut turns, steps, first, second);
        first.leave();
        second.leave();
        run(&mut [&mut one], &mut turns, steps, first, second);
    }
}

/// QEMU's own devices beside the model, where there are so many eventfds.
fn qemu_and_model(eventfds: u16, tried: &[(bool, &str)]) {
    let flavour = flavour::Qemu::doorbell(VECTORS).unwrap();
    let mut qemu = OfQemu::new(eventfds);
    qemu.come(0);
    let mut model = model(flavour.with_eventfds(eventfds));
    let outcomes = count_outcomes(&mut model);
    compare(&mut qemu, &mut vec![model], true);
    assert_tried(&outcomes, tried);
}

#[test]
fn two_machines_equal_the_model() {
    let tried = [
        (true, "sent"),
        (true, "pending"),
        (true, "lost: MSI-X is off"),
        (true, "lost: no such peer"),
        (false, "sent"),
    ];
    qemu_and_model(VECTORS, &tried);
}

#[test]
fn fewer_eventfds_than_vectors_equal_the_model() {
    let tried = [
        (true, "sent"),
        (true, "lost: no such vector"),
        (false, "lost: no such vector"),
    ];
    qemu_and_model(VECTORS / 2, &tried);
}

/// The model in two QEMUs, which is how the emulator runs it, beside the model alone.
#[test]
fn two_emulated_machines_equal_the_model() {
    for eventfds in [VECTORS, VECTORS / 2] {
        let flavour = flavour::Qemu::doorbell(VECTORS).unwrap();
        let flavour = flavour.with_eventfds(eventfds);
        let mut emulated = Emulated::new(flavour);
        emulated.come(0);
        let mut model = model(flavour);
        let outcomes = count_outcomes(&mut model);
        compare(&mut emulated, &mut vec![model], false);
        assert_tried(&outcomes, &[(true, "sent")]);
    }
}
