// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Describes a guest before it boots.

use std::path::{Path, PathBuf};
use std::time::Duration;

use std::os::unix::fs::PermissionsExt;

use crate::arch::Arch;
use crate::initramfs::File;
use crate::region::{Memory, Region};
use crate::sandbox::Sandbox;
use crate::{build, Error, Result};

/// Default of [`Builder::memory_mib`].
pub const DEFAULT_MEMORY_MIB: u32 = 192;

/// Default of [`Builder::limit`]: twice what a program in a guest gives itself, so that the program's own limit,
/// which knows what was waited for, passes first.
pub const DEFAULT_LIMIT: Duration = test_limit::LIMIT.saturating_mul(2);

/// The firmware that the guest starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's default.
    #[default]
    SeaBios,
    /// The UEFI firmware that lies beside QEMU's own files as `OVMF.fd`. Boots more slowly.
    Ovmf,
    /// A firmware image on the host.
    File(PathBuf),
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's emulation. Works everywhere.
    #[default]
    Tcg,
    /// The host kernel's KVM. Needs access to `/dev/kvm`.
    Kvm,
}

/// An ivshmem device.
#[derive(Clone, Debug)]
pub enum Device {
    /// `ivshmem-doorbell`: memory and interrupts, both from a server.
    Doorbell {
        /// The server's socket.
        socket: PathBuf,
        /// Number of MSI-X vectors. It must be the server's.
        vectors: u16,
    },
    /// `ivshmem-plain`: memory only.
    Plain {
        /// The memory. Guests that are given clones of it share it.
        memory: Memory,
    },
}

impl Device {
    /// A doorbell device on this region.
    pub fn doorbell(region: &Region) -> Self {
        Self::Doorbell {
            socket: region.socket(),
            vectors: region.vectors(),
        }
    }

    /// A plain device over this memory.
    pub fn plain(memory: &Memory) -> Self {
        let memory = memory.clone();
        Self::Plain { memory }
    }
}

/// Describes a guest. Each call changes one thing and hands the description on; [`Builder::boot`] boots.
///
/// A clone boots another guest of the same kind.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) name: String,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) sandbox: Sandbox,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) append: Vec<String>,
    pub(crate) firmware: Firmware,
    pub(crate) accel: Accel,
    pub(crate) devices: Vec<Device>,
    pub(crate) memory_objects: Vec<(String, Memory)>,
    pub(crate) root_ports: u8,
    pub(crate) qemu_args: Vec<String>,
    pub(crate) files: Vec<Source>,
    pub(crate) modules: Vec<(PathBuf, String)>,
    pub(crate) limit: Duration,
}

/// A file for the guest that is read when it boots.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Host { host: PathBuf, guest: String },
    Data(File),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: "guest".into(),
            memory_mib: DEFAULT_MEMORY_MIB,
            cpus: 1,
            sandbox: Sandbox::default(),
            kernel: None,
            append: Vec::new(),
            firmware: Firmware::default(),
            accel: Accel::default(),
            devices: Vec::new(),
            memory_objects: Vec::new(),
            root_ports: 0,
            qemu_args: Vec::new(),
            files: Vec::new(),
            modules: Vec::new(),
            limit: DEFAULT_LIMIT,
        }
    }
}

impl Builder {
    /// The guest's name in errors and logs. Default: `guest`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// RAM in MiB. Default: [`DEFAULT_MEMORY_MIB`].
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Number of virtual processors. Default: 1.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// A kernel image. Default: `VMBENCH_KERNEL`, else the sandbox's.
    pub fn kernel(mut self, image: impl Into<PathBuf>) -> Self {
        self.kernel = Some(image.into());
        self
    }

    /// The kernel, and with it the architecture, that `tools/scripts/sandbox/kernels` calls so, whatever other guests
    /// boot. Default: the one that the environment's `KERNEL` names, else the first.
    pub fn sandbox_kernel(mut self, name: &str) -> Self {
        self.sandbox = Sandbox::named(name);
        self
    }

    /// The architecture: that of the kernel.
    pub fn arch(&self) -> Result<Arch> {
        self.sandbox.arch()
    }

    /// Adds to the kernel's command line.
    pub fn append(mut self, parameters: impl Into<String>) -> Self {
        self.append.push(parameters.into());
        self
    }

    /// The firmware. Default: [`Firmware::SeaBios`].
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// The accelerator. Default: [`Accel::Tcg`].
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = accel;
        self
    }

    /// Adds an ivshmem device. The n-th has the QEMU id `ivshmemN`, counted from 0.
    pub fn device(mut self, device: Device) -> Self {
        self.devices.push(device);
        self
    }

    /// Makes `memory` known to QEMU as the object `id` without a device, for a later
    /// `device_add` of an `ivshmem-plain` with `memdev=id`. QEMU aborts if a device is plugged a second
    /// time with the same object; give the memory several objects to plug it several times.
    pub fn memory_object(mut self, id: impl Into<String>, memory: &Memory) -> Self {
        self.memory_objects.push((id.into(), memory.clone()));
        self
    }

    /// Adds empty, hot-pluggable PCIe ports with the ids `port0`, `port1` and so on. Default: none.
    pub fn root_ports(mut self, count: u8) -> Self {
        self.root_ports = count;
        self
    }

    /// Adds one argument to QEMU's command line, after all others.
    pub fn qemu_arg(self, arg: impl Into<String>) -> Self {
        self.qemu_args([arg])
    }

    /// Adds arguments to QEMU's command line, after all others.
    pub fn qemu_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.qemu_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Puts a host file into the guest with its permission bits. It is read when the guest boots.
    pub fn file(mut self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        let (host, guest) = (host.into(), guest.into());
        self.files.push(Source::Host { host, guest });
        self
    }

    /// Puts a file with these permission bits and contents into the guest.
    pub fn data(
        mut self,
        guest: impl Into<String>,
        mode: u32,
        contents: impl Into<Vec<u8>>,
    ) -> Self {
        self.files.push(Source::Data(File {
            path: guest.into(),
            mode,
            contents: contents.into(),
        }));
        self
    }

    /// Builds programs of a package of this workspace for guests of this architecture, statically linked, and returns the
    /// directory that they are in.
    pub fn static_binaries(&self, package: &str, binaries: &[&str]) -> Result<PathBuf> {
        build::guest_binaries(&self.sandbox, package, binaries)
    }

    /// The same for one; returns its path.
    pub fn static_binary(&self, package: &str, binary: &str) -> Result<PathBuf> {
        Ok(self.static_binaries(package, &[binary])?.join(binary))
    }

    /// Inserts a kernel module, a `.ko` or `.ko.xz` on the host, before the guest counts as booted.
    /// Modules are inserted in the order of the calls; those that others need must come first.
    pub fn module(self, host: impl Into<PathBuf>) -> Self {
        self.module_with(host, "")
    }

    /// As [`Builder::module`], with the module's parameters, separated by spaces.
    pub fn module_with(mut self, host: impl Into<PathBuf>, parameters: impl Into<String>) -> Self {
        self.modules.push((host.into(), parameters.into()));
        self
    }

    /// How long the guest, or QEMU, may be silent when something is expected of it: an answer, an event, a
    /// command's next output or its end. A command that goes on writing may run for any time.
    /// `IVSHMEM_TIME_SCALE` multiplies it. Default: [`DEFAULT_LIMIT`], which is what the boot has in any case.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The kernel image to boot.
    pub(crate) fn kernel_image(&self) -> Result<PathBuf> {
        self.kernel
            .clone()
            .map_or_else(|| self.sandbox.kernel(), Ok)
    }

    /// Reads everything that goes into the guest's file system.
    pub(crate) fn guest_files(&self) -> Result<Vec<File>> {
        let mut files = vec![
            read(&build::agent(&self.sandbox)?, "/init", Some(0o755))?,
            read(&self.sandbox.busybox()?, "/bin/busybox", Some(0o755))?,
        ];
        for source in &self.files {
            files.push(match source {
                Source::Host { host, guest } => read(host, guest, None)?,
                Source::Data(file) => file.clone(),
            });
        }
        match files.iter().find(|file| !file.path.starts_with('/')) {
            Some(file) => Err(Error::Setup(format!(
                "{}: a path in the guest must be absolute",
                file.path
            ))),
            None => Ok(files),
        }
    }
}

fn read(host: &Path, guest: &str, mode: Option<u32>) -> Result<File> {
    let contents = std::fs::read(host).map_err(Error::file(host))?;
    let metadata = std::fs::metadata(host).map_err(Error::file(host))?;
    Ok(File {
        path: guest.into(),
        mode: mode.unwrap_or(metadata.permissions().mode()),
        contents,
    })
}
