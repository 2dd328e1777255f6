// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests and replies on the real server: whatever happens to one side, the other is told, and goes on.

mod common;
mod peers;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::{rpc, Cancel, Channel, Error, Layout, Sender};
use ivshmem_peer::Peer;
use peers::peers;
use test_limit::limit;
use vmbench::Region;

const CALLS: u32 = 300;
const RING: u32 = 4096;
/// Found by the lock, not by silence: all are programs of this machine.
const BEAT: Duration = Duration::from_millis(20);
const LOST: Duration = Duration::from_secs(30);

type Server = rpc::Server<Arc<Peer>>;
type Client = rpc::Client<Arc<Peer>>;

/// A channel for a server and two clients, by a peer for each.
struct World {
    channels: [Channel<Arc<Peer>>; 3],
    _region: Region,
}

impl World {
    fn new() -> Self {
        Self::with(rpc::layout(2, RING, RING).heartbeat(BEAT, LOST))
    }

    fn with(layout: Layout) -> Self {
        let (peers, region) = peers();
        Channel::create(Arc::clone(&peers[0]), 0, &layout).unwrap();
        Self {
            channels: peers.map(|peer| Channel::open(peer, 0).unwrap()),
            _region: region,
        }
    }

    fn server(&self) -> Server {
        rpc::Server::join(&self.channels[0], 0).unwrap()
    }

    fn client(&self, number: usize) -> Client {
        rpc::Client::join(&self.channels[number], 0).unwrap()
    }
}

/// Serves until it is cancelled.
fn serve(server: &mut Server) {
    loop {
        match server.next(None) {
            Ok(Some(request)) => {
                let mut answer = request.body.clone();
                answer.reverse();
                server.reply(&request, &answer).unwrap();
            }
            Err(Error::Cancelled) => return,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_client_gets_the_answers_to_its_own_requests() {
    let world = World::new();
    let mut server = world.server();
    let cancel = Cancel::new().unwrap();
    server.set_cancel(&cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&mut server));
        let clients = [1, 2].map(|number| {
            let mut client = world.client(number);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let mut request = vec![number as u8; (call * 13 % 2000) as usize];
                    request.extend_from_slice(&call.to_le_bytes());
                    let answer = client.call(&request, Some(limit())).unwrap();
                    request.reverse();
                    assert!(answer == request);
                }
            })
        });
        for client in clients {
            client.join().unwrap();
        }
        cancel.cancel();
    });
}

#[test]
fn a_client_is_told_that_the_server_has_ended_and_is_served_by_the_next() {
    let world = World::new();
    let mut client = world.client(1);
    // One that has not come yet is waited for, and no longer than that.
    let early = client.call(b"early", Some(BEAT));
    assert!(matches!(early, Err(Error::NoAnswer)), "{early:?}");
    std::thread::scope(|scope| {
        let mut first = world.server();
        let waiting = scope.spawn(|| client.call(b"lost", Some(limit())));
        let early = first.next(Some(limit())).unwrap().unwrap();
        assert_eq!(early.body, b"early");
        assert!(first.reply(&early, b"late").unwrap());
        assert_eq!(first.next(Some(limit())).unwrap().unwrap().body, b"lost");
        drop(first);
        let begin = Instant::now();
        let lost = waiting.join().unwrap();
        assert!(matches!(lost, Err(Error::PeerLost(0))), "{lost:?}");
        assert!(begin.elapsed() < LOST, "by its leaving, not by its silence");
    });
    let mut second = world.server();
    let cancel = Cancel::new().unwrap();
    second.set_cancel(&cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&mut second));
        assert_eq!(client.call(b"abc", Some(limit())).unwrap(), b"cba");
        cancel.cancel();
    });
}

#[test]
fn an_answer_can_be_waited_for_again_and_one_to_an_earlier_question_is_none() {
    let world = World::new();
    let mut client = world.client(1);
    let mut server = world.server();
    let nothing = client.answer(Some(Duration::ZERO));
    assert!(matches!(nothing, Err(Error::Link(_))), "{nothing:?}");
    client.ask(b"abc", Some(limit())).unwrap();
    for _ in 0..2 {
        let early = client.answer(Some(Duration::from_millis(1)));
        assert!(matches!(early, Err(Error::NoAnswer)), "{early:?}");
    }
    let request = server.next(Some(limit())).unwrap().unwrap();
    assert!(server.reply(&request, b"cba").unwrap());
    assert_eq!(client.answer(Some(limit())).unwrap(), b"cba");
    assert!(
        client.answer(Some(Duration::ZERO)).is_err(),
        "it is answered"
    );
    // The answer to what is not asked any more.
    client.ask(b"first", Some(limit())).unwrap();
    client.ask(b"second", Some(limit())).unwrap();
    for answer in [&b"one"[..], b"two"] {
        let request = server.next(Some(limit())).unwrap().unwrap();
        assert!(server.reply(&request, answer).unwrap());
    }
    assert_eq!(client.answer(Some(limit())).unwrap(), b"two");
    // Without room nothing is sent.
    let asked = (0..).find_map(|_| client.ask(&[0; 64], Some(Duration::ZERO)).err());
    assert!(matches!(asked, Some(Error::TimedOut)), "{asked:?}");
    assert!(
        client.answer(Some(Duration::ZERO)).is_err(),
        "nothing is asked"
    );
}

#[test]
fn what_a_client_that_has_ended_asked_for_is_left_out_and_not_answered() {
    let world = World::new();
    let mut server = world.server();
    let mut first = world.client(1);
    for request in [&b"taken"[..], b"waiting"] {
        assert!(matches!(
            first.call(request, Some(BEAT)),
            Err(Error::NoAnswer)
        ));
    }
    let taken = server.next(Some(limit())).unwrap().unwrap();
    assert_eq!((taken.body.as_slice(), taken.from()), (&b"taken"[..], 1));
    drop(first);
    assert!(!server.reply(&taken, b"to nobody").unwrap());
    // The next one in that slot gets nothing of it.
    let mut second = world.client(1);
    assert!(!server.reply(&taken, b"to somebody else").unwrap());
    assert!(server.next(Some(Duration::ZERO)).unwrap().is_none());
    let cancel = Cancel::new().unwrap();
    server.set_cancel(&cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&mut server));
        assert_eq!(second.call(b"mine", Some(limit())).unwrap(), b"enim");
        cancel.cancel();
    });
}

/// A client that sends anything, and one that takes no answers, hold nobody up.
#[test]
fn the_server_goes_on_whatever_a_client_does() {
    let world = World::new();
    let mut server = world.server();
    let bad = world.channels[1].join(1, 0).unwrap();
    let mut to = bad.sender(0).unwrap();
    for len in 0..40 {
        to.send(&vec![0xff; len], Some(limit())).unwrap();
    }
    let mut asks = bad.incarnation().to_le_bytes().to_vec();
    asks.resize(16, 0);
    to.send(&asks, Some(limit())).unwrap();
    let request = server.next(Some(limit())).unwrap().unwrap();
    assert!(request.body.is_empty(), "what is no request is left out");
    let mut answers = 0;
    while server.reply(&request, &[0; 1000]).unwrap() {
        answers += 1;
    }
    assert!((1..RING / 1000 + 1).contains(&answers), "{answers}");
    let too_long = server.reply(&request, &[0; RING as usize]);
    assert!(
        matches!(too_long, Err(Error::TooLong { .. })),
        "{too_long:?}"
    );
    let mut good = world.client(2);
    assert_eq!(good.member().slot(), 2);
    let cancel = Cancel::new().unwrap();
    server.set_cancel(&cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&mut server));
        assert_eq!(good.call(b"abc", Some(limit())).unwrap(), b"cba");
        cancel.cancel();
    });
}

/// Sends what is no request and no answer whenever the other side touches the memory.
struct Flood {
    sender: Mutex<Sender<Arc<Polled>>>,
    sent: Mutex<u32>,
}

impl Flood {
    /// After so many, so that a test ends that fails.
    const MOST: u32 = 20_000;

    /// From slot `from` to slot `to`, and the link of who is there.
    fn new(file: &std::fs::File, from: u32, to: u32) -> (Arc<Self>, Arc<Polled>) {
        let member = Channel::open(Polled::of(file, 8), 0).unwrap();
        let member = member.join(from, 0).unwrap();
        let flood = Arc::new(Self {
            sender: Mutex::new(member.sender(to).unwrap()),
            sent: Mutex::new(0),
        });
        let link = {
            let flood = Arc::clone(&flood);
            Polled::while_using(file, 9, move || flood.go_on())
        };
        (flood, link)
    }

    fn go_on(&self) {
        let mut sent = self.sent.lock().unwrap();
        let now = Some(Duration::ZERO);
        if *sent < Self::MOST && self.sender.lock().unwrap().send(&[0xff; 4], now).is_ok() {
            *sent += 1;
        }
    }

    fn is_over(&self) -> bool {
        *self.sent.lock().unwrap() >= Self::MOST
    }
}

fn flooded() -> std::fs::File {
    let file = memory();
    let layout = rpc::layout(2, RING, RING).heartbeat(BEAT, LOST);
    Channel::create(Polled::of(&file, 7), 0, &layout).unwrap();
    file
}

#[test]
fn a_client_that_floods_the_server_does_not_keep_it_longer_than_it_wants_to_wait() {
    let file = flooded();
    let (flood, link) = Flood::new(&file, 1, 0);
    let mut server = rpc::Server::join(&Channel::open(link, 0).unwrap(), 0).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(1)] {
        assert!(server.next(Some(wait)).unwrap().is_none());
        assert!(!flood.is_over(), "{wait:?}");
    }
    let cancel = Cancel::new().unwrap();
    server.set_cancel(&cancel);
    cancel.cancel();
    let ended = server.next(None);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(!flood.is_over());
}

#[test]
fn a_server_that_floods_a_client_does_not_keep_it_longer_than_it_wants_to_wait() {
    let file = flooded();
    let (flood, link) = Flood::new(&file, 0, 1);
    let mut client = rpc::Client::join(&Channel::open(link, 0).unwrap(), 0).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(1)] {
        let called = client.call(b"anything", Some(wait));
        assert!(matches!(called, Err(Error::NoAnswer)), "{called:?}");
        assert!(!flood.is_over(), "{wait:?}");
    }
    let cancel = Cancel::new().unwrap();
    client.set_cancel(&cancel);
    cancel.cancel();
    let ended = client.call(b"anything", None);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(!flood.is_over());
}

/// A client has spoilt the ring buffer of its answers before the server comes again.
#[test]
fn a_client_that_gets_no_answers_does_not_keep_the_server_from_coming() {
    let file = memory();
    let layout = rpc::layout(2, RING, RING).heartbeat(BEAT, LOST);
    let channels = [0, 1, 2].map(|id| Polled::of(&file, id));
    Channel::create(Arc::clone(&channels[0]), 0, &layout).unwrap();
    let [server, one, two] = channels.map(|link| Channel::open(link, 0).unwrap());
    let mut clients = [one, two].map(|channel| rpc::Client::join(&channel, 0).unwrap());
    drop(rpc::Server::join(&server, 0).unwrap());
    // What the first one has taken, behind header, slots and the lanes of the requests.
    let head = 256 + 3 * 128 + 128 + 2 * (256 + u64::from(RING)) + 136;
    let memory = Polled::of(&file, 1);
    memory.store32(head, 4, Ordering::Relaxed).unwrap();
    let mut server = rpc::Server::join(&server, 0).unwrap();
    for (number, client) in (0..).zip(&mut clients) {
        client.ask(b"hello", Some(limit())).unwrap();
        let request = server.next(Some(limit())).unwrap().unwrap();
        assert_eq!(server.reply(&request, b"answer").unwrap(), number == 1);
    }
    let answer = clients[1].answer(Some(limit())).unwrap();
    assert_eq!(answer, b"answer");
}

/// A program that had a client's slot before was stopped while it showed that it lives, and goes on.
#[test]
fn a_request_is_taken_also_while_others_words_are_in_the_clients_slot() {
    let file = memory();
    let layout = rpc::layout(2, RING, RING).heartbeat(BEAT, LOST);
    let channels = [0, 1].map(|id| Polled::of(&file, id));
    Channel::create(Arc::clone(&channels[0]), 0, &layout).unwrap();
    let [server, client] = channels.map(|link| Channel::open(link, 0).unwrap());
    let mut server = rpc::Server::join(&server, 0).unwrap();
    let mut client = rpc::Client::join(&client, 0).unwrap();
    client.ask(b"hello", Some(limit())).unwrap();
    // The incarnation of who wrote the words of slot 1.
    let joined = 256 + 128 + 8;
    let before = client.member().incarnation() ^ 1;
    let memory = Polled::of(&file, 2);
    memory.store32(joined, before, Ordering::Relaxed).unwrap();
    let request = server.next(Some(Duration::ZERO)).unwrap().unwrap();
    assert!(server.reply(&request, b"answer").unwrap());
    assert_eq!(client.answer(Some(limit())).unwrap(), b"answer");
}

#[test]
fn a_channel_of_another_layout_is_left_alone() {
    let file = memory();
    let layout =
        Layout::duplex(RING).heartbeat(Duration::from_millis(10), Duration::from_millis(30));
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout).unwrap();
    // They are silent from here on, so that whoever wants a slot gets it.
    let members = [0, 1].map(|slot| channel.join(slot, 0).unwrap());
    let refused = [
        rpc::Client::join(&channel, 0).err(),
        rpc::Server::join(&channel, 0).err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(Error::NoSuch(_))), "{error:?}");
    }
    for member in members {
        member.beat().unwrap();
    }
}
