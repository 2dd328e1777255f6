// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The command line.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, ArgGroup, Args, Parser};
use clap_complete::Shell;
use ivshmem_protocol::PROTOCOL_VERSION;
use ivshmem_server::{
    parse_group, parse_user, Config, HugePages, MemorySource, ParseMemoryError, RegionConfig,
    RegionSize, DEFAULT_CLIENT_DESCRIPTORS, DEFAULT_JOIN_RATE, DEFAULT_VECTORS, MAX_VECTORS,
};
use serde_json::json;
use tracing::level_filters::LevelFilter;

const AFTER_HELP: &str = "\
Start QEMU with:
  -chardev socket,id=ivshmem,path=PATH
  -device ivshmem-doorbell,chardev=ivshmem,vectors=N

Signals:
  SIGTERM, SIGINT  remove the sockets and end; clients keep the memory and their interrupts
  SIGHUP           with --config, read that again; otherwise as SIGTERM
  SIGUSR1          write a report to the standard error

Exit status:
  0  ended by a signal or taken over by a successor, or printed what was asked for
  1  failure, which is explained on the standard error
  2  wrong usage";

/// Share memory between the virtual machines of a host, and let them interrupt each other.
///
/// Serves QEMU's device ivshmem-doorbell, and every other program that speaks its protocol. Logs to the standard
/// error.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
#[command(group = ArgGroup::new("print").multiple(false))]
pub struct Cli {
    /// Configuration file, for several regions and fixed IDs; see ivshmem-server(8)
    ///
    /// Takes the place of all options for one region.
    #[arg(long, value_name = "FILE", conflicts_with = "RegionOptions")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub region: RegionOptions,

    /// UNIX socket that sends a report in JSON to each process of the same user that connects
    #[arg(long, value_name = "PATH")]
    pub status_socket: Option<PathBuf>,

    /// UNIX socket for commands of the same user or root: to drop clients, to drain regions
    ///
    /// `ivshmemctl server` gives them.
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,

    /// UNIX socket by which a successor can take over all clients
    #[arg(long, value_name = "PATH")]
    pub hand_over: Option<PathBuf>,

    /// Take over from the server whose --hand-over socket this is
    #[arg(long, value_name = "PATH", conflicts_with = "fd_store")]
    pub take_over: Option<PathBuf>,

    /// Have systemd keep all that a successor needs, even if this server is killed
    ///
    /// Needs a service with FileDescriptorStoreMax= of at least (N+2) for each peer, where N is
    /// the number of vectors, one more for each that has a fixed ID, and 10 for each region.
    #[arg(long)]
    pub fd_store: bool,

    /// Give up all rights that the server does not need, by Landlock and seccomp
    ///
    /// Once it is ready, it can write only in the directories of its sockets and files, read only there and in /proc,
    /// /etc and the directory of --config, and make only the system calls that it needs. New regions of a
    /// configuration that is read again need their files in those directories. For servers that run without
    /// systemd, whose unit does the same.
    #[arg(long)]
    pub confine: bool,

    /// Lowest level of messages to log
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_levels())]
    pub log_level: LevelFilter,

    /// Log more, as --log-level=debug
    #[arg(short, long, conflicts_with = "log_level")]
    pub verbose: bool,

    /// Go to the background as soon as clients can connect
    ///
    /// Paths stay relative to this directory, and the log stays on the standard error.
    #[arg(long, conflicts_with_all = ["foreground", "ready_fd", "fd_store"])]
    pub daemonize: bool,

    /// Stay in the foreground, even with --pidfile
    #[arg(short = 'F', long)]
    pub foreground: bool,

    /// File for the process ID of the server, removed at the end
    ///
    /// As with QEMU's server, this means --daemonize too, unless --foreground or --ready-fd is given or
    /// systemd starts it.
    #[arg(short, long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,

    /// Inherited file descriptor to which READY=1 is written once clients can connect
    ///
    /// The server writes that line, and closes it. It must not be one of the standard streams.
    #[arg(long, value_name = "FD",
          value_parser = clap::value_parser!(i32).range(3..))]
    pub ready_fd: Option<i32>,

    /// Print what this program can do, as JSON, and exit
    #[arg(long, group = "print")]
    pub print_capabilities: bool,

    /// Print a completion script for a shell, and exit
    #[arg(long, value_name = "SHELL", group = "print")]
    pub print_completions: Option<Shell>,

    /// Print the manual page, ivshmem-server(8), and exit
    #[arg(long, group = "print")]
    pub print_man_page: bool,
}

/// Options for one region.
#[derive(Debug, Args)]
#[group(id = "RegionOptions", multiple = true)]
pub struct RegionOptions {
    /// UNIX socket to listen on
    ///
    /// A socket that a dead server left there is replaced; one on which a program listens is not. The server also
    /// creates PATH.lock, and removes both when it ends. Not needed if systemd passes a socket.
    #[arg(short = 'S', long, value_name = "PATH", conflicts_with = "fd")]
    pub socket_path: Option<PathBuf>,

    /// Inherited file descriptor of a listening UNIX socket
    #[arg(long, value_name = "FD",
          value_parser = clap::value_parser!(i32).range(3..))]
    pub fd: Option<i32>,

    /// Size of the shared memory
    ///
    /// A power of two from 4K to 1T, in bytes or with a unit K, M, G or T.
    #[arg(short = 'l', long, value_name = "SIZE", default_value_t = RegionSize::DEFAULT)]
    pub size: RegionSize,

    /// Interrupt vectors of each client
    ///
    /// Must be at least the vectors= of every QEMU that connects: with fewer, QEMU with KVM aborts
    /// when its guest unmasks a vector that the server did not provide. With more, QEMU logs an
    /// error for each one that it has no use for, and works.
    #[arg(short = 'n', long, value_name = "N", default_value_t = DEFAULT_VECTORS,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_VECTORS)))]
    pub vectors: u16,

    /// Maximum number of clients at the same time
    ///
    /// More are refused. Each takes N+1 file descriptors, where N is the number of vectors. Default: 64, or as many
    /// as --client-descriptors allows if that is less.
    #[arg(long, value_name = "N", value_parser =
          clap::value_parser!(u32).range(i64::from(*RegionConfig::MAX_PEERS.start())
                                         ..=i64::from(*RegionConfig::MAX_PEERS.end())))]
    pub max_peers: Option<u32>,

    /// Maximum number of clients of one user at the same time [default: --max-peers]
    #[arg(long, value_name = "N")]
    pub max_peers_per_user: Option<u32>,

    /// Joins of one user per minute, in the long run; 0 for no limit
    ///
    /// Four times --max-peers can join at once before joins are refused. Each takes one of 65536 IDs; when all have
    /// been given out, clients that leave are no longer announced.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_JOIN_RATE)]
    pub join_rate: u32,

    /// Open files that every client may have: its RLIMIT_NOFILE
    ///
    /// Each QEMU needs N descriptors for each client, where N is the number of vectors, and 124 for itself. If it
    /// cannot have one of them, it crashes. The server does not start if this is not enough.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CLIENT_DESCRIPTORS)]
    pub client_descriptors: u32,

    /// Where the memory comes from: memfd, shm:NAME or path:FILE
    ///
    /// memfd is anonymous memory that nobody can resize. shm:NAME creates a POSIX shared memory
    /// object, path:FILE a file, with mode 0600, and removes it when the server ends; it must
    /// not exist yet. If FILE is a directory, the file has no name. Every client can truncate
    /// shm: and path: memory, which kills those who use it.
    #[arg(long, value_name = "SOURCE", default_value = "memfd")]
    pub memory: MemorySource,

    /// As --memory=shm:NAME
    #[arg(short = 'M', value_name = "NAME", conflicts_with = "memory", value_parser = parse_shm_name)]
    pub shm_name: Option<MemorySource>,

    /// As --memory=path:DIR, for a directory, such as a mount of hugetlbfs
    #[arg(short = 'm', value_name = "DIR", conflicts_with_all = ["memory", "shm_name"])]
    pub shm_directory: Option<PathBuf>,

    /// Size of the pages of a memfd: 2M, which is the default, or 1G
    #[arg(long, value_name = "PAGES", num_args = 0..=1, require_equals = true,
          default_missing_value = "2M")]
    pub hugepages: Option<HugePages>,

    /// Allocate all of the memory at the start; implied by --hugepages
    ///
    /// If that takes long, the log shows the progress.
    #[arg(long)]
    pub prealloc: bool,

    /// NUMA node for the memory, whoever uses it first
    ///
    /// For a memfd, shm: and files in a tmpfs or hugetlbfs. Pages that a kept file already has stay where they are.
    #[arg(long, value_name = "NODE")]
    pub numa_node: Option<u32>,

    /// Keep the file of shm: or path: when the server ends, and use one that exists
    ///
    /// Its size must be right, as the server never changes it, and it must belong to the same user or to root.
    #[arg(long)]
    pub keep_memory: bool,

    /// Mode of the socket, in octal
    ///
    /// Whoever may write to the socket can connect, and so read and write all of the memory.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = parse_mode)]
    pub socket_mode: u32,

    /// Group of the socket, by name or number
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    pub socket_group: Option<u32>,

    /// User to serve, by name or number; can be repeated
    ///
    /// Without --allow-uid and --allow-gid, everybody who can connect is served.
    #[arg(long, value_name = "USER", action = ArgAction::Append, value_parser = parse_user)]
    pub allow_uid: Vec<u32>,

    /// Group whose members to serve, by name or number; can be repeated
    #[arg(long, value_name = "GROUP", action = ArgAction::Append, value_parser = parse_group)]
    pub allow_gid: Vec<u32>,
}

impl Cli {
    /// What the server is told to do, if there is no configuration file.
    pub fn config(&self) -> Config {
        Config::from(self.region.config())
    }

    /// Whether nothing here says where clients connect to.
    pub fn has_no_socket(&self) -> bool {
        self.region.socket_path.is_none() && self.region.fd.is_none() && self.config.is_none()
    }

    /// Whether the server is to go to the background.
    pub fn is_for_background(&self) -> bool {
        let asked = self.pidfile.is_some() && self.ready_fd.is_none() && !self.fd_store;
        self.daemonize || (asked && !self.foreground)
    }

    /// Least important messages to log.
    pub fn log_level(&self) -> LevelFilter {
        if self.verbose {
            LevelFilter::DEBUG
        } else {
            self.log_level
        }
    }
}

impl RegionOptions {
    fn config(&self) -> RegionConfig {
        let mut config = RegionConfig::without_socket(ivshmem_server::DEFAULT_REGION);
        config.socket_path = self.socket_path.clone();
        config.access.socket_mode = self.socket_mode;
        config.access.socket_group = self.socket_group;
        config.access.uids = self.allow_uid.iter().copied().collect();
        config.access.gids = self.allow_gid.iter().copied().collect();
        config.size = self.size;
        config.memory = match (&self.shm_name, &self.shm_directory) {
            (Some(named), _) => named.clone(),
            (_, Some(directory)) => MemorySource::File(directory.clone()),
            _ => self.memory.clone(),
        };
        config.huge_pages = self.hugepages;
        config.prealloc = self.prealloc;
        config.numa_node = self.numa_node;
        config.keep_memory = self.keep_memory;
        config.vectors = self.vectors;
        config.max_peers_per_user = self.max_peers_per_user;
        config.join_rate = self.join_rate;
        config.client_descriptors = self.client_descriptors;
        config.max_peers = self.max_peers.unwrap_or_else(|| config.usual_max_peers());
        config
    }
}

/// What `--print-capabilities` prints. Members may be added, but none removed or changed.
pub fn capabilities() -> serde_json::Value {
    let max_peers = RegionConfig::MAX_PEERS;
    json!({
        "type": "ivshmem-server",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol_version": PROTOCOL_VERSION,
        "features": [
            "allow-uid", "allow-gid", "client-descriptors", "config", "confine", "control-socket", "daemonize",
            "fd", "fd-store", "fixed-id", "hand-over", "hugepages", "join-rate", "keep-memory",
            "max-peers-per-user", "memory-memfd", "memory-path", "memory-shm", "notify", "numa-node", "prealloc",
            "read-only", "ready-fd", "socket-activation", "socket-group", "socket-mode", "status-socket",
        ],
        "limits": {
            "size": { "min": RegionSize::MIN.bytes(), "max": RegionSize::MAX.bytes() },
            "vectors": {
                "min": RegionConfig::VECTORS.start(),
                "max": RegionConfig::VECTORS.end(),
            },
            "max_peers": { "min": max_peers.start(), "max": max_peers.end() },
        },
    })
}

/// Reads what `--memory` takes behind `shm:`.
fn parse_shm_name(text: &str) -> Result<MemorySource, ParseMemoryError> {
    format!("shm:{text}").parse()
}

/// Reads a mode in octal.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "expected an octal number from 0 to 777".to_owned())
}

fn log_levels() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
        .try_map(|name| name.parse::<LevelFilter>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let cli = Cli::parse_from(["ivshmem-server", "--socket-path", "x"]);
        let ours = format!("{:?}", cli.config());
        let theirs = format!("{:?}", Config::from(RegionConfig::new("x")));
        assert_eq!(ours, theirs);
    }

    #[test]
    fn flags_of_old_scripts() {
        let old = "ivshmem-server -v -F -p /run/pid -S /run/socket -M name -l 4M -n 16";
        let cli = Cli::parse_from(old.split(' '));
        let region = &cli.config().regions[0];
        assert_eq!(region.memory, MemorySource::Shm("name".into()));
        assert_eq!(region.size.bytes(), 4 << 20);
        assert_eq!(region.vectors, 16);
        assert_eq!(region.socket_path, Some("/run/socket".into()));
        assert_eq!(cli.log_level(), LevelFilter::DEBUG);
        let old = "ivshmem-server -S /run/socket -m /dev/hugepages";
        let region = Cli::parse_from(old.split(' ')).region.config();
        assert_eq!(region.memory, MemorySource::File("/dev/hugepages".into()));
    }

    #[test]
    fn names_of_shared_memory_are_as_strict_as_the_source() {
        for name in ["", "/", "..", "a/b", "../x"] {
            let parsed = Cli::try_parse_from(["ivshmem-server", "-S", "x", "-M", name]);
            assert!(parsed.is_err(), "{name}");
        }
    }

    #[test]
    fn more_vectors_leave_fewer_places() {
        let places = |args: &[&str]| {
            let all = ["ivshmem-server", "-S", "x"].iter().chain(args);
            Cli::parse_from(all).region.config().max_peers
        };
        assert_eq!(places(&[]), 64);
        assert_eq!(places(&["--vectors=64"]), 14);
        assert_eq!(places(&["--vectors=256", "--client-descriptors=100"]), 1);
        assert_eq!(places(&["--vectors=64", "--max-peers=20"]), 20);
    }

    #[test]
    fn huge_pages_have_a_default_size() {
        let pages = |args: &[&str]| {
            let all = ["ivshmem-server", "-S", "x"].iter().chain(args);
            Cli::parse_from(all).region.hugepages
        };
        assert_eq!(pages(&[]), None);
        assert_eq!(pages(&["--hugepages"]), Some(HugePages::Size2M));
        assert_eq!(pages(&["--hugepages=1G"]), Some(HugePages::Size1G));
    }

    #[test]
    fn modes() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        for text in ["", "8", "1777", "-1", "u+w"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }
}
