// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs with channels, as they are: one end in a machine without the module, the other in one that has it.

use guest_tests::artefacts;
use libtest_mimic::Failed;
use vmbench::build::{shared_library, static_c_program};
use vmbench::{Builder, Error, Guest, Running, Signal};

use super::Pair;
use crate::guests::python;

const SAMPLES: [&str; 4] = ["rpc", "frames", "latest", "news"];

/// Programs in C, and what they are made of.
const IN_C: [(&str, &str); 3] = [
    ("hello", "samples/channels/hello.c"),
    ("peer", "tools/crates/ivshmem-channel-c/tests/c/peer.c"),
    ("link", "tools/crates/ivshmem-channel-c/tests/c/link.c"),
];
const LIBRARY: &str = "ivshmem-channel-c";

const ROUNDS: &str = "300";

/// Where Python finds the package, and the package the library.
const PACKAGES: &str = "/python";
const SHARED: &str = "/lib/libivshmem_channel.so.0";

/// A guest that has the samples in Rust.
pub fn with_samples(guest: Builder) -> vmbench::Result<Builder> {
    let directory = guest.static_binaries("ivshmem-channel-samples", &SAMPLES)?;
    let add =
        |guest: Builder, name: &&str| guest.file(directory.join(name), format!("/bin/{name}"));
    Ok(SAMPLES.iter().fold(guest, add))
}

/// A guest that has the programs in C.
pub fn with_c(mut guest: Builder) -> vmbench::Result<Builder> {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    for (name, source) in IN_C {
        let program = directory.path().join(name);
        static_c_program(LIBRARY, source, "include", &program)?;
        let contents = std::fs::read(&program).expect("it was made just now");
        guest = guest.data(format!("/bin/{name}"), 0o755, contents);
    }
    Ok(guest)
}

/// A guest that has Python, the package, and the sample with it.
pub fn with_python(guest: Builder) -> vmbench::Result<Builder> {
    let root = artefacts::sandbox_root().map_err(Error::Setup)?;
    let files = artefacts::python_package().map_err(Error::Setup)?;
    let sample = artefacts::sample_script("channels/latest.py").map_err(Error::Setup)?;
    let guest = python::with_python(guest, &root)?
        .memory_mib(512)
        .file(shared_library(LIBRARY)?, SHARED)
        .file(sample, "/bin/latest.py");
    let add = |guest: Builder, (name, path)| {
        guest.file(path, format!("{PACKAGES}/ivshmem_channel/{name}"))
    };
    Ok(files.into_iter().fold(guest, add))
}

/// One end of what is tried: a machine, and the name of its device.
#[derive(Clone, Copy)]
struct End<'a> {
    guest: &'a Guest,
    link: &'a str,
}

impl<'a> End<'a> {
    fn start(self, program: &str, words: &[&str]) -> vmbench::Result<Running<'a>> {
        let line = [&[program, self.link], words].concat();
        self.guest.command(line).spawn()
    }

    /// What a program says that has nothing to wait for but the other end.
    fn run(self, program: &str, words: &[&str]) -> Result<String, Failed> {
        Ok(self.start(program, words)?.wait()?.check()?.stdout_text())
    }
}

impl Pair<'_> {
    fn ends(&self) -> [End<'_>; 2] {
        let (stock, modern) = (self.stock, self.modern);
        [
            End {
                guest: stock,
                link: &self.address,
            },
            End {
                guest: modern,
                link: "/dev/ivshmem0",
            },
        ]
    }

    /// Tries something both ways, each in memory without a channel: one with another layout is not replaced.
    fn both_ways(
        &self,
        does: impl Fn(End<'_>, End<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let [stock, modern] = self.ends();
        for (one, other) in [(stock, modern), (modern, stock)] {
            self.forget()?;
            does(one, other)?;
        }
        self.forget()
    }

    fn forget(&self) -> Result<(), Failed> {
        self.modern
            .shell("head -c 4096 /dev/zero >/zeros && ivshmemctl load /zeros")?
            .check()?;
        Ok(())
    }
}

/// The samples in Rust.
pub fn samples(pair: &Pair) -> Result<(), Failed> {
    pair.both_ways(|serves, asks| {
        let mut serving = serves.start("rpc", &["serve"])?;
        serving.wait_for_output("serving")?;
        assert_eq!(asks.run("rpc", &["ask", "100"])?, "100 answers");
        serving.signal(Signal::KILL)?;
        serving.wait()?;
        Ok(())
    })?;
    pair.both_ways(|looks, draws| {
        let look = looks.start("frames", &["look", "2"])?;
        draws.run("frames", &["draw", "2"])?;
        let said = look.wait()?.check()?.stdout_text();
        assert!(said.starts_with("2 frames, "), "{said}");
        Ok(())
    })?;
    pair.both_ways(|shows, measures| {
        let show = shows.start("latest", &["show"])?;
        measures.run("latest", &["measure", ROUNDS])?;
        expect_last(&show.wait()?.check()?.stdout_text());
        Ok(())
    })?;
    pair.both_ways(|reads, publishes| {
        let mut reader = reads.start("news", &["read"])?;
        reader.wait_for_output("reading")?;
        let line = ["news", publishes.link, "publish"];
        let publisher = publishes.guest.command(line).stdin("one\ntwo\n");
        publisher.run()?.check()?;
        let said = reader.wait()?.check()?.stdout_text();
        assert!(said.ends_with("one\ntwo"), "{said}");
        Ok(())
    })
}

/// Of the `ROUNDS` values of the sample `latest`.
fn expect_last(said: &str) {
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("value 300 is 90000;"), "{said}");
}

/// Programs in C, with channels and without, which say that they take this `way`.
pub fn in_c(pair: &Pair, way: &str) -> Result<(), Failed> {
    pair.both_ways(|one, other| {
        let first = one.start("hello", &["0"])?;
        assert_eq!(other.run("hello", &["1"])?, "hello from slot 0");
        assert_eq!(first.wait()?.check()?.stdout_text(), "hello from slot 1");
        Ok(())
    })?;
    for (one, other) in [("echo", "talk"), ("subscribe", "publish")] {
        pair.both_ways(|listens, speaks| {
            let rounds: &[&str] = if one == "echo" { &[] } else { &[ROUNDS] };
            let listener = listens.start("peer", &[&[one], rounds].concat())?;
            speaks.run("peer", &[other, ROUNDS])?;
            listener.wait()?.check()?;
            Ok(())
        })?;
    }
    let [stock, modern] = pair.ends();
    for (end, way) in [(stock, way), (modern, "the driver ivshmem_rs")] {
        let said = end.run("link", &["check"])?;
        assert!(said.contains(&format!("by {way}")), "{said}");
    }
    pair.both_ways(|answers, asks| {
        let mut answering = answers.start("link", &["pong", ROUNDS])?;
        answering.wait_for_output("ready")?;
        asks.run("link", &["ping", ROUNDS])?;
        answering.wait()?.check()?;
        Ok(())
    })
}

/// A program with the memory alone: says by which way, and answers a word.
const SCRIPT: &str = "
import sys
from ivshmem_channel import Link
link = Link(sys.argv[1])
link.write(0x9004, b'from Python')
link.store(0x9000, 1)
print(link.way, flush=True)
assert link.wait_word(0x9000, 1, 300) == 2
";

/// Programs in Python in the machine without the module, which say that they take this `way`.
pub fn in_python(pair: &Pair, way: &str) -> Result<(), Failed> {
    let [stock, modern] = pair.ends();
    let start = |words: &[&str]| {
        stock
            .guest
            .command([&["python3"], words].concat())
            .env("PYTHONPATH", PACKAGES)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("IVSHMEM_CHANNEL_LIBRARY", SHARED)
            .spawn()
    };
    pair.forget()?;
    let show = start(&["/bin/latest.py", stock.link, "show"])?;
    modern.run("latest", &["measure", ROUNDS])?;
    expect_last(&show.wait()?.check()?.stdout_text());
    pair.forget()?;
    let show = modern.start("latest", &["show"])?;
    let measure = start(&["/bin/latest.py", stock.link, "measure", ROUNDS])?;
    measure.wait()?.check()?;
    expect_last(&show.wait()?.check()?.stdout_text());
    pair.forget()?;
    let mut script = start(&["-c", SCRIPT, stock.link])?;
    let said = script.wait_for_output("\n")?;
    assert!(said.starts_with(way), "{said}");
    let dump = super::run(modern.guest, "dump --offset 0x9004 --length 11")?;
    let dump = dump.check()?.stdout_text();
    assert!(dump.contains("from Python"), "{dump}");
    // Whom to ring it has not told: it looks at the word now and then by each way, or is rung for nothing.
    super::run(modern.guest, "poke 0x9000 2")?.check()?;
    script.wait()?.check()?;
    Ok(())
}
