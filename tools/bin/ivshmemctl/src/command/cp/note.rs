// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the two endpoints of a copy say to each other.
//!
//! Notes are JSON objects; pieces of the file are a header and bytes. All but `Ready` carry the number of the
//! sender's run, so that what an earlier run left in the rings is not taken for this one's.

use serde::{Deserialize, Serialize};

/// The channel's slots of the two endpoints.
pub const SENDER: u32 = 0;
pub const RECEIVER: u32 = 1;

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// The receiver has started and knows of nothing.
    Ready,
    /// The sender has this file.
    Offer {
        run: u32,
        size: u64,
        sha256: String,
        name: String,
    },
    /// The receiver has the file up to `offset`, and wants what follows.
    Resume { run: u32, offset: u64 },
    /// The sender has sent everything.
    End { run: u32 },
    /// The receiver has everything, and it is what the sender offered.
    Done { run: u32 },
    /// The receiver has everything, and it is something else.
    Damaged { run: u32 },
}

/// A message as it was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A note.
    Note(Note),
    /// The bytes of the file from `offset` on.
    Piece {
        run: u32,
        offset: u64,
        bytes: &'a [u8],
    },
}

/// First byte of a piece; a note's is a brace.
const PIECE: u8 = b'P';

/// Bytes before those of the file.
pub const HEADER: usize = 1 + 4 + 8;

impl Note {
    /// As a message.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("only numbers and strings")
    }
}

/// The header of a piece.
pub fn piece_header(run: u32, offset: u64) -> Vec<u8> {
    let mut header = vec![PIECE];
    header.extend(run.to_le_bytes());
    header.extend(offset.to_le_bytes());
    header
}

/// What a message says; `None` if it is none of ours.
pub fn decode(message: &[u8]) -> Option<Message<'_>> {
    if message.first() != Some(&PIECE) {
        return serde_json::from_slice(message).ok().map(Message::Note);
    }
    let (run, rest) = message[1..].split_first_chunk()?;
    let (offset, bytes) = rest.split_first_chunk()?;
    Some(Message::Piece {
        run: u32::from_le_bytes(*run),
        offset: u64::from_le_bytes(*offset),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let note = Note::Resume {
            run: 7,
            offset: 1 << 40,
        };
        assert_eq!(decode(&note.encode()), Some(Message::Note(note)));
        let mut piece = piece_header(9, 1 << 33);
        assert_eq!(piece.len(), HEADER);
        piece.extend(b"bytes");
        let expected = Message::Piece {
            run: 9,
            offset: 1 << 33,
            bytes: b"bytes",
        };
        assert_eq!(decode(&piece), Some(expected));
    }

    #[test]
    fn other_messages_are_none() {
        for other in [
            &b""[..],
            b"P",
            b"P12345678901",
            b"{}",
            b"{\"note\":\"unknown\"}",
        ] {
            assert_eq!(decode(other), None, "{other:?}");
        }
    }
}
