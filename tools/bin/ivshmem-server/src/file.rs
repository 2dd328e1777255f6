// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The configuration file.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use ivshmem_server::{parse_group, parse_user, Config, PeerConfig, RegionConfig};
use serde::Deserialize;

use crate::cli::parse_mode;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    status_socket: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    hand_over: Option<PathBuf>,
    #[serde(default)]
    region: Vec<Region>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Region {
    name: String,
    socket_path: Option<PathBuf>,
    size: Option<String>,
    vectors: Option<u16>,
    max_peers: Option<u32>,
    max_peers_per_user: Option<u32>,
    join_rate: Option<u32>,
    client_descriptors: Option<u32>,
    memory: Option<String>,
    hugepages: Option<String>,
    #[serde(default)]
    prealloc: bool,
    numa_node: Option<u32>,
    #[serde(default)]
    keep_memory: bool,
    socket_mode: Option<String>,
    socket_group: Option<Owner>,
    #[serde(default)]
    allow_uid: Vec<Owner>,
    #[serde(default)]
    allow_gid: Vec<Owner>,
    #[serde(default)]
    peer: Vec<Peer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Peer {
    name: String,
    id: u16,
    socket_path: Option<PathBuf>,
    vectors: Option<u16>,
    #[serde(default)]
    read_only: bool,
}

/// A user or group, by number or name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Owner {
    Number(u32),
    Name(String),
}

/// Reads a configuration file.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Config> {
    let file: File = toml::from_str(text)?;
    let regions = file.region.into_iter().map(|region| {
        let name = region.name.clone();
        region
            .into_config()
            .with_context(|| format!("in region {name}"))
    });
    let mut config = Config::new(regions.collect::<anyhow::Result<_>>()?);
    config.status_socket = file.status_socket;
    config.control_socket = file.control_socket;
    config.hand_over = file.hand_over;
    Ok(config)
}

impl Region {
    fn into_config(self) -> anyhow::Result<RegionConfig> {
        let mut config = RegionConfig::without_socket(self.name);
        config.socket_path = self.socket_path;
        set("size", self.size, &mut config.size)?;
        set("memory", self.memory, &mut config.memory)?;
        if let Some(text) = self.hugepages {
            let pages = text
                .parse()
                .with_context(|| format!("hugepages = {text:?}"))?;
            config.huge_pages = Some(pages);
        }
        config.prealloc = self.prealloc;
        config.numa_node = self.numa_node;
        config.keep_memory = self.keep_memory;
        config.vectors = self.vectors.unwrap_or(config.vectors);
        config.max_peers_per_user = self.max_peers_per_user;
        config.join_rate = self.join_rate.unwrap_or(config.join_rate);
        let descriptors = self.client_descriptors;
        config.client_descriptors = descriptors.unwrap_or(config.client_descriptors);
        config.peers = self.peer.into_iter().map(Peer::into_config).collect();
        let max_peers = self.max_peers;
        config.max_peers = max_peers.unwrap_or_else(|| config.usual_max_peers());
        if let Some(text) = self.socket_mode {
            let mode = parse_mode(&text).map_err(anyhow::Error::msg);
            config.access.socket_mode = mode.with_context(|| format!("socket-mode = {text:?}"))?;
        }
        let group = self.socket_group.map(|group| group.look_up(parse_group));
        config.access.socket_group = group.transpose()?;
        let users = self.allow_uid.into_iter();
        config.access.uids = users
            .map(|o| o.look_up(parse_user))
            .collect::<Result<_, _>>()?;
        let groups = self.allow_gid.into_iter();
        config.access.gids = groups
            .map(|o| o.look_up(parse_group))
            .collect::<Result<_, _>>()?;
        Ok(config)
    }
}

impl Peer {
    fn into_config(self) -> PeerConfig {
        let mut config = PeerConfig::new(self.name, self.id, PathBuf::new());
        config.socket_path = self.socket_path;
        config.vectors = self.vectors;
        config.read_only = self.read_only;
        config
    }
}

impl Owner {
    fn look_up<E>(self, parse: impl Fn(&str) -> Result<u32, E>) -> Result<u32, E> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Name(name) => parse(&name),
        }
    }
}

fn set<T: FromStr>(key: &str, text: Option<String>, value: &mut T) -> anyhow::Result<()>
where
    T::Err: Display + std::error::Error + Send + Sync + 'static,
{
    if let Some(text) = text {
        *value = text.parse().with_context(|| format!("{key} = {text:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives() {
        let config = parse(
            r#"
            status-socket = "/run/status"
            control-socket = "/run/control"
            hand-over = "/run/hand-over"
            [[region]]
            name = "frames"
            socket-path = "/run/frames"
            size = "64M"
            vectors = 3
            max-peers = 5
            max-peers-per-user = 2
            join-rate = 7
            client-descriptors = 2000
            memory = "shm:frames"
            prealloc = true
            numa-node = 3
            keep-memory = true
            socket-mode = "0660"
            socket-group = "root"
            allow-uid = [7, "root"]
            allow-gid = [9]
            [[region.peer]]
            name = "vm1"
            id = 4
            socket-path = "/run/vm1"
            vectors = 2
            read-only = true
            [[region]]
            name = "huge"
            hugepages = "1G"
            "#,
        )
        .unwrap();
        assert_eq!(config.status_socket, Some("/run/status".into()));
        assert_eq!(config.control_socket, Some("/run/control".into()));
        assert_eq!(config.hand_over, Some("/run/hand-over".into()));
        let [frames, huge] = &config.regions[..] else {
            panic!("{config:?}");
        };
        assert_eq!(frames.size.to_string(), "64M");
        assert_eq!((frames.vectors, frames.max_peers), (3, 5));
        assert_eq!(frames.max_peers_per_user, Some(2));
        assert_eq!((frames.join_rate, frames.client_descriptors), (7, 2000));
        assert_eq!(frames.memory.to_string(), "shm:frames");
        assert!(frames.prealloc && frames.keep_memory);
        assert_eq!(frames.numa_node, Some(3));
        assert_eq!(frames.access.socket_mode, 0o660);
        assert_eq!(frames.access.socket_group, Some(0));
        assert!(frames.access.uids.iter().eq(&[0, 7]));
        assert!(frames.access.gids.iter().eq(&[9]));
        let peer = &frames.peers[0];
        assert_eq!((peer.id, peer.vectors, peer.read_only), (4, Some(2), true));
        assert_eq!(huge.huge_pages, Some(ivshmem_server::HugePages::Size1G));
    }

    #[test]
    fn places_are_as_many_as_the_vectors_of_all_allow() {
        let region = "[[region]]\nname = \"a\"\n";
        let peer = |id| format!("[[region.peer]]\nname = \"p{id}\"\nid = {id}\nvectors = 256\n");
        let text = [region.to_owned(), peer(1), peer(2), peer(3)].concat();
        // Of 900 descriptors 768 are those of the three, and the rest have 8 each.
        assert_eq!(parse(&text).unwrap().regions[0].max_peers, 3 + 16);
    }

    #[test]
    fn mistakes_are_explained() {
        let cases = [
            ("[[region]]", "missing field `name`"),
            (
                "[[region]]\nname = \"a\"\nsise = \"4M\"",
                "unknown field `sise`",
            ),
            ("[[region]]\nname = \"a\"\nsize = \"3M\"", "power of two"),
            ("[[region]]\nname = \"a\"\nsocket-mode = \"rw\"", "octal"),
            (
                "[[region]]\nname = \"a\"\nallow-gid = [\"no-such\"]",
                "give the number",
            ),
        ];
        for (text, expected) in cases {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
