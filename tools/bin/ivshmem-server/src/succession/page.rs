// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The first page of a journal: where its text begins, and the messages that were sent last.
//!
//! The messages are the argument of `sendmmsg(2)`, in memory that outlives the process. The kernel
//! writes to each how much of it was sent, in the same system call and so before it lets the process be
//! killed.
#![allow(unsafe_code)] // Shared memory, and a system call with pointers into it.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{compiler_fence, Ordering};

use ivshmem_protocol::{ConnectionId, MESSAGE_LEN};
use rustix::io::Errno;
use rustix::mm::{mlock, mmap, munmap, MapFlags, ProtFlags};

/// Messages that are sent at once.
pub(crate) const AT_ONCE: usize = 32;

/// Length of the page in bytes.
pub(crate) const LENGTH: usize = 4096;

/// A message with its descriptor.
pub(crate) type Message<'fd> = ([u8; MESSAGE_LEN], Option<BorrowedFd<'fd>>);

/// What is in the page. All zeros is a valid one, in which nothing was ever sent.
#[repr(C)]
struct Layout {
    /// Where the text of the journal begins, as an offset in the file.
    start: u64,
    /// Number of the last batch that was about to be sent.
    batch: u64,
    /// The connection that it is for.
    connection: u64,
    /// The messages of the batch as `sendmmsg` takes them. The kernel writes to `msg_len`.
    headers: [libc::mmsghdr; AT_ONCE],
    /// What the headers point to.
    parts: [libc::iovec; AT_ONCE],
    controls: [Control; AT_ONCE],
    bytes: [[u8; MESSAGE_LEN]; AT_ONCE],
}

/// A control message that carries one descriptor.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    fd: RawFd,
}

const _: () = assert!(size_of::<Layout>() <= LENGTH);

/// The page, mapped. Only the server that writes the journal has one.
#[derive(Debug)]
pub(crate) struct Page(NonNull<Layout>);

// SAFETY: The mapping belongs to this value alone, and to no thread.
unsafe impl Send for Page {}

/// The last batch that a server was about to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub number: u64,
    pub connection: ConnectionId,
    /// Messages of it that were sent.
    pub sent: usize,
}

impl Page {
    /// Maps the first page of a file, which must be that long.
    pub(crate) fn map(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: The kernel chooses a place where nothing is.
        let place = unsafe { mmap(ptr::null_mut(), LENGTH, access, MapFlags::SHARED, file, 0) }?;
        // Were it not in memory, the kernel could not write to it for a process that is being killed. It
        // was just used, so it is there even if it cannot be locked.
        // SAFETY: This is the mapping that was just made.
        let _ = unsafe { mlock(place, LENGTH) };
        NonNull::new(place.cast()).map(Self).ok_or(Errno::FAULT)
    }

    fn get(&self) -> &Layout {
        // SAFETY: The mapping is as long as the layout, and aligned to a page. Only this value writes to
        // it, or has the kernel do so, and that takes a `&mut self`. Every bit pattern is valid.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Layout {
        // SAFETY: The mapping is as long as the layout, and aligned to a page. `&mut self` is the only way
        // to it for as long as the reference lives. Every bit pattern is valid.
        unsafe { self.0.as_mut() }
    }

    /// Where the text of the journal begins.
    pub(crate) fn start(&self) -> u64 {
        self.get().start
    }

    /// Moves the beginning of the text.
    pub(crate) fn set_start(&mut self, start: u64) {
        // All of the text is there before it is referred to.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: It is a valid reference. The write is volatile as another process reads it.
        unsafe { ptr::write_volatile(&raw mut self.get_mut().start, start) };
    }

    /// The last batch.
    pub(crate) fn batch(&self) -> Batch {
        let layout = self.get();
        let sent = layout.headers.iter().map(|header| header.msg_len);
        Batch {
            number: layout.batch,
            connection: ConnectionId(layout.connection),
            sent: sent.take_while(|length| *length > 0).count(),
        }
    }

    /// Sends messages to one connection, up to [`AT_ONCE`], without blocking. Returns how many were sent.
    ///
    /// # Errors
    ///
    /// The first was not sent. If it is another one, that is only seen by trying again.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        connection: ConnectionId,
        messages: &[Message<'_>],
    ) -> Result<usize, Errno> {
        let count = messages.len().min(AT_ONCE);
        let layout = self.get_mut();
        // In this order, whenever the process is killed: nothing of the batch before is left, all of
        // this one is there, it is the last one, it is sent.
        for header in &mut layout.headers {
            header.msg_len = 0;
        }
        for (index, (bytes, fd)) in messages.iter().enumerate().take(count) {
            layout.fill(index, *bytes, *fd);
        }
        layout.connection = connection.0;
        compiler_fence(Ordering::SeqCst);
        layout.batch += 1;
        compiler_fence(Ordering::SeqCst);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let headers = layout.headers.as_mut_ptr();
        // SAFETY: The first `count` headers were just filled. Their pointers are to other parts of the
        // layout, which stays mapped, and are valid for the lengths beside them. The kernel writes to
        // nothing but the headers.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count as libc::c_uint, flags) };
        compiler_fence(Ordering::SeqCst);
        usize::try_from(sent).map_err(|_| last_error())
    }
}

impl Layout {
    fn fill(&mut self, index: usize, bytes: [u8; MESSAGE_LEN], fd: Option<BorrowedFd<'_>>) {
        self.bytes[index] = bytes;
        self.parts[index] = libc::iovec {
            iov_base: self.bytes[index].as_mut_ptr().cast(),
            iov_len: MESSAGE_LEN,
        };
        let header = &mut self.headers[index].msg_hdr;
        header.msg_iov = &raw mut self.parts[index];
        header.msg_iovlen = 1;
        (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
        if let Some(fd) = fd {
            let control = &mut self.controls[index];
            control.header.cmsg_level = libc::SOL_SOCKET;
            control.header.cmsg_type = libc::SCM_RIGHTS;
            let length = offset_of!(Control, fd) + size_of::<RawFd>();
            control.header.cmsg_len = length as _;
            control.fd = fd.as_raw_fd();
            header.msg_control = (control as *mut Control).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: The mapping was made by `map`, and no reference to it is left.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), LENGTH) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

fn last_error() -> Errno {
    let error = io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{ftruncate, memfd_create, MemfdFlags};

    use super::*;

    const CONNECTION: ConnectionId = ConnectionId(7);

    #[test]
    fn kernel_writes_down_what_was_sent() {
        let file = memfd_create("page", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, LENGTH as u64).unwrap();
        let mut page = Page::map(file.as_fd()).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let message = |byte: u8, fd| ([byte; MESSAGE_LEN], fd);
        let messages = [message(1, None), message(2, Some(file.as_fd()))];
        assert_eq!(page.send(ours.as_fd(), CONNECTION, &messages), Ok(2));
        let mut bytes = [0; 16];
        theirs.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[7..9], [1, 2]);
        // Until there is no more room, which is seen in the middle of a batch.
        let batch = vec![message(3, None); AT_ONCE];
        let mut number = 1;
        let last = loop {
            number += 1;
            let sent = page.send(ours.as_fd(), CONNECTION, &batch).unwrap();
            if sent < AT_ONCE {
                break sent;
            }
        };
        // As another process sees it.
        let other = Page::map(file.as_fd()).unwrap();
        let found = Batch {
            number,
            connection: CONNECTION,
            sent: last,
        };
        assert_eq!(other.batch(), found);
        let full = page.send(ours.as_fd(), ConnectionId(8), &batch);
        assert_eq!(full, Err(Errno::AGAIN));
        let found = Batch {
            number: number + 1,
            connection: ConnectionId(8),
            sent: 0,
        };
        assert_eq!(other.batch(), found);
    }
}
