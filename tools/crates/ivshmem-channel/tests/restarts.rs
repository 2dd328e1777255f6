// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs that start again, in memory that was used before, on one machine and on several, and that end: on purpose,
//! by a crash, or because their device is taken away.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{layout, members, memory, Polled, GATHERS, RING, SIZE, SOON};
use futures_util::{SinkExt, StreamExt};
use ivshmem::{forward_memory, Access, Bell, Doorbell, Locking, Mapping, Memory, Waiter};
use ivshmem_channel::ring::{Consumer, Handover, Place, Producer};
use ivshmem_channel::{
    select, Cancel, Channel, Error, Layout, Messages, Outbox, Selectable, Watch,
};
use rustix::io::Errno;
use test_limit::{limit, wait_until};

/// Nothing takes this long.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

/// A link as a process on the host has it: programs of one machine can be told apart.
#[derive(Debug)]
struct Host {
    mapping: Mapping,
    file: File,
    id: u32,
    vectors: u32,
    /// How often somebody went to sleep.
    sleeps: AtomicU32,
    /// How often the word was another one then.
    turned_away: AtomicU32,
    /// The next sleep is interrupted by a signal.
    signal: AtomicBool,
    /// The memory was taken away.
    gone: AtomicBool,
    /// The next sleep ends because it is.
    gone_while_asleep: AtomicBool,
    /// There can be no more open files.
    too_many_files: AtomicBool,
}

impl Host {
    fn of(file: &File, id: u32) -> Arc<Self> {
        Self::with_vectors(file, id, 2)
    }

    fn with_vectors(file: &File, id: u32, vectors: u32) -> Arc<Self> {
        Arc::new(Self {
            mapping: Mapping::of(file, 0, SIZE, Access::ReadWrite).unwrap(),
            file: file.try_clone().unwrap(),
            id,
            vectors,
            sleeps: AtomicU32::new(0),
            turned_away: AtomicU32::new(0),
            signal: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            gone_while_asleep: AtomicBool::new(false),
            too_many_files: AtomicBool::new(false),
        })
    }

    fn mapping(&self) -> &Mapping {
        assert!(!self.gone.load(Ordering::Relaxed), "SIGBUS");
        &self.mapping
    }
}

forward_memory!({} Host, Host::mapping);

impl Doorbell for Host {
    fn peer_id(&self) -> u32 {
        self.id
    }
    fn vectors(&self) -> u32 {
        self.vectors
    }
    fn ring(&self, _: u32, _: u32) -> ivshmem::Result<()> {
        Ok(())
    }
    fn lock(&self, number: u64) -> Locking {
        Locking::of(&self.file, number)
    }
    fn is_gone(&self) -> bool {
        // A sleep on descriptors is over by now.
        if self.gone_while_asleep.load(Ordering::Relaxed) {
            self.gone.store(true, Ordering::Relaxed);
        }
        self.gone.load(Ordering::Relaxed)
    }
}

impl Waiter for Host {
    fn wait(&self, _: u64, _: Option<Duration>) -> ivshmem::Result<u64> {
        Err(ivshmem::Error::NoDoorbell)
    }
    /// As the driver does: looks at the word first, and then only when something is rung, which nobody does here.
    fn wait_word(&self, at: u64, value: u32, timeout: Option<Duration>) -> ivshmem::Result<bool> {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        if self.gone_while_asleep.load(Ordering::Relaxed) {
            self.gone.store(true, Ordering::Relaxed);
            return Err(ivshmem::Error::Gone);
        }
        if self.signal.swap(false, Ordering::Relaxed) {
            return Err(ivshmem::Error::Interrupted);
        }
        if self.load32(at, Ordering::Acquire)? != value {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return Ok(true);
        }
        std::thread::sleep(timeout.expect("a sleep has an end"));
        Ok(self.load32(at, Ordering::Acquire)? != value)
    }
    fn bell(&self, _: u32) -> ivshmem::Result<Bell> {
        match self.too_many_files.load(Ordering::Relaxed) {
            true => Err(ivshmem::Error::io(Errno::MFILE, "cannot make an eventfd")),
            false => Err(ivshmem::Error::NoDoorbell),
        }
    }
}

#[test]
fn who_waits_in_memory_that_was_used_before_sleeps() {
    let file = memory();
    {
        let [one, two, gathers] = members(&file);
        let mut message = Vec::new();
        for (from, to) in [(&one, &two), (&two, &one)] {
            let mut sender = from.sender(to.slot()).unwrap();
            let mut receiver = to.receiver(from.slot()).unwrap();
            for _ in 0..100 {
                sender.send(b"of another time", SOON).unwrap();
                assert!(receiver.receive(&mut message, SOON).unwrap());
            }
        }
        let mut sender = one.sender(GATHERS).unwrap();
        let mut receiver = gathers.multi_receiver().unwrap();
        for _ in 0..100 {
            sender.send(b"of another time", SOON).unwrap();
            assert!(receiver.receive(&mut message, SOON).unwrap().is_some());
        }
    }
    let link = Host::of(&file, 0);
    let channel = Channel::create(Arc::clone(&link), 0, &layout()).unwrap();
    let member = channel.join(0, 0).unwrap();
    let wait = Some(Duration::from_millis(200));
    // The other end has not come yet, neither to send nor to make room.
    assert!(member.receiver(1).unwrap().next(wait).unwrap().is_none());
    for to in [1, GATHERS] {
        let mut sender = member.sender(to).unwrap();
        while sender.send(&[0; 500], Some(Duration::ZERO)).is_ok() {}
        let sent = sender.send(&[0; 500], wait);
        assert!(matches!(sent, Err(Error::TimedOut)), "{sent:?}");
    }
    // Nothing changes, so that each sleep lasts until the next heartbeat is due.
    assert!(link.sleeps.load(Ordering::Relaxed) > 0);
    assert_eq!(link.turned_away.load(Ordering::Relaxed), 0);
}

#[test]
fn of_programs_of_one_machine_each_gets_a_slot_of_its_own() {
    let file = memory();
    // Nobody is silent for so long, whatever else the machine does.
    let minute = Duration::from_secs(60);
    let layout = layout().heartbeat(minute / 2, minute);
    let channel = Channel::create(Host::of(&file, 7), 0, &layout).unwrap();
    let slots = [0, 1, 2];
    let joining = channel.joining().timeout(Duration::from_millis(50));
    let join = || joining.join_any(&slots, 0);
    let members = slots.map(|_| join().unwrap());
    assert_eq!(members.each_ref().map(|member| member.slot()), slots);
    let fourth = join();
    assert!(matches!(fourth, Err(Error::SlotTaken(_))), "{fourth:?}");
    for member in &members {
        // Nobody has lost its slot to it.
        member.beat().unwrap();
    }
}

/// Byte in the file at which a slot of [`layout`] begins: after the header and a table of three rings.
fn slot_at(slot: u32) -> u64 {
    256 + 128 * u64::from(slot)
}

/// Joins slot `slot` as peer `id` and crashes: its lock goes with the process, and its words stay.
fn crash(file: &File, id: u32, slot: u32) {
    let channel = Channel::open(Host::of(file, id), 0).unwrap();
    let member = channel.join(slot, 0).unwrap();
    let owner = member.incarnation().to_le_bytes();
    drop(member);
    file.write_all_at(&owner, slot_at(slot) + 4).unwrap();
}

#[test]
fn what_a_program_of_this_machine_leaves_when_it_crashes_is_taken_at_once() {
    let file = memory();
    // Whoever has to wait for silence here waits for a minute.
    let minute = Duration::from_secs(60);
    let layout = layout().heartbeat(minute / 2, minute);
    let channel = Channel::create(Host::of(&file, 7), 0, &layout).unwrap();
    crash(&file, 7, 0);
    let again = channel.join(0, 0).unwrap();
    // On the host each process has a peer ID of its own.
    crash(&file, 8, 1);
    let other = channel.join(1, 0).unwrap();
    // While it lives, its slot is not taken.
    let zero = channel.joining().timeout(Duration::ZERO).join(1, 0);
    assert!(matches!(zero, Err(Error::SlotTaken(1))), "{zero:?}");
    again.beat().unwrap();
    other.beat().unwrap();
}

#[test]
fn a_join_has_a_limit_and_can_be_cancelled() {
    let file = memory();
    // What another program says of times binds nobody.
    let hour = Duration::from_secs(3600);
    let layout = layout().heartbeat(Duration::from_secs(60), hour);
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout).unwrap();
    let _one = channel.join(0, 0).unwrap();
    let short = channel.joining().timeout(Duration::from_millis(20));
    assert!(matches!(short.join(0, 0), Err(Error::SlotTaken(0))));
    let cancel = Cancel::new().unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            cancel.cancel();
        });
        let long = channel.joining().timeout(hour).cancel(&cancel).join(0, 0);
        assert!(matches!(long, Err(Error::Cancelled)), "{long:?}");
    });
    assert!(begin.elapsed() < hour && cancel.is_cancelled());
}

#[test]
fn a_vector_that_the_end_does_not_have_is_refused() {
    let file = memory();
    let link = Host::with_vectors(&file, 0, 1);
    let channel = Channel::create(link, 0, &layout()).unwrap();
    for vector in [1, 7, 256, u32::MAX] {
        let joined = channel.join(0, vector);
        let refused = matches!(joined, Err(Error::Link(ivshmem::Error::Argument(_))));
        assert!(refused, "{vector}: {joined:?}");
    }
    drop(channel.join(0, 0).unwrap());
    // An end that cannot be rung has none to be wrong about.
    let polled = Channel::open(Polled::of(&file, 1), 0).unwrap();
    polled.join(1, 5).unwrap();
}

#[test]
fn to_join_no_slot_at_all_is_refused() {
    let channel = Channel::create(Host::of(&memory(), 0), 0, &layout()).unwrap();
    let joined = channel.joining().timeout(Duration::ZERO).join_any(&[], 0);
    let refused = matches!(joined, Err(Error::Link(ivshmem::Error::Argument(_))));
    assert!(refused, "{joined:?}");
}

#[test]
fn a_channel_that_is_made_anew_again_and_again_keeps_nobody_for_ever() {
    let file = memory();
    let mut tries = 0;
    let joined = Channel::create_or_join(Host::of(&file, 0), 0, &layout(), |_| {
        tries += 1;
        assert!(tries < 10_000, "it does not give up");
        Err::<(), _>(Error::Reset)
    });
    assert!(matches!(joined, Err(Error::Reset)), "{joined:?}");
    assert!(tries > 10, "programs that start together recreate it");
}

/// By a program that may still run, so that its ring buffers are taken over before anybody believes that it has joined.
#[test]
fn a_channel_that_is_recreated_while_a_slot_is_taken_is_to_be_joined_again() {
    /// Where the owner of slot 0 is in a channel of that layout.
    const OWNER: u64 = 256;
    let layout = layout().heartbeat(Duration::from_millis(10), Duration::from_millis(20));
    let mut resets = 0;
    loop {
        let file = memory();
        let maker = Polled::of(&file, 1);
        let channel = Channel::create(Arc::clone(&maker), 0, &layout).unwrap();
        let _silent = channel.join(0, 0).unwrap();
        let before = maker.load64(OWNER, Ordering::Acquire).unwrap();
        // The channel is recreated at another access each time, from where the slot has its new owner on.
        let (left, layout) = (AtomicUsize::new(resets), layout.clone());
        let link = Polled::while_using(&file, 2, move || {
            let taken = maker.load64(OWNER, Ordering::Acquire).unwrap() != before;
            if taken && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                Channel::create(Arc::clone(&maker), 0, &layout).unwrap();
            }
        });
        match Channel::open(link, 0).unwrap().join(0, 0) {
            Err(Error::Reset) => resets += 1,
            joined => {
                joined.unwrap();
                break;
            }
        }
    }
    assert!(resets > 10, "there are ring buffers to be taken");
}

#[test]
fn a_signal_does_not_end_a_wait() {
    let file = memory();
    let link = Host::of(&file, 0);
    let channel = Channel::create(Arc::clone(&link), 0, &layout()).unwrap();
    let member = channel.join(0, 0).unwrap();
    let mut receiver = member.receiver(1).unwrap();
    let wait = Duration::from_millis(100);
    let begin = Instant::now();
    link.signal.store(true, Ordering::Relaxed);
    assert!(receiver.next(Some(wait)).unwrap().is_none());
    assert!(!link.signal.load(Ordering::Relaxed) && begin.elapsed() >= wait);
}

#[test]
fn what_was_queued_and_what_is_done_is_told_when_an_end_is_dropped() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut sender = one.sender(1).unwrap();
    for text in [b"one", b"two"] {
        sender.queue(text, SOON).unwrap();
    }
    drop(sender);
    let mut receiver = two.receiver(0).unwrap();
    let message = receiver.next(SOON).unwrap().unwrap();
    assert_eq!(message.to_vec().unwrap(), b"one");
    message.done().unwrap();
    drop(receiver);
    // Not the first one again.
    let mut receiver = two.receiver(0).unwrap();
    let message = receiver.next(SOON).unwrap().unwrap();
    assert_eq!(message.to_vec().unwrap(), b"two");
    message.done().unwrap();
    // The same with several senders.
    let mut sender = two.sender(GATHERS).unwrap();
    for text in [b"one", b"two"] {
        sender.queue(text, SOON).unwrap();
    }
    drop(sender);
    for text in [b"one", b"two"] {
        let mut receiver = gathers.multi_receiver().unwrap();
        let message = receiver.next(SOON).unwrap().unwrap();
        assert_eq!(message.to_vec().unwrap(), text);
        message.done().unwrap();
    }
}

/// Another machine on the same memory, where peer IDs are nobody's and all the same: it may only be paused.
#[test]
fn who_cannot_be_rung_is_not_taken_for_a_machine_that_was_started_again() {
    let file = memory();
    let elsewhere = Host::with_vectors(&file, 0, 0);
    // Its own kernel has another number for the file.
    let elsewhere = Arc::new(Host {
        file: memory(),
        ..Arc::into_inner(elsewhere).unwrap()
    });
    let channel = Channel::create(elsewhere, 0, &layout()).unwrap();
    let paused = channel.join(0, 0).unwrap();
    let mut sender = paused.sender(1).unwrap();
    let longest = sender.longest();
    let mut writing = sender.reserve(100, SOON).unwrap();
    let successor = Channel::open(Host::with_vectors(&file, 0, 0), 0).unwrap();
    let successor = successor.join(0, 0).unwrap();
    assert!(
        successor.sender(1).unwrap().longest() < longest,
        "the place is left out"
    );
    writing.write(0, &[0; 100]).unwrap();
    writing.commit(100).unwrap();
    assert!(matches!(sender.flush(), Err(Error::Replaced)));
}

/// A container of a machine, with a node of its own: the peer ID is that of the others, the locks are not.
fn container(file: &File) -> Arc<Host> {
    Arc::new(Host {
        file: memory(),
        ..Arc::into_inner(Host::of(file, 7)).unwrap()
    })
}

#[test]
fn a_program_of_this_machine_with_another_lock_is_not_taken_for_ended() {
    let file = memory();
    let channel = Channel::create(container(&file), 0, &layout()).unwrap();
    let paused = channel.join(0, 0).unwrap();
    let mut sender = paused.sender(1).unwrap();
    let longest = sender.longest();
    let mut writing = sender.reserve(100, SOON).unwrap();
    let successor = Channel::open(container(&file), 0).unwrap();
    let successor = successor.join(0, 0).unwrap();
    let left = successor.sender(1).unwrap().longest();
    assert!(left < longest, "the place is left out");
    writing.write(0, &[0; 100]).unwrap();
    writing.commit(100).unwrap();
    assert!(matches!(sender.flush(), Err(Error::Replaced)));
}

#[test]
fn whatever_ran_before_a_machine_was_started_again_has_ended() {
    let file = memory();
    let channel = Channel::create(container(&file), 0, &layout()).unwrap();
    let before = channel.join(0, 0).unwrap();
    let mut sender = before.sender(1).unwrap();
    let longest = sender.longest();
    sender.reserve(100, SOON).unwrap();
    // Another start of the machine, whose kernel has another number for the file too.
    let words = [5, 6, 6 ^ 7 ^ before.incarnation()].map(u32::to_le_bytes);
    let words = words.concat();
    file.write_all_at(&words, slot_at(0) + 24).unwrap();
    let after = Channel::open(Host::of(&file, 7), 0).unwrap().join(0, 0);
    let sender = after.unwrap().sender(1).unwrap();
    assert_eq!(sender.longest(), longest, "nothing need be left out");
}

/// A paused program, over whose peer ID or machine somebody else has written who lost the slot to it, and ended then.
#[test]
fn a_paused_program_is_not_taken_for_an_earlier_start_of_this_machine() {
    const OTHER_MACHINE: u32 = 5;
    // The paused one's peer ID, whether it runs on another machine, and which word is the other one's.
    for (peer_id, elsewhere, at, word) in [(3, true, 16, 7), (7, false, 28, OTHER_MACHINE)] {
        let file = memory();
        let link = Arc::new(Host {
            id: peer_id,
            ..Arc::into_inner(container(&file)).unwrap()
        });
        let paused = Channel::create(link, 0, &layout()).unwrap();
        let paused = paused.join(0, 0).unwrap();
        let put = |at: u64, word: u32| file.write_all_at(&word.to_le_bytes(), slot_at(0) + at);
        let mut sender = paused.sender(1).unwrap();
        let longest = sender.longest();
        let mut writing = sender.reserve(100, SOON).unwrap();
        if elsewhere {
            put(28, OTHER_MACHINE).unwrap();
            put(32, OTHER_MACHINE ^ peer_id ^ paused.incarnation()).unwrap();
        }
        put(at, word).unwrap();
        let successor = Channel::open(Host::of(&file, 7), 0).unwrap();
        let successor = successor.join(0, 0).unwrap();
        let left = successor.sender(1).unwrap().longest();
        assert!(left < longest, "the place is left out: {at}");
        writing.write(0, &[0; 100]).unwrap();
        writing.commit(100).unwrap();
        assert!(matches!(sender.flush(), Err(Error::Replaced)));
    }
}

/// A ring whose sender was replaced while it wrote, and that goes on behind what it may still write.
fn replaced(memory: &Polled) -> Producer<&Polled> {
    let place = place();
    let attach = |before| Producer::attach(memory, place, before, &mut || Ok(())).unwrap();
    attach(Handover::Ended).reserve(100).unwrap().unwrap();
    attach(Handover::MayRun)
}

fn place() -> Place {
    Place {
        offset: 0,
        size: RING,
        generation: 7,
        lane: None,
    }
}

#[test]
fn the_longest_message_gets_around_a_place_that_is_left_out_wherever_the_ring_is() {
    let file = memory();
    let memory = Polled::of(&file, 0);
    let mut tried = 0;
    for position in (0..RING).step_by(8) {
        file.write_all_at(&[0; 256 + RING as usize], 0).unwrap();
        let mut producer = replaced(&memory);
        let mut consumer = Consumer::attach(&*memory, place(), &mut || Ok(())).unwrap();
        let longest = producer.longest();
        let mut left = position as usize;
        while left > 0 {
            // With its header.
            let record = left.min(longest / 8 * 8 + 8);
            let space = producer.reserve(record - 8).unwrap().unwrap();
            producer.commit(space, record - 8).unwrap();
            producer.publish().unwrap();
            let found = consumer.peek().unwrap().unwrap();
            consumer.advance(found);
            consumer.release().unwrap();
            left -= record;
        }
        let space = producer.reserve(longest).unwrap();
        assert!(space.is_some(), "an empty ring, {position} bytes further");
        tried += 1;
    }
    assert!(tried > 100);
}

/// The byte in the file of the head of the ring from slot 0 to slot `to`, in [`layout`].
fn head_at(to: u32) -> u64 {
    const HEAD: u64 = 136;
    let rings = slot_at(3);
    let step = 256 + u64::from(RING);
    match to {
        GATHERS => rings + 2 * step + 128 + HEAD,
        _ => rings + HEAD,
    }
}

#[test]
fn who_waits_gives_back_the_room_of_what_was_left_out() {
    let file = memory();
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout()).unwrap();
    let paused = channel.join(0, 0).unwrap();
    let mut senders = [1, GATHERS].map(|to| paused.sender(to).unwrap());
    for sender in &mut senders {
        sender.reserve(100, SOON).unwrap();
    }
    let [one, gathers] = [1, GATHERS].map(|slot| {
        let channel = Channel::open(Polled::of(&file, slot), 0).unwrap();
        channel.join(slot, 0).unwrap()
    });
    std::thread::scope(|scope| {
        let waits = [
            scope.spawn(|| {
                one.receiver(0)
                    .unwrap()
                    .next(Some(limit()))
                    .unwrap()
                    .is_some()
            }),
            scope.spawn(|| {
                let mut receiver = gathers.multi_receiver().unwrap();
                receiver.next(Some(limit())).unwrap().is_some()
            }),
        ];
        let successor = channel.join(0, 0).unwrap();
        for to in [1, GATHERS] {
            let head = || {
                let mut word = [0; 4];
                file.read_exact_at(&mut word, head_at(to)).unwrap();
                u32::from_le_bytes(word)
            };
            wait_until("the room is given back", || head() > 0);
            successor.sender(to).unwrap().send(b"end", SOON).unwrap();
        }
        assert!(waits.into_iter().all(|wait| wait.join().unwrap()));
    });
}

#[test]
fn who_cannot_listen_is_told_and_does_not_look_for_ever() {
    let link = Host::of(&memory(), 0);
    let channel = Channel::create(link.clone(), 0, &layout()).unwrap();
    let [one, gathers] = [0, GATHERS].map(|slot| channel.join(slot, 0).unwrap());
    let mut sender = one.sender(1).unwrap();
    while sender.send(&[0; 64], Some(Duration::ZERO)).is_ok() {}
    let mut receiver = one.receiver(1).unwrap();
    let mut multi = gathers.multi_receiver().unwrap();
    let mut room = sender.room(64);
    let ends: [&mut dyn Selectable; 3] = [&mut receiver, &mut multi, &mut room];
    link.too_many_files.store(true, Ordering::Relaxed);
    let is_told = |error: Option<Error>| {
        let told = matches!(error, Some(Error::Link(ivshmem::Error::Io { .. })));
        assert!(told, "{error:?}");
    };
    for end in ends {
        let selected = select(&mut [end], Some(Duration::from_millis(20)));
        is_told(selected.err());
    }
    let watch = Watch::new().unwrap();
    is_told(watch.arm(&mut receiver).err());
    is_told(watch.arm(&mut multi).err());
    is_told(watch.arm(&mut sender.room(64)).err());
}

#[test]
fn nothing_touches_memory_that_was_taken_away() {
    for can_be_cancelled in [false, true] {
        let file = memory();
        let link = Host::of(&file, 0);
        let channel = Channel::create(Arc::clone(&link), 0, &layout()).unwrap();
        // One that finds it out itself, and one that did not call.
        let [finds, idle] = [0, 1].map(|slot| channel.join(slot, 0).unwrap());
        let mut receiver = finds.receiver(1).unwrap();
        let mut sender = idle.sender(0).unwrap();
        sender.queue(b"never flushed", SOON).unwrap();
        link.gone_while_asleep.store(true, Ordering::Relaxed);
        if can_be_cancelled {
            receiver.set_cancel(&Cancel::new().unwrap());
        }
        for _ in 0..2 {
            let found = receiver.next(LIMIT);
            let gone = matches!(found, Err(Error::Link(ivshmem::Error::Gone)));
            assert!(gone, "{found:?}");
        }
        drop((sender, idle));
        drop((receiver, finds));
    }
}

#[test]
fn a_task_does_not_touch_memory_that_was_taken_away_while_it_slept() {
    let file = memory();
    let link = Host::of(&file, 0);
    let channel = Channel::create(link.clone(), 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    link.gone_while_asleep.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        let mut messages = Messages::new(me.receiver(1).unwrap()).unwrap();
        let found = tokio::time::timeout(limit(), messages.next()).await;
        let found = found.expect("it is told");
        let gone = matches!(found, Some(Err(Error::Link(ivshmem::Error::Gone))));
        assert!(gone, "{found:?}");
        assert!(messages.next().await.is_none());
    });
    drop(me);

    // The same for one that waits for room.
    let link = Host::of(&file, 0);
    let channel = Channel::create(link.clone(), 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    runtime.block_on(async {
        let mut outbox = Outbox::new(me.sender(1).unwrap()).unwrap();
        let full = async {
            while outbox.send(vec![0; 100]).await.is_ok() {
                link.gone_while_asleep.store(true, Ordering::Relaxed);
            }
        };
        let ended = tokio::time::timeout(limit(), full).await;
        assert!(ended.is_ok(), "it is told");
    });
}

#[test]
fn a_heartbeat_comes_as_often_as_the_header_says() {
    const BEAT: Duration = Duration::from_millis(400);
    let file = memory();
    let layout = Layout::duplex(1024).heartbeat(BEAT, 10 * BEAT);
    let channel = Channel::create(Host::of(&file, 0), 0, &layout).unwrap();
    let member = channel.join(0, 0).unwrap();
    let mut receiver = member.receiver(1).unwrap();
    let beats = |file: &File| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, 256 + 12).unwrap();
        u32::from_le_bytes(word)
    };
    let (before, begin) = (beats(&file), Instant::now());
    assert!(receiver.next(Some(BEAT * 4)).unwrap().is_none());
    // At least each, whatever else the machine does; by design two for each.
    let least = (begin.elapsed().as_millis().min((BEAT * 4).as_millis()) / BEAT.as_millis()) as u32;
    let got = beats(&file) - before;
    assert!(got >= least + 2, "{got} heartbeats in the time of {least}");
}

#[test]
fn a_ring_whose_messages_are_all_done_has_room_for_the_longest() {
    let file = memory();
    let [one, two, _] = members(&file);
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    let mut message = Vec::new();
    let longest = vec![7; sender.longest()];
    for len in [1040, 1000] {
        sender.send(&vec![1; len], SOON).unwrap();
        assert!(receiver.receive(&mut message, SOON).unwrap());
        sender.send(&longest, SOON).unwrap();
        assert!(receiver.receive(&mut message, LIMIT).unwrap());
        assert_eq!(message, longest);
    }
}

#[test]
fn neither_an_event_loop_nor_a_look_at_others_touches_memory_that_was_taken_away() {
    let file = memory();
    let link = Host::of(&file, 0);
    let channel = Channel::create(link.clone(), 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    let mut receiver = me.receiver(1).unwrap();
    let mut changes = me.changes();
    assert!(changes.next(Some(Duration::ZERO)).unwrap().is_none());
    let watch = Watch::new().unwrap();
    assert!(watch.arm(&mut receiver).unwrap());
    link.gone_while_asleep.store(true, Ordering::Relaxed);
    let is_gone = |result: Result<(), Error>| {
        let gone = matches!(result, Err(Error::Link(ivshmem::Error::Gone)));
        assert!(gone, "{result:?}");
    };
    is_gone(changes.next(LIMIT).map(drop));
    is_gone(watch.awake(&receiver));
    is_gone(receiver.next(LIMIT).map(drop));
    // An error is found by looking.
    assert!(!watch.arm(&mut receiver).unwrap());
}
