// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `forward` between processes of the host, on the real server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use ivshmem::Memory;
use ivshmem_channel::{Channel, Presence, Sender};
use ivshmem_peer::Peer;
use rustix::fs::{mkfifoat, Mode, CWD};
use rustix::process::Signal;
use test_limit::{limit, wait_until};

use super::end::{End, Machines};
use super::{path_in, PROGRAM};

/// Connections at a time.
const CONNECTIONS: usize = 100;
/// Bytes of one that is more than what fits on the way.
const MUCH: usize = 4 << 20;

/// A port that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Serves each connection in a thread, until the test ends.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream.unwrap()));
        }
    });
    port
}

/// Sends back all that comes, until the end or until that fails.
fn echo(stream: TcpStream) {
    let _ = std::io::copy(&mut &stream, &mut &stream);
    let _ = stream.shutdown(Shutdown::Write);
}

/// A connection in which nothing waits for ever.
fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    stream.set_write_timeout(Some(limit())).unwrap();
    stream
}

/// Sends `len` bytes and expects them back, while both directions are full.
fn expect_echo(stream: &mut TcpStream, len: usize) {
    let sent: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
    let mut back = vec![0; len];
    thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(move || writer.write_all(&sent).map(|()| sent).unwrap());
        stream.read_exact(&mut back).unwrap();
    });
    let right = back
        .iter()
        .enumerate()
        .all(|(n, byte)| *byte == (n / 3) as u8);
    assert!(right, "other bytes came back");
}

/// An end that leads from a port to that of `served`, and the end that connects there.
fn forwarded(machines: &Machines, served: u16) -> (u16, End, End) {
    let mut far = machines.start(&format!("forward --name far --allow 127.0.0.1:{served}"));
    far.expect("joined");
    let port = free_port();
    let local = format!("{port}:far:127.0.0.1:{served}");
    let mut near = machines.start(&format!("forward --name near -L {local}"));
    near.expect("here");
    (port, near, far)
}

#[test]
fn both_directions_end_by_themselves() {
    let machines = Machines::new("1M");
    // Answers when it has all, which it knows by the end.
    let served = serve(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        write!(stream, "{} bytes", heard.len()).unwrap();
    });
    let (port, mut near, _far) = forwarded(&machines, served);
    let mut client = connect(port);
    client.write_all(&vec![7; MUCH]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, format!("{MUCH} bytes"));
    // What it tells at the end is what was so before.
    near.signal(Signal::TERM);
    let status = near.expect("status");
    assert_eq!(status["ends"][0]["name"], "far", "{status}");
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let (port, _near, _far) = forwarded(&machines, served);
    // Writes until nothing goes any more, for it reads nothing of what comes back.
    let mut slow = connect(port);
    slow.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    let stuck = loop {
        match slow.write(&[1; 1 << 16]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(stuck.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{stuck}"
    );
    for _ in 0..3 {
        expect_echo(&mut connect(port), MUCH);
    }
    // And it gets its own when it reads.
    let mut back = vec![0; written];
    slow.read_exact(&mut back).unwrap();
    assert!(back.iter().all(|byte| *byte == 1));
}

#[test]
fn who_stops_reading_what_an_end_tells_does_not_stop_it() {
    let mut machines = Machines::new("1M");
    let served = serve(echo);
    let (port, mut near, mut far) = forwarded(&machines, served);
    near.stop_listening();
    near.signal(Signal::USR1);
    expect_echo(&mut connect(port), MUCH);
    // It comes back, and tells of that too.
    machines.restart();
    far.expect("here");
    wait_until("it sees the other end, too", || {
        let mut stream = connect(port);
        // Until then the connection is reset.
        stream.write_all(b"x").is_ok() && stream.read(&mut [0]).is_ok_and(|bytes| bytes == 1)
    });
    near.end();
}

#[test]
fn a_hundred_connections_of_which_some_are_killed() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let (port, mut near, far) = forwarded(&machines, served);
    let mut all: Vec<_> = (0..CONNECTIONS).map(|_| connect(port)).collect();
    thread::scope(|scope| {
        for (number, stream) in all.iter_mut().enumerate() {
            scope.spawn(move || {
                expect_echo(stream, 20_000);
                // Each third one goes with bytes on their way.
                if number % 3 == 0 {
                    stream.write_all(&[0; 50_000]).unwrap();
                    stream.shutdown(Shutdown::Both).unwrap();
                } else {
                    expect_echo(stream, 20_000);
                }
            });
        }
    });
    let left = all
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 3 != 0)
        .count();
    wait_until("those that were ended are gone", || {
        near.status()["connections"]["open"] == left
    });
    assert_eq!(near.status()["connections"]["opened"], CONNECTIONS);

    // The far end is killed and started again: new connections work, and nobody takes that for an end of the old ones.
    far.signal(Signal::KILL);
    let mut far = machines.start(&format!("forward --name far --allow 127.0.0.1:{served}"));
    far.expect("here");
    near.expect("here");
    expect_echo(&mut connect(port), MUCH);
    for (number, stream) in all.iter_mut().enumerate() {
        if number % 3 != 0 {
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{number}");
        }
    }
    near.end();
    far.end();
}

#[test]
fn an_end_that_stands_still_holds_up_no_other_end() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let serving = |name| {
        let command = format!("forward --name {name} --allow 127.0.0.1:{served}");
        let mut end = machines.start(&command);
        end.expect("joined");
        end
    };
    let (far, _third) = (serving("far"), serving("third"));
    let [port, other] = [(); 2].map(|()| free_port());
    let mut near = machines.start(&format!(
        "forward -L {port}:far:127.0.0.1:{served} -L {other}:third:127.0.0.1:{served}"
    ));
    for _ in 0..2 {
        near.expect("here");
    }
    let mut stuck: Vec<_> = (0..8).map(|_| connect(port)).collect();
    for stream in &mut stuck {
        expect_echo(stream, 1);
    }
    far.signal(Signal::STOP);
    // More than the ring holds.
    for stream in &mut stuck {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
        while stream.write(&[0; 1 << 16]).is_ok() {}
    }
    expect_echo(&mut connect(other), MUCH);
    // Until it counts as gone.
    for mut stream in stuck {
        assert!(std::io::copy(&mut stream, &mut std::io::sink()).is_err());
    }
    far.signal(Signal::CONT);
    near.end();
}

#[test]
fn an_end_that_stood_still_for_long_begins_anew_with_the_others() {
    let machines = Machines::new("1M");
    let (over, ended) = mpsc::channel();
    let served = serve(move |stream| {
        echo(stream);
        // The test may be done with it.
        let _ = over.send(());
    });
    let target = format!("127.0.0.1:{served}");
    let [port, back, listened] = [(); 3].map(|()| free_port());
    let mut far = machines.start(&format!(
        "forward --name far --allow {target} --allow-listen {listened} -L {back}:near:{target}"
    ));
    far.expect("joined");
    let mut near = machines.start(&format!(
        "forward --name near --allow {target} -L {port}:far:{target} -R {listened}:far:{target}"
    ));
    near.expect("here");
    near.expect("listening");
    far.expect("here");
    let mut before = [port, back, listened].map(connect);
    for stream in &mut before {
        expect_echo(stream, 1);
    }
    far.signal(Signal::STOP);
    near.expect("left");
    far.signal(Signal::CONT);
    near.expect("here");
    // What is opened now is not taken for what was open before, and that is over at both ends.
    expect_echo(&mut connect(port), MUCH);
    near.expect("listening");
    for port in [back, listened] {
        expect_echo(&mut connect(port), MUCH);
    }
    for mut stream in before {
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    for _ in 0..6 {
        ended.recv_timeout(limit()).unwrap();
    }
    near.end();
    far.end();
}

#[test]
fn names_that_take_long_to_look_up_take_few_threads() {
    const NAMES: usize = 200;
    let machines = Machines::new("1M");
    let served = serve(echo);
    // To look up a name there is to wait for somebody who writes into it.
    let hosts = path_in(machines.directory.path(), "hosts");
    mkfifoat(CWD, &hosts, Mode::RUSR | Mode::WUSR).unwrap();
    let mut program = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    program.args(["--mount", "sh", "-c", script, &hosts, PROGRAM]);
    let far = format!("forward --name far --allow *:* --join {}", machines.socket);
    let mut far = End::of(program, &far);
    far.expect("joined");
    let [port, slow] = [(); 2].map(|()| free_port());
    let mut near = machines.start(&format!(
        "forward -L {port}:far:127.0.0.1:{served} -L {slow}:far:some.name:80"
    ));
    near.expect("here");
    let waiting: Vec<_> = (0..NAMES).map(|_| connect(slow)).collect();
    wait_until("all names are to be looked up", || {
        far.status()["connections"]["opened"] == NAMES
    });
    assert!(far.threads() < NAMES / 2, "{} threads", far.threads());
    expect_echo(&mut connect(port), MUCH);
    drop(waiting);
}

#[test]
fn unix_sockets_lead_to_unix_sockets() {
    let machines = Machines::new("1M");
    let directory = machines.directory.path();
    let [listen, target] = ["listen", "target"].map(|name| path_in(directory, name));
    let listener = UnixListener::bind(&target).unwrap();
    // One that has crashed has left this.
    drop(UnixListener::bind(&listen).unwrap());
    let mut far = machines.start("forward --name far --allow unix:*");
    far.expect("joined");
    let mut near = machines.start(&format!("forward -L unix:{listen}:far:unix:{target}"));
    near.expect("here");
    let mut client = UnixStream::connect(&listen).unwrap();
    client.set_read_timeout(Some(limit())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"there").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    server.write_all(b"and back").unwrap();
    drop(server);
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "thereand back");
    near.end();
    assert!(!std::fs::exists(&listen).unwrap());
}

#[test]
fn a_file_in_the_place_of_a_socket_stays() {
    let machines = Machines::new("1M");
    let path = path_in(machines.directory.path(), "file");
    std::fs::write(&path, "precious").unwrap();
    let here = machines.start(&format!("forward -L unix:{path}:far:127.0.0.1:1"));
    let (exit, text) = here.failure();
    assert_eq!(exit, Some(1), "{text}");
    assert!(text.contains("no socket"), "{text}");
    // Nor can another end remove it that may listen anywhere.
    let mut far = machines.start("forward --name far --allow-listen unix:*");
    far.expect("joined");
    let mut near = machines.start(&format!("forward -R unix:{path}:far:127.0.0.1:1"));
    let reason = near.expect("failed")["reason"].to_string();
    assert!(reason.contains("no socket"), "{reason}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_other_end_listens_where_it_is_allowed() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let [allowed, other] = [(); 2].map(|()| free_port());
    let far = format!("forward --name far --allow-listen {allowed}");
    let mut first = machines.start(&far);
    first.expect("joined");
    let remote = |port| format!("-R {port}:far:127.0.0.1:{served}");
    let command = format!("forward {} {}", remote(allowed), remote(other));
    let mut near = machines.start(&command);
    near.expect("listening");
    let failed = near.expect("failed")["reason"].to_string();
    assert!(failed.contains("--allow-listen"), "{failed}");
    expect_echo(&mut connect(allowed), MUCH);
    // One that comes anew is asked anew.
    first.signal(Signal::KILL);
    let _second = machines.start(&far);
    near.expect("listening");
    expect_echo(&mut connect(allowed), 1);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let machines = Machines::new("1M");
    let port = free_port();
    let refused = |command: &str| machines.start(command).failure();
    for (command, code, message) in [
        ("forward -L 8080:far:80", 2, "[ADDRESS:]PORT:PEER:HOST:PORT"),
        ("forward --name 7", 2, "not a number alone"),
        (
            "forward -L 192.0.2.1:80:far:web:80",
            1,
            "cannot listen at 192.0.2.1:80",
        ),
        ("forward --ends 64", 6, "fewer --ends"),
    ] {
        let (exit, text) = refused(command);
        assert_eq!(exit, Some(code), "{command}: {text}");
        assert!(text.contains(message), "{command}: {text}");
    }
    // Nobody listens there.
    let closed = free_port();
    let mut far = machines.start(&format!("forward --name far --allow 127.0.0.1:{closed}"));
    far.expect("joined");
    let others = [free_port(), free_port()];
    let mut near = machines.start(&format!(
        "forward -L {port}:far:127.0.0.1:{closed} -L {}:far:127.0.0.1:1 -L {}:nobody:127.0.0.1:1",
        others[0], others[1]
    ));
    near.expect("here");
    for (port, message) in [
        (port, "refused"),
        (others[0], "--allow 127.0.0.1:1"),
        (others[1], "nobody is not there"),
    ] {
        let ended = connect(port).read(&mut [0]);
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let reason = near.expect("failed")["reason"].to_string();
        assert!(reason.contains(message), "{reason}");
    }
}

/// What a hostile end knows of another one.
struct Victim {
    sender: Sender<Arc<Peer>>,
    incarnation: u32,
}

#[test]
fn an_end_that_sends_anything_stops_nobody() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let (port, mut near, mut far) = forwarded(&machines, served);
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let slots: Vec<_> = (0..channel.plan().layout().slots()).collect();
    let me = channel.join_any(&slots, 0).unwrap();
    me.publisher(me.slot() as usize)
        .unwrap()
        .publish(&me.incarnation().to_le_bytes())
        .unwrap();
    for end in [&mut near, &mut far] {
        end.expect("here");
    }
    let mut victims: Vec<_> = slots
        .iter()
        .filter(|slot| **slot != me.slot())
        .filter_map(|slot| match me.presence(*slot).unwrap() {
            Presence::Present { incarnation, .. } => Some(Victim {
                sender: me.sender(*slot).unwrap(),
                incarnation,
            }),
            _ => None,
        })
        .collect();
    assert_eq!(victims.len(), 2);
    let mut good = connect(port);
    let mut seed = 1_u64;
    let mut random = move || {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..5_000 {
        for victim in &mut victims {
            let mut frame = Vec::new();
            frame.extend(victim.incarnation.to_le_bytes());
            frame.extend(me.incarnation().to_le_bytes());
            // Few connections, so that it hits some.
            frame.extend((random() as u32 % 4).to_le_bytes());
            frame.extend([random() as u8 % 11, random() as u8 % 3, 0, 0]);
            let body = match random() % 4 {
                0 => format!("127.0.0.1:{served}").into_bytes(),
                1 => (random() as u32).to_le_bytes().into(),
                2 => vec![b'x'; random() as usize % 2000],
                _ => Vec::new(),
            };
            frame.extend(body);
            frame.truncate(frame.len() - random() as usize % 2 * (random() as usize % frame.len()));
            victim.sender.send(&frame, Some(limit())).unwrap();
        }
        if round % 500 == 0 {
            expect_echo(&mut good, 100_000);
        }
    }
    expect_echo(&mut good, MUCH);
    drop(good);
    let status = far.status();
    assert!(status["invalid"].as_u64() > Some(0), "{status}");
    near.end();
    far.end();
}

#[test]
fn an_end_that_can_hear_nobody_comes_back_when_the_channel_is_made_anew() {
    let machines = Machines::new("1M");
    let mut near = machines.start("forward --ends 2");
    near.expect("joined");
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link.clone(), 0).unwrap();
    let me = channel.join_any(&[0, 1], 0).unwrap();
    let mark = b"where the message is in the memory";
    let mut sender = me.sender(1 - me.slot()).unwrap();
    sender.send(mark, Some(limit())).unwrap();
    let mut memory = vec![0; 1 << 20];
    link.read(0, &mut memory).unwrap();
    let found = memory.windows(mark.len()).position(|bytes| bytes == mark);
    let next = (found.unwrap() + mark.len()).next_multiple_of(8);
    link.store64(next as u64, u64::MAX, Ordering::Release)
        .unwrap();
    for _ in 0..2 {
        // First that this one is not heard, then that it was the last one.
        let reason = near.expect("failed")["reason"].to_string();
        assert!(reason.contains("--anew"), "{reason}");
    }
    Channel::create(link, 0, channel.plan().layout()).unwrap();
    near.expect("joined");
    near.end();
}
