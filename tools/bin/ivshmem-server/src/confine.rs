// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the server gives up when it has started: all files but its own, and all system calls that it does not make.
//!
//! A call that is missing here fails with `EPERM`: the server goes on, and so do its clients.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ivshmem_server::{Config, MemorySource};
use landlock::{
    path_beneath_rules, Access, AccessFs, RulesetAttr, RulesetCreatedAttr, RulesetStatus, ABI,
};
use tracing::warn;

use crate::cli::Cli;

/// Where files of all kinds are read: the names of users, and what the kernel tells.
const READABLE: [&str; 2] = ["/etc", "/proc"];

/// What is done with descriptors that are there.
const DESCRIPTORS: &str = "\
    close dup epoll_ctl epoll_pwait epoll_wait eventfd2 fallocate fcntl flock fstat fstatfs \
    ftruncate ioctl lseek poll ppoll pread64 preadv2 pwrite64 read readv write writev";

/// What is done with sockets.
const SOCKETS: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg \
    recvmsg sendmmsg sendmsg sendto setsockopt socket socketpair";

/// What is done with files by name: memory and journals, the files of new regions, their removal.
const FILES: &str = "\
    access chmod chown epoll_create1 faccessat faccessat2 fchmod fchmodat fchown fchownat getcwd \
    getdents64 lstat memfd_create mbind newfstatat open openat readlink readlinkat stat statx \
    unlink unlinkat";

/// What any program does: memory, time, signals, its end.
const PROCESS: &str = "\
    brk clock_gettime clock_nanosleep exit exit_group futex getegid geteuid getgid getpid \
    getrandom getrlimit gettid gettimeofday getuid madvise mlock mmap mprotect mremap munmap \
    nanosleep prlimit64 restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_yield \
    sigaltstack tgkill tkill";

/// The directories that a server of this configuration writes in, and those that it reads.
#[derive(Debug)]
pub struct Places {
    writable: Vec<PathBuf>,
    readable: Vec<PathBuf>,
}

/// The places of a configuration.
pub fn places(config: &Config, cli: &Cli) -> Places {
    let regions = config.regions.iter();
    let sockets = regions.clone().flat_map(|region| {
        let peers = region.peers.iter().map(|peer| &peer.socket_path);
        std::iter::once(&region.socket_path).chain(peers)
    });
    let others = [
        &config.status_socket,
        &config.control_socket,
        &config.hand_over,
        &cli.pidfile,
    ];
    let paths = sockets.chain(others).flatten().map(PathBuf::as_path);
    let memories = regions.filter_map(|region| match &region.memory {
        MemorySource::Memfd => None,
        MemorySource::Shm(_) => Some(PathBuf::from("/dev/shm")),
        MemorySource::File(path) if path.is_dir() => Some(path.clone()),
        MemorySource::File(path) => Some(directory(path)),
    });
    let config = cli.config.iter().map(|path| directory(path));
    Places {
        writable: paths.map(directory).chain(memories).collect(),
        readable: READABLE.iter().map(PathBuf::from).chain(config).collect(),
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Gives up everything else, for good. There must be one thread only, as that is the one that gives up.
pub fn confine(places: &Places) -> anyhow::Result<()> {
    restrict_files(places).context("Landlock")?;
    filter_calls().context("seccomp")
}

fn restrict_files(places: &Places) -> Result<(), landlock::RulesetError> {
    // What a newer kernel knows besides is no way to do more with files than this.
    let all = AccessFs::from_all(ABI::V3);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::RemoveFile;
    let status = landlock::Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(&places.readable, read))?
        .add_rules(path_beneath_rules(&places.writable, write))?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        warn!("this kernel has no Landlock, or it is off (lsm=): all files stay within reach");
    }
    Ok(())
}

fn filter_calls() -> anyhow::Result<()> {
    let calls = [DESCRIPTORS, SOCKETS, FILES, PROCESS].join(" ");
    let arch = std::env::consts::ARCH.try_into()?;
    // Some are known to older architectures only.
    let known = calls
        .split(' ')
        .filter(|call| compile(&[call], arch).is_ok());
    let known: Vec<&str> = known.collect();
    let filters = compile(&known, arch)?;
    let filter = filters.get(FILTER).context("no filter was made")?;
    Ok(seccompiler::apply_filter(filter)?)
}

const FILTER: &str = "server";

fn compile(
    calls: &[&str],
    arch: seccompiler::TargetArch,
) -> Result<seccompiler::BpfMap, seccompiler::Error> {
    let rules: Vec<_> = calls
        .iter()
        .map(|call| serde_json::json!({ "syscall": call }))
        .collect();
    let filter = serde_json::json!({ FILTER: {
        "mismatch_action": { "errno": libc::EPERM },
        "match_action": "allow",
        "filter": rules,
    } });
    seccompiler::compile_from_json(filter.to_string().as_bytes(), arch)
}
