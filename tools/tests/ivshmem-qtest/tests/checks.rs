// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What QEMU's own `tests/qtest/ivshmem-test.c` checks, on QEMU's devices and on the model behind vfio-user.
//!
//! Each check is a function that is given machines; each machine is made twice.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ivshmem_abi::pci::{DEVICE_ID, VENDOR_ID};
use ivshmem_abi::regs::{DOORBELL, INTR_MASK, INTR_STATUS, IV_POSITION};
use ivshmem_model::config::{offset, MSIX_ENABLE};
use ivshmem_model::{flavour, Region, Width};
use ivshmem_qtest::{InQemu, Qemu, Target};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use serde_json::json;

const SIZE: u64 = 1 << 20;
const VECTORS: u16 = 2;
const SLOT: u8 = 4;
const PBA: u64 = 0x800;
const BARS: [u64; 3] = [0xe000_0000, 0xe010_0000, 0xe800_0000];

/// A machine whose device is set up, and what must live as long as it.
struct Machine {
    target: InQemu,
    _world: Box<dyn std::any::Any>,
}

impl Machine {
    fn start(args: &[String], world: impl std::any::Any) -> Self {
        let qemu = Qemu::start("pc", args).unwrap();
        let mut target = InQemu { qemu, slot: SLOT };
        for (bar, address) in BARS.into_iter().enumerate() {
            let register = offset::BAR + 4 * bar as u16;
            target
                .config_write(register, Width::U32, address as u32)
                .unwrap();
        }
        target.config_write(offset::COMMAND, Width::U16, 6).unwrap();
        Self {
            target,
            _world: Box::new(world),
        }
    }

    fn register(&mut self, register: usize) -> u32 {
        let address = BARS[0] + register as u64;
        self.target.read(address, Width::U32).unwrap() as u32
    }

    fn set_register(&mut self, register: usize, value: u32) {
        let address = BARS[0] + register as u64;
        self.target
            .write(address, Width::U32, value.into())
            .unwrap();
    }

    fn config(&mut self, offset: u16) -> u16 {
        self.target.config_read(offset, Width::U16).unwrap() as u16
    }

    /// The size of a BAR, found as a system does.
    fn bar_size(&mut self, bar: usize) -> u32 {
        let register = offset::BAR + 4 * bar as u16;
        let target = &mut self.target;
        target.config_write(register, Width::U32, u32::MAX).unwrap();
        let mask = target.config_read(register, Width::U32).unwrap() & !0xf;
        target
            .config_write(register, Width::U32, BARS[bar] as u32)
            .unwrap();
        mask.wrapping_neg()
    }

    fn enable_msix(&mut self) {
        let control = self.config(offset::MSIX_CONTROL) | MSIX_ENABLE;
        self.target
            .config_write(offset::MSIX_CONTROL, Width::U16, control.into())
            .unwrap();
        assert_eq!(self.config(offset::MSIX_CONTROL), control);
    }

    /// The first word of the pending bits.
    fn pending(&mut self) -> u32 {
        self.target.settle().unwrap();
        self.target.read(BARS[1] + PBA, Width::U32).unwrap() as u32
    }
}

/// QEMU's argument for the device of an endpoint, at this bus.
fn vfio_user(endpoint: &Endpoint, properties: &str) -> String {
    let insert = format!("{{{properties},");
    endpoint.qemu_device().replacen('{', &insert, 1)
}

/// Memory that the host can look into, and a path for QEMU.
fn memory() -> (File, String) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    (file, path)
}

fn builtin_plain(path: &str) -> Machine {
    Machine::start(
        &[
            "-object".into(),
            format!("memory-backend-file,id=hm,share=on,mem-path={path},size={SIZE}"),
            "-device".into(),
            format!("ivshmem-plain,memdev=hm,addr={SLOT}"),
        ],
        (),
    )
}

/// A host for a plain region over a file, and endpoints for virtual machines 0 and 1.
fn model_host(flavour: flavour::Qemu, memory: &File, directory: &Path) -> [Endpoint; 2] {
    let backing = Backing::file(memory.try_clone().unwrap()).unwrap();
    let host = Host::new(Region::new(flavour, backing));
    [0, 1].map(|peer| {
        host.listen(peer, &directory.join(format!("vm{peer}")))
            .unwrap()
    })
}

fn model_machine(endpoint: Endpoint) -> Machine {
    let device = vfio_user(&endpoint, &format!("\"addr\":\"{SLOT}\""));
    Machine::start(&["-device".into(), device], endpoint)
}

/// Two machines on one plain region, of QEMU and of the model, and the host's view of the memory.
fn plain_pairs() -> Vec<(File, [Machine; 2])> {
    let (file, path) = memory();
    let builtin = [builtin_plain(&path), builtin_plain(&path)];
    let (model_file, _) = memory();
    let directory = tempfile::tempdir().unwrap();
    let endpoints = model_host(flavour::Qemu::plain(), &model_file, directory.path());
    let model = endpoints.map(model_machine);
    vec![(file, builtin), (model_file, model)]
}

/// Two machines on one doorbell region, of QEMU and of the model.
fn doorbell_pairs() -> Vec<[Machine; 2]> {
    let server = vmbench::Region::start(SIZE, VECTORS).unwrap();
    let args = [
        "-chardev".into(),
        format!("socket,id=server,path={}", server.socket().display()),
        "-device".into(),
        format!("ivshmem-doorbell,chardev=server,vectors={VECTORS},addr={SLOT}"),
    ];
    let builtin = [Machine::start(&args, ()), Machine::start(&args, server)];
    let (file, _) = memory();
    let directory = tempfile::tempdir().unwrap();
    let flavour = flavour::Qemu::doorbell(VECTORS).unwrap();
    let model = model_host(flavour, &file, directory.path()).map(model_machine);
    vec![builtin, model]
}

#[test]
fn identity_and_sizes() {
    for (_, machines) in plain_pairs() {
        for mut machine in machines {
            assert_eq!(machine.config(offset::VENDOR), VENDOR_ID);
            assert_eq!(machine.config(offset::DEVICE), DEVICE_ID);
            assert_eq!(machine.config(offset::SUBSYSTEM_VENDOR), 0x1af4);
            assert_eq!(machine.config(offset::SUBSYSTEM), 0x1100);
            assert_eq!(machine.config(offset::REVISION) & 0xff, 1);
            assert_eq!(machine.config(offset::CLASS), 0x0500);
            assert_eq!(machine.config(offset::INTERRUPT_PIN) & 0xff, 0);
            assert_eq!(machine.bar_size(0), 256);
            assert_eq!(u64::from(machine.bar_size(2)), SIZE);
        }
    }
}

#[test]
fn single() {
    for (file, [mut machine, _]) in plain_pairs() {
        for register in [INTR_MASK, INTR_STATUS, IV_POSITION] {
            assert_eq!(machine.register(register), 0);
        }
        machine.set_register(INTR_MASK, u32::MAX);
        assert_eq!(machine.register(INTR_MASK), u32::MAX);
        machine.set_register(INTR_STATUS, 1);
        assert_eq!(machine.register(INTR_STATUS), 1);
        assert_eq!(machine.register(INTR_STATUS), 0, "reading clears it");
        machine.set_register(IV_POSITION, 1);
        assert_eq!(machine.register(IV_POSITION), 0);
        assert_eq!(machine.register(DOORBELL), 0);
        machine.set_register(DOORBELL, 8 << 16);

        let pattern: Vec<u8> = (0..4096_u32).map(|n| (n % 251) as u8).collect();
        for (at, bytes) in pattern.chunks(8).enumerate() {
            let value = u64::from_le_bytes(bytes.try_into().unwrap());
            let address = BARS[2] + at as u64 * 8;
            machine.target.write(address, Width::U64, value).unwrap();
        }
        let mut seen = vec![0; pattern.len()];
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen, pattern);
    }
}

#[test]
fn pair() {
    for (file, [mut one, mut two]) in plain_pairs() {
        // All of the memory by what is cheap: the host writes all, each machine looks at every page.
        file.write_all_at(&vec![0x42; SIZE as usize], 0).unwrap();
        let pages = || {
            (0..SIZE)
                .step_by(4096)
                .map(|at| BARS[2] + at + at / 4096 * 8 % 4096)
        };
        for address in pages() {
            for machine in [&mut one, &mut two] {
                let value = machine.target.read(address, Width::U64).unwrap();
                assert_eq!(value, 0x4242_4242_4242_4242);
            }
        }
        for (value, from, to) in [(0x43, 0, 1), (0x44, 1, 0)] {
            let machines = [&mut one, &mut two];
            for address in pages() {
                machines[from]
                    .target
                    .write(address, Width::U8, value)
                    .unwrap();
                assert_eq!(machines[to].target.read(address, Width::U8).unwrap(), value);
            }
        }
    }
}

#[test]
fn server() {
    for [mut one, mut two] in doorbell_pairs() {
        let ids = [one.register(IV_POSITION), two.register(IV_POSITION)];
        assert_ne!(ids[0], ids[1]);
        for machine in [&mut one, &mut two] {
            let entries = (machine.config(offset::MSIX_CONTROL) & 0x7ff) + 1;
            assert_eq!(entries, VECTORS);
            machine.enable_msix();
            // Connections to peers come after the device is there.
            machine.target.settle().unwrap();
        }
        // Masked, as after a reset: what arrives stays pending.
        assert_eq!(one.pending() & 1, 0);
        two.set_register(DOORBELL, ids[0] << 16);
        until_pending(&mut one, 1);
        assert_eq!(two.pending() & 2, 0);
        one.set_register(DOORBELL, ids[1] << 16 | 1);
        until_pending(&mut two, 2);
        // The machines end in the order opposite to their start, while the other side is still there.
        drop(two);
        drop(one);
    }
}

/// Blocks until a pending bit is set, each look being a turn of the machine's main loop.
fn until_pending(machine: &mut Machine, bit: u32) {
    test_limit::wait_until("the ring has come", || machine.pending() & bit != 0);
}

#[test]
fn memdev_that_only_qemu_knows() {
    let mut machine = Machine::start(
        &[
            "-object".into(),
            format!("memory-backend-ram,id=hm,size={SIZE}"),
            "-device".into(),
            format!("ivshmem-plain,memdev=hm,addr={SLOT}"),
        ],
        (),
    );
    assert_eq!(u64::from(machine.bar_size(2)), SIZE);
}

#[test]
fn hotplug_on_the_pc() {
    let (file, path) = memory();
    let directory = tempfile::tempdir().unwrap();
    let [endpoint, _] = model_host(flavour::Qemu::plain(), &file, directory.path());
    let object = format!("memory-backend-file,id=hm,share=on,mem-path={path},size={SIZE}");
    let mut target = InQemu {
        qemu: Qemu::start("pc", &["-object".into(), object]).unwrap(),
        slot: 6,
    };
    let mut monitor = target.qemu.monitor().unwrap();
    let socket = json!({"type": "unix", "path": endpoint.path()});
    let plugs = [
        json!({"driver": "ivshmem-plain", "id": "iv", "memdev": "hm", "addr": "6"}),
        json!({"driver": "vfio-user-pci", "id": "iv", "socket": socket, "addr": "6"}),
    ];
    for plug in plugs {
        monitor.execute("device_add", plug).unwrap();
        assert_eq!(
            target.config_read(offset::VENDOR, Width::U16).unwrap(),
            0x1af4
        );
        monitor.execute("device_del", json!({"id": "iv"})).unwrap();
        // The guest ejects slot 6 through ACPI's hot-plug ports.
        target.qemu.port_out(0xae08, Width::U32, 1 << 6).unwrap();
        monitor.wait_for("DEVICE_DELETED").unwrap();
        assert_eq!(
            target.config_read(offset::VENDOR, Width::U16).unwrap(),
            0xffff
        );
    }
}

#[test]
fn hotplug_below_a_bridge_of_q35() {
    let (file, path) = memory();
    let directory = tempfile::tempdir().unwrap();
    let [endpoint, _] = model_host(flavour::Qemu::plain(), &file, directory.path());
    let args = [
        "-object",
        &format!("memory-backend-file,id=hm,share=on,mem-path={path},size={SIZE}"),
        "-device",
        "pcie-root-port,id=p1",
        "-device",
        "pcie-pci-bridge,bus=p1,id=b1",
    ]
    .map(String::from);
    let qemu = Qemu::start("q35", &args).unwrap();
    let mut monitor = qemu.monitor().unwrap();
    let socket = json!({"type": "unix", "path": endpoint.path()});
    for plug in [
        json!({"driver": "ivshmem-plain", "id": "iv0", "memdev": "hm", "bus": "b1", "addr": "1"}),
        json!({"driver": "vfio-user-pci", "id": "iv1", "socket": socket, "bus": "b1", "addr": "2"}),
    ] {
        let id = plug["id"].clone();
        monitor.execute("device_add", plug).unwrap();
        monitor.execute("device_del", json!({ "id": id })).unwrap();
    }
}
