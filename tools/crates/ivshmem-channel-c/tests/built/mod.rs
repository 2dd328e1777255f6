// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The library as cargo built it for this test, under the names that `make install` gives it, and programs with it.

#![allow(dead_code)] // No test uses all of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
pub enum Language {
    C,
    Cpp,
}

/// How programs are linked with the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Shared,
    Static,
}

pub const EACH: [(Language, Linked); 4] = [
    (Language::C, Linked::Shared),
    (Language::Cpp, Linked::Shared),
    (Language::C, Linked::Static),
    (Language::Cpp, Linked::Static),
];

/// What programs that are linked statically need beside the library.
fn beside() -> Vec<String> {
    let file = package().join("../../../include/libivshmem_channel.pc.in");
    let file = std::fs::read_to_string(file).unwrap();
    let words = file
        .lines()
        .find_map(|line| line.strip_prefix("Libs.private: "));
    words.unwrap().split(' ').map(str::to_string).collect()
}

pub struct Library {
    directory: TempDir,
    linked: Linked,
}

impl Library {
    pub fn shared() -> Self {
        Self::new(Linked::Shared)
    }

    pub fn new(linked: Linked) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let link = |from: &str, to: &str| {
            std::os::unix::fs::symlink(built(from), directory.path().join(to)).unwrap();
        };
        match linked {
            Linked::Shared => {
                link("libivshmem_channel_c.so", "libivshmem_channel.so");
                link("libivshmem_channel_c.so", "libivshmem_channel.so.0");
            }
            Linked::Static => link("libivshmem_channel_c.a", "libivshmem_channel.a"),
        }
        Self { directory, linked }
    }

    /// Where the library is, and what is made with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The shared library.
    pub fn file(&self) -> PathBuf {
        self.directory().join("libivshmem_channel.so.0")
    }

    /// Compiles `tests/c/{name}.c`.
    pub fn compile(&self, language: Language, name: &str) -> PathBuf {
        let source = package().join(format!("tests/c/{name}.c"));
        self.run_compiler(language, &source)
    }

    /// Compiles another program, whose path begins at the top of the checkout.
    pub fn compile_other(&self, language: Language, source: &str) -> PathBuf {
        self.run_compiler(language, &package().join("../../..").join(source))
    }

    fn run_compiler(&self, language: Language, source: &Path) -> PathBuf {
        let (compiler, words) = match language {
            Language::C => ("cc", ["-std=gnu99", "-x", "c"]),
            Language::Cpp => ("c++", ["-std=c++17", "-x", "c++"]),
        };
        let name = source.file_stem().unwrap().to_str().unwrap();
        let program = self.directory().join(format!("{name}-{language:?}"));
        let status = Command::new(compiler)
            .args(words)
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"])
            .arg(package().join("../../../include"))
            .arg(source)
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(self.directory())
            .arg(format!("-Wl,-rpath,{}", self.directory().display()))
            .arg("-livshmem_channel")
            .args(match self.linked {
                Linked::Shared => Vec::new(),
                Linked::Static => beside(),
            })
            .status()
            .unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(status.success(), "{source:?} does not compile");
        program
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo has built of this package, beside the test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.parent().unwrap().join(name);
    assert!(file.exists(), "{file:?} is missing");
    file
}

/// A process that does not outlive the test.
pub struct Program(Child);

impl Program {
    pub fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// One with a link and more arguments.
    pub fn start(program: &Path, link: &Path, words: &[&str]) -> Self {
        Self::of(Command::new(program).arg(link).args(words))
    }

    pub fn succeeds(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
