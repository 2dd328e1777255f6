// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The adapter's side of the wire, byte by byte: what no library would send, and what no library shows.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use ivshmem_model::flavour::AcrnHv;
use ivshmem_model::Region;
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;
use vfio_user::Client;

const VERSION: u16 = 1;
const GET_INFO: u16 = 4;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;

/// Bytes of a message's header: number, command, size, flags, error.
const HEADER: usize = 16;

/// Flags of an answer: it is one, and it reports an error.
const REPLY: u32 = 1;
const ERROR: u32 = 1 << 5;

struct World {
    /// Serves machine 2, to which the malformed messages go.
    victim: Endpoint,
    /// Serves machine 0, which must not notice.
    neighbour: Endpoint,
    _directory: TempDir,
}

fn world() -> World {
    let memory = Backing::anonymous("test", 2 << 20).unwrap();
    let host = Host::new(Region::new(AcrnHv::V3_3, memory));
    let directory = TempDir::new().unwrap();
    let listen = |vm| host.listen(vm, &directory.path().join(format!("vm{vm}")));
    World {
        victim: listen(2).unwrap(),
        neighbour: listen(0).unwrap(),
        _directory: directory,
    }
}

impl World {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.victim.path()).unwrap();
        stream.set_read_timeout(Some(test_limit::limit())).unwrap();
        stream
    }
}

/// The peer ID that an endpoint's device shows to a well-behaved client.
fn position(endpoint: &Endpoint) -> u32 {
    let mut bytes = [0; 4];
    let mut client = Client::new(endpoint.path()).unwrap();
    client.region_read(0, 8, &mut bytes).unwrap();
    client.shutdown().unwrap();
    u32::from_le_bytes(bytes)
}

/// A message whose header claims `size` bytes, whatever follows.
fn message(command: u16, size: u32, body: &[u8]) -> Vec<u8> {
    let mut message = [7_u16, command].map(u16::to_le_bytes).concat();
    message.extend([size, 0, 0].map(u32::to_le_bytes).concat());
    message.extend(body);
    message
}

fn whole(command: u16, body: &[u8]) -> Vec<u8> {
    message(command, (HEADER + body.len()) as u32, body)
}

/// Body of an access to a region: offset, region, length.
fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    let mut body = offset.to_le_bytes().to_vec();
    body.extend([region, count].map(u32::to_le_bytes).concat());
    body
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// QEMU resets a device only if that is offered.
#[test]
fn a_pci_device_that_can_be_reset() {
    let world = world();
    let mut stream = world.connect();
    stream.write_all(&whole(GET_INFO, &[0; 16])).unwrap();
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).unwrap();
    let (reset, pci) = (1, 1 << 1);
    assert_eq!(word(&answer, 8), REPLY);
    assert_eq!(word(&answer, 20), reset | pci);
    assert_eq!(word(&answer, 24), 9, "regions");
    assert_eq!(word(&answer, 28), 5, "interrupts");
}

/// The answer to a request that asks for more than a message may carry is an error, at once.
#[test]
fn accesses_longer_than_a_message_are_refused() {
    let world = world();
    let mut stream = world.connect();
    let len: u32 = (1 << 20) + 1;
    let read = whole(REGION_READ, &access(2, 0, len));
    let mut write = whole(REGION_WRITE, &access(2, 0, len));
    write.resize(write.len() + len as usize, 0x55);
    for request in [read, write] {
        stream.write_all(&request).unwrap();
        let mut answer = [0; HEADER];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(word(&answer, 8), REPLY | ERROR);
    }
    // The connection is still good, and nothing was written.
    stream
        .write_all(&whole(REGION_READ, &access(2, 0, 4)))
        .unwrap();
    let mut answer = [0; HEADER + 16 + 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(word(&answer, HEADER + 16), 0);
}

/// `vfio_user` panics on a version that is no string, and on one that is shorter than it has to be.
#[test]
fn a_malformed_version_ends_one_connection_only() {
    let world = world();
    let text = [0, 0, 0, 0, b'a', b'b', b'c', b'd'];
    for bad in [whole(VERSION, &text), message(VERSION, 3, &[0; 4])] {
        let mut stream = world.connect();
        stream.write_all(&bad).unwrap();
        let mut answer = Vec::new();
        assert_eq!(stream.read_to_end(&mut answer).unwrap(), 0);
        assert_eq!(position(&world.victim), 2);
    }
}

/// A client that goes in the middle of a message.
#[test]
fn a_message_cut_short() {
    let world = world();
    let request = whole(REGION_WRITE, &access(0, 12, 4));
    for len in 1..request.len() {
        world.connect().write_all(&request[..len]).unwrap();
    }
    assert_eq!(position(&world.victim), 2);
}

/// Messages whose fields are mostly near what is valid. Lengths stay small: a server has to wait for what was
/// announced.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![0..16_u32, any::<u16>().prop_map(u32::from)];
    let size = prop_oneof![Just(0), 0..64_u32, Just(u32::from(u16::MAX))];
    let request = (0..20_u16, size, prop::collection::vec(word, 0..16));
    let requests = prop::collection::vec(request, 1..8);
    requests.prop_map(|requests| {
        let bytes = requests.into_iter().map(|(command, size, words)| {
            let body = words.into_iter().flat_map(u32::to_le_bytes);
            message(command, size, &body.collect::<Vec<_>>())
        });
        bytes.collect::<Vec<_>>().concat()
    })
}

/// Sends everything, and reads until nothing more comes or the server has hung up.
fn pour(mut stream: UnixStream, bytes: &[u8]) {
    match stream.write_all(bytes) {
        Err(error) => assert!(matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )),
        Ok(()) => {
            // Tells the server that this was all: it answers what it understood, and ends.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answers = Vec::new();
            let _ = stream.read_to_end(&mut answers);
        }
    }
}

#[test]
fn random_messages_hurt_nobody() {
    let world = world();
    let mut neighbour = Client::new(world.neighbour.path()).unwrap();
    neighbour.region_write(0, 0, &7_u32.to_le_bytes()).unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 512,
        failure_persistence: None,
        ..Config::default()
    });
    let poured = runner.run(&anything(), |bytes| {
        pour(world.connect(), &bytes);
        Ok(())
    });
    poured.unwrap();
    // The neighbour's connection was there all the time, and the victim's socket takes the next machine.
    let mut mask = [0; 4];
    neighbour.region_read(0, 0, &mut mask).unwrap();
    assert_eq!(u32::from_le_bytes(mask), 7);
    assert_eq!(position(&world.victim), 2);
}
