// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two hosts, each a network namespace with a router of Zenoh, and a link between them that is cut and heals. Takes root.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use test_limit::{wait_for_count, wait_until};
use zenoh::Wait;

use super::end::End;
use super::host::{count, counters, Host, Program, LONGEST};
use super::netns::Namespace;

/// Cuts of the link, each while values are sent.
const CUTS: u32 = 3;
/// More bytes than the kernel and Zenoh keep for a link that is cut.
const BEYOND_QUEUES: u64 = 24 << 20;
/// A link that is silent for so long is given up: much longer than a cut lasts, or less.
const PATIENT: &str = "transport: { link: { tx: { lease: 600000, queue: { congestion_control: { \
                       block: { wait_before_close: 600000000 } } } } } }";
const IMPATIENT: &str = "transport: { link: { tx: { lease: 1000, queue: { congestion_control: { \
                         block: { wait_before_close: 1000000 } } } } } }";

/// A link between two namespaces: the name of both its ends, and their addresses.
const LINK: &str = "between";
const ADDRESSES: [&str; 2] = ["10.9.0.1", "10.9.0.2"];

/// Two hosts and the link between them.
struct Hosts {
    first: Host,
    second: Host,
}

impl Hosts {
    fn new(settings: &str) -> Self {
        let spaces = [(); 2].map(|()| Namespace::new());
        let mut inside = spaces[1].within(|| {
            let sleeper = Command::new("cat").stdin(Stdio::piped()).spawn();
            Sleeper(sleeper.unwrap())
        });
        let other = inside.0.id().to_string();
        spaces[0].within(|| {
            ip(&format!(
                "link add {LINK} type veth peer name {LINK} netns {other}"
            ))
        });
        for (space, address) in spaces.iter().zip(ADDRESSES) {
            space.within(|| {
                ip(&format!("address add {address}/24 dev {LINK}"));
                ip(&format!("link set {LINK} up"));
                ip("link set lo up");
            });
        }
        inside.end();
        let [one, two] = spaces;
        let listen = format!("tcp/{}:7447", ADDRESSES[0]);
        let first = Host::within(one, &[], std::slice::from_ref(&listen), settings);
        let second = Host::within(two, &[listen], &[], settings);
        Self { first, second }
    }

    fn cut(&self) {
        self.first.act(|| ip(&format!("link set {LINK} down")));
    }

    fn heal(&self) {
        self.first.act(|| ip(&format!("link set {LINK} up")));
    }
}

/// Keeps a namespace for as long as its process lives.
struct Sleeper(Child);

impl Sleeper {
    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn ip(words: &str) {
    let mut command = Command::new("ip");
    let done = command.args(words.split_whitespace()).status();
    assert!(done.expect("iproute2 is installed").success(), "ip {words}");
}

/// A sender at the first host, a reader at the second one, and what they have done.
struct Stream {
    sender: Program,
    reader: Program,
    from: End,
    to: End,
    sent: u64,
    seen: u64,
    missed: u64,
    last: u64,
}

impl Stream {
    /// Begins with a value that has arrived.
    fn begin(hosts: &Hosts, policy: &str) -> Self {
        let topic = |direction| {
            format!("topic = [{{ key = \"stream\", kind = \"messages\", policy = \"{policy}\", {direction} }}]")
        };
        let [sender, reader] = [hosts.first.program(), hosts.second.program()];
        let mut from = hosts.first.bridge(&topic("to-zenoh = 0"));
        let mut to = hosts.second.bridge(&topic("from-zenoh = 1"));
        from.expect("joined");
        to.expect("joined");
        let mut stream = Self {
            sender,
            reader,
            from,
            to,
            sent: 0,
            seen: 0,
            missed: 0,
            last: 0,
        };
        wait_until("the first value arrives", || {
            stream.send();
            std::thread::sleep(Duration::from_millis(20));
            stream.read();
            stream.seen > 0
        });
        stream
    }

    /// Sends one value of the greatest length, with its number.
    fn send(&mut self) {
        self.sent += 1;
        let text = format!("{:0width$}", self.sent, width = LONGEST as usize);
        self.sender.publish(&text);
    }

    /// Sees what has arrived: in order, nothing twice.
    fn read(&mut self) {
        while let Some((text, missed)) = self.reader.look() {
            let number = text.parse().unwrap();
            assert!(number > self.last, "{number} came after {}", self.last);
            self.last = number;
            self.seen += 1;
            self.missed += u64::from(missed);
        }
    }

    /// Of the values that Zenoh took.
    fn carried(&mut self) -> u64 {
        count(&mut self.from, "to_zenoh", "values")
    }

    /// Sends until nothing that was sent before is on its way, and checks that each value is accounted for: it was seen, or is
    /// counted where it was lost. Returns how many were lost between the bridges.
    fn settle(&mut self) -> u64 {
        wait_until("what comes last arrives", || {
            self.send();
            std::thread::sleep(Duration::from_millis(20));
            self.read();
            self.last == self.sent
        });
        let sent = counters(&mut self.from, "to_zenoh");
        let received = counters(&mut self.to, "from_zenoh");
        let number = |of: &serde_json::Value, name: &str| of[name].as_u64().unwrap();
        let told = format!("{sent} {received}");
        // The sender's bridge was there before the first value.
        assert_eq!(
            number(&sent, "values") + number(&sent, "missed"),
            self.sent,
            "{told}"
        );
        assert_eq!(
            number(&received, "values"),
            self.seen + self.missed,
            "{told}"
        );
        for name in ["too_long", "away", "repeated", "ours"] {
            assert_eq!(received[name], 0, "{told}");
        }
        number(&received, "lost")
    }
}

/// While the link is cut, the bridge waits: the sender's memory is where values are lost, if at all.
#[test]
fn with_the_policy_block_nothing_is_lost_between_the_bridges() {
    let hosts = Hosts::new(PATIENT);
    let mut stream = Stream::begin(&hosts, "block");
    let mut carried_before = stream.settle();
    assert_eq!(carried_before, 0);
    for _ in 0..CUTS {
        hosts.cut();
        // Until the bridge cannot go on.
        wait_until("the bridge waits", || {
            for _ in 0..64 {
                stream.send();
            }
            std::thread::sleep(Duration::from_millis(100));
            let carried = stream.carried();
            let stands = carried == carried_before;
            carried_before = carried;
            stands
        });
        hosts.heal();
        assert_eq!(stream.settle(), 0);
    }
    assert!(count(&mut stream.from, "to_zenoh", "missed") > 0);
}

/// While the link is cut, values are dropped, and counted at the other end.
#[test]
fn with_the_policy_drop_losses_are_counted() {
    let hosts = Hosts::new(PATIENT);
    let mut stream = Stream::begin(&hosts, "drop");
    let mut lost = stream.settle();
    for _ in 0..CUTS {
        hosts.cut();
        let target = stream.carried() + BEYOND_QUEUES / u64::from(LONGEST);
        wait_for_count("values for a link that is cut", target, || {
            for _ in 0..8 {
                stream.send();
            }
            stream.carried()
        });
        hosts.heal();
        let before = std::mem::replace(&mut lost, stream.settle());
        assert!(lost > before, "nothing was dropped");
    }
}

/// A link that is given up is made again, and the newest value comes without being published again.
#[test]
fn after_a_long_cut_the_newest_value_arrives() {
    const STATE: &str = "key = \"state\", kind = \"latest\", ";
    let hosts = Hosts::new(IMPATIENT);
    let [mut sender, mut reader] = [hosts.first.program(), hosts.second.program()];
    let mut from = hosts
        .first
        .bridge(&format!("topic = [{{ {STATE} to-zenoh = 0 }}]"));
    let mut to = hosts
        .second
        .bridge(&format!("topic = [{{ {STATE} from-zenoh = 1 }}]"));
    from.expect("joined");
    to.expect("joined");
    let watcher = hosts.first.stranger();
    let watcher = watcher.declare_publisher("state").wait().unwrap();
    let connected = || watcher.matching_status().wait().unwrap().matching();
    for cut in 0..CUTS {
        wait_until("the hosts are connected", connected);
        sender.publish(&format!("before cut {cut}"));
        wait_until("it arrives", || {
            let text = reader.look();
            text.is_some_and(|(text, _)| text == format!("before cut {cut}"))
        });
        hosts.cut();
        wait_until("the link is given up", || !connected());
        sender.publish(&format!("during cut {cut}"));
        hosts.heal();
        assert_eq!(reader.next(), format!("during cut {cut}"));
    }
    to.end();
    from.end();
}
