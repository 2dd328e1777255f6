// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Builds programs of this workspace for guests: statically linked, so that they run without any
//! library.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arch::Arch;
use crate::sandbox::{checkout, Sandbox};
use crate::{Error, Result};

/// Builds the program `binary` of the workspace's package `package`, for the host and for x86 guests, and returns its
/// path.
///
/// The program is optimised and statically linked against glibc. Blocks while cargo builds, which is
/// a fraction of a second if nothing changed. Uses a target directory of its own, so neither a
/// cargo that waits for the caller nor other flags get in its way.
pub fn static_binary(package: &str, binary: &str) -> Result<PathBuf> {
    Ok(static_binaries(package, &[binary])?.join(binary))
}

/// Builds several programs of a package, as [`static_binary`], and returns the directory that they are in.
pub fn static_binaries(package: &str, binaries: &[&str]) -> Result<PathBuf> {
    build(static_cargo(), Arch::X86, &static_dir(), package, binaries)
}

/// Builds what x86 guests with a [`Region`](crate::Region) need, the agent and the server, and shows on the standard error what
/// cargo does. Who calls it first has no minutes of silence later, when they are needed.
pub fn prepare() -> Result<()> {
    for (package, given) in [(AGENT, AGENT_GIVEN), (SERVER, SERVER_GIVEN)] {
        if std::env::var_os(given).is_some() {
            continue;
        }
        let mut cargo = static_cargo();
        let status = to_build(&mut cargo, Arch::X86, &static_dir(), package, &["--bins"]).status();
        if !status.map_err(Error::io("cargo"))?.success() {
            return Err(Error::Setup(format!(
                "cannot build {package} statically: see above"
            )));
        }
    }
    Ok(())
}

/// Builds programs as [`static_binaries`], for guests of this sandbox.
///
/// For other architectures than x86 the compiler is the sandbox's, as the host's seldom has the standard library for them.
pub(crate) fn guest_binaries(
    sandbox: &Sandbox,
    package: &str,
    binaries: &[&str],
) -> Result<PathBuf> {
    let arch = sandbox.arch()?;
    if arch == Arch::X86 {
        return static_binaries(package, binaries);
    }
    // The sandbox's cargo cannot download: it does not know the host's certificates.
    let mut fetch = Command::new(cargo());
    fetch.args(["fetch", "--quiet", "--locked", "--target", arch.target()]);
    run(fetch, "fetch the crates")?;
    let words = sandbox.enter()?;
    let mut cargo = Command::new(&words[0]);
    let variable = arch.target().to_uppercase().replace('-', "_");
    cargo
        .args(&words[1..])
        .arg("cargo")
        .arg("--offline")
        .env(
            format!("CARGO_TARGET_{variable}_LINKER"),
            sandbox.compiler()?,
        )
        .env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), STATIC)
        .env_remove("RUSTFLAGS");
    let target_dir = workspace().join("target/static-cross");
    build(cargo, arch, &target_dir, package, binaries)
}

const STATIC: &str = "-C target-feature=+crt-static";

/// Packages, each with a program of that name, and the variables that name programs to use instead.
const AGENT: &str = "vmbench-agent";
const AGENT_GIVEN: &str = "VMBENCH_AGENT";
const SERVER: &str = "ivshmem-server";
const SERVER_GIVEN: &str = "IVSHMEM_SERVER";

/// What builds for x86, and where to.
fn static_cargo() -> Command {
    let mut cargo = Command::new(cargo());
    cargo.env("RUSTFLAGS", STATIC);
    cargo
}

fn static_dir() -> PathBuf {
    workspace().join("target/static")
}

fn workspace() -> PathBuf {
    checkout().join("tools")
}

/// The cargo that runs the tests.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Has `cargo` build, and returns the directory that the programs are in.
fn build(
    cargo: Command,
    arch: Arch,
    target_dir: &Path,
    package: &str,
    binaries: &[&str],
) -> Result<PathBuf> {
    let directory = target_dir.join(arch.target()).join("release");
    let names = binaries.join(", ");
    if binaries.iter().any(|name| !directory.join(name).exists()) {
        // Not by a macro, whose text tests keep to themselves: who waits is to see it.
        let text = format!("Building {names}, statically: minutes the first time\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    let binaries = binaries.iter().flat_map(|binary| ["--bin", *binary]);
    let binaries: Vec<_> = binaries.collect();
    build_target(cargo, arch, target_dir, package, &binaries)
}

/// The same of the targets of the package that these arguments are for.
fn build_target(
    mut cargo: Command,
    arch: Arch,
    target_dir: &Path,
    package: &str,
    targets: &[&str],
) -> Result<PathBuf> {
    to_build(&mut cargo, arch, target_dir, package, targets).arg("--quiet");
    run(cargo, &format!("build {package} statically"))?;
    Ok(target_dir.join(arch.target()).join("release"))
}

fn to_build<'a>(
    cargo: &'a mut Command,
    arch: Arch,
    target_dir: &Path,
    package: &str,
    targets: &[&str],
) -> &'a mut Command {
    cargo
        .current_dir(workspace())
        .args(["build", "--release", "--target", arch.target()])
        .args(["--package", package])
        .args(targets)
        .arg("--target-dir")
        .arg(target_dir)
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
}

/// Runs a compiler in the workspace.
fn run(mut cargo: Command, what: &str) -> Result<()> {
    let output = cargo
        .current_dir(workspace())
        .output()
        .map_err(Error::io("cargo"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error::Setup(format!("cannot {what}: {}", stderr.trim())))
}

/// The agent for guests of this sandbox: `VMBENCH_AGENT` if that is set, else built from this workspace.
pub(crate) fn agent(sandbox: &Sandbox) -> Result<PathBuf> {
    match std::env::var_os(AGENT_GIVEN) {
        Some(path) => Ok(path.into()),
        None => Ok(guest_binaries(sandbox, AGENT, &[AGENT])?.join(AGENT)),
    }
}

/// The server: `IVSHMEM_SERVER` if that is set, else built from this workspace.
pub(crate) fn server() -> Result<PathBuf> {
    match std::env::var_os(SERVER_GIVEN) {
        Some(path) => Ok(path.into()),
        None => static_binary(SERVER, SERVER),
    }
}

/// Builds the library that the workspace's package `package` is for C, for the host and for x86 guests that have the C
/// library, and returns its path. Blocks as [`static_binary`].
pub fn shared_library(package: &str) -> Result<PathBuf> {
    let target_dir = workspace().join("target/shared");
    let mut command = Command::new(cargo());
    command.env_remove("RUSTFLAGS");
    let directory = build_target(command, Arch::X86, &target_dir, package, &["--lib"])?;
    Ok(directory.join(format!("lib{}.so", package.replace('-', "_"))))
}

/// Builds a program in C for the host and for x86 guests, with the library that the workspace's package `package` is for C,
/// all of it statically linked, as `output`. `source` and `include` are relative to the checkout. Blocks as
/// [`static_binary`].
pub fn static_c_program(package: &str, source: &str, include: &str, output: &Path) -> Result<()> {
    let directory = build_target(
        static_cargo(),
        Arch::X86,
        &static_dir(),
        package,
        &["--lib"],
    )?;
    let library = format!("lib{}.a", package.replace('-', "_"));
    let mut compiler = Command::new("cc");
    compiler
        .args([
            "-std=gnu99",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
        ])
        .arg("-I")
        .arg(checkout().join(include))
        .arg(checkout().join(source))
        .arg(directory.join(library))
        // What unwinds, and mathematics.
        .args(["-lgcc_eh", "-lm"])
        .arg("-o")
        .arg(output);
    run(compiler, &format!("compile {source}"))
}
