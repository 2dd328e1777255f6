// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Rings as streams of bytes, and receivers as iterators.

mod common;

use std::io::{copy, BufRead, BufReader, ErrorKind, Read, Write};
use std::time::Duration;

use common::{members, memory, GATHERS, RING, SOON};
use ivshmem_channel::{ByteReader, ByteWriter, Cancel, Error};
use test_limit::limit;

/// Much more than the ring holds, in pieces of all lengths.
#[test]
fn what_is_written_is_read_whatever_the_pieces_are() {
    let [one, two, _] = members(&memory());
    let sent: Vec<u8> = (0..20 * RING).map(|n| (n / 5) as u8).collect();
    std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            let mut writer = ByteWriter::new(one.sender(1).unwrap(), Some(limit()));
            let mut rest = &sent[..];
            for len in (1..).step_by(13) {
                let (piece, others) = rest.split_at(rest.len().min(len));
                writer.write_all(piece).unwrap();
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            let mut writer = ByteWriter::new(writer.finish().unwrap(), Some(limit()));
            writeln!(writer, "the next stream").unwrap();
            writer.finish().unwrap();
        });
        let mut reader = ByteReader::new(two.receiver(0).unwrap(), Some(limit()));
        let mut received = Vec::new();
        let mut part = [0; 37];
        assert_eq!(reader.read(&mut []).unwrap(), 0, "no end");
        loop {
            match reader.read(&mut part).unwrap() {
                0 => break,
                len => received.extend_from_slice(&part[..len]),
            }
        }
        assert!(received == *sent);
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "the next stream\n");
        assert_eq!(copy(&mut reader, &mut Vec::new()).unwrap(), 0);
    });
}

#[test]
fn who_waits_too_long_or_is_cancelled_gets_an_error_that_ends_loops() {
    let [one, two, _] = members(&memory());
    let mut writer = ByteWriter::new(one.sender(1).unwrap(), SOON);
    let error = writer.write_all(&[0; 2 * RING as usize]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let mut receiver = two.receiver(0).unwrap();
    let cancel = Cancel::new().unwrap();
    receiver.set_cancel(&cancel);
    cancel.cancel();
    let mut all = Vec::new();
    let error = ByteReader::new(receiver, None).read_to_end(&mut all);
    let error = error.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::Cancelled));
    assert!(!all.is_empty(), "what was there is read");
    let mut reader = ByteReader::new(two.receiver(0).unwrap(), SOON);
    assert_eq!(
        reader.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::TimedOut
    );
}

#[test]
fn messages_one_after_the_other() {
    let [one, two, gathers] = members(&memory());
    let mut receiver = two.receiver(0).unwrap();
    let mut multi = gathers.multi_receiver().unwrap();
    for round in 0..3u8 {
        for to in [1, GATHERS] {
            one.sender(to).unwrap().send(&[round], SOON).unwrap();
        }
    }
    let all: Vec<_> = receiver
        .iter(Some(Duration::ZERO))
        .map(Result::unwrap)
        .collect();
    assert_eq!(all, [[0], [1], [2]]);
    let mut all = multi.iter(SOON);
    for round in 0..3u8 {
        assert_eq!(all.next().unwrap().unwrap(), (0, vec![round]));
    }
    assert!(all.next().is_none() && all.next().is_none());
    // It ends after an error.
    let cancel = Cancel::new().unwrap();
    receiver.set_cancel(&cancel);
    cancel.cancel();
    let mut all = receiver.iter(None);
    assert!(matches!(all.next(), Some(Err(Error::Cancelled))));
    assert!(all.next().is_none());
}
