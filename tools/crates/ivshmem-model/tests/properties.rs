// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What holds for every flavour, whatever guests do.

use ivshmem_model::flavour::{AcrnDm, AcrnHv, Flavour, Outcome, Qemu, Ring, Vmm};
use ivshmem_model::{Event, Region, Width};
use proptest::prelude::*;

const SIZE: u64 = 1 << 16;
const VMS: [u16; 2] = [0, 3];

/// One access by one of the virtual machines.
#[derive(Clone, Debug)]
enum Access {
    Config(u16, Width, u32, bool),
    Bar(usize, u64, Width, u64, bool),
    Reset,
    Restart,
}

fn flavours() -> Vec<fn() -> Region<Vec<u8>>> {
    fn region(flavour: impl Flavour + 'static) -> Region<Vec<u8>> {
        Region::new(flavour, vec![0; SIZE as usize])
    }
    vec![
        || region(Qemu::plain()),
        || region(Qemu::doorbell(8).unwrap()),
        || region(AcrnHv::V3_3),
        || region(AcrnHv::V2_3),
        || region(AcrnDm::V3_3),
        || region(Vmm::CLOUD_HYPERVISOR),
        || region(Vmm::KVMTOOL),
        || region(Vmm::STRATOVIRT),
    ]
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(Width::ALL.to_vec())
}

fn access() -> impl Strategy<Value = (u16, Access)> {
    let offset = prop_oneof![0..0x50_u16, any::<u16>()];
    let config = (offset, 0..3_usize, any::<u32>(), any::<bool>()).prop_map(
        |(offset, width, value, write)| Access::Config(offset, Width::ALL[width], value, write),
    );
    let offset = prop_oneof![0..0x90_u64, 0..SIZE + 16, any::<u64>()];
    let value = prop_oneof![0..0x4_0010_u64, any::<u64>()];
    let bar = (0..4_usize, offset, width(), value, any::<bool>()).prop_map(
        |(bar, offset, width, value, write)| Access::Bar(bar, offset, width, value, write),
    );
    let access =
        prop_oneof![8 => config, 24 => bar, 1 => Just(Access::Reset), 1 => Just(Access::Restart)];
    (prop::sample::select(VMS.to_vec()), access)
}

/// Does an access and checks what a read may give.
fn perform(region: &mut Region<Vec<u8>>, vm: u16, access: &Access) {
    match *access {
        Access::Config(offset, width, value, true) => region.config_write(vm, offset, width, value),
        Access::Config(offset, width, ..) => {
            assert!(u64::from(region.config_read(vm, offset, width)) <= width.ones());
        }
        Access::Bar(bar, offset, width, value, true) => {
            region.bar_write(vm, bar, offset, width, value);
        }
        Access::Bar(bar, offset, width, ..) => {
            assert!(region.bar_read(vm, bar, offset, width) <= width.ones());
        }
        Access::Reset => region.reset(vm),
        Access::Restart => {
            region.detach(vm);
            region.attach(vm).unwrap();
        }
    }
}

proptest! {
    /// No access panics, no value is wider than its access, interrupts are only for those who are there, and each
    /// ring that is said to be sent is an interrupt.
    #[test]
    fn nothing_a_guest_does_breaks_the_model(accesses in prop::collection::vec(access(), 1..200)) {
        for make in flavours() {
            let mut region = make();
            let (tell, told) = std::sync::mpsc::channel();
            region.observe(move |event| tell.send(*event).unwrap());
            for vm in VMS {
                region.attach(vm).unwrap();
            }
            for (vm, access) in &accesses {
                perform(&mut region, *vm, access);
                let sent = told.try_iter().filter(|event| {
                    matches!(event, Event::Ring { outcome: Outcome::Sent, .. })
                });
                let sent = sent.count();
                let mut interrupts = 0;
                while let Some(interrupt) = region.next_interrupt() {
                    prop_assert!(VMS.contains(&interrupt.peer));
                    interrupts += 1;
                }
                // An unmask can send what was pending.
                prop_assert!(interrupts >= sent);
            }
        }
    }

    /// One machine's registers are not another's.
    #[test]
    fn machines_share_nothing_but_memory(accesses in prop::collection::vec(access(), 1..200)) {
        for make in flavours() {
            let mut region = make();
            for vm in VMS {
                region.attach(vm).unwrap();
            }
            let mut alone = make();
            alone.attach(VMS[0]).unwrap();
            for (_, access) in &accesses {
                perform(&mut region, VMS[1], access);
            }
            // QEMU can only have been made to pend; nothing else crosses.
            for offset in 0..64 {
                let offset = offset * 4;
                prop_assert_eq!(
                    region.config_read(VMS[0], offset, Width::U32),
                    alone.config_read(VMS[0], offset, Width::U32)
                );
            }
            for offset in [0, 4, 8, 12] {
                prop_assert_eq!(
                    region.bar_read(VMS[0], 0, offset, Width::U32),
                    alone.bar_read(VMS[0], 0, offset, Width::U32)
                );
            }
        }
    }

    /// The same accesses do the same.
    #[test]
    fn the_model_is_deterministic(accesses in prop::collection::vec(access(), 1..100)) {
        for make in flavours() {
            let runs = [make(), make()].map(|mut region| {
                let (tell, told) = std::sync::mpsc::channel();
                region.observe(move |event| tell.send(event.to_string()).unwrap());
                for vm in VMS {
                    region.attach(vm).unwrap();
                }
                for (vm, access) in &accesses {
                    perform(&mut region, *vm, access);
                }
                region.ring(9, Ring { peer: 0, vector: 0 });
                told.try_iter().collect::<Vec<_>>()
            });
            prop_assert_eq!(&runs[0], &runs[1]);
        }
    }
}
