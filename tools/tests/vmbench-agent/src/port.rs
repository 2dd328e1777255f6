// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The virtio-serial port to the host, made to survive suspend to RAM.
//!
//! After a sleep, Linux 7.3 asks QEMU whether the host is there before it has provided the buffers for
//! the answer. QEMU drops the answer, and the port counts as disconnected for good. What helps is to
//! unbind the driver from the device and to bind it again, as if both were new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::io::Errno;
use vmbench_proto::PORT_PATH;

use crate::context::context;

/// The port's device; the last component of the link's target is its name on the virtio bus.
const DEVICE: &str = "/sys/class/virtio-ports/vport0p1/device";

const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_console";

/// How long the port may count as disconnected before the driver is bound again. An answer from QEMU
/// that is on its way takes much less.
const PATIENCE: Duration = Duration::from_secs(1);

/// There is no event for what is waited for here, so it is looked for this often.
const PAUSE: Duration = Duration::from_millis(20);

/// The port. Clones are the same port, also after it has been opened again.
#[derive(Clone)]
pub struct Port(Arc<Mutex<Arc<File>>>);

impl Port {
    /// Waits for the port to appear in `/dev`, and opens it.
    pub fn open() -> Result<Self, String> {
        let file = open().map_err(context(PORT_PATH))?;
        Ok(Self(Arc::new(Mutex::new(Arc::new(file)))))
    }

    fn current(&self) -> Arc<File> {
        Arc::clone(&self.0.lock().unwrap())
    }

    /// Returns when the host is connected and bytes can be written.
    ///
    /// The driver reclaims the buffers of earlier writes only when it is asked like this.
    fn wait_until_writable(&self) -> io::Result<()> {
        let mut since = Instant::now();
        loop {
            let file = self.current();
            let mut fds = [PollFd::new(&*file, PollFlags::OUT)];
            match poll(&mut fds, Some(&Timespec::default())) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let state = fds[0].revents();
            if state.contains(PollFlags::OUT) && !state.contains(PollFlags::HUP) {
                return Ok(());
            }
            if !state.contains(PollFlags::HUP) {
                poll_until_changed(&file)?;
            } else if since.elapsed() < PATIENCE {
                thread::sleep(PAUSE);
            } else {
                self.reconnect()?;
                since = Instant::now();
            }
        }
    }

    fn reconnect(&self) -> io::Result<()> {
        let device = fs::canonicalize(DEVICE)?;
        let name = device.file_name().unwrap_or_default().as_encoded_bytes();
        fs::write(format!("{DRIVER}/unbind"), name)?;
        fs::write(format!("{DRIVER}/bind"), name)?;
        let file = open()?;
        *self.0.lock().unwrap() = Arc::new(file);
        Ok(())
    }
}

impl Read for Port {
    /// Never reports an end: a host that hangs up takes the whole guest with it. What looks like an end
    /// is a guest that wakes from sleep, whose writers will connect again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.current()).read(buffer) {
                Ok(0) => thread::sleep(PAUSE),
                Err(error) if is_unbound(&error) => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }
}

impl Write for Port {
    /// Returns when the host has taken the bytes and the driver has noticed: a buffer that it has not
    /// reclaimed when the guest falls asleep would block the port ever after.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait_until_writable()?;
            match (&*self.current()).write(bytes) {
                Err(error) if is_unbound(&error) => {}
                Ok(len) => {
                    self.wait_until_writable()?;
                    return Ok(len);
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_unbound(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
}

/// Blocks until the port is writable or disconnected.
fn poll_until_changed(file: &File) -> io::Result<()> {
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
        Err(Errno::INTR) => Ok(()),
        other => other.map(drop).map_err(Into::into),
    }
}

/// Opens the port as soon as its driver lets it be opened.
fn open() -> io::Result<File> {
    wait_for_device()?;
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    loop {
        match options.open(PORT_PATH) {
            // The driver makes the device a moment before it knows the port.
            Err(error) if is_unknown(&error) => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

fn wait_for_device() -> io::Result<()> {
    let watch = match inotify::init(inotify::CreateFlags::CLOEXEC) {
        // A kernel that is made for tests may lack it.
        Err(Errno::NOSYS) => {
            while !Path::new(PORT_PATH).exists() {
                thread::sleep(PAUSE);
            }
            return Ok(());
        }
        watch => watch?,
    };
    inotify::add_watch(&watch, "/dev", inotify::WatchFlags::CREATE)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    while !Path::new(PORT_PATH).exists() {
        events.next()?;
    }
    Ok(())
}
