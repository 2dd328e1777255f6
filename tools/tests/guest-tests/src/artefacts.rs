// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where the built module and the guest programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmbench::{checkout, Arch, Builder, Guest};

/// The width of a guest program's pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Built with `-m64`.
    Bits64,
    /// Built with `-m32`.
    Bits32,
}

impl Width {
    /// What the names of cases have after that of the program.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Bits64 => "",
            Self::Bits32 => "32",
        }
    }
}

/// A kernel that guests boot, and the module that was built for it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(Option<&'static str>);

impl Kernel {
    /// The one that the whole run is for: that of `KERNEL`, else the sandbox's default.
    pub const DEFAULT: Self = Self(None);

    /// One of `tools/scripts/sandbox/kernels`, for a part of the cases.
    pub const fn named(name: &'static str) -> Self {
        Self(Some(name))
    }

    /// Whether it is [`Kernel::DEFAULT`], whose guests run everything at full length.
    pub fn is_default(self) -> bool {
        self.0.is_none()
    }

    /// Describes a guest that boots it.
    pub fn guest(self) -> Builder {
        match self.0 {
            None => Guest::builder(),
            Some(name) => Guest::builder().sandbox_kernel(name),
        }
    }

    /// A C program for its guests, by the name of its source file.
    pub fn program(self, name: &str) -> Result<PathBuf, String> {
        match self.arch()? {
            Arch::X86 => program(name, Width::Bits64),
            Arch::Arm64 => existing(checkout().join("build/guest-arm64").join(name)),
        }
    }

    /// Whether its guests run the host's programs, and those that are built for 32 bits.
    pub fn runs_x86(self) -> Result<bool, String> {
        Ok(self.arch()? == Arch::X86)
    }

    fn arch(self) -> Result<Arch, String> {
        self.guest().arch().map_err(|error| error.to_string())
    }

    /// Its module.
    pub fn module(self) -> Result<PathBuf, String> {
        match self.0 {
            None => module(),
            Some(name) => built_for(Some(name)),
        }
    }

    /// The name of a case in guests that boot it.
    pub fn case(self, name: &str) -> String {
        match self.0 {
            None => name.into(),
            Some(kernel) => format!("{kernel}::{name}"),
        }
    }
}

/// The name of the sandbox's kernel that all guests are to boot, in place of the default.
pub fn chosen_kernel() -> Option<String> {
    std::env::var("KERNEL").ok().filter(|name| !name.is_empty())
}

/// Whether the kernel under test can make allocations fail.
pub fn kernel_fails_allocations() -> bool {
    std::env::var_os("IVSHMEM_FAULTS").is_some()
}

/// Whether all guests are to load one module, for whatever kernel it is: `IVSHMEM_GUEST_MODULE` is there.
pub fn module_is_given() -> bool {
    std::env::var_os("IVSHMEM_GUEST_MODULE").is_some()
}

/// Whether the kernel of one's own has the driver built in: `IVSHMEM_GUEST_MODULE` is there and empty.
pub fn driver_is_built_in() -> bool {
    std::env::var_os("IVSHMEM_GUEST_MODULE").is_some_and(|path| path.is_empty())
}

/// The kernel module: `IVSHMEM_GUEST_MODULE`, for a kernel of one's own, else the one that was built.
pub fn module() -> Result<PathBuf, String> {
    match std::env::var_os("IVSHMEM_GUEST_MODULE") {
        Some(path) => Ok(path.into()),
        None => built_for(chosen_kernel().as_deref()),
    }
}

/// The module that `make modules KERNEL=NAME` builds, or `make modules` without a name.
fn built_for(kernel: Option<&str>) -> Result<PathBuf, String> {
    let directory = match kernel {
        None => "build/module".into(),
        Some(name) => format!("build/module-{name}"),
    };
    existing(checkout().join(directory).join("ivshmem_rs.ko"))
}

/// The module that imports dma-bufs, for guests of the default kernel: `IVSHMEM_GUEST_IMPORTER`, for a
/// kernel of one's own, else the one that `make importer` builds.
pub fn importer() -> Result<PathBuf, String> {
    match std::env::var_os("IVSHMEM_GUEST_IMPORTER") {
        Some(path) => Ok(path.into()),
        None => existing(checkout().join("build/importer/ivshmem_importer.ko")),
    }
}

/// A kernel of Debian that cannot load the module, and its own modules.
#[derive(Clone, Debug)]
pub struct StockKernel(PathBuf);

impl StockKernel {
    /// The one that `tools/scripts/sandbox/stock-kernel` has fetched, of the architecture of this kernel.
    pub fn beside(kernel: Kernel) -> Result<Self, String> {
        fetched_for(kernel.0, "stock-kernel").map(Self)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// A module, such as `drivers/uio/uio`.
    pub fn module(&self, name: &str) -> PathBuf {
        self.0.join(format!("kernel/{name}.ko.xz"))
    }
}

/// Where `tools/scripts/sandbox/iperf3` has put that program, and its libraries.
pub fn iperf3() -> Result<PathBuf, String> {
    fetched("iperf3")
}

/// What a script of the sandbox's has fetched.
fn fetched(name: &str) -> Result<PathBuf, String> {
    fetched_for(None, name)
}

/// The same, for the kernel of this name.
fn fetched_for(kernel: Option<&str>, name: &str) -> Result<PathBuf, String> {
    let script = checkout().join("tools/scripts/sandbox").join(name);
    let output = Command::new(&script)
        .arg("--where")
        .envs(kernel.map(|kernel| ("KERNEL", kernel)))
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_string();
    existing(directory.into())
}

/// The command that runs another with the sandbox's programs.
pub fn enter() -> PathBuf {
    checkout().join("tools/scripts/sandbox/enter")
}

/// The directory that is the sandbox's `/`.
pub fn sandbox_root() -> Result<PathBuf, String> {
    let info = checkout().join("tools/scripts/sandbox/info");
    let output = Command::new(&info).output();
    let output = output.map_err(|error| format!("{}: {error}", info.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let root = text.lines().find_map(|l| l.strip_prefix("SANDBOX_ROOT="));
    root.map(Into::into)
        .ok_or_else(|| "the sandbox is not prepared: run `make sandbox`".into())
}

/// A C program for x86 guests, by the name of its source file.
pub fn program(name: &str, width: Width) -> Result<PathBuf, String> {
    let directory = match width {
        Width::Bits64 => "build/guest",
        Width::Bits32 => "build/guest32",
    };
    existing(checkout().join(directory).join(name))
}

/// The files of the Python package, by their names in it.
pub fn python_package() -> Result<Vec<(String, PathBuf)>, String> {
    let directory = existing(checkout().join("tools/python/src/ivshmem_channel"))?;
    let error = |error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(&directory).map_err(error)?.flatten();
    let files = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.ends_with(".py").then(|| (name, entry.path()))
    });
    Ok(files.collect())
}

/// A script that comes with the samples.
pub fn sample_script(name: &str) -> Result<PathBuf, String> {
    existing(checkout().join("samples").join(name))
}

/// The names of a guest program's cases, as it lists them itself: `program` must be one for the host.
pub fn cases(program: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(program)
        .arg("--list")
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} --list: {}", program.display(), output.status));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let names: Vec<_> = names.lines().map(str::to_string).collect();
    match names.is_empty() {
        true => Err(format!("{} lists no cases", program.display())),
        false => Ok(names),
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, String> {
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built: run `make test`", path.display())),
    }
}
