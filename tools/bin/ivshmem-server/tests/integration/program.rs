// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The program: options, output, signals, exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::fstat;
use rustix::io::ioctl_fionread;
use rustix::process::{kill_process, Pid, Signal};

use crate::client::{wait_for_listener, Connection, News, Peer};
use crate::manager::Manager;
use crate::server::{Running, PROGRAM};

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn options_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let args = ["--size", "64K", "--vectors", "3", "--max-peers", "2"];
    let _server = Running::start(&path, &args);
    let mut first = Peer::join(&path, 3);
    assert_eq!(fstat(&first.memory).unwrap().st_size, 64 << 10);
    let _second = Peer::join(&path, 3);
    for _ in 0..3 {
        assert_eq!(first.news(), News::Vector(1));
    }
    let third = Connection::open(&path);
    assert!(matches!(third.receive(), Some((-1, None))));
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::ALARM,
        Signal::USR2,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let memory = directory.path().join("memory");
        let source = format!("path:{}", memory.display());
        let server = Running::start(&path, &["--memory", &source]);
        let peer = Peer::join(&path, 8);
        assert!(memory.exists());
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        assert!(peer.connection.receive().is_none());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 0);
    }
}

/// Starts the program so that the allocation of its memory takes a while, has the signal sent to it meanwhile, and
/// returns how it ended.
fn end_early(directory: &Path, args: &[&str], signal: Signal) -> Option<i32> {
    let name = format!("ivshmem-early-{}", std::process::id());
    let memory = Path::new("/dev/shm").join(&name);
    let mut child = Command::new(PROGRAM)
        .args(["--size=2G", "--prealloc", &format!("--memory=shm:{name}")])
        .arg("--socket-path")
        .arg(directory.join("socket"))
        .args(args)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    test_limit::wait_until("the memory's file is there", || memory.exists());
    let starter = child.id();
    let children = format!("/proc/{starter}/task/{starter}/children");
    let server = match args.contains(&"--daemonize") {
        true => std::fs::read_to_string(children).unwrap().trim().parse(),
        false => Ok(starter.try_into().unwrap()),
    };
    kill_process(Pid::from_raw(server.unwrap()).unwrap(), signal).unwrap();
    let ended = child.wait().unwrap();
    assert!(!memory.exists(), "{args:?}, {signal:?}: {ended}");
    ended.code()
}

#[test]
fn signals_end_it_cleanly_before_it_is_ready() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = format!("--pidfile={}", directory.path().join("pid").display());
    let foreground = ["--foreground", &*pid_file];
    for signal in [Signal::TERM, Signal::HUP] {
        assert_eq!(end_early(directory.path(), &foreground, signal), Some(0));
    }
    // Whoever waits for it to be ready learns that it is not.
    let background = ["--daemonize"];
    assert_eq!(
        end_early(directory.path(), &background, Signal::TERM),
        Some(1)
    );
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

/// As `nohup` has it, and a shell for what it starts in the background.
#[test]
fn signals_that_were_ignored_stay_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Running::start_after("trap '' HUP INT QUIT", &path, &[]);
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
        server.signal(signal);
    }
    // One can be served before a signal is noticed.
    for id in 0..2 {
        assert_eq!(Peer::join(&path, 8).id, id);
    }
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

#[test]
fn configuration_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let config = file("config.toml");
    let region = |name: &str, rest: &str| {
        let socket = file(name);
        format!("[[region]]\nname = '{name}'\nsocket-path = {socket:?}\nvectors = 2\n{rest}\n")
    };
    let first = region("first", "");
    std::fs::write(&config, &first).unwrap();
    let manager = Manager::new(&file("notify"));
    let args = ["--config", config.to_str().unwrap(), "--fd-store"];
    let server = manager.start(&args);
    let mut guest = Peer::join(&file("first"), 2);
    let nobody = region("first", "allow-uid = [4294967294]");
    std::fs::write(&config, nobody + &region("second", "")).unwrap();
    server.signal(Signal::HUP);
    wait_for_listener(&file("second"));
    let other = Peer::join(&file("second"), 2);
    let refused = Connection::open(&file("first"));
    assert!(matches!(refused.receive(), Some((-1, None))));
    // One that cannot be read changes nothing.
    std::fs::write(&config, "[[region]]\n").unwrap();
    server.signal(Signal::HUP);
    // Who looked whether somebody listens may have had an ID too.
    assert_ne!(Peer::join(&file("second"), 2).id, other.id);
    // The next server knows of both.
    std::fs::write(&config, first + &region("second", "")).unwrap();
    server.signal(Signal::KILL);
    server.wait();
    manager.catch_up();
    let _next = manager.start(&args);
    let last = Peer::greeted(Connection::open(&file("second")), 2);
    last.check_rings(&other);
    assert_eq!(Peer::join(&file("first"), 2).id, 1);
    guest.wait_for(1);
}

/// More clients can be there, so each can have less in its socket.
#[test]
fn new_region_leaves_less_to_those_who_do_not_read() {
    const SHARE: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let region = |name: &str, places: u32| {
        let socket = file(name);
        format!(
            "[[region]]\nname = '{name}'\nsocket-path = {socket:?}\nvectors = 256\nmax-peers = {places}\n\
             client-descriptors = 1000000\njoin-rate = 0\n"
        )
    };
    let config = file("config.toml");
    std::fs::write(&config, region("first", 4)).unwrap();
    let manager = Manager::new(&file("notify")).prepared("ulimit -n 1024");
    let server = manager.start(&["--config", config.to_str().unwrap()]);
    let sleeper = Connection::open(&file("first"));
    let waiting = || ioctl_fionread(&sleeper).unwrap() as usize / 8;
    test_limit::wait_until("the greeting", || waiting() > 4 * SHARE);
    std::fs::write(&config, region("first", 4) + &region("second", 1000)).unwrap();
    server.signal(Signal::HUP);
    wait_for_listener(&file("second"));
    for _ in 0..128 {
        sleeper.receive().unwrap();
    }
    // Whoever comes now is served after it.
    drop(Peer::greeted(Connection::open(&file("first")), 256));
    assert!(waiting() <= 2 * SHARE, "{}", waiting());
}

#[test]
fn process_id_is_there_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let file = directory.path().join("pid");
    let option = format!("--pidfile={}", file.display());
    // One of a dead server is replaced.
    std::fs::write(&file, "1234567\n").unwrap();
    let server = Running::start(&path, &[&option]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("{}\n", server.id()));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(!file.exists());
    // Not where somebody points to.
    let precious = directory.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, &file).unwrap();
    let output = run(&["--socket-path", path.to_str().unwrap(), &option]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write the process ID to"));
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

/// The one before gives nothing, does not let go in the end, and goes on.
#[test]
fn process_id_of_a_server_that_goes_on_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(file("pid"), "4711\n").unwrap();
    let listener = UnixListener::bind(file("over")).unwrap();
    let before = std::thread::spawn(move || {
        let (mut successor, _) = listener.accept().unwrap();
        // A name that is empty: that is all.
        successor.write_all(&[0; 256]).unwrap();
        successor.read_exact(&mut [0]).unwrap();
        successor.write_all(&[0]).unwrap();
    });
    let files = ["--socket-path", "--take-over", "--pidfile"]
        .iter()
        .zip(["socket", "over", "pid"]);
    let mut command = Command::new(PROGRAM);
    for (option, name) in files {
        command.arg(option).arg(file(name));
    }
    let output = command.arg("--foreground").output().unwrap();
    before.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not let go"));
    assert_eq!(std::fs::read(file("pid")).unwrap(), b"4711\n");
}

/// Whoever could write to it would have others kill what they choose.
#[test]
fn nobody_else_writes_the_process_id() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let option = format!("--pidfile={}", file.display());
    let socket = directory.path().join("socket");
    let _server = Running::start_after("umask 0", &socket, &[&option]);
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}

/// The first line of the log of a program that is started in this way, and killed then.
fn first_line(command: &mut Command) -> String {
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    line
}

/// Their IDs are not known, and given out again.
#[test]
fn clients_of_an_earlier_server_in_the_memory_are_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let memory = directory.path().join("memory");
    let memory = format!("--memory=path:{}", memory.display());
    let args = ["--keep-memory", "--size=64K", &memory];
    let path = directory.path().join("first");
    let server = Running::start(&path, &args);
    let peer = Peer::join(&path, 8);
    server.signal(Signal::KILL);
    server.wait();
    let mut number = 0;
    let mut next = || {
        number += 1;
        let mut command = Command::new(PROGRAM);
        command.arg("--socket-path");
        command.arg(directory.path().join(number.to_string()));
        first_line(command.args(args))
    };
    let line = next();
    let expected = "is still used by clients of an earlier server";
    assert!(line.contains(expected), "{line}");
    drop(peer);
    // A program that another test is starting has a copy of the memory, for a moment.
    test_limit::wait_until("nobody uses it", || next().contains("size 64K"));
}

#[test]
fn limits_that_are_too_low_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let _manager = UnixDatagram::bind(&notify).unwrap();
    let path = directory.path().join("socket").display().to_string();
    let args = [
        PROGRAM,
        "--socket-path",
        &path,
        "--max-peers=20",
        "--vectors=4",
    ];
    let mut low = Command::new("sh");
    low.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\""])
        .args(args);
    let line = first_line(&mut low);
    let expected = "all peers together need 144 open files, but the limit is 100";
    assert!(line.contains(expected), "{line}");

    // The least that the help of --fd-store asks for, and one less.
    let store = 20 * (4 + 2) + 10;
    let first_line_with = |room: u32| {
        let mut server = Command::new(args[0]);
        server.args(&args[1..]).arg("--fd-store");
        server.env("NOTIFY_SOCKET", &notify);
        server.env("FDSTORE", room.to_string());
        first_line(&mut server)
    };
    let line = first_line_with(store - 1);
    let expected = "all peers together need 130 descriptors in the store, but it takes 129";
    assert!(line.contains(expected), "{line}");
    let line = first_line_with(store);
    assert!(!line.contains("in the store"), "{line}");
}

#[test]
fn failures_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _server = Running::start(&path, &[]);
    let in_use = run(&["--socket-path", path.to_str().unwrap()]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(stderr(&in_use).contains("another server uses"));

    let missing = Path::new("missing/socket");
    let missing = run(&["--socket-path", missing.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        stderr(&missing),
        "error: cannot make the socket missing/socket: create missing\n"
    );

    let no_fd = run(&["--socket-path", "x", "--ready-fd", "99"]);
    assert_eq!(no_fd.status.code(), Some(1));
    assert!(stderr(&no_fd).contains("--ready-fd 99: Bad file descriptor"));

    let twice = Command::new("sh")
        .args(["-c", "exec \"$0\" --fd 9 --ready-fd 9 9</dev/null", PROGRAM])
        .output()
        .unwrap();
    assert_eq!(twice.status.code(), Some(1), "{}", stderr(&twice));
    let expected = "--fd 9: it is not inherited, or used twice";
    assert!(stderr(&twice).contains(expected), "{}", stderr(&twice));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    for option in [
        "--print-capabilities",
        "--print-completions=bash",
        "--print-man-page",
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = Command::new(PROGRAM);
        let output = command.arg(option).stdout(full.unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{option}");
        let expected = "error: cannot write to the standard output";
        assert!(stderr(&output).starts_with(expected), "{option}");
    }
}

#[test]
fn wrong_usage() {
    let cases: &[&[&str]] = &[
        &[],
        &["--socket-path"],
        &["--socket-path", "x", "--size", "3M"],
        &["--socket-path", "x", "--vectors", "0"],
        &["--socket-path", "x", "--vectors", "257"],
        &["--socket-path", "x", "--max-peers", "65537"],
        &["--socket-path", "x", "--memory", "shm:a/b"],
        &["--socket-path", "x", "--socket-mode", "rw"],
        &["--socket-path", "x", "--ready-fd", "1"],
        &["--socket-path", "x", "--log-level", "loud"],
        &["--bogus"],
    ];
    for args in cases {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).starts_with("error: "), "{args:?}");
    }
}

#[test]
fn capabilities_are_json() {
    let output = run(&["--print-capabilities"]);
    assert!(output.status.success() && output.stderr.is_empty());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["type"], "ivshmem-server");
    assert_eq!(found["protocol_version"], 0);
    assert_eq!(found["limits"]["vectors"]["max"], 256);
    assert_eq!(found["limits"]["size"]["min"], 4096);
}

#[test]
fn help_names_every_option() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--socket-path <PATH>",
        "--size <SIZE>",
        "--vectors <N>",
        "--max-peers <N>",
        "--memory <SOURCE>",
        "--socket-mode <MODE>",
        "--log-level <LEVEL>",
        "--ready-fd <FD>",
        "--print-capabilities",
        "Exit status:",
    ] {
        assert!(text.contains(option), "{option}");
    }
}
