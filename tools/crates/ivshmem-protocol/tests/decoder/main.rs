// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The client's decoder, byte for byte, and everything that it must refuse.

mod feed;

use ivshmem_protocol::{ClientDecoder, DecodeError, Event, MAX_VECTORS};
use proptest::prelude::*;

/// Stands for a file descriptor.
type Fd = u32;

/// A number on the wire and the descriptor that comes with it.
type Input = (i64, Option<Fd>);

const HANDSHAKE: [Input; 3] = [(0, None), (3, None), (-1, Some(100))];

fn feed(decoder: &mut ClientDecoder<Fd>, input: Input) -> Result<Event<Fd>, DecodeError> {
    let (value, fd) = input;
    decoder
        .push(&value.to_le_bytes(), fd)
        .map(|event| event.expect("a whole message is an event"))
}

/// What the last of these inputs yields, where all before it are valid.
fn last(inputs: &[Input]) -> Result<Event<Fd>, DecodeError> {
    let mut decoder = ClientDecoder::new();
    let (last, valid) = inputs.split_last().unwrap();
    for input in valid {
        feed(&mut decoder, *input).unwrap();
    }
    feed(&mut decoder, *last)
}

fn after_handshake(inputs: &[Input]) -> Result<Event<Fd>, DecodeError> {
    last(&[&HANDSHAKE, inputs].concat())
}

#[test]
fn handshake_byte_for_byte() {
    let mut decoder = ClientDecoder::new();
    let mut push = |bytes: [u8; 8], fd: Option<Fd>| decoder.push(&bytes, fd).unwrap().unwrap();
    let peer = 2.into();
    assert_eq!(push([0; 8], None), Event::Version);
    assert_eq!(
        push([0, 1, 0, 0, 0, 0, 0, 0], None),
        Event::OwnId(0x100.into())
    );
    assert_eq!(push([0xff; 8], Some(9)), Event::SharedMemory(9));
    for (vector, fd) in [(0, 10), (1, 11)] {
        assert_eq!(
            push([2, 0, 0, 0, 0, 0, 0, 0], Some(fd)),
            Event::PeerVector { peer, vector, fd }
        );
    }
    for (vector, fd) in [(0, 20), (1, 21)] {
        assert_eq!(
            push([0, 1, 0, 0, 0, 0, 0, 0], Some(fd)),
            Event::OwnVector { vector, fd }
        );
    }
    assert_eq!(push([2, 0, 0, 0, 0, 0, 0, 0], None), Event::PeerLeft(peer));
}

#[test]
fn forbidden_in_the_handshake() {
    let cases: &[(&[Input], DecodeError)] = &[
        (&[(1, None)], DecodeError::Version(1)),
        (&[(-1, None)], DecodeError::Refused),
        (&[(0, Some(1))], DecodeError::VersionWithDescriptor),
        (&[(0, None), (-1, None)], DecodeError::OwnIdOutOfRange(-1)),
        (
            &[(0, None), (65536, None)],
            DecodeError::OwnIdOutOfRange(65536),
        ),
        (&[(0, None), (0, Some(1))], DecodeError::OwnIdWithDescriptor),
        (
            &[(0, None), (0, None), (-1, None)],
            DecodeError::SharedMemoryWithoutDescriptor,
        ),
        (
            &[(0, None), (0, None), (1, Some(1))],
            DecodeError::ExpectedSharedMemory(1),
        ),
    ];
    for (inputs, error) in cases {
        assert_eq!(last(inputs), Err(*error), "{inputs:?}");
    }
}

#[test]
fn forbidden_afterwards() {
    let cases: &[(&[Input], DecodeError)] = &[
        (&[(-1, Some(1))], DecodeError::SecondSharedMemory),
        (&[(-1, None)], DecodeError::SecondSharedMemory),
        (&[(-2, None)], DecodeError::IdOutOfRange(-2)),
        (&[(65536, Some(1))], DecodeError::IdOutOfRange(65536)),
        (&[(4, None)], DecodeError::UnknownPeerLeft(4.into())),
        (&[(3, None)], DecodeError::OwnIdLeft),
        (&[(3, Some(1)), (3, None)], DecodeError::OwnIdLeft),
        (
            &[(4, Some(1)), (4, None), (4, None)],
            DecodeError::UnknownPeerLeft(4.into()),
        ),
    ];
    for (inputs, error) in cases {
        assert_eq!(after_handshake(inputs), Err(*error), "{inputs:?}");
    }
}

#[test]
fn errors_are_final() {
    let mut decoder = ClientDecoder::new();
    assert_eq!(feed(&mut decoder, (5, None)), Err(DecodeError::Version(5)));
    assert_eq!(feed(&mut decoder, (0, None)), Err(DecodeError::Version(5)));
    assert_eq!(decoder.end_of_stream(), Err(DecodeError::Version(5)));
}

#[test]
fn vectors_fit_the_doorbell() {
    let mut decoder = ClientDecoder::new();
    for input in HANDSHAKE {
        feed(&mut decoder, input).unwrap();
    }
    for fd in 0..MAX_VECTORS {
        feed(&mut decoder, (4, Some(fd))).unwrap();
    }
    let error = DecodeError::TooManyVectors(4.into());
    assert_eq!(feed(&mut decoder, (4, Some(0))), Err(error));
}

#[test]
fn one_descriptor_and_no_more_bytes_than_wanted() {
    let mut decoder = ClientDecoder::<Fd>::new();
    assert_eq!(
        decoder.push(&[0; 4], [1, 2]),
        Err(DecodeError::TwoDescriptors)
    );
    let mut decoder = ClientDecoder::<Fd>::new();
    assert_eq!(decoder.push(&[0; 3], [1]), Ok(None));
    assert_eq!(decoder.push(&[0; 3], [2]), Err(DecodeError::TwoDescriptors));
    let mut decoder = ClientDecoder::<Fd>::new();
    assert_eq!(decoder.push(&[0; 3], None), Ok(None));
    assert_eq!(decoder.wanted(), 5);
    assert_eq!(decoder.push(&[0; 7], None), Err(DecodeError::Overrun(2)));
}

#[test]
fn where_the_stream_may_end() {
    let mut decoder = ClientDecoder::new();
    for input in HANDSHAKE {
        assert_eq!(decoder.end_of_stream(), Err(DecodeError::ClosedInHandshake));
        feed(&mut decoder, input).unwrap();
    }
    assert_eq!(decoder.end_of_stream(), Ok(()));
    decoder.push(&[0], None).unwrap();
    assert_eq!(decoder.end_of_stream(), Err(DecodeError::ClosedInMessage));
}

proptest! {
    /// However a stream is cut, and whichever fragment brings the descriptor, the same
    /// events come out.
    #[test]
    fn fragments_do_not_matter(
        cuts in prop::collection::vec((1usize..8, 0usize..8), 6),
    ) {
        let inputs = [&HANDSHAKE[..], &[(9, Some(1)), (3, Some(2)), (9, None)]].concat();
        let mut whole = ClientDecoder::new();
        let mut cut = ClientDecoder::new();
        for ((value, fd), (step, with)) in inputs.into_iter().zip(cuts) {
            let expected = feed(&mut whole, (value, fd)).unwrap();
            let bytes = value.to_le_bytes();
            let chunks: Vec<_> = bytes.chunks(step).collect();
            let with = with % chunks.len();
            let mut found = None;
            for (index, chunk) in chunks.into_iter().enumerate() {
                prop_assert!(found.is_none() && chunk.len() <= cut.wanted());
                found = cut.push(chunk, fd.filter(|_| index == with)).unwrap();
            }
            prop_assert_eq!(found, Some(expected));
        }
    }

    /// No input makes the decoder panic, or keep a descriptor. Most inputs begin with a handshake,
    /// as few that are made at random would get beyond it.
    #[test]
    fn garbage_is_survived(
        handshake in prop::bool::weighted(0.8),
        reads in prop::collection::vec((0u8..0x40, any::<[u8; 15]>()), 0..12),
        whole in prop::collection::vec((-2i64..9, 0u8..2), 0..40),
    ) {
        let mut input = Vec::new();
        let mut message = |value: i64, fds: u8| {
            input.push(8 | fds << 4);
            input.extend(value.to_le_bytes());
        };
        if handshake {
            message(0, 0);
            message(3, 0);
            message(-1, 1);
        }
        whole.into_iter().for_each(|(value, fds)| message(value, fds));
        for (head, bytes) in reads {
            input.push(head);
            input.extend(&bytes[..usize::from(head & 0xf)]);
        }
        feed::feed(&input);
    }
}
