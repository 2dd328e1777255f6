// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A host: its server, its bridge, and programs that use a channel in the memory.

use std::sync::Arc;
use std::time::Duration;

use ivshmem_channel::{Areas, Channel, Layout, Member, Publisher, Subscriber};
use ivshmem_peer::{Options, Peer};
use serde_json::Value;
use test_limit::{limit, wait_until};
use zenoh::{Config, Session, Wait};

use super::end::{End, Machines};
use super::netns::Namespace;
use super::path_in;

/// The slots.
const PROGRAM: u32 = 0;
pub const BRIDGE: u32 = 1;
/// The topics: one from each slot.
const FROM_PROGRAM: usize = 0;
const FROM_BRIDGE: usize = 1;
/// Of each topic.
pub const BUFFERS: u32 = 64;
pub const LONGEST: u32 = 16 << 10;
/// Bytes of the memory.
const MEMORY: &str = "4M";
/// The name of the channel's area, which is the first one of the directory at 0.
pub const AREA: &str = "topics";
pub const OFFSET: u64 = 4096;

pub fn layout() -> Layout {
    Layout::new(2)
        .topic(PROGRAM, BUFFERS, LONGEST)
        .topic(BRIDGE, BUFFERS, LONGEST)
}

/// A host without a bridge yet.
pub struct Host {
    pub machines: Machines,
    namespace: Option<Namespace>,
    /// Zenoh's configuration of its bridge.
    pub zenoh: String,
}

impl Host {
    /// One whose bridge listens and connects by sockets of files alone, as a router.
    pub fn new(connect: &[&Host]) -> Self {
        let endpoints: Vec<_> = connect.iter().map(|host| host.endpoint()).collect();
        Self::with(None, &endpoints, &[], "")
    }

    /// One in a network namespace; `more` are settings of Zenoh.
    pub fn within(namespace: Namespace, connect: &[String], listen: &[String], more: &str) -> Self {
        Self::with(Some(namespace), connect, listen, more)
    }

    fn with(
        namespace: Option<Namespace>,
        connect: &[String],
        listen: &[String],
        more: &str,
    ) -> Self {
        let mut host = Self {
            machines: Machines::new(MEMORY),
            namespace,
            zenoh: String::new(),
        };
        let mut listening = vec![host.endpoint()];
        listening.extend_from_slice(listen);
        host.zenoh = format!(
            r#"{{ mode: "router", listen: {{ endpoints: {listening:?} }},
                connect: {{ endpoints: {connect:?}, retry: {{ period_init_ms: 50, period_max_ms: 200 }} }},
                scouting: {{ multicast: {{ enabled: false }} }}, {more} }}"#
        );
        host
    }

    fn endpoint(&self) -> String {
        let path = path_in(self.machines.directory.path(), "zenoh");
        format!("unixsock-stream/{path}")
    }

    pub fn act<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match &self.namespace {
            Some(namespace) => namespace.within(act),
            None => act(),
        }
    }

    /// Starts the bridge with these lines for the channel, which is found by the name of its area.
    pub fn bridge(&self, topics: &str) -> End {
        self.bridge_at(&format!("area = {AREA:?}"), topics)
    }

    /// The same with another way to find the channel.
    pub fn bridge_at(&self, place: &str, topics: &str) -> End {
        let [config, zenoh] = ["bridge.toml", "zenoh.json5"]
            .map(|name| path_in(self.machines.directory.path(), name));
        let text = format!(
            "zenoh-config = {zenoh:?}\n[[channel]]\nsocket = {:?}\n{place}\nslot = {BRIDGE}\n{topics}",
            self.machines.socket
        );
        std::fs::write(&config, text).unwrap();
        std::fs::write(&zenoh, &self.zenoh).unwrap();
        self.act(|| End::start(&format!("--config {config}")))
    }

    /// A program on the memory, which makes the channel if there is none.
    pub fn program(&self) -> Program {
        Program::new(&self.machines.socket)
    }

    /// A program that speaks Zenoh alone, connected to this host's bridge.
    pub fn stranger(&self) -> Session {
        let endpoint = self.endpoint();
        let text = format!(
            r#"{{ mode: "client", connect: {{ endpoints: [{endpoint:?}] }},
                scouting: {{ multicast: {{ enabled: false }} }} }}"#
        );
        let config = Config::from_json5(&text).unwrap();
        let mut session = None;
        wait_until("the bridge listens", || {
            session = zenoh::open(config.clone()).wait().ok();
            session.is_some()
        });
        session.unwrap()
    }
}

/// A program of the channel.
pub struct Program {
    /// What it publishes.
    pub writer: Publisher<Arc<Peer>>,
    /// What the bridge writes.
    pub reader: Subscriber<Arc<Peer>>,
    pub channel: Channel<Arc<Peer>>,
    _member: Member<Arc<Peer>>,
}

impl Program {
    fn new(socket: &str) -> Self {
        let link = Arc::new(Options::default().patience(limit()).join(socket).unwrap());
        let areas = Areas::open_or_create(Arc::clone(&link), 0).unwrap();
        let place = areas.claim(AREA, layout().size()).unwrap();
        assert_eq!(place.start, OFFSET);
        let mut found = None;
        let member = Channel::create_or_join(link, place.start, &layout(), |channel| {
            found = Some(channel.clone());
            channel.join(PROGRAM, 0)
        });
        let member = member.unwrap();
        Self {
            writer: member.publisher(FROM_PROGRAM).unwrap(),
            reader: member.subscriber(FROM_BRIDGE).unwrap(),
            channel: found.unwrap(),
            _member: member,
        }
    }

    pub fn publish(&mut self, text: &str) {
        self.writer.publish(text.as_bytes()).unwrap();
    }

    /// What comes next, and how many were missed before it; `None` if there is nothing now.
    pub fn look(&mut self) -> Option<(String, u32)> {
        self.take(Duration::ZERO)
    }

    /// What comes next.
    pub fn next(&mut self) -> String {
        let (text, missed) = self.take(limit()).expect("something comes");
        assert_eq!(missed, 0, "before {text}");
        text
    }

    fn take(&mut self, time: Duration) -> Option<(String, u32)> {
        let mut value = Vec::new();
        let missed = self.reader.next(&mut value, Some(time)).unwrap()?;
        Some((String::from_utf8(value).unwrap(), missed))
    }
}

/// What a bridge says of its only key, in this direction.
pub fn counters(bridge: &mut End, direction: &str) -> Value {
    let mut status = bridge.status();
    status["channels"][0]["topics"][0][direction].take()
}

/// One of these numbers.
pub fn count(bridge: &mut End, direction: &str, name: &str) -> u64 {
    let counters = counters(bridge, direction);
    let number = counters[name].as_u64();
    number.unwrap_or_else(|| panic!("{direction} {name}: {counters}"))
}

/// Waits until what a program of Zenoh says under the key `talk` arrives.
pub fn arrives(stranger: &Session, program: &mut Program, text: &str) {
    wait_until("it arrives", || {
        stranger.put("talk", text).wait().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let mut last = None;
        while let Some((value, _)) = program.look() {
            last = Some(value);
        }
        last.is_some_and(|last| last == text)
    });
}
