// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What `ivshmemctl` does on a host: with the real server and the sandbox's QEMU.

mod bench;
mod chat;
mod claim;
mod cp;
mod end;
mod forward;
mod launch;
mod netns;
mod peers;
mod ping;
mod server;
mod terminal;
mod tunnel;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use server::{path_in, server, Server};
use test_limit::limit_argument;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ivshmemctl");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

/// The first of the others that a new peer of the server sees, once there is one of so many vectors.
fn first_other(socket: &str, vectors: u32) -> String {
    let mut other = Value::Null;
    test_limit::wait_until("another peer is there", || {
        let answer = answer_of(&run(&["--json", "peers", socket]));
        other = answer["others"].get(0).cloned().unwrap_or_default();
        other["vectors"] == vectors
    });
    other["peer_id"].to_string()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON that a program wrote; what it complained of if there is none.
fn answer_of(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|_| panic!("{}", stderr(output)))
}

#[test]
fn server_status_tells_what_the_server_reports() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, status) = (
        path_in(directory.path(), "socket"),
        path_in(directory.path(), "status"),
    );
    let _server = server(&[
        "-S",
        &socket,
        "--status-socket",
        &status,
        "--size=1M",
        "--vectors=2",
    ]);
    let text = stdout(&run(&["server", "status", &status]));
    let line =
        "ivshmem: 1 MiB (memfd), 2 vectors, 0 of 64 peers; 0 joined, 0 left, 0 refused, 0 expelled";
    assert!(text.lines().any(|found| found == line), "{text}");
    let report: Value =
        serde_json::from_str(&stdout(&run(&["--json", "server", "status", &status]))).unwrap();
    assert_eq!(report["type"], "ivshmem-server");
    assert_eq!(report["regions"][0]["size"], 1 << 20);
    // Who mixes the sockets up is told so, and does not wait.
    let wrong = stderr(&run(&["server", "status", &socket]));
    assert!(
        wrong.contains("socket for clients: give that of --status-socket"),
        "{wrong}"
    );
}

/// The standard output of a program that does not end by itself, as far as this many lines, with a prefix.
fn first_lines(arguments: &[&str], start: &str, count: usize) -> Vec<String> {
    let mut command = Command::new(PROGRAM);
    let mut child = Server(
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let lines = lines
        .map(Result::unwrap)
        .filter(|line| line.starts_with(start));
    lines.take(count).collect()
}

#[test]
fn server_status_is_shown_again() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, status] = ["socket", "status"].map(|name| path_in(directory.path(), name));
    let _server = server(&["-S", &socket, "--status-socket", &status, "--size=1M"]);
    let watch = ["server", "status", "--watch=1ms", &status];
    assert_eq!(first_lines(&watch, "ivshmem: 1 MiB", 3).len(), 3);
    let lines = first_lines(&[&["--json"], &watch[..]].concat(), "{", 2);
    for line in lines {
        let report: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["type"], "ivshmem-server");
    }
}

#[test]
fn server_metrics_are_numbers_of_each_region_and_peer() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, status, file] =
        ["socket", "status", "metrics"].map(|name| path_in(directory.path(), name));
    let _server = server(&[
        "-S",
        &socket,
        "--status-socket",
        &status,
        "--size=1M",
        "--vectors=2",
        "--max-peers=1",
    ]);
    let limit = limit_argument();
    let wait = Command::new(PROGRAM)
        .args(["wait", "--join", &socket, "--timeout", &limit])
        .spawn()
        .unwrap();
    let _peer = Server(wait);
    let mut text = String::new();
    test_limit::wait_until("the peer is there", || {
        text = stdout(&run(&["server", "metrics", &status]));
        text.contains("ivshmem_region_joins_total{region=\"ivshmem\"} 1\n")
    });
    let refused = stderr(&run(&["info", "--join", &socket]));
    assert!(refused.contains("drained, or full"), "{refused}");
    let wrong = stderr(&run(&["info", "--join", &status]));
    assert!(wrong.contains("--status-socket"), "{wrong}");
    let written = run(&["server", "metrics", "--output", &file, &status]);
    assert!(written.status.success(), "{}", stderr(&written));
    let text = std::fs::read_to_string(&file).unwrap();
    for line in [
        "# TYPE ivshmem_region_joins counter",
        "ivshmem_region_size_bytes{region=\"ivshmem\"} 1048576",
        "ivshmem_region_peers{region=\"ivshmem\"} 1",
        "ivshmem_region_refusals_total{region=\"ivshmem\",reason=\"places\"} 1",
        "ivshmem_region_refusals_total{region=\"ivshmem\",reason=\"access\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(
        text.contains("ivshmem_peer_vectors{region=\"ivshmem\",peer=\"0\",socket=\"ivshmem\",uid="),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!directory.path().join("metrics.new").exists());
    let json = run(&["--json", "server", "metrics", &status]);
    assert_eq!(json.status.code(), Some(2));
    assert!(stderr(&json).contains("server status"), "{}", stderr(&json));
}

#[test]
fn nobody_waits_for_vectors_that_a_server_does_not_give() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let limit = limit_argument();
    let wait = ["wait", "--join", &socket, "--timeout", &limit, "--vectors"];
    let beyond = run(&[&wait[..], &["0,2"]].concat());
    assert_eq!(beyond.status.code(), Some(6));
    let text = stderr(&beyond);
    assert!(
        text.contains("vector 2 is not armed: this peer has the vectors 0 to 1"),
        "{text}"
    );
    // Those that it gives are waited for.
    let briefly = ["wait", "--join", &socket, "--timeout=1ms", "--vectors=0,1"];
    assert_eq!(run(&briefly).status.code(), Some(5));
    // A number is called otherwise than a list.
    let info = answer_of(&run(&["--json", "info", "--join", &socket]));
    assert_eq!(info["other_peers"], 0);
    assert!(info.get("others").is_none());
}

#[test]
fn server_drains_and_drops() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, status, control] =
        ["socket", "status", "control"].map(|name| path_in(directory.path(), name));
    let sockets = [
        "-S",
        &socket,
        "--status-socket",
        &status,
        "--control-socket",
        &control,
    ];
    let _server = server(&[&sockets[..], &["--size=1M"]].concat());
    let wrong = run(&["server", "drain", &status, "ivshmem"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("give that of --control-socket"));
    let drain = run(&["server", "drain", &control, "ivshmem"]);
    assert!(drain.status.success(), "{}", stderr(&drain));
    let refused = stderr(&run(&["info", "--join", &socket]));
    assert!(refused.contains("drained, or full"), "{refused}");
    let wrong = stderr(&run(&["info", "--join", &status]));
    assert!(wrong.contains("--status-socket"), "{wrong}");
    assert!(stdout(&run(&["server", "status", &status])).contains("drained: nobody else"));
    let undo = run(&["server", "drain", "--undo", &control, "ivshmem"]);
    assert!(undo.status.success(), "{}", stderr(&undo));
    assert!(run(&["peers", &socket]).status.success());
    let nobody = run(&["server", "drop", &control, "ivshmem", "7"]);
    assert_eq!(nobody.status.code(), Some(6));
    let text = stderr(&nobody);
    assert!(text.contains("there is no peer 7"), "{text}");
}

#[test]
fn server_status_of_no_server_says_what_to_give() {
    let output = run(&["server", "status", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("--status-socket"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn ring_to_nobody_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=4"]);
    let output = run(&["ring", "--join", &socket, "999", "0"]);
    assert_eq!(output.status.code(), Some(6));
    let text = stderr(&output);
    assert!(text.contains("there is no peer 999"), "{text}");
    let _waiting = Server(
        Command::new(PROGRAM)
            .args(["wait", "--join", &socket])
            .spawn()
            .unwrap(),
    );
    let listener = first_other(&socket, 4);
    let output = run(&["ring", "--join", &socket, &listener, "9"]);
    let text = stderr(&output);
    assert!(
        text.contains(&format!("peer {listener} has no vector 9")),
        "{text}"
    );
}

#[test]
fn loading_nothing_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M"]);
    // As `head -c 1M | ivshmemctl load -` does where `head` refuses the number.
    let output = run(&["load", "--join", &socket, "/dev/null"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("/dev/null is empty: nothing was written"),
        "{text}"
    );
}

#[test]
fn peer_that_may_only_read_does_that() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, viewer, config] =
        ["socket", "viewer", "config"].map(|name| path_in(directory.path(), name));
    let text = format!(
        "[[region]]\nname = 'frames'\nsize = '1M'\nsocket-path = '{socket}'\n\
         [[region.peer]]\nname = 'viewer'\nid = 1\nread-only = true\nsocket-path = '{viewer}'\n"
    );
    std::fs::write(&config, text).unwrap();
    let _server = server(&["--config", &config]);
    let written = run(&["poke", "--join", &socket, "4", "0x2a"]);
    assert!(written.status.success(), "{}", stderr(&written));
    let read = run(&["--json", "peek", "--join", &viewer, "4"]);
    assert!(stdout(&read).contains("42"), "{}", stdout(&read));
    let refused = run(&["poke", "--join", &viewer, "4", "1"]);
    assert_eq!(refused.status.code(), Some(6), "{}", stderr(&refused));
}

#[test]
fn host_processes_are_peers() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=4"]);
    let alone = stdout(&run(&["peers", &socket]));
    assert_eq!(
        alone,
        "1 MiB of memory; sealed: nobody can shrink it\nnobody else is there\n"
    );

    let waits = [
        "--json",
        "wait",
        "--join",
        &socket,
        "--vectors",
        "3",
        "--timeout",
        &limit_argument(),
    ];
    let waiting = Command::new(PROGRAM)
        .args(waits)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let report = answer_of(&run(&["--json", "peers", &socket]));
    assert_eq!(report["sealed"], true);
    let listener = first_other(&socket, 4);
    assert!(run(&["poke", "--join", &socket, "0x40", "7"])
        .status
        .success());
    assert!(run(&["ring", "--join", &socket, &listener, "3"])
        .status
        .success());
    let woken = waiting.wait_with_output().unwrap();
    assert_eq!(stdout(&woken), "{\"vectors\":[3]}\n");
    assert_eq!(
        stdout(&run(&["peek", "--join", &socket, "0x40"])),
        "0x00000040: 0x00000007\n"
    );
    let dumped = run(&[
        "dump", "--join", &socket, "--length", "64", "--offset", "64",
    ]);
    assert!(
        stdout(&dumped).starts_with("00000040  07 00 00 00"),
        "{}",
        stdout(&dumped)
    );

    let late = run(&["wait", "--join", &socket, "--timeout", "10ms"]);
    assert_eq!(late.status.code(), Some(5));
    let of_guest = run(&["top", "--join", &socket]);
    assert_eq!(of_guest.status.code(), Some(2));
    let said = stderr(&of_guest);
    assert!(said.contains("`ivshmemctl peers --join SOCKET`"), "{said}");
    let nobody = run(&["peers", "/nonexistent"]);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(
        stderr(&nobody).contains("there is no socket at /nonexistent: does ivshmem-server run"),
        "{}",
        stderr(&nobody)
    );
}

#[test]
fn bash_completes_commands_and_options() {
    let complete = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let script = format!(
            "source <(ivshmemctl completions bash); COMP_WORDS=({line}); [ -n \"{last}\" ] || COMP_WORDS+=(''); \
             COMP_CWORD={at}; _clap_complete_ivshmemctl ivshmemctl \"{last}\"; echo \"${{COMPREPLY[@]}}\"",
            last = words[words.len() - 1],
            at = words.len() - 1,
        );
        let path = std::env::var("PATH").unwrap();
        let directory = Path::new(PROGRAM).parent().unwrap();
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", format!("{}:{path}", directory.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    assert!(complete("ivshmemctl mo").contains("monitor"));
    assert!(complete("ivshmemctl ping --se").contains("--serve"));
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = path_in(directory.path(), "man");
    let answer = answer_of(&run(&["--json", "manual", &pages]));
    let help = stdout(&run(&["--help"]));
    let (commands, _) = help.split_once("\nOptions:\n").unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let mut commands: Vec<_> = names.filter_map(|l| l.split_whitespace().next()).collect();
    assert!(commands.len() >= 17, "{help}");
    commands.extend(["completions", "manual"]);
    for command in commands {
        let page = path_in(Path::new(&pages), &format!("ivshmemctl-{command}.1"));
        assert!(
            answer["pages"]
                .as_array()
                .unwrap()
                .contains(&page.clone().into()),
            "{answer}"
        );
        let text = std::fs::read_to_string(&page).unwrap();
        for part in [".TH", ".SH \"EXIT STATUS\"", ".SH \"SEE ALSO\""] {
            assert!(text.contains(part), "{page} has no {part}");
        }
    }
    let shell = answer_of(&run(&["--json", "completions", "bash"]));
    assert!(
        shell["script"].as_str().unwrap().contains("ivshmemctl"),
        "{shell}"
    );
}

#[test]
fn what_is_missing_is_said_before_the_memory_is_opened() {
    for (command, code, message) in [
        (&["cp", "/nonexistent"][..], 1, "cannot read /nonexistent"),
        (&["cp", "--receive", "/nonexistent"], 1, "cannot receive"),
        (&["cp", "--receive", "/dev/null"], 1, "not a directory"),
        (&["ping"], 2, "--serve to answer"),
        (&["ring", "abc"], 2, "'abc' is not a peer ID (0 to 65535)"),
        (&["info", "-d", "0", "--join", "a"], 2, "give one of them"),
        (&["peers", "-d", "0", "a"], 2, "give one of them"),
        (&["info"], 3, "On a host, give --join SOCKET"),
    ] {
        let output = run(command);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        assert!(text.contains(message), "{command:?}: {text}");
    }
    // The variable for a device does not count where a server is named.
    let mut joined = Command::new(PROGRAM);
    let joined = joined.args(["info", "--join", "/nonexistent"]);
    let output = joined.env("IVSHMEM_DEV", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn usage_errors_are_exit_code_2_and_failures_in_json_are_json() {
    assert_eq!(
        run(&["launch", "--dry-run", "--size", "3M"]).status.code(),
        Some(2)
    );
    let output = run(&["--json", "info", "--device", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(3));
    let error: Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(error["exit"], 3);
    // Those that do not open the node say the same.
    for command in ["top", "stat", "watch"] {
        let absent = run(&[command, "--device", "/nonexistent"]);
        assert_eq!(absent.status.code(), Some(3), "{command}");
        assert!(stderr(&absent).contains("does not exist"), "{command}");
        let other = run(&[command, "--device", "/dev/null"]);
        assert_eq!(other.status.code(), Some(3), "{command}");
        assert!(
            stderr(&other).contains("is no node of the driver"),
            "{command}"
        );
    }
}

#[test]
fn help_is_a_command_and_lists_commands_in_groups() {
    let help = run(&["help"]);
    assert!(help.status.success(), "{}", stderr(&help));
    let text = stdout(&help);
    let place = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what:?}: {text}"))
    };
    let order = [
        "In a guest:",
        "\n  list ",
        "In a guest, and with --join on a host:",
        "\n  ring ",
        "On a host:",
        "\n  launch ",
        "Options:",
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{text}");
    for hidden in ["completions", "manual"] {
        assert!(!text.contains(&format!("\n  {hidden} ")), "{text}");
    }
    let ring = stdout(&run(&["help", "ring"]));
    assert!(ring.contains("ivshmemctl ring 1 3"), "{ring}");
}

#[test]
fn info_and_monitor_tell_of_a_peer_on_a_host() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let info = run(&["--json", "info", "--join", &socket]);
    let answer = answer_of(&info);
    assert_eq!(answer["size"], 1 << 20);
    assert_eq!(answer["sealed"], true);
    assert_eq!(answer["vectors"], 2);
    let text = stdout(&run(&["info", "--join", &socket]));
    assert!(text.contains("memory         1 MiB\n"), "{text}");

    let mut monitor = Command::new(PROGRAM)
        .args(["-j", "monitor", "--join", &socket, "-i", "0.05"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = first_other(&socket, 2);
    assert!(run(&["ring", "--join", &socket, &id, "1"]).status.success());
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let counted = lines.find(|line| {
        let counts: Value = serde_json::from_str(line.as_ref().unwrap()).unwrap();
        counts["vectors"][1]["interrupts"] == 1
    });
    assert!(counted.is_some());
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[test]
fn a_socket_has_a_name_and_a_default() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    for arguments in [&["peers"][..], &["peek", "0"]] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(arguments).env("IVSHMEM_SOCKET", &socket);
        let output = output.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // A device that is named is what is meant.
    let mut command = Command::new(PROGRAM);
    let output = command.args(["peek", "0", "-d", "/nonexistent"]);
    let output = output.env("IVSHMEM_SOCKET", &socket).output().unwrap();
    assert!(
        stderr(&output).contains("/nonexistent"),
        "{}",
        stderr(&output)
    );
    let named = run(&["peers", "no-such-region"]);
    let text = stderr(&named);
    assert!(text.contains("/run/ivshmem/no-such-region.sock"), "{text}");
}

#[test]
fn doctor_knows_a_host() {
    let doctor = run(&["-j", "doctor"]);
    let findings = answer_of(&doctor);
    let findings = findings.as_array().unwrap();
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check);
    // What runs the tests is not a guest with a device of ours, and QEMU is not in its own PATH perhaps.
    assert_ne!(of("device").unwrap()["state"], "problem", "{findings:?}");
    for guest in ["module", "headers"] {
        assert_eq!(of(guest), None, "{findings:?}");
    }
    for host in ["qemu", "kvm", "sockets"] {
        assert!(of(host).is_some(), "{host}: {findings:?}");
    }
}
