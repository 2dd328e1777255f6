// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A running guest.

use std::fmt;
use std::path::Path;

use vmbench_proto::{Reply, Request};

use crate::board::State;
use crate::builder::Builder;
use crate::command::{Command, Output};
use crate::exit::Exit;
use crate::qmp::Qmp;
use crate::session::Session;
use crate::splat::{self, Splat};
use crate::{Error, Result};

/// The kernel's last words before it switches the machine off.
const POWER_DOWN: &str = "reboot: Power down";

/// A place in the kernel's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Before the first line.
    pub const BOOT: Self = Self(0);
}

/// A running guest. Dropping it kills it and leaves nothing behind.
///
/// All methods can be called from several threads at once; each blocks only its caller.
pub struct Guest(Session);

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Builder {
    /// Boots the guest and blocks until commands can be run and the modules are inserted.
    pub fn boot(&self) -> Result<Guest> {
        let guest = Guest(Session::start(self)?);
        // The kernel goes on without the files that had no room.
        if guest.console().contains("Initramfs unpacking failed") {
            return Err(Error::Setup(format!(
                "guest {} has not enough memory for its files: give it more than {} MiB",
                guest.name(),
                self.memory_mib
            )));
        }
        for (module, parameters) in &self.modules {
            guest.insert_module(module, parameters)?;
        }
        Ok(guest)
    }
}

/// Boots guests at the same time; they are returned in the order of their descriptions.
///
/// If one fails, the others are stopped and its error is returned.
pub fn boot_all<'a>(builders: impl IntoIterator<Item = &'a Builder>) -> Result<Vec<Guest>> {
    std::thread::scope(|scope| {
        let boots: Vec<_> = builders
            .into_iter()
            .map(|builder| scope.spawn(|| builder.boot()))
            .collect();
        boots
            .into_iter()
            .map(|boot| {
                boot.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

impl Guest {
    /// A description with all defaults, to be changed and booted.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A guest that runs in the QEMU of `session`.
    pub(crate) fn new(session: Session) -> Self {
        Self(session)
    }

    /// What the host holds of it.
    pub(crate) fn session(&self) -> &Session {
        &self.0
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Describes a command: the program, looked up in the guest's `PATH`, and its arguments.
    pub fn command(&self, argv: impl IntoIterator<Item = impl Into<String>>) -> Command<'_> {
        Command::new(&self.0, argv.into_iter().map(Into::into).collect())
    }

    /// Runs a command and blocks until it has ended. Its exit code is in the output; an error means that
    /// it could not be started or that the guest failed.
    pub fn run(&self, argv: impl IntoIterator<Item = impl Into<String>>) -> Result<Output> {
        self.command(argv).run()
    }

    /// As [`Guest::run`], with a script for the guest's shell.
    pub fn shell(&self, script: &str) -> Result<Output> {
        self.run(["sh", "-c", script])
    }

    /// All that the guest has written to its console, also if it is dead.
    pub fn console(&self) -> String {
        self.0.console()
    }

    /// Blocks until the console has shown `text` so many times since boot.
    pub fn wait_for_console(&self, text: &str, times: usize) -> Result<()> {
        let shown = |state: &mut State| {
            let count = state.console_text().matches(text).count();
            (count >= times).then_some(())
        };
        let what = || format!("\"{text}\" on its console, {times} times,");
        let found = self.0.board().wait(self.0.limit(), shown);
        found.map_err(|missed| self.0.missed(missed, what()))
    }

    /// The kernel's log since boot, as far as its ring buffer still holds it.
    pub fn kernel_log(&self) -> Result<String> {
        self.kernel_log_since(Mark::BOOT).map(|(text, _)| text)
    }

    /// The end of the kernel's log as it is now.
    pub fn kernel_mark(&self) -> Result<Mark> {
        self.kernel_log_since(Mark(u64::MAX)).map(|(_, mark)| mark)
    }

    /// The reports of something wrong in the kernel's log since `mark`; see [`splat::find`].
    pub fn kernel_splats(&self, mark: Mark) -> Result<Vec<Splat>> {
        let (text, _) = self.kernel_log_since(mark)?;
        Ok(splat::find(&text))
    }

    /// The kernel's log since `mark`, and the mark to go on from.
    pub fn kernel_log_since(&self, Mark(since): Mark) -> Result<(String, Mark)> {
        let id = self.0.next_id();
        let request = Request::KernelLog { id, since };
        match self.0.call(id, &request, b"", "the kernel's log")? {
            (Reply::Log { next, .. }, text) => {
                Ok((String::from_utf8_lossy(&text).into_owned(), Mark(next)))
            }
            (other, _) => Err(self.0.refused(format!("unexpected answer {other:?}"))),
        }
    }

    /// Creates or replaces a file in the guest, and its parent directories.
    pub fn write_file(&self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let id = self.0.next_id();
        let request = Request::Write {
            id,
            path: path.into(),
            mode,
        };
        self.0
            .call(id, &request, contents, &format!("writing {path}"))
            .map(drop)
    }

    /// Reads a file in the guest.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let id = self.0.next_id();
        let path = path.to_string();
        let what = format!("reading {path}");
        self.0
            .call(id, &Request::Read { id, path }, b"", &what)
            .map(|(_, contents)| contents)
    }

    /// Inserts a kernel module, a `.ko` or `.ko.xz` on the host, with parameters separated by spaces.
    pub fn insert_module(&self, host: &Path, parameters: &str) -> Result<()> {
        let contents = std::fs::read(host).map_err(Error::file(host))?;
        let name = host.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("/tmp/{name}");
        self.write_file(&path, 0o600, &contents)?;
        let mut argv = vec!["insmod".to_string(), path.clone()];
        argv.extend(parameters.split_whitespace().map(str::to_string));
        let inserted = self.run(argv)?.check();
        self.run(["rm", &path])?.check()?;
        inserted.map(drop)
    }

    /// QEMU's machine protocol for this guest.
    pub fn qmp(&self) -> Qmp<'_> {
        Qmp::new(&self.0)
    }

    /// Powers the guest off and blocks until QEMU has ended.
    ///
    /// A guest of q35 that has once been suspended to RAM does not get QEMU to power it off. So when the
    /// kernel has said that it is done, QEMU is told to quit.
    pub fn poweroff(self) -> Result<()> {
        self.0.send(&Request::PowerOff, b"")?;
        if self.wait_for_console(POWER_DOWN, 1).is_ok() {
            // It fails if QEMU has ended by itself meanwhile.
            let _ = self.qmp().execute("quit", serde_json::json!({}));
        }
        match self.wait_exit()? {
            Exit::PowerOff => Ok(()),
            Exit::Panic(line) => Err(Error::Panic {
                guest: self.name().into(),
                line,
                log: self.console(),
            }),
            Exit::Other(reason) => Err(self.0.gone(reason)),
        }
    }

    /// Blocks until QEMU has ended by itself, for example because a command made the kernel panic.
    pub fn wait_exit(&self) -> Result<Exit> {
        self.0.wait_exit()
    }
}
