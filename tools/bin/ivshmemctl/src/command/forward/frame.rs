// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What two endpoints say to each other. The other endpoint may send anything.
//!
//! Each message has a header of 16 bytes, little-endian: the incarnation of the end that it is for, that of the end that
//! sends it, the number of a connection, the kind, 1 if the one who sends has opened the connection or else 0, and two
//! reserved bytes. Connections are numbered by the one who opens them.

use std::borrow::Cow;

/// Bytes of the header.
pub const HEADER: usize = 16;

/// The longest text in a message in bytes: an address, or a reason.
pub const LONGEST_TEXT: usize = 1024;

/// Which connection of two endpoints is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whether this endpoint has opened it.
    pub ours: bool,
    /// Its number, drawn by the one who opened it. For [`Listen`](Body::Listen) and its answers that of the request.
    pub number: u32,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Incarnation of the end that it is for.
    pub to: u32,
    /// Incarnation of the end that sends it.
    pub from: u32,
    /// The connection, as seen from this endpoint.
    pub key: Key,
    /// The rest.
    pub body: Body<'a>,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Connect to this address, and begin with a full [window](super::flow::WINDOW) each way.
    Open(&'a str),
    /// The same, to what the other endpoint has asked to be listened for by the request of this number.
    Accepted(u32),
    /// Bytes of the connection.
    Data(&'a [u8]),
    /// So many more bytes may be sent.
    Credit(u32),
    /// No more bytes come from the one who sends this.
    End,
    /// The connection is over in both directions, for this reason.
    Reset(&'a str),
    /// Listen at this address.
    Listen(&'a str),
    /// That is done.
    Listening,
    /// That cannot be done, for this reason.
    NotListening(&'a str),
    /// All connections so far are over, and nothing is listened for any more: the one who sends this had lost sight of
    /// the one that it is for, which may not know that.
    ResetAll,
}

mod kind {
    pub const OPEN: u8 = 1;
    pub const ACCEPTED: u8 = 2;
    pub const DATA: u8 = 3;
    pub const CREDIT: u8 = 4;
    pub const END: u8 = 5;
    pub const RESET: u8 = 6;
    pub const LISTEN: u8 = 7;
    pub const LISTENING: u8 = 8;
    pub const NOT_LISTENING: u8 = 9;
    pub const RESET_ALL: u8 = 10;
}

impl<'a> Frame<'a> {
    /// The bytes of its header.
    pub fn header(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.to.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.from.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.key.number.to_le_bytes());
        bytes[12] = self.body.kind();
        bytes[13] = u8::from(self.key.ours);
        bytes
    }

    /// The bytes after that. A text that is too long is cut off.
    pub fn payload(&self) -> Cow<'a, [u8]> {
        match self.body {
            Body::Open(text)
            | Body::Reset(text)
            | Body::Listen(text)
            | Body::NotListening(text) => cut(text).as_bytes().into(),
            Body::Data(data) => data.into(),
            Body::Accepted(number) | Body::Credit(number) => number.to_le_bytes().to_vec().into(),
            Body::End | Body::Listening | Body::ResetAll => Cow::default(),
        }
    }

    /// What another endpoint has sent; `None` if it is no message.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (to, rest) = word(bytes)?;
        let (from, rest) = word(rest)?;
        let (number, rest) = word(rest)?;
        let ([kind, side, ..], rest) = rest.split_first_chunk::<4>()?;
        let ours = match side {
            0 => true,
            1 => false,
            _ => return None,
        };
        let body = match *kind {
            kind::OPEN => Body::Open(text(rest)?),
            kind::ACCEPTED => Body::Accepted(number_alone(rest)?),
            kind::DATA => Body::Data(rest),
            kind::CREDIT => Body::Credit(number_alone(rest)?),
            kind::END if rest.is_empty() => Body::End,
            kind::RESET => Body::Reset(text(rest)?),
            kind::LISTEN => Body::Listen(text(rest)?),
            kind::LISTENING if rest.is_empty() => Body::Listening,
            kind::NOT_LISTENING => Body::NotListening(text(rest)?),
            kind::RESET_ALL if rest.is_empty() => Body::ResetAll,
            _ => return None,
        };
        Some(Self {
            to,
            from,
            key: Key { ours, number },
            body,
        })
    }
}

impl Body<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Open(_) => kind::OPEN,
            Self::Accepted(_) => kind::ACCEPTED,
            Self::Data(_) => kind::DATA,
            Self::Credit(_) => kind::CREDIT,
            Self::End => kind::END,
            Self::Reset(_) => kind::RESET,
            Self::Listen(_) => kind::LISTEN,
            Self::Listening => kind::LISTENING,
            Self::NotListening(_) => kind::NOT_LISTENING,
            Self::ResetAll => kind::RESET_ALL,
        }
    }
}

/// The beginning of a text, whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

fn number_alone(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= LONGEST_TEXT).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Frame<'_> {
        fn encode(&self) -> Vec<u8> {
            [&self.header()[..], &self.payload()].concat()
        }
    }

    fn frame(body: Body<'_>) -> Frame<'_> {
        let key = Key {
            ours: true,
            number: 0x0102_0304,
        };
        Frame {
            to: 7,
            from: u32::MAX,
            key,
            body,
        }
    }

    const BODIES: [Body<'_>; 10] = [
        Body::Open("localhost:80"),
        Body::Accepted(3),
        Body::Data(b"\0\xff"),
        Body::Credit(u32::MAX),
        Body::End,
        Body::Reset(""),
        Body::Listen("unix:/run/ä"),
        Body::Listening,
        Body::NotListening("in use"),
        Body::ResetAll,
    ];

    #[test]
    fn what_one_end_has_opened_the_other_has_not() {
        for body in BODIES {
            let sent = frame(body);
            let bytes = sent.encode();
            let heard = Frame::decode(&bytes).unwrap();
            assert_eq!(heard.key.number, sent.key.number);
            assert!(!heard.key.ours);
            assert_eq!((heard.to, heard.from, heard.body), (7, u32::MAX, body));
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let text = "ä".repeat(LONGEST_TEXT);
        let bytes = frame(Body::Reset(&text)).encode();
        let heard = Frame::decode(&bytes).unwrap();
        assert_eq!(heard.body, Body::Reset(&text[..LONGEST_TEXT]));
    }

    #[test]
    fn messages_that_are_cut_short_are_none_or_shorter() {
        for body in BODIES {
            let bytes = frame(body).encode();
            for len in 0..HEADER {
                assert_eq!(Frame::decode(&bytes[..len]), None);
            }
            for len in HEADER..bytes.len() {
                if let Some(heard) = Frame::decode(&bytes[..len]) {
                    assert!(heard.payload().len() == len - HEADER, "{body:?}");
                }
            }
        }
    }

    #[test]
    fn no_byte_of_a_header_or_a_number_makes_it_panic() {
        for body in BODIES {
            let bytes = frame(body).encode();
            for at in 0..bytes.len() {
                for value in 0..=u8::MAX {
                    let mut bytes = bytes.clone();
                    bytes[at] = value;
                    if let Some(heard) = Frame::decode(&bytes) {
                        assert_eq!(heard.payload().len(), bytes.len() - HEADER);
                    }
                }
            }
        }
        let mut long = frame(Body::Open("")).encode();
        long.resize(HEADER + LONGEST_TEXT + 1, b'x');
        assert_eq!(Frame::decode(&long), None);
        // A kind that there is not, and a side.
        let mut bytes = frame(Body::End).encode();
        bytes[12] = kind::RESET_ALL + 1;
        assert_eq!(Frame::decode(&bytes), None);
        bytes[12] = kind::END;
        bytes[13] = 2;
        assert_eq!(Frame::decode(&bytes), None);
    }
}
