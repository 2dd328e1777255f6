// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Hibernation: a guest writes its memory to a disk, ends, and goes on in another QEMU.

use crate::board::State;
use crate::builder::Builder;
use crate::exit::Exit;
use crate::guest::Guest;
use crate::sandbox::kernel_module;
use crate::session::Session;
use crate::Result;

/// The disk, which has to be the guest's first.
const DISK: &str = "/dev/vda";

/// What the guest says on its console when it goes on.
const AWAKE: &str = "vmbench: awake";

/// The driver of the disk, in the system that only loads the image.
const DRIVER: &str = "/virtio_blk.ko.xz";

impl Builder {
    /// Gives the guest a disk with what the host's file `image` has, which [`Guest::hibernate`] can use.
    pub fn swap_disk(self, image: &std::path::Path) -> Result<Self> {
        let path = image.display();
        let drive = format!("file={path},if=none,id=vmbench-swap,format=raw,cache=unsafe");
        let guest = self.qemu_args(["-drive", &drive]);
        let guest = guest.qemu_args(["-device", "virtio-blk-pci,drive=vmbench-swap"]);
        let driver = kernel_module("drivers/block/virtio_blk")?;
        Ok(driver.into_iter().fold(guest, Self::module))
    }
}

impl Guest {
    /// Hibernates the guest to its disk of [`Builder::swap_disk`], and blocks until its QEMU has ended; `meanwhile` is
    /// called then. After that it resumes the guest in a new QEMU that `to` describes, and blocks until it runs there. Its
    /// programs do not notice.
    ///
    /// `to` has to describe the same machine; what may differ is where the other ends of its devices are. Commands
    /// that were started by [`Command::spawn`](crate::Command::spawn) go on, and nobody hears of them any more.
    pub fn hibernate<T>(self, to: &Builder, meanwhile: impl FnOnce() -> T) -> Result<(Guest, T)> {
        let script = format!(
            "mkswap {DISK} && swapon {DISK} && echo shutdown >/sys/power/disk && echo disk >/sys/power/state
             echo \"{AWAKE}: $?\" >/dev/console; swapoff {DISK}"
        );
        drop(self.command(["sh", "-c", &script]).spawn()?);
        let stays = |state: &mut State| state.console_text().contains(AWAKE).then_some(());
        let session = self.session();
        if session.board().wait(session.limit(), stays).is_ok() {
            return Err(session.refused("it does not hibernate: see its kernel's log".into()));
        }
        match self.wait_exit()? {
            Exit::PowerOff => {}
            other => return Err(self.session().gone(format!("{other:?}"))),
        }
        let between = meanwhile();
        let session = Session::start_as(self.session(), &resuming(to)?)?;
        session.wait_for_agent(&format!("{AWAKE}: 0"))?;
        Ok((Guest::new(session), between))
    }
}

/// The same machine with a system that does nothing but load the image.
fn resuming(to: &Builder) -> Result<Builder> {
    let name = DISK.trim_start_matches("/dev/");
    let driver = kernel_module("drivers/block/virtio_blk")?;
    // A kernel of one's own has it built in.
    let insert = driver.as_ref().map(|_| format!("busybox insmod {DRIVER}"));
    let insert = insert.unwrap_or_default();
    let script = format!(
        "#!/bin/busybox sh
         export PATH=/bin
         busybox mount -t devtmpfs none /dev
         busybox mount -t sysfs none /sys
         {insert}
         until [ -b {DISK} ]; do busybox sleep 0.1; done
         read number </sys/class/block/{name}/dev
         echo $number >/sys/power/resume
         echo 'there is no image on the disk' >/dev/console
         busybox poweroff -f
        "
    );
    let guest = to.clone().data("/init", 0o755, script);
    Ok(driver
        .into_iter()
        .fold(guest, |guest, driver| guest.file(driver, DRIVER)))
}
