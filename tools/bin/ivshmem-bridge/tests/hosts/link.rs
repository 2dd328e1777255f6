// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two hosts, each a network namespace with a router of Zenoh, and a link between them that can be cut. Takes root.

use std::process::{Child, Command, Stdio};

use super::host::Host;
use super::netns::Namespace;

/// A link between two namespaces: the name of both its ends, and their addresses.
const LINK: &str = "between";
pub const ADDRESSES: [&str; 2] = ["10.9.0.1", "10.9.0.2"];

/// Two hosts and the link between them.
pub struct Hosts {
    pub first: Host,
    pub second: Host,
}

impl Hosts {
    /// The second one connects to the first one by TCP; `settings` are Zenoh's, of both.
    pub fn new(settings: &str) -> Self {
        Self::by("tcp", [settings, settings])
    }

    /// The same by another protocol, with settings of each.
    pub fn by(protocol: &str, settings: [&str; 2]) -> Self {
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
        let listen = format!("{protocol}/{}:7447", ADDRESSES[0]);
        let first = Host::within(one, &[], std::slice::from_ref(&listen), settings[0]);
        let second = Host::within(two, &[listen], &[], settings[1]);
        Self { first, second }
    }

    pub fn cut(&self) {
        self.first.act(|| ip(&format!("link set {LINK} down")));
    }

    pub fn heal(&self) {
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
