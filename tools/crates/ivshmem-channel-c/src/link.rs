// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ways to the shared memory.

use std::ffi::{c_char, c_int, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use ivshmem::{AnyEndpoint, Endpoint, SharedFile};
use ivshmem_peer::Peer;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::boundary::{free, give, guard, some, text};
use crate::error::Failure;

/// Any way to the memory.
pub(crate) type AnyLink = Arc<dyn ivshmem::Link + Send + Sync>;

/// A way to the shared memory and to the doorbells of others. Threads may share it.
pub struct Link(pub(crate) AnyLink);

/// Opens a way to the shared memory. What it is follows from what `path` is:
///
/// * a device of the driver ivshmem_rs, such as "/dev/ivshmem0", in a guest;
/// * the PCI address of a device, such as "0000:00:04.0", in a guest with any driver or none, slower;
/// * the socket of an ivshmem server, on the host: this process becomes one of its peers. A thread of the library, in
///   which all signals are blocked, listens to the server until all that was made of the link is closed;
/// * a file that is shared memory, on the host of machines with ivshmem-plain, or for processes of one machine.
///
/// Blocks for up to 10 seconds if a server does not answer.
///
/// Returns 0; -ENOENT, -EACCES, -ENODEV, -ECONNREFUSED or another number of open(2) or connect(2); -ENOTTY for a file
/// of another kind; -EBUSY if a driver has the device's memory; -ETIMEDOUT, -EPROTO from a server; -EINVAL if a pointer
/// is null or a file is empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_link_open(
    path: *const c_char,
    link: Option<&mut MaybeUninit<*mut Link>>,
) -> c_int {
    guard(|| {
        give(link, || {
            // SAFETY: The caller promises what `text` asks.
            let path = unsafe { text(path, "the path")? };
            open(path).map(Link)
        })
    })
}

/// The size of the memory in bytes; 0 if `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_size(link: Option<&Link>) -> u64 {
    use ivshmem::Memory;
    link.map_or(0, |link| link.0.size())
}

/// By how many vectors this end can be rung: those that programs join with are below it. 0 if by none, which is no
/// error: then waiting looks at the memory each millisecond. 0 also if `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_vectors(link: Option<&Link>) -> u32 {
    use ivshmem::Doorbell;
    link.map_or(0, |link| link.0.vectors())
}

/// Closes the handle, and nothing if it is null. Channels that were opened through it keep the way to the memory.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_close(link: Option<Box<Link>>) {
    free(link);
}

/// What programs give where a link is needed.
pub(crate) fn link(link: Option<&Link>) -> Result<AnyLink, Failure> {
    Ok(Arc::clone(&some(link, "the link")?.0))
}

fn open(path: &OsStr) -> Result<AnyLink, Failure> {
    let name = path.to_string_lossy();
    let kind = match std::fs::metadata(path) {
        Ok(about) => about.file_type(),
        Err(_) if is_pci_address(&name) => return Ok(Arc::new(AnyEndpoint::open(&name)?)),
        Err(source) => {
            let path = name.into_owned();
            return Err(Failure::Open { path, source });
        }
    };
    Ok(if kind.is_socket() {
        without_signals(|| Peer::join(path))?.map(Arc::new)?
    } else if kind.is_char_device() {
        Arc::new(Endpoint::open(path)?)
    } else {
        Arc::new(SharedFile::open(path)?)
    })
}

/// Whether a name has the form of `0000:00:04.0`.
fn is_pci_address(name: &str) -> bool {
    let shape = name.chars().map(|char| match char {
        ':' | '.' => char,
        _ if char.is_ascii_hexdigit() => '0',
        _ => '?',
    });
    shape.eq("0000:00:00.0".chars())
}

/// Calls `make`, whose threads then have all signals blocked: a program's handlers run in its own threads.
fn without_signals<T>(make: impl FnOnce() -> T) -> Result<T, Failure> {
    let failed = |error: nix::Error| {
        let error = std::io::Error::from(error);
        ivshmem::Error::io(error, "cannot block signals")
    };
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let before = before.map_err(failed)?;
    let made = make();
    before.thread_set_mask().map_err(failed)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::is_pci_address;

    #[test]
    fn a_pci_address_is_told_from_a_path() {
        assert!(is_pci_address("0000:00:04.0") && is_pci_address("10af:c1:1f.7"));
        for other in [
            "",
            "0000:00:04",
            "/dev/ivshmem0",
            "0000:00:04.0 ",
            "0000.00.04.0",
        ] {
            assert!(!is_pci_address(other), "{other}");
        }
    }
}
