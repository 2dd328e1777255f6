// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ways to the shared memory.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ivshmem::{is_pci_address, AnyEndpoint, Bell, Endpoint, SharedFile, Way, POLL_INTERVAL};
use ivshmem_peer::Peer;

use crate::boundary::{free, give, guard, some, text};
use crate::error::Failure;

/// Any way to the memory.
pub(crate) type AnyLink = Arc<dyn ivshmem::Link + Send + Sync>;

/// A way to the shared memory and to the doorbells of others. Threads may share it.
pub struct Link {
    pub(crate) memory: AnyLink,
    way: CString,
    /// Of each vector for which there is a descriptor.
    bells: Mutex<BTreeMap<u32, Bell>>,
}

impl Link {
    /// By the way that `way` names.
    fn new(memory: AnyLink, way: impl ToString) -> Self {
        Self {
            memory,
            way: CString::new(way.to_string()).unwrap_or_default(),
            bells: Mutex::default(),
        }
    }

    /// Uses the bell of a vector, always the same.
    pub(crate) fn with_bell<T>(
        &self,
        vector: u32,
        does: impl FnOnce(&Bell) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        use ivshmem::Waiter;
        use std::collections::btree_map::Entry;
        // Each change leaves it whole.
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        does(match bells.entry(vector) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(none) => none.insert(self.memory.bell(vector)?),
        })
    }
}

/// Opens a way to the shared memory. What it is follows from what `path` is:
///
/// * a device of the driver ivshmem_rs, such as "/dev/ivshmem0", in a guest;
/// * the PCI address of a device, such as "0000:00:04.0" or "00:04.0", in a guest: by that driver if it is bound, else by
///   vfio-pci, or as root by the files of sysfs; ivshmem_channel_link_way() says which, and what it costs;
/// * the socket of an ivshmem server, on the host: this process becomes one of its peers. A thread of the library, in
///   which all signals are blocked, listens to the server until all that was made of the link is closed;
/// * a file that is shared memory, on the host of guests with ivshmem-plain, or for processes of one system.
///
/// Blocks for up to 10 seconds if a server does not answer.
///
/// Returns 0; -ENOENT, -EACCES, -ENODEV, -ECONNREFUSED or another number of open(2) or connect(2); -ENOTTY for a file
/// of another kind; -EBUSY if a driver or another program has the device; -ENXIO if it has no memory; -ETIMEDOUT, -EPROTO
/// from a server; -EINVAL if a pointer is null or a file is empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_link_open(
    path: *const c_char,
    link: Option<&mut MaybeUninit<*mut Link>>,
) -> c_int {
    guard(|| {
        give(link, || {
            // SAFETY: The caller promises what `text` asks.
            let path = unsafe { text(path, "the path")? };
            open(path, POLL_INTERVAL)
        })
    })
}

/// As ivshmem_channel_link_open(). Where nothing can ring this end, what it waits for is looked at again after each
/// `interval` in nanoseconds, instead of a millisecond: a long one saves time of the processor, a short one finds things
/// sooner. 0 is no pause, and keeps a processor busy. Where it can be rung, this changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_link_open_with_interval(
    path: *const c_char,
    interval: u64,
    link: Option<&mut MaybeUninit<*mut Link>>,
) -> c_int {
    guard(|| {
        give(link, || {
            // SAFETY: The caller promises what `text` asks.
            let path = unsafe { text(path, "the path")? };
            open(path, Duration::from_nanos(interval))
        })
    })
}

/// The size of the memory in bytes; 0 if `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_size(link: Option<&Link>) -> u64 {
    use ivshmem::Memory;
    link.map_or(0, |link| link.memory.size())
}

/// By how many vectors this end can be rung: those that programs join with are below it. 0 if by none, which is no
/// error: then waiting looks at the memory each millisecond, or as ivshmem_channel_link_open_with_interval() says. 0 also if
/// `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_vectors(link: Option<&Link>) -> u32 {
    use ivshmem::Doorbell;
    link.map_or(0, |link| link.memory.vectors())
}

/// By which way the memory is reached, and what that costs, in words: they belong to the link. "" if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_way(link: Option<&Link>) -> *const c_char {
    link.map_or(c"", |link| link.way.as_c_str()).as_ptr()
}

/// Closes the handle, and nothing if it is null. Channels that were opened through it keep the way to the memory.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_close(link: Option<Box<Link>>) {
    free(link);
}

/// What programs give where a link is needed.
pub(crate) fn link(link: Option<&Link>) -> Result<AnyLink, Failure> {
    Ok(Arc::clone(&some(link, "the link")?.memory))
}

fn open(path: &OsStr, interval: Duration) -> Result<Link, Failure> {
    let name = path.to_string_lossy();
    let kind = match std::fs::metadata(path) {
        Ok(about) => about.file_type(),
        Err(_) if is_pci_address(&name) => {
            let end = AnyEndpoint::open(&name)?.with_interval(interval);
            let way = end.way();
            return Ok(Link::new(Arc::new(end), way));
        }
        Err(source) => {
            let path = name.into_owned();
            return Err(Failure::Open { path, source });
        }
    };
    Ok(if kind.is_socket() {
        let peer = Peer::join(path)?.with_interval(interval);
        Link::new(Arc::new(peer), "an ivshmem server")
    } else if kind.is_char_device() {
        let end = Endpoint::open(path)?.with_interval(interval);
        Link::new(Arc::new(end), Way::Driver)
    } else if kind.is_file() {
        let end = SharedFile::open(path)?.with_interval(interval);
        Link::new(
            Arc::new(end),
            "a file: nobody can ring anybody, and waiting looks at the memory again and again",
        )
    } else {
        return Err(Failure::Kind(name.into_owned()));
    })
}
