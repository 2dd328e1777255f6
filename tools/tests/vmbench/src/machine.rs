// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! From the description of a guest to a running QEMU.
//!
//! QEMU gets everything as an open file: the monitor, the console and the agent's port as one end of a
//! socket pair, the kernel, the file system and the memory as `/proc/self/fd/N`. So there are no paths
//! and ports on which two benches could meet, nothing to remove afterwards, and QEMU may live in a file
//! system of its own.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{memfd_create, MemfdFlags};
use rustix::process::Signal;
use vmbench_proto::PORT_NUMBER;

use crate::arch::Arch;
use crate::builder::{Accel, Builder, Device, Firmware};
use crate::initramfs;
use crate::process::Child;
use crate::region::Memory;
use crate::{sandbox, Error, Result};

/// The kernel's command line. A panic ends QEMU at once (`panic=-1` with `-no-reboot`); addresses in
/// traces are those of the image; mitigations cost much under emulation.
const COMMAND_LINE: &str = "panic=-1 nokaslr mitigations=off";

/// A running QEMU and the host's ends of its sockets.
pub(crate) struct Machine {
    pub process: Child,
    pub console: UnixStream,
    pub monitor: UnixStream,
    pub agent: UnixStream,
}

/// Starts QEMU for this guest.
pub(crate) fn start(guest: &Builder) -> Result<Machine> {
    let mut line = CommandLine::default();
    let arch = guest.sandbox.arch()?;
    line.basics(guest, arch, sandbox::least_memory_mib()?);
    line.software(guest, arch)?;
    let console = line.socket("vmbench-console")?;
    line.push(["-serial", "chardev:vmbench-console"]);
    let monitor = line.socket("vmbench-monitor")?;
    line.push(["-qmp", "chardev:vmbench-monitor"]);
    let agent = line.socket("vmbench-agent")?;
    // The first of all devices: the agent relies on it.
    line.push(["-device", "virtio-serial-pci,id=vmbench-serial"]);
    line.push([
        "-device".into(),
        format!("virtserialport,chardev=vmbench-agent,nr={PORT_NUMBER}"),
    ]);
    line.devices(guest)?;
    line.push(guest.qemu_args.iter().map(String::as_str));
    Ok(Machine {
        process: line.run(guest.sandbox.qemu()?)?,
        console,
        monitor,
        agent,
    })
}

/// QEMU's arguments and the files that they speak of.
#[derive(Default)]
struct CommandLine {
    args: Vec<String>,
    files: Vec<OwnedFd>,
}

impl CommandLine {
    fn push(&mut self, args: impl IntoIterator<Item = impl Into<String>>) {
        self.args.extend(args.into_iter().map(Into::into));
    }

    fn basics(&mut self, guest: &Builder, arch: Arch, least_mib: u32) {
        let (accel, cpu) = match guest.accel {
            Accel::Tcg => ("tcg", arch.emulated_cpu()),
            Accel::Kvm => ("kvm", "host"),
        };
        self.push(["-name", &format!("vmbench-{}", escape(&guest.name))]);
        self.push(["-nodefaults", "-no-user-config", "-no-reboot"]);
        self.push(["-display", "none", "-machine", arch.machine()]);
        self.push(["-accel", accel, "-cpu", cpu]);
        self.push(["-m", &format!("{}M", guest.memory_mib.max(least_mib))]);
        self.push(["-smp", &guest.cpus.to_string()]);
    }

    fn software(&mut self, guest: &Builder, arch: Arch) -> Result<()> {
        let kernel = self.open(&guest.kernel_image()?)?;
        self.push(["-kernel", &kernel]);
        let archive = self.archive(guest)?;
        self.push(["-initrd", &archive]);
        let mut parameters = vec![arch.parameters(), COMMAND_LINE];
        parameters.extend(guest.append.iter().map(String::as_str));
        self.push(["-append", &parameters.join(" ")]);
        match &guest.firmware {
            Firmware::SeaBios => {}
            Firmware::Ovmf => self.push(["-bios", "OVMF.fd"]),
            Firmware::File(image) => {
                let image = self.open(image)?;
                self.push(["-bios", &image]);
            }
        }
        Ok(())
    }

    fn archive(&mut self, guest: &Builder) -> Result<String> {
        let files = guest.guest_files()?;
        let memory = memfd_create("vmbench-initramfs", MemfdFlags::CLOEXEC)
            .map_err(|error| Error::Setup(format!("memfd_create: {error}")))?;
        let memory = File::from(memory);
        initramfs::write(BufWriter::new(&memory), &files)
            .map_err(Error::io("cannot write the initramfs"))?;
        Ok(self.pass(memory.into()))
    }

    fn devices(&mut self, guest: &Builder) -> Result<()> {
        for (id, memory) in &guest.memory_objects {
            self.memory(id, memory)?;
        }
        for number in 0..guest.root_ports {
            // Slot numbers of hot-pluggable ports must differ; 0 is what other ports have.
            let slot = u32::from(number) + 1;
            let port = format!("pcie-root-port,id=port{number},chassis={slot},slot={slot}");
            self.push(["-device", &port]);
        }
        for (number, device) in guest.devices.iter().enumerate() {
            let device = match device {
                Device::Plain { memory } => {
                    let object = format!("vmbench-memory{number}");
                    self.memory(&object, memory)?;
                    format!("ivshmem-plain,id=ivshmem{number},memdev={object}")
                }
                Device::Doorbell { socket, vectors } => {
                    let path = escape(&socket.display().to_string());
                    let chardev = format!("vmbench-server{number}");
                    self.push(["-chardev", &format!("socket,id={chardev},path={path}")]);
                    format!(
                        "ivshmem-doorbell,id=ivshmem{number},chardev={chardev},vectors={vectors}"
                    )
                }
            };
            self.push(["-device", &device]);
        }
        Ok(())
    }

    fn memory(&mut self, id: &str, memory: &Memory) -> Result<()> {
        let file = memory
            .as_fd()
            .try_clone_to_owned()
            .map_err(Error::io("cannot share the memory"))?;
        let (path, size) = (self.pass(file), memory.size());
        let object = format!("memory-backend-file,id={id},share=on,mem-path={path},size={size}");
        self.push(["-object", &object]);
        Ok(())
    }

    /// Makes a character device whose other end is returned.
    fn socket(&mut self, id: &str) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair().map_err(Error::io("cannot make a socket"))?;
        let number = theirs.as_raw_fd();
        self.files.push(theirs.into());
        self.push(["-chardev", &format!("socket,id={id},fd={number}")]);
        Ok(ours)
    }

    fn open(&mut self, path: &Path) -> Result<String> {
        let file = File::open(path).map_err(Error::file(path))?;
        Ok(self.pass(file.into()))
    }

    /// Lets QEMU inherit `file`, and returns the path under which it finds it.
    fn pass(&mut self, file: OwnedFd) -> String {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.files.push(file);
        path
    }

    fn run(self, mut words: Vec<String>) -> Result<Child> {
        words.extend(self.args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdout(Stdio::null());
        Child::spawn(command, self.files, Signal::KILL)
            .map_err(Error::io(format!("cannot start {}", words[0])))
    }
}

/// A comma within a value of a QEMU option is written twice.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_become_arguments() {
        let memory = Memory::anonymous(1 << 20).unwrap();
        let guest = Builder::default()
            .root_ports(2)
            .memory_object("hm", &memory)
            .device(Device::Doorbell {
                socket: "/tmp/a,b".into(),
                vectors: 8,
            })
            .device(Device::plain(&memory));
        let mut line = CommandLine::default();
        line.devices(&guest).unwrap();
        let args = line.args.join(" ");
        for part in [
            "-object memory-backend-file,id=hm,share=on,mem-path=/proc/self/fd/",
            "-device pcie-root-port,id=port1,chassis=2,slot=2",
            "-chardev socket,id=vmbench-server0,path=/tmp/a,,b",
            "-device ivshmem-doorbell,id=ivshmem0,chardev=vmbench-server0,vectors=8",
            "-device ivshmem-plain,id=ivshmem1,memdev=vmbench-memory1",
        ] {
            assert!(args.contains(part), "{part} is not in {args}");
        }
        assert_eq!(line.files.len(), 2);
    }
}
