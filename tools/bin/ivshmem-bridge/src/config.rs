// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The configuration file. What is wrong is found while it is read, so that each complaint names its line.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use zenoh::key_expr::OwnedKeyExpr;

/// Where the packaged server has its sockets.
const SOCKETS: &str = "/run/ivshmem";

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "File")]
pub struct Config {
    /// Zenoh's own configuration file.
    pub zenoh_config: Option<PathBuf>,
    /// What is carried; not empty.
    pub channels: Vec<Channel>,
}

/// A channel whose topics are carried.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ChannelTable")]
pub struct Channel {
    /// The server's socket.
    pub socket: PathBuf,
    /// Where in the memory the channel is.
    pub place: Place,
    /// The slot that the bridge takes.
    pub slot: u32,
    /// Which topics; not empty.
    pub topics: Vec<Topic>,
}

/// Where a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an area of this name, of the directory at this byte offset.
    Area(String, u64),
    /// At this byte offset.
    Offset(u64),
}

/// What is carried under one key: a topic of the channel to Zenoh, another one from there, or both.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "TopicTable")]
pub struct Topic {
    /// The key, or for what is only read from Zenoh an expression for several.
    pub key: OwnedKeyExpr,
    /// Which values matter.
    pub kind: Kind,
    /// Number of the channel's topic that is published there.
    pub to_zenoh: Option<usize>,
    /// Number of the channel's topic that is written with what comes from there.
    pub from_zenoh: Option<usize>,
    /// What happens while Zenoh's queues are full.
    pub policy: Policy,
    /// The longest value that is carried, in bytes; none: what fits the topic.
    pub longest: Option<usize>,
}

/// Which values of a topic matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Each.
    Messages,
    /// The newest one.
    Latest,
}

/// What happens to a value while Zenoh's queues are full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The bridge waits.
    Block,
    /// It is dropped.
    #[default]
    Drop,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("in {}", path.display()))
}

fn parse(text: &str) -> Result<Config> {
    Ok(toml::from_str(text)?)
}

impl Display for Channel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.socket.display())?;
        match &self.place {
            Place::Area(name, _) => write!(f, "area {name}"),
            Place::Offset(offset) => write!(f, "offset {offset:#x}"),
        }
    }
}

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    zenoh_config: Option<PathBuf>,
    #[serde(default)]
    channel: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ChannelTable {
    socket: String,
    area: Option<String>,
    directory: Option<u64>,
    offset: Option<u64>,
    slot: u32,
    #[serde(default)]
    topic: Vec<Topic>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TopicTable {
    key: String,
    kind: Kind,
    to_zenoh: Option<usize>,
    from_zenoh: Option<usize>,
    #[serde(default)]
    policy: Policy,
    longest: Option<usize>,
}

impl TryFrom<File> for Config {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        if file.channel.is_empty() {
            return Err("there is no [[channel]]: give at least one".into());
        }
        for (number, channel) in file.channel.iter().enumerate() {
            let same = |other: &Channel| {
                (&other.socket, &other.place) == (&channel.socket, &channel.place)
            };
            if file.channel[..number].iter().any(same) {
                return Err(format!(
                    "{channel} has two [[channel]]: give all its topics in one"
                ));
            }
        }
        Ok(Self {
            zenoh_config: file.zenoh_config,
            channels: file.channel,
        })
    }
}

impl TryFrom<ChannelTable> for Channel {
    type Error = String;

    fn try_from(table: ChannelTable) -> Result<Self, String> {
        let place = match (table.area, table.directory, table.offset) {
            (Some(name), directory, None) => Place::Area(name, directory.unwrap_or(0)),
            (None, None, Some(offset)) => Place::Offset(offset),
            _ => return Err(
                "give the channel's area, with a directory that is not at byte 0, or its offset"
                    .into(),
            ),
        };
        if table.topic.is_empty() {
            return Err("the channel has no [[channel.topic]]: give at least one".into());
        }
        let mut named = BTreeSet::new();
        for topic in &table.topic {
            for number in [topic.to_zenoh, topic.from_zenoh].into_iter().flatten() {
                if !named.insert(number) {
                    return Err(format!(
                        "the channel's topic {number} is named twice: each goes one way, under one key"
                    ));
                }
            }
        }
        Ok(Self {
            socket: match table.socket.contains('/') {
                true => table.socket.into(),
                false => format!("{SOCKETS}/{}.sock", table.socket).into(),
            },
            place,
            slot: table.slot,
            topics: table.topic,
        })
    }
}

impl TryFrom<TopicTable> for Topic {
    type Error = String;

    fn try_from(table: TopicTable) -> Result<Self, String> {
        let key = OwnedKeyExpr::autocanonize(table.key.clone());
        let key = key.map_err(|error| format!("{:?} is no key of Zenoh: {error}", table.key))?;
        if (table.to_zenoh, table.from_zenoh) == (None, None) {
            return Err(
                "give to-zenoh, from-zenoh or both: the numbers of topics of the channel".into(),
            );
        }
        if key.is_wild() && (table.to_zenoh.is_some() || table.kind == Kind::Latest) {
            return Err(format!(
                "{key} is an expression for several keys: only messages from-zenoh can have one"
            ));
        }
        if table.longest == Some(0) {
            return Err("longest = 0 carries nothing: give bytes, or leave it out".into());
        }
        Ok(Self {
            key,
            kind: table.kind,
            to_zenoh: table.to_zenoh,
            from_zenoh: table.from_zenoh,
            policy: table.policy,
            longest: table.longest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "[[channel]]\nsocket = \"demo\"\noffset = 0\nslot = 1\n";

    #[test]
    fn everything_arrives() {
        let config = parse(
            r#"
            zenoh-config = "/etc/ivshmem/zenoh.json5"

            [[channel]]
            socket = "demo"
            area = "sensors"
            directory = 0x1000
            slot = 7

            [[channel.topic]]
            key = "plant/line1/temperature"
            kind = "latest"
            to-zenoh = 0
            policy = "block"
            longest = 4096

            [[channel.topic]]
            key = "plant/*/alarms"
            kind = "messages"
            from-zenoh = 2

            [[channel]]
            socket = "/run/other"
            offset = 8192
            slot = 1
            topic = [{ key = "chat", kind = "messages", to-zenoh = 0, from-zenoh = 1 }]
            "#,
        )
        .unwrap();
        assert_eq!(config.zenoh_config, Some("/etc/ivshmem/zenoh.json5".into()));
        let [first, second] = &config.channels[..] else {
            panic!("{config:?}");
        };
        assert_eq!(first.to_string(), "/run/ivshmem/demo.sock, area sensors");
        assert_eq!(first.place, Place::Area("sensors".into(), 0x1000));
        assert_eq!(first.slot, 7);
        let [temperature, alarms] = &first.topics[..] else {
            panic!("{first:?}");
        };
        assert_eq!(temperature.key.as_str(), "plant/line1/temperature");
        assert_eq!(temperature.kind, Kind::Latest);
        assert_eq!(
            (temperature.to_zenoh, temperature.from_zenoh),
            (Some(0), None)
        );
        assert_eq!(temperature.policy, Policy::Block);
        assert_eq!(temperature.longest, Some(4096));
        assert_eq!((alarms.to_zenoh, alarms.from_zenoh), (None, Some(2)));
        assert_eq!((alarms.policy, alarms.longest), (Policy::Drop, None));
        assert_eq!(second.to_string(), "/run/other, offset 0x2000");
        assert_eq!(
            (second.topics[0].to_zenoh, second.topics[0].from_zenoh),
            (Some(0), Some(1))
        );
    }

    #[test]
    fn the_samples_can_be_read() {
        let sample = parse(include_str!("../../../../dist/bridge/example.toml")).unwrap();
        assert_eq!(sample.channels[0].topics.len(), 2);
        let zenoh = include_str!("../../../../dist/bridge/zenoh.json5");
        zenoh::Config::from_json5(zenoh).unwrap();
    }

    /// Each is a file, the line that is wrong, and what is said of it.
    #[test]
    fn mistakes_are_explained_with_their_line() {
        let topic = "topic = [{ key = \"k\", kind = \"messages\", to-zenoh = 0 }]\n";
        let cases = [
            ("", 0, "no [[channel]]"),
            ("[[channel]]\nsokcet = \"demo\"", 2, "unknown field `sokcet`"),
            ("[[channel]]\nsocket = \"demo\"\nslot = 1", 1, "area"),
            (&format!("{CHANNEL}area = \"a\"\n{topic}"), 1, "its offset"),
            (CHANNEL, 1, "no [[channel.topic]]"),
            (&format!("{CHANNEL}{topic}{CHANNEL}{topic}"), 0, "has two"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"each\" }}]"), 5, "unknown variant `each`"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"latest\" }}]"), 5, "give to-zenoh"),
            (&format!("{CHANNEL}topic = [{{ key = \"k//\", kind = \"latest\", to-zenoh = 0 }}]"), 5, "no key of Zenoh"),
            (&format!("{CHANNEL}topic = [{{ key = \"k/*\", kind = \"latest\", from-zenoh = 0 }}]"), 5, "several keys"),
            (&format!("{CHANNEL}topic = [{{ key = \"k/*\", kind = \"messages\", to-zenoh = 0 }}]"), 5, "several keys"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"latest\", to-zenoh = 0, longest = 0 }}]"), 5, "longest = 0"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"latest\", to-zenoh = 3, from-zenoh = 3 }}]"), 1, "topic 3 is named twice"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"latest\", to-zenoh = -1 }}]"), 5, "-1"),
            (&format!("{CHANNEL}topic = [{{ key = \"k\", kind = \"latest\", to-zenoh = 0, policy = \"wait\" }}]"), 5, "unknown variant `wait`"),
        ];
        for (text, line, expected) in cases {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
            // What is wrong with all of it has none.
            let told = match line {
                0 => !error.contains("line"),
                line => error.contains(&format!("line {line}, ")),
            };
            assert!(told, "{text}: {error}");
        }
    }
}
