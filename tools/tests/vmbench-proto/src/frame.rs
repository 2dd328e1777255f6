// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Frames: `{"bytes":N,"body":{..}}`, a newline, and N raw bytes.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest line accepted, in bytes. Command lines are the longest thing in a line.
const MAX_LINE: u64 = 1 << 20;

/// Longest payload accepted, in bytes: more than any file that a small guest can hold.
const MAX_PAYLOAD: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Line<T> {
    bytes: u64,
    body: T,
}

/// Writes one frame and flushes. Blocks until the other side has taken it.
///
/// The frame is handed to `writer` in one piece, so a writer that two threads use under a lock
/// never mixes frames, and a short message costs one system call.
pub fn write<T: Serialize>(writer: &mut impl Write, body: &T, payload: &[u8]) -> io::Result<()> {
    let bytes = payload.len() as u64;
    let mut frame = serde_json::to_vec(&Line { bytes, body })?;
    frame.push(b'\n');
    frame.extend_from_slice(payload);
    writer.write_all(&frame)?;
    writer.flush()
}

/// Reads one frame. Blocks until it is complete.
///
/// Returns `None` if the stream ends between frames. A stream that ends within a frame, a line that
/// is no frame, and a frame beyond the limits of this module are errors.
pub fn read<T: DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(MAX_LINE)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(invalid("a frame's line is cut off or too long"));
    }
    let Line { bytes, body } = serde_json::from_slice(&line)?;
    if bytes > MAX_PAYLOAD {
        return Err(invalid("a frame's payload is too long"));
    }
    let mut payload = Vec::new();
    let got = reader.by_ref().take(bytes).read_to_end(&mut payload)?;
    if (got as u64) < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((body, payload)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request, Status, Stream};
    use proptest::prelude::*;

    fn run(argv: &[&str]) -> Request {
        Request::Run {
            id: 7,
            argv: argv.iter().map(|arg| arg.to_string()).collect(),
            env: vec![("KEY".into(), "a \"quoted\" \n value".into())],
            cwd: "/tmp".into(),
            limit_ms: 1000,
        }
    }

    #[test]
    fn frames_follow_each_other() {
        let mut stream = Vec::new();
        write(&mut stream, &run(&["cat"]), b"\0\n{\"bytes\":3}\n\xff").unwrap();
        write(&mut stream, &Request::PowerOff, b"").unwrap();
        let mut reader = &stream[..];
        let (first, stdin) = read::<Request>(&mut reader).unwrap().unwrap();
        assert_eq!(first, run(&["cat"]));
        assert_eq!(stdin, b"\0\n{\"bytes\":3}\n\xff");
        let (second, rest) = read::<Request>(&mut reader).unwrap().unwrap();
        assert_eq!((second, rest), (Request::PowerOff, vec![]));
        assert!(read::<Request>(&mut reader).unwrap().is_none());
    }

    #[test]
    fn the_line_is_readable() {
        let mut stream = Vec::new();
        let status = Status::Signal(9);
        write(&mut stream, &Reply::Exited { id: 3, status }, b"").unwrap();
        assert_eq!(
            String::from_utf8(stream).unwrap(),
            "{\"bytes\":0,\"body\":{\"reply\":\"exited\",\"id\":3,\"status\":{\"signal\":9}}}\n"
        );
    }

    #[test]
    fn every_cut_is_noticed() {
        let mut stream = Vec::new();
        let body = Reply::Output {
            id: 1,
            stream: Stream::Stderr,
        };
        write(&mut stream, &body, b"0123456789").unwrap();
        for len in 1..stream.len() {
            assert!(read::<Reply>(&mut &stream[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn too_much_is_refused_before_it_is_read() {
        let line = format!(
            "{{\"bytes\":{},\"body\":{{\"reply\":\"ready\"}}}}\n",
            MAX_PAYLOAD + 1
        );
        assert!(read::<Reply>(&mut line.as_bytes()).is_err());
        let line = vec![b'x'; MAX_LINE as usize + 10];
        assert!(read::<Reply>(&mut &line[..]).is_err());
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<Reply>(&mut &noise[..]);
        }

        #[test]
        fn any_payload_passes(payload in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut stream = Vec::new();
            write(&mut stream, &Reply::Ready, &payload).unwrap();
            let (body, back) = read::<Reply>(&mut &stream[..]).unwrap().unwrap();
            prop_assert_eq!(body, Reply::Ready);
            prop_assert_eq!(back, payload);
        }
    }
}
