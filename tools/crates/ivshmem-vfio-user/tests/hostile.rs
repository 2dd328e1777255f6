// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A machine that plays with the event descriptors that it gave.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};

use ivshmem_model::config::{offset, MSIX_ENABLE};
use ivshmem_model::flavour::AcrnHv;
use ivshmem_model::Region;
use ivshmem_vfio_user::{Backing, Host};
use rustix::event::{eventfd, EventfdFlags};
use vfio_user::Client;

const CONFIG: u32 = 7;
const MSIX: u32 = 2;
/// `DATA_EVENTFD | ACTION_TRIGGER`, and `DATA_NONE | ACTION_TRIGGER`.
const GIVE: u32 = 0x24;
const TAKE: u32 = 0x21;

/// A thread that rings a vector of a machine again and again.
struct Ringer {
    rings: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    /// Where the kernel tells of the thread.
    status: PathBuf,
}

impl Ringer {
    fn start(host: Host) -> Self {
        let (rings, end) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, ended) = (Arc::clone(&rings), Arc::clone(&end));
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            tell.send(std::fs::read_link("/proc/thread-self").unwrap())
                .unwrap();
            while !ended.load(Ordering::Relaxed) {
                host.ring(0, 2, 0);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let status = PathBuf::from("/proc")
            .join(told.recv().unwrap())
            .join("status");
        Self {
            rings,
            end,
            thread,
            status,
        }
    }

    /// Whether it sleeps, which nothing but an event descriptor can make it do here.
    fn sleeps(&self) -> bool {
        std::fs::read_to_string(&self.status)
            .unwrap()
            .contains("State:\tS")
    }
}

/// Fills the counter up in the moment between a ringer's look whether it has room and its write, and lets it block.
fn hold_up(ringer: &Ringer, event: &File) {
    let mut event = event;
    test_limit::wait_until("a ring waits", || {
        for _ in 0..1000 {
            rustix::io::ioctl_fionbio(event, true).unwrap();
            // Both fail if the ringer came between them.
            let _ = event.read(&mut [0; 8]);
            let full = event.write(&(u64::MAX - 1).to_ne_bytes()).is_ok();
            rustix::io::ioctl_fionbio(event, false).unwrap();
            let before = ringer.rings.load(Ordering::Relaxed);
            while full && ringer.rings.load(Ordering::Relaxed) == before {
                if ringer.sleeps() {
                    return true;
                }
            }
        }
        false
    });
}

/// The machine can make wait who rings it just then, and nobody else; and not for longer than it is there and wants to be
/// interrupted.
#[test]
fn a_ring_that_is_held_up_holds_up_nobody_else() {
    let memory = Backing::anonymous("test", 2 << 20).unwrap();
    let host = Host::new(Region::new(AcrnHv::V3_3, memory));
    let directory = tempfile::tempdir().unwrap();
    let endpoint = host.listen(2, &directory.path().join("vm2")).unwrap();
    let take_away = |client: &mut Client| client.set_irqs(MSIX, TAKE, 0, 0, &[]);
    let go = |client: &mut Client| client.shutdown();
    for end in [take_away, go] {
        let mut client = Client::new(endpoint.path()).unwrap();
        let event = File::from(eventfd(0, EventfdFlags::empty()).unwrap());
        client
            .set_irqs(MSIX, GIVE, 0, 1, &[event.as_raw_fd()])
            .unwrap();
        let control = MSIX_ENABLE.to_le_bytes();
        client
            .region_write(CONFIG, offset::MSIX_CONTROL.into(), &control)
            .unwrap();
        let ringer = Ringer::start(host.clone());
        hold_up(&ringer, &event);
        let (tell, told) = mpsc::channel();
        let other = host.clone();
        thread::spawn(move || tell.send(other.with(|region| region.peers().count())));
        assert_eq!(told.recv_timeout(test_limit::limit()), Ok(1), "all wait");
        ringer.end.store(true, Ordering::Relaxed);
        end(&mut client).unwrap();
        ringer.thread.join().unwrap();
    }
}
