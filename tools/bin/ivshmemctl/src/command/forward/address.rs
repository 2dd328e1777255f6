// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Addresses as they are written on the command line and sent to the other endpoint, and which of them others may use.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen, or what to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host, or an address of it, and a port.
    Tcp(String, u16),
    /// A UNIX socket.
    Unix(PathBuf),
}

/// `-L` or `-R`: where to listen, at which other endpoint, and what to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where is listened: here with `-L`, at the other endpoint with `-R`.
    pub listen: Address,
    /// The other endpoint.
    pub peer: Peer,
    /// What is connected to: from the other endpoint with `-L`, from here with `-R`.
    pub target: Address,
}

/// Another endpoint by its name or its peer ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By its peer ID.
    Id(u32),
    /// By the name that it tells.
    Name(String),
}

/// Addresses that another endpoint may use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A host and a port, each `None` for any.
    Tcp(Option<String>, Option<u16>),
    /// A UNIX socket, `None` for any.
    Unix(Option<PathBuf>),
}

/// Where is listened if no address is said.
const LOCAL: &str = "127.0.0.1";
/// What stands for all.
const ALL: &str = "*";
/// What a path begins with.
const UNIX: &str = "unix";

/// The parts between colons; within brackets, which are left out, colons do not count.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut within = false;
    for c in text.chars() {
        match c {
            '[' if !within => within = true,
            ']' if within => within = false,
            ':' if !within => parts.push(String::new()),
            other => parts.last_mut()?.push(other),
        }
    }
    (!within).then_some(parts)
}

/// An address of two parts.
fn address(first: &str, second: &str) -> Option<Address> {
    match first {
        UNIX if second.starts_with('/') => Some(Address::Unix(second.into())),
        UNIX | "" => None,
        host => Some(Address::Tcp(host.into(), second.parse().ok()?)),
    }
}

/// Where to listen: an address, or a port alone.
fn listening(parts: &[String]) -> Option<Address> {
    match parts {
        [port] => Some(Address::Tcp(LOCAL.into(), port.parse().ok()?)),
        [host, port] if host == ALL || host.is_empty() => address("0.0.0.0", port),
        [first, second] => address(first, second),
        _ => None,
    }
}

impl FromStr for Address {
    type Err = String;

    /// `HOST:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match parts(text).as_deref() {
            Some([first, second]) => address(first, second),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("{text:?} is not HOST:PORT, or unix:PATH with a path that begins with /")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}:{}", path.display()),
        }
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let parts = parts(text)?;
            let (rest, target) = parts.split_at_checked(parts.len().checked_sub(2)?)?;
            let (peer, listen) = rest.split_last()?;
            Some(Self {
                listen: listening(listen)?,
                peer: peer.parse().ok()?,
                target: address(&target[0], &target[1])?,
            })
        };
        parse().ok_or_else(|| {
            format!(
                "{text:?} is not [ADDRESS:]PORT:PEER:HOST:PORT, where unix:PATH can stand for [ADDRESS:]PORT and for \
                 HOST:PORT, and an address of IPv6 is in [brackets]"
            )
        })
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Ok(Self::Name(name(text)?)),
        }
    }
}

impl Peer {
    /// As it stands in a text.
    pub fn described(&self) -> String {
        match self {
            Self::Id(_) => self.to_string(),
            Self::Name(name) => quoted(name),
        }
    }

    /// Whether an endpoint with this ID and name is meant.
    pub fn is(&self, id: u32, name: &[u8]) -> bool {
        match self {
            Self::Id(own) => *own == id,
            Self::Name(own) => own.as_bytes() == name,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "peer {id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A name as it stands in a text.
pub fn quoted(name: &str) -> String {
    format!("'{name}'")
}

/// The longest name of an endpoint.
pub const LONGEST_NAME: usize = 64;

/// A name that an endpoint can have.
pub fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = (1..=LONGEST_NAME).contains(&text.len())
        && text.chars().all(good)
        && text.parse::<u32>().is_err();
    is_name.then(|| text.into()).ok_or_else(|| {
        format!("{text:?} is not a name: use up to {LONGEST_NAME} letters, digits, dots, dashes and underscores, and not a number alone")
    })
}

impl FromStr for Allowed {
    type Err = String;

    /// `HOST:PORT`, `PORT` or `unix:PATH`, each part `*` for any.
    fn from_str(text: &str) -> Result<Self, String> {
        let any = |part: &String| part == ALL;
        let host_and_port = |host: Option<String>, port: &String| {
            let port = match any(port) {
                true => None,
                false => Some(port.parse().ok()?),
            };
            Some(Self::Tcp(host, port))
        };
        let parsed = match parts(text).as_deref() {
            Some([unix, path]) if unix == UNIX => {
                Some(Self::Unix((!any(path)).then(|| path.into())))
            }
            Some([host, port]) => host_and_port((!any(host)).then(|| host.clone()), port),
            Some([port]) => host_and_port(Some(LOCAL.into()), port),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("{text:?} is not HOST:PORT, PORT or unix:PATH, where * stands for any")
        })
    }
}

impl Allowed {
    /// Whether it is one of these.
    pub fn has(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::Tcp(host, port), Address::Tcp(its_host, its_port)) => {
                host.as_ref().is_none_or(|host| host == its_host)
                    && port.is_none_or(|port| port == *its_port)
            }
            (Self::Unix(path), Address::Unix(its_path)) => {
                path.as_ref().is_none_or(|path| path == its_path)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.into(), port)
    }

    fn forward(text: &str) -> (Address, String, Address) {
        let forward: Forward = text.parse().unwrap();
        (forward.listen, forward.peer.to_string(), forward.target)
    }

    #[test]
    fn forwards_are_written_as_for_ssh() {
        let web = || tcp("web", 80);
        assert_eq!(
            forward("8080:3:web:80"),
            (tcp(LOCAL, 8080), "peer 3".into(), web())
        );
        assert_eq!(
            forward("*:8080:a.b:web:80"),
            (tcp("0.0.0.0", 8080), "a.b".into(), web())
        );
        assert_eq!(
            forward("[::1]:8080:x:[fd00::2]:80"),
            (tcp("::1", 8080), "x".into(), tcp("fd00::2", 80))
        );
        assert_eq!(
            forward("unix:/run/a:x:unix:/run/b"),
            (
                Address::Unix("/run/a".into()),
                "x".into(),
                Address::Unix("/run/b".into())
            )
        );
        for bad in [
            "",
            "8080",
            "8080:x",
            "8080:x:web",
            "x:web:80",
            "8080:x:web:http",
            "8080::web:80",
            "1:2:3:4:5:6",
            "65536:x:web:80",
            "unix:run/a:x:web:80",
            "[::1:8080:x:web:80",
            "8080:x y:web:80",
        ] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["web:80", "[fd00::2]:80", "unix:/run/a"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn only_what_is_allowed_is() {
        let allowed = |text: &str, address: &str| {
            let allowed: Allowed = text.parse().unwrap();
            allowed.has(&address.parse().unwrap())
        };
        assert!(allowed("localhost:80", "localhost:80"));
        assert!(!allowed("localhost:80", "localhost:81"));
        assert!(!allowed("localhost:80", "127.0.0.1:80"));
        assert!(allowed("localhost:*", "localhost:81"));
        assert!(allowed("*:80", "web:80"));
        assert!(allowed("8080", "127.0.0.1:8080"));
        assert!(!allowed("*:*", "unix:/run/a"));
        assert!(allowed("unix:*", "unix:/run/a"));
        assert!(!allowed("unix:/run/a", "unix:/run/b"));
        assert!(!allowed("unix:/run/a", "unix:/run/a/../b"));
    }
}
