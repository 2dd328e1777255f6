// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl launch`: guests that share memory, and the server for it.

mod guests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ivshmem::MAX_RING_VECTOR;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;
use crate::parse;

/// Start a server, and guests that share memory
///
/// The guests have no standard input; --console gives each a console to connect to. When all have ended, so does the server;
/// Ctrl-C ends them all. With --dry-run nothing is started, and the command lines are printed, each below a comment. Run each
/// in its own shell, or put & behind it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl launch -- -drive file=vm{vm}.qcow2,if=virtio \\
    -display none -serial file:vm{vm}.log
  ivshmemctl launch --console -- -kernel vmlinuz -initrd guest.cpio \\
    -append console=ttyS0
  ivshmemctl launch --dry-run --vms 3 --size 256M --vectors 4
  ivshmemctl launch --dry-run --plain")]
pub struct Options {
    /// Print the command lines, and start nothing
    #[arg(long)]
    dry_run: bool,

    /// Number of guests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    vms: u16,

    /// Size of the shared memory, a power of two
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse::region_size)]
    size: u64,

    /// Vectors of each guest
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_RING_VECTOR) + 1))]
    vectors: u16,

    /// The server's socket
    #[arg(long, value_name = "PATH", default_value = "/tmp/ivshmem.sock")]
    socket: PathBuf,

    /// Share memory without doorbells, in the file --memory-file, which takes no server
    #[arg(long)]
    plain: bool,

    /// File for the memory of --plain
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/dev/shm/ivshmem",
        requires = "plain"
    )]
    memory_file: PathBuf,

    /// Give each guest, instead of a display, a serial console, which `ivshmemctl console` connects to
    ///
    /// Its socket is the server's path with the guest's name appended. The command that connects is printed for each guest.
    /// The guest's kernel has to use its first serial line: console=ttyS0.
    #[arg(long)]
    console: bool,

    /// The QEMU program
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    qemu: String,

    /// The server program; if it is not installed, the one beside this program
    #[arg(long, value_name = "PROGRAM", default_value = "ivshmem-server")]
    server: String,

    /// Accelerator, as QEMU's -accel takes it; without this option kvm, and tcg where there is no KVM
    #[arg(long, value_name = "ACCEL")]
    accel: Option<String>,

    /// RAM of each guest, as QEMU's -m takes it
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    ram: String,

    /// More arguments for QEMU; {vm} stands for the guest's number
    #[arg(last = true, value_name = "QEMU-ARGUMENT")]
    arguments: Vec<String>,
}

/// What is to be run.
#[derive(Serialize)]
struct Plan {
    /// The server's command line; none with `--plain`.
    server: Option<Vec<String>>,
    /// Each guest's.
    guests: Vec<Vec<String>>,
    /// The socket of each guest's console, if they have one.
    consoles: Vec<PathBuf>,
}

/// Starts or prints them.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let plan = plan(options);
    if !options.dry_run {
        guests::expect_program(&options.qemu)?;
        let server = plan.server.as_deref();
        return guests::run(server, &plan.guests, &plan.consoles, output);
    }
    let mut lines = Vec::new();
    let server = plan.server.iter().map(|words| ("the server".into(), words));
    let guests = plan.guests.iter().enumerate();
    let guests = guests.map(|(vm, words)| (format!("vm{vm}"), words));
    for (name, words) in server.chain(guests) {
        lines.push(format!("# {name}"));
        let words = words.iter().map(String::as_str);
        lines.push(shlex::try_join(words).context("a NUL byte in the command line")?);
    }
    output.answer(&plan, || lines.join("\n"))?;
    Ok(Exit::Success)
}

fn plan(options: &Options) -> Plan {
    let server = [
        options.server.clone(),
        "--socket-path".into(),
        options.socket.display().to_string(),
        "--size".into(),
        parse::written(options.size),
        "--vectors".into(),
        options.vectors.to_string(),
    ];
    Plan {
        server: (!options.plain).then(|| server.into()),
        guests: (0..options.vms).map(|vm| guest(options, vm)).collect(),
        consoles: (0..options.vms)
            .filter_map(|vm| console(options, vm))
            .collect(),
    }
}

fn console(options: &Options, vm: u16) -> Option<PathBuf> {
    let mut socket = options.socket.clone().into_os_string();
    socket.push(format!(".vm{vm}"));
    options.console.then(|| socket.into())
}

fn guest(options: &Options, vm: u16) -> Vec<String> {
    let name = format!("vm{vm}");
    let mut words: Vec<String> = vec![options.qemu.clone()];
    words.extend(["-name", &name, "-machine", "q35"].map(String::from));
    // The second is taken where the first cannot be.
    let accels = match &options.accel {
        Some(accel) => vec![accel.as_str()],
        None => vec!["kvm", "tcg"],
    };
    words.extend(
        accels
            .into_iter()
            .flat_map(|accel| ["-accel".into(), accel.into()]),
    );
    words.extend(["-m".into(), options.ram.clone()]);
    words.extend(device(options));
    if let Some(socket) = console(options, vm) {
        let line = format!("unix:{},server=on,wait=off", escape(&socket));
        words.extend(["-display", "none", "-serial", &line].map(String::from));
    }
    let vm = vm.to_string();
    words.extend(options.arguments.iter().map(|arg| arg.replace("{vm}", &vm)));
    words
}

/// A comma within a value of a QEMU option is written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn device(options: &Options) -> [String; 4] {
    if options.plain {
        let (path, size) = (escape(&options.memory_file), parse::written(options.size));
        return [
            "-object".into(),
            format!("memory-backend-file,id=ivshmem,share=on,mem-path={path},size={size}"),
            "-device".into(),
            "ivshmem-plain,memdev=ivshmem".into(),
        ];
    }
    [
        "-chardev".into(),
        format!("socket,id=ivshmem,path={}", escape(&options.socket)),
        "-device".into(),
        format!(
            "ivshmem-doorbell,chardev=ivshmem,vectors={}",
            options.vectors
        ),
    ]
}
