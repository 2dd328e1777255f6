// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is seen on a terminal: programs on a pseudo-terminal of a given size.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcgetattr, tcsetwinsize, LocalModes, Winsize};
use test_limit::limit_argument;

use super::{path_in, server, Server, PROGRAM};

/// A program on a terminal of its own.
pub struct OnTerminal {
    program: Server,
    screen: File,
}

impl OnTerminal {
    /// `size` is rows and columns; a serial console has 0 and 0.
    pub fn start(arguments: &[&str], size: (u16, u16)) -> Self {
        Self::of(PROGRAM, arguments, size)
    }

    /// The same by another program.
    pub fn of(program: &str, arguments: &[&str], size: (u16, u16)) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let winsize = Winsize {
            ws_row: size.0,
            ws_col: size.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, winsize).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap();
        let open = || -> Stdio {
            let path = path.to_str().unwrap();
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
                .into()
        };
        let child = Command::new(program)
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        Self {
            program: Server(child),
            screen: screen.into(),
        }
    }

    fn child(&mut self) -> &mut Child {
        &mut self.program.0
    }

    /// Reads what it writes, up to and with the text.
    pub fn read_until(&mut self, text: &str) {
        let mut output = Vec::new();
        while !output.ends_with(text.as_bytes()) {
            let mut byte = [0];
            self.screen.read_exact(&mut byte).unwrap();
            output.extend(byte);
        }
    }

    pub fn type_keys(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).unwrap();
    }

    /// Whether lines are shown and edited as they are typed: not while a program draws.
    fn edits_lines(&self) -> bool {
        let modes = tcgetattr(&self.screen).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// All that it writes until it ends.
    pub fn output(mut self) -> String {
        self.rest()
    }

    fn rest(&mut self) -> String {
        let mut output = Vec::new();
        let mut some = [0; 4096];
        // The end of the last program that had the terminal open is an error, EIO.
        while let Ok(length @ 1..) = self.screen.read(&mut some) {
            output.extend(&some[..length]);
        }
        assert!(self.child().wait().unwrap().success());
        String::from_utf8_lossy(&output).into_owned()
    }
}

#[test]
fn monitor_draws_on_a_console_without_a_size() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let monitor = ["monitor", "--join", &socket, "-c", "3", "-i", "0.1"];
    let output = OnTerminal::start(&monitor, (0, 0)).output();
    // The frame and the rows are on the alternate screen, and not only what is written when that is left.
    let screen = output.split("\x1b[?1049l").next().unwrap();
    assert!(output.contains("\x1b[?1049l"), "{output:?}");
    assert!(screen.contains("vector 0"), "{screen:?}");
    assert!(screen.contains("vector 1"), "{screen:?}");
}

#[test]
fn who_is_told_to_end_leaves_the_terminal_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    for signal in [Signal::TERM, Signal::INT] {
        // Nothing is drawn again, so that a signal is all that can end it.
        let monitor = ["monitor", "--join", &socket, "--interval", "1h"];
        let mut monitor = OnTerminal::start(&monitor, (24, 80));
        monitor.read_until("vector 0");
        assert!(!monitor.edits_lines());
        kill_process(Pid::from_child(monitor.child()), signal).unwrap();
        let last = monitor.rest();
        assert!(last.contains("\x1b[?1049l"), "{last:?}");
        assert!(monitor.edits_lines());
    }
}

#[test]
fn a_copy_draws_one_bar_at_a_time_and_clears_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let file = path_in(directory.path(), "file");
    std::fs::write(&file, vec![1; 2_024_544]).unwrap();
    let incoming = path_in(directory.path(), "incoming");
    std::fs::create_dir(&incoming).unwrap();
    let limit = limit_argument();
    let common = ["cp", "--join", &socket, "--timeout", &limit];
    let receive = [&common[..], &["--receive", &incoming]].concat();
    let receiver = OnTerminal::start(&receive, (24, 80));
    let sender = OnTerminal::start(&[&common[..], &[&file]].concat(), (24, 80));
    for output in [sender.output(), receiver.output()] {
        assert!(output.contains(" of 1.93 MiB"), "no bar: {output:?}");
        // Each is written over the one before: two without a return would fill two lines, of which one stays.
        for drawn in output.split('\r') {
            assert!(drawn.matches(" of 1.93 MiB").count() < 2, "{drawn:?}");
        }
        let last = output.trim_end().rsplit("\x1b[2K").next().unwrap();
        assert!(
            last.contains("1.93 MiB (2024544 bytes), SHA-256 "),
            "{last:?}"
        );
    }
}

#[test]
fn tables_are_plain_columns_with_a_bold_header() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let mut other = Command::new(PROGRAM)
        .args(["wait", "--join", &socket])
        .spawn()
        .unwrap();
    super::first_other(&socket, 2);
    let output = OnTerminal::start(&["peers", &socket], (24, 80)).output();
    kill_process(Pid::from_child(&other), Signal::TERM).unwrap();
    other.wait().unwrap();
    assert!(output.contains("PEER"), "{output:?}");
    assert!(output.contains("\x1b[1m"), "{output:?}");
    assert!(!output.contains(['│', '┌', '|']), "{output:?}");
}
