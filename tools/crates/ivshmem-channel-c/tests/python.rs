// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The Python package, with this library: its own tests, and programs with others in C and in Rust.

mod built;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use built::{Language, Library, Program};
use ivshmem_channel::{rpc, Channel};
use ivshmem_peer::Peer;
use test_limit::limit;
use vmbench::Region;

const ROUNDS: &str = "500";
const ROUNDS_NUMBER: u32 = 500;
/// Bytes of each ring in `peer.py`.
const RING: u32 = 960;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python")
}

/// Python, with the package and the library.
fn python(library: &Library) -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", package().join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("IVSHMEM_CHANNEL_LIBRARY", library.file())
        .current_dir(package());
    command
}

/// A program of `peer.py`.
fn program(library: &Library, link: &Path, words: &[&str]) -> Program {
    let mut command = python(library);
    Program::of(command.arg("tests/peer.py").arg(link).args(words))
}

#[test]
fn its_own_tests_pass_in_a_file_and_on_a_server() {
    let library = Library::shared();
    let region = Region::start(1 << 20, 1).unwrap();
    let file = library.directory().join("memory");
    File::create(&file).unwrap().set_len(1 << 20).unwrap();
    for link in [file, region.socket()] {
        let output = python(&library)
            .args(["-W", "error", "-m", "unittest", "discover", "-s", "tests"])
            .env("IVSHMEM_TEST_LINK", &link)
            .output()
            .expect("python3");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{link:?}: {said}");
        assert!(
            !said.contains("skipped") && !said.contains("Ran 0"),
            "{said}"
        );
    }
}

#[test]
fn python_and_c_talk() {
    let library = Library::shared();
    let c = &library.compile(Language::C, "peer");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let clear = || {
        use ivshmem::Memory;
        // The next channel in this memory has another layout.
        Peer::join(link).unwrap().write(0, &[0; 4096]).unwrap();
    };
    let pairs: [(&[&str], &[&str]); 2] = [
        (&["echo"], &["talk", ROUNDS]),
        (&["subscribe", ROUNDS], &["publish", ROUNDS]),
    ];
    for (one, other) in pairs {
        let reader = program(&library, link, one);
        Program::start(c, link, other).succeeds();
        reader.succeeds();
        clear();
        let reader = Program::start(c, link, one);
        program(&library, link, other).succeeds();
        reader.succeeds();
        clear();
    }
}

#[test]
fn python_and_rust_answer_each_other() {
    let library = Library::shared();
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let peer = Arc::new(Peer::join(link).unwrap());
    let channel = Channel::create(peer, 0, &rpc::layout(2, RING, RING)).unwrap();
    let server = program(&library, link, &["serve"]);
    let mut client = rpc::Client::join(&channel, 0).unwrap();
    for number in 0..ROUNDS_NUMBER {
        let request = number.to_le_bytes();
        let answer = client.call(&request, Some(limit())).unwrap();
        assert!(answer.iter().rev().eq(&request));
    }
    assert!(client.call(&[], Some(limit())).unwrap().is_empty());
    drop(client);
    server.succeeds();
    let mut server = rpc::Server::join(&channel, 0).unwrap();
    let client = program(&library, link, &["ask", ROUNDS]);
    for _ in 0..ROUNDS_NUMBER {
        let request = server.next(Some(limit())).unwrap().unwrap();
        let answer: Vec<_> = request.body.iter().rev().copied().collect();
        assert!(server.reply(&request, &answer).unwrap());
    }
    client.succeeds();
}

#[test]
fn the_sample_shows_what_is_measured() {
    let library = Library::shared();
    let region = Region::start(1 << 20, 1).unwrap();
    let start = |words: &[&str]| {
        let mut command = python(&library);
        command.arg("../../samples/channels/latest.py");
        command.arg(region.socket()).args(words);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let shows = [(); 2].map(|()| start(&["show"]));
    let mut measures = start(&["measure", "500"]);
    assert!(measures.wait().unwrap().success());
    for show in shows {
        let output = show.wait_with_output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("value 500 is 250000;"), "{said}");
    }
}
