// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `forward` between processes of the host, on the real server.

mod others;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{kill_process, Pid, Signal};
use test_limit::{limit, wait_until};

use super::end::{stalled, End, Machines};
use super::{path_in, Server, PROGRAM};

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

/// An endpoint that leads from a port to that of `served`, and the endpoint that connects there.
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
    assert_eq!(status["endpoints"][0]["name"], "far", "{status}");
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
    wait_until("it sees the other endpoint, too", || {
        let mut stream = connect(port);
        // Until then the connection is reset.
        stream.write_all(b"x").is_ok() && stream.read(&mut [0]).is_ok_and(|bytes| bytes == 1)
    });
    near.end();
}

#[test]
fn an_end_whose_standard_error_is_full_goes_on() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let target = format!("127.0.0.1:{served}");
    let mut far = Command::new(PROGRAM);
    let far = far.args(["forward", "--name=far", "--allow", &target, "--join"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let _far = Server(far.arg(&machines.socket).stderr(full).spawn().unwrap());
    let port = free_port();
    let mut near = machines.start(&format!("forward -L {port}:far:{target}"));
    near.expect("here");
    expect_echo(&mut connect(port), MUCH);
    near.end();
}

#[test]
fn an_end_whose_output_nobody_reads_goes_on_and_ends() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let target = format!("127.0.0.1:{served}");
    let (full, _reader) = stalled();
    let mut far = Command::new(PROGRAM);
    let far = far.args(["--json", "forward", "--name=far", "--allow", &target]);
    let far = far.args(["--join", &machines.socket]).stdout(full);
    let mut far = Server(far.spawn().unwrap());
    let port = free_port();
    let mut near = machines.start(&format!("forward -L {port}:far:{target}"));
    near.expect("here");
    expect_echo(&mut connect(port), MUCH);
    near.end();
    kill_process(Pid::from_child(&far.0), Signal::TERM).unwrap();
    let mut ended = None;
    wait_until("it ends", || {
        ended = far.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
}

#[test]
fn with_nohup_an_end_goes_on_when_its_terminal_is_closed() {
    let machines = Machines::new("1M");
    let mut nohup = Command::new("nohup");
    nohup.arg(PROGRAM);
    let mut end = End::of(nohup, &format!("forward --join {}", machines.socket));
    end.expect("joined");
    end.signal(Signal::HUP);
    // The last thing that it tells when it ends is one.
    end.status();
    end.status();
    end.end();
}

#[test]
fn what_is_no_connection_is_not_counted_as_one_that_failed() {
    let machines = Machines::new("1M");
    let mut far = machines.start("forward --name far");
    far.expect("joined");
    let mut near = machines.start("forward -R 1:far:127.0.0.1:1");
    near.expect("failed");
    for end in [&mut near, &mut far] {
        let status = end.status();
        assert_eq!(status["connections"]["failed"], 0, "{status}");
    }
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

    // The far endpoint is killed and started again: new connections work, and nobody takes that for an end of the old ones.
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
    assert!(text.contains("not a socket"), "{text}");
    // Nor can another endpoint remove it that may listen anywhere.
    let mut far = machines.start("forward --name far --allow-listen unix:*");
    far.expect("joined");
    let mut near = machines.start(&format!("forward -R unix:{path}:far:127.0.0.1:1"));
    let reason = near.expect("failed")["reason"].to_string();
    assert!(reason.contains("not a socket"), "{reason}");
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
            "cannot listen on 192.0.2.1:80",
        ),
        ("forward --endpoints 64", 6, "fewer --endpoints"),
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
        (
            others[0],
            "'far' does not allow 127.0.0.1:1: start that endpoint with --allow 127.0.0.1:1",
        ),
        (others[1], "'nobody' is not there"),
    ] {
        let ended = connect(port).read(&mut [0]);
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let reason = near.expect("failed")["reason"].to_string();
        assert!(reason.contains(message), "{reason}");
    }
    let mut refused = far.expect("failed")["reason"].to_string();
    while refused.contains("refused") {
        refused = far.expect("failed")["reason"].to_string();
    }
    assert!(
        refused.contains("start this endpoint with --allow 127.0.0.1:1"),
        "{refused}"
    );
}
