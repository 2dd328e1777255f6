// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! As many clients as `IVSHMEM_CROWD` says, up to 1,000: what they are told, and what it costs.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;

use crate::client::{raise_descriptor_limit, Connection};
use crate::server::Running;

const VECTORS: usize = 8;

/// Clients, unless `IVSHMEM_CROWD` says otherwise. The messages grow with the square.
const CLIENTS: usize = 60;

/// Physical memory of a server whose clients read, in bytes, with much to spare.
const READING: u64 = 12 << 20;

fn clients() -> usize {
    std::env::var("IVSHMEM_CROWD").map_or(CLIENTS, |text| text.parse().unwrap())
}

fn start(path: &Path, clients: usize) -> Running {
    raise_descriptor_limit();
    let max_peers = format!("--max-peers={clients}");
    Running::start(path, &["--vectors=8", &max_peers])
}

/// What a client has been told.
struct Member {
    connection: Connection,
    id: Option<usize>,
    has_memory: bool,
    /// Vectors of each ID, itself included, and whether it left.
    heard: Vec<(usize, bool)>,
}

impl Member {
    fn new(path: &Path, clients: usize) -> Self {
        Self {
            connection: Connection::open(path),
            id: None,
            has_memory: false,
            heard: vec![(0, false); clients],
        }
    }

    /// Reads what there is, and closes all descriptors. Returns how many messages it was.
    fn read(&mut self) -> usize {
        let mut count = 0;
        while let Some((number, fd)) = self.connection.try_receive() {
            count += 1;
            match (count, usize::try_from(number), fd) {
                (1, Ok(0), None) if self.id.is_none() => self.expect_id(),
                (_, Err(_), Some(_)) if !self.has_memory => self.has_memory = true,
                (_, Ok(id), Some(_)) => {
                    let (vectors, left) = &mut self.heard[id];
                    assert!(self.has_memory && !*left && *vectors < VECTORS, "{id}");
                    *vectors += 1;
                }
                (_, Ok(id), None) => {
                    let (vectors, left) = &mut self.heard[id];
                    assert!(
                        *vectors == VECTORS && !*left,
                        "{id} left after {vectors} vectors"
                    );
                    *left = true;
                }
                (_, Err(_), _) => panic!("{number} out of place"),
            }
        }
        count
    }

    /// Reads the own ID, which is sent together with the version.
    fn expect_id(&mut self) {
        let (id, None) = self.connection.receive().unwrap() else {
            panic!("a descriptor with the own ID");
        };
        self.id = usize::try_from(id).ok();
    }
}

/// Clients of one server, all of which read.
pub struct Crowd {
    epoll: OwnedFd,
    members: Vec<Option<Member>>,
}

impl Crowd {
    pub fn new() -> Self {
        Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
            members: Vec::new(),
        }
    }

    pub fn join(&mut self, path: &Path, clients: usize) {
        let member = Member::new(path, clients);
        let data = EventData::new_u64(self.members.len() as u64);
        epoll::add(&self.epoll, &member.connection, data, EventFlags::IN).unwrap();
        self.members.push(Some(member));
    }

    /// Reads until so many messages have come; a version and its ID count as one.
    pub fn read(&mut self, mut messages: usize) {
        let limit = Timespec::try_from(test_limit::limit()).unwrap();
        while messages > 0 {
            let mut events: Vec<Event> = Vec::with_capacity(64);
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&limit)).unwrap();
            assert!(!events.is_empty(), "{messages} messages are missing");
            for event in events {
                let index = usize::try_from(event.data.u64()).unwrap();
                let count = self.members[index].as_mut().unwrap().read();
                messages = messages.checked_sub(count).expect("too many messages");
            }
        }
    }

    fn there(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }

    /// Checks that everybody knows everybody, and of all who left that they did.
    fn check(&self) {
        for member in self.there() {
            let own = member.id.unwrap();
            for (id, (vectors, left)) in member.heard.iter().enumerate() {
                let is_there = self.members[id].is_some();
                assert_eq!((*vectors, *left), (VECTORS, !is_there), "{own} about {id}");
            }
        }
    }
}

/// Messages to all when one joins `others`, as [`Crowd::read`] counts them.
pub fn messages_of_join(others: usize) -> usize {
    2 + VECTORS * (others + 1) + VECTORS * others
}

#[test]
fn all_are_told_of_each_other_and_leave() {
    let clients = clients();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = start(&path, clients);
    let before = server.descriptors();
    let mut crowd = Crowd::new();
    let mut costs: Vec<Duration> = Vec::new();
    for others in 0..clients {
        let start = server.cpu_time();
        crowd.join(&path, clients);
        crowd.read(messages_of_join(others));
        costs.push(server.cpu_time() - start);
    }
    crowd.check();
    print_table(&costs, &server);
    assert!(server.peak_memory() < READING, "{}", server.peak_memory());
    assert_eq!(server.descriptors(), before + clients * (VECTORS + 1));
    // Every other one first, so that those who stay are spread.
    for first in [1, 2] {
        for index in (first..clients).step_by(2) {
            crowd.members[index].take();
            let left = crowd.there().count();
            crowd.read(left);
        }
        crowd.check();
    }
    assert_eq!(crowd.there().count(), 1);
    assert_eq!(server.descriptors(), before + VECTORS + 1);
}

/// What a join costs the server when so many are there, as the mean of the last tenth of them.
fn print_table(costs: &[Duration], server: &Running) {
    println!(
        "{:>5} {:>9} {:>15} {:>15}",
        "peers", "messages", "join, relative", "per message"
    );
    let mut unit = None;
    for count in [10, 100, 1000]
        .into_iter()
        .filter(|count| *count <= costs.len())
    {
        let last = &costs[count - count / 10..count];
        let join = last.iter().sum::<Duration>().as_secs_f64() / last.len() as f64;
        let messages = 1 + messages_of_join(count - 1);
        let message = join / messages as f64;
        let (first_join, first_message) = *unit.get_or_insert((join, message));
        let (join, message) = (join / first_join, message / first_message);
        println!("{count:>5} {messages:>9} {join:>15.1} {message:>15.2}");
    }
    let peak = server.peak_memory() >> 10;
    println!(
        "{} peers of {VECTORS} vectors: at most {peak} KiB of memory",
        costs.len()
    );
}

/// The worst that clients can do to the server by their number: they connect, never read, and go at once.
/// What it keeps for each is a few numbers, however many others there are and however many vectors they
/// have, and it is done with them in no time.
#[test]
fn clients_that_never_read_cost_little() {
    const SILENT: usize = 300;
    const THEIR_VECTORS: usize = 64;
    raise_descriptor_limit();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let vectors = format!("--vectors={THEIR_VECTORS}");
    let max_peers = format!("--max-peers={}", SILENT + 1);
    let mut server = Running::start(&path, &[&vectors, &max_peers]);
    let silent: Vec<_> = (0..SILENT).map(|_| Connection::open(&path)).collect();
    // Greeted when all others have been let in.
    let last = Connection::open(&path);
    assert!(matches!(last.receive(), Some((0, None))));
    let peak = server.peak_memory();
    println!(
        "{SILENT} silent peers: at most {} KiB of memory",
        peak >> 10
    );
    assert!(peak < READING, "{peak}");
    let before = server.cpu_time();
    drop(silent);
    let descriptors = THEIR_VECTORS * 2;
    while server.descriptors() > descriptors {
        assert!(server.is_running());
        std::thread::sleep(Duration::from_millis(10));
    }
    let spent = server.cpu_time() - before;
    println!("{SILENT} silent peers left in {spent:?} of CPU time");
    assert!(spent < Duration::from_millis(500), "{spent:?}");
}
