// SPDX-License-Identifier: GPL-2.0

//! Device memory as dma-bufs: buffers that other drivers let their devices access, and that
//! programs map and pass on.
//!
//! A dma-buf can outlive the device. So it is made for importers that can be told to let go: when
//! the memory is taken away, for ever or while the device is reset, their mappings are revoked, as
//! `drivers/vfio/pci/vfio_pci_dmabuf.c` does. Others cannot attach. Nor is there a `vmap`, for a
//! pointer cannot be taken away. Mappings of programs are those of the [`Window`].
//!
//! The memory has no page structures, so importers get addresses for their device only. CPUs and
//! devices see it alike: nothing is to be flushed around an access.
//!
//! Lock order, outermost first:
//!
//! 1. the lock of [`Exports`]
//! 2. the reservation lock of a dma-buf
//! 3. the lock of an [`Export`]
//!
//! C header: [`include/linux/dma-buf.h`](srctree/include/linux/dma-buf.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    fs::file::flags,
    mm::virt::VmaNew,
    new_condvar,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        CondVar,
        Mutex, //
    },
    types::ForeignOwnable, //
};

use super::{
    compat::{
        not_supported,
        OWNER,
        TO_DEVICE, //
    },
    helpers,
    window::Window, //
};

/// What importers may do with an [`Export`].
struct Imports {
    /// Whether their mappings are to go, and no new ones are made.
    revoked: bool,
    /// How many mappings they have.
    mapped: usize,
}

/// A stretch of the memory that is a dma-buf.
///
/// # Invariants
///
/// `start .. start + size` are whole pages of the memory of `exports`. Its memory is there while
/// `imports` is not revoked or has mappings.
#[pin_data]
struct Export {
    exports: Arc<Exports>,
    start: u64,
    size: usize,
    writable: bool,
    #[pin]
    imports: Mutex<Imports>,
    /// The last mapping is gone.
    #[pin]
    unmapped: CondVar,
}

/// A dma-buf that exists.
///
/// # Invariants
///
/// `buf` is the dma-buf of `export`, with a reservation of its own. Both are allocated while this
/// is in the list of [`Exports`]: [`Operations::release`] takes it out, under the lock of the list,
/// and they are freed when that has returned. `inode` is that of its file, and is attached to the
/// window.
struct Entry {
    buf: NonNull<bindings::dma_buf>,
    inode: NonNull<bindings::inode>,
    export: Arc<Export>,
}

// SAFETY: A dma-buf belongs to no thread; the inode is an address only.
unsafe impl Send for Entry {}

/// Whether importers may have the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Until [`Exports::resume`].
    Paused,
    /// For good.
    Closed,
}

struct List {
    state: State,
    entries: KVec<Entry>,
}

/// The dma-bufs of a window's memory.
#[pin_data]
pub(crate) struct Exports {
    window: Arc<Window>,
    #[pin]
    list: Mutex<List>,
}

impl Exports {
    /// None yet.
    pub(crate) fn new(window: Arc<Window>) -> Result<Arc<Self>> {
        let list = List {
            state: State::Open,
            entries: KVec::new(),
        };
        Arc::pin_init(
            try_pin_init!(Self {
                window,
                list <- new_mutex!(list, "ivshmem_exports"),
            }),
            GFP_KERNEL,
        )
    }

    /// The window whose memory it is.
    pub(crate) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// Makes a dma-buf of `size` bytes from byte `start` of the memory, and a descriptor of it in
    /// the current process. May sleep.
    ///
    /// `EINVAL` if that is not whole pages, nothing, or not inside; `ENODEV` once closed.
    pub(crate) fn create(
        self: &Arc<Self>,
        start: u64,
        size: u64,
        writable: bool,
        close_on_exec: bool,
    ) -> Result<i32> {
        // CAST: A small constant.
        let aligned = (start | size) % PAGE_SIZE as u64 == 0;
        let end = start.checked_add(size).ok_or(EINVAL)?;
        if !aligned || size == 0 || end > self.window.size() {
            return Err(EINVAL);
        }
        // INVARIANT: Checked above. The memory counts as not there until the list says that it is.
        let export = Arc::pin_init(
            try_pin_init!(Export {
                exports: self.clone(),
                start,
                size: usize::try_from(size)?,
                writable,
                imports <- new_mutex!(Imports { revoked: true, mapped: 0 }, "ivshmem_imports"),
                unmapped <- new_condvar!("ivshmem_unmapped"),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let buf = export.clone().into_dma_buf()?;
        let descriptor = self.add(buf, export).and_then(|()| {
            // CAST: Small constants of `asm-generic/fcntl.h`.
            let flags = (if close_on_exec { flags::O_CLOEXEC } else { 0 }) as c_int;
            // SAFETY: The dma-buf is ours. With success, its reference is the descriptor's.
            let fd = unsafe { bindings::dma_buf_fd(buf.as_ptr(), flags) };
            kernel::error::to_result(fd).map(|()| fd)
        });
        descriptor.inspect_err(|_| {
            // SAFETY: The reference is still ours, and the last use of it.
            unsafe { bindings::dma_buf_put(buf.as_ptr()) }
        })
    }

    /// Puts `buf`, which is that of `export`, on the list, and lets importers have it.
    fn add(&self, buf: NonNull<bindings::dma_buf>, export: Arc<Export>) -> Result {
        // SAFETY: The caller has a reference to the dma-buf, which has a file.
        let file = unsafe { (*buf.as_ptr()).file };
        // SAFETY: The file is that of the caller's dma-buf; its inode does not change.
        let inode = NonNull::new(unsafe { (*file).f_inode }).ok_or(ENODEV)?;
        let mut list = self.list.lock();
        if list.state == State::Closed {
            return Err(ENODEV);
        }
        list.entries.reserve(1, GFP_KERNEL)?;
        // SAFETY: The inode is that of an open file.
        unsafe { self.window.attach_inode(inode)? };
        export.imports.lock().revoked = list.state != State::Open;
        // INVARIANT: Attached just now; the caller says whose dma-buf it is.
        Ok(list
            .entries
            .push_within_capacity(Entry { buf, inode, export })?)
    }

    /// Takes the memory away from importers until [`Exports::resume`] or [`Exports::close`]. When
    /// this returns, no device accesses it for them. May sleep, until importers have let go.
    pub(crate) fn pause(&self) {
        let mut list = self.list.lock();
        if list.state == State::Open {
            list.state = State::Paused;
            list.entries.iter().for_each(Entry::revoke);
        }
    }

    /// Lets importers have the memory again after [`Exports::pause`]; else does nothing. May sleep.
    pub(crate) fn resume(&self) {
        let mut list = self.list.lock();
        if list.state == State::Paused {
            list.state = State::Open;
            list.entries.iter().for_each(Entry::allow);
        }
    }

    /// As [`Exports::pause`], for good.
    pub(crate) fn close(&self) {
        let mut list = self.list.lock();
        list.state = State::Closed;
        list.entries.iter().for_each(Entry::revoke);
    }
}

impl Entry {
    /// Tells importers that their mappings are no longer good, and waits for what their devices do.
    /// To be called with the list locked, and the reservation not, by this thread.
    ///
    /// Nothing here uses the dma-buf's file, which can be gone long before the dma-buf: whoever has
    /// opened it with `O_PATH` keeps the latter. There are no importers then.
    fn invalidate(&self) {
        let buf = self.buf.as_ptr();
        // SAFETY: By the type invariant the dma-buf is allocated, for `&self` is from the list,
        // whose lock is held.
        let reservation = unsafe { (*buf).resv };
        // SAFETY: By the type invariant the reservation is the dma-buf's own and not freed. Without
        // a context locking cannot fail.
        unsafe { bindings::dma_resv_lock(reservation, core::ptr::null_mut()) };
        // SAFETY: The dma-buf is allocated, and its reservation locked.
        unsafe { bindings::dma_buf_invalidate_mappings(buf) };
        // CAST: The largest `long` stands for no time limit. SAFETY: The reservation is valid.
        unsafe {
            bindings::dma_resv_wait_timeout(
                reservation,
                bindings::dma_resv_usage_DMA_RESV_USAGE_BOOKKEEP,
                false,
                c_long::MAX as c_ulong,
            )
        };
        // SAFETY: Locked above.
        unsafe { bindings::dma_resv_unlock(reservation) };
    }

    /// Takes the memory away from importers, and waits until their mappings are gone, which is for
    /// a bounded time: [`Operations::attach`] let in only those that promise it.
    fn revoke(&self) {
        let Export {
            imports, unmapped, ..
        } = &*self.export;
        imports.lock().revoked = true;
        self.invalidate();
        let mut imports = imports.lock();
        while imports.mapped > 0 {
            unmapped.wait(&mut imports);
        }
    }

    /// Lets importers map the memory again, and tells them.
    fn allow(&self) {
        self.export.imports.lock().revoked = false;
        self.invalidate();
    }
}

impl Export {
    /// A dma-buf that has this object, with a reference for the caller.
    fn into_dma_buf(self: Arc<Self>) -> Result<NonNull<bindings::dma_buf>> {
        let access = if self.writable {
            flags::O_RDWR
        } else {
            flags::O_RDONLY
        };
        let size = self.size;
        let private = self.into_foreign();
        let info = bindings::dma_buf_export_info {
            exp_name: c"ivshmem_rs".as_char_ptr(),
            owner: OWNER,
            ops: &Operations::TABLE,
            size,
            // CAST: A small constant of `asm-generic/fcntl.h`.
            flags: access as c_int,
            priv_: private,
            ..pin_init::zeroed()
        };
        // SAFETY: `info` is valid for the call; what it points to lives as long as the module,
        // which the dma-buf keeps loaded, but for `private`, which is the dma-buf's with success.
        match from_err_ptr(unsafe { bindings::dma_buf_export(&info) }) {
            Ok(buf) => NonNull::new(buf).ok_or(ENOMEM),
            Err(error) => {
                // SAFETY: From `into_foreign` above; there is no dma-buf that has it.
                drop(unsafe { Arc::<Self>::from_foreign(private) });
                Err(error)
            }
        }
    }

    /// A mapping for the device of `attachment`, which counts until it is unmapped.
    fn map(
        &self,
        attachment: &bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> Result<*mut bindings::sg_table> {
        if !self.writable && direction != TO_DEVICE {
            return Err(EACCES);
        }
        let mut imports = self.imports.lock();
        if imports.revoked {
            return Err(ENODEV);
        }
        let start = self.exports.window.physical(self.start);
        // SAFETY: Memory of a device that is there, by the type invariant; an attachment has a
        // device whose driver asks for this.
        let table =
            unsafe { helpers::ivshmem_dma_map(attachment.dev, start, self.size, direction) };
        let table = from_err_ptr(table)?;
        imports.mapped += 1;
        Ok(table)
    }
}

/// The `struct dma_buf_ops` of an [`Export`].
struct Operations;

impl Operations {
    const TABLE: bindings::dma_buf_ops = bindings::dma_buf_ops {
        attach: Some(Self::attach),
        map_dma_buf: Some(Self::map),
        unmap_dma_buf: Some(Self::unmap),
        release: Some(Self::release),
        mmap: Some(Self::mmap),
        ..pin_init::zeroed()
    };

    /// The object of a dma-buf.
    ///
    /// # Safety
    ///
    /// `buf` is a dma-buf with these operations that is not released while the result is in use.
    unsafe fn export<'a>(buf: *mut bindings::dma_buf) -> ArcBorrow<'a, Export> {
        // SAFETY: The dma-buf is valid, as the caller promises.
        let private = unsafe { (*buf).priv_ };
        // SAFETY: `into_dma_buf` stored what `into_foreign` returned; only `release` takes it back.
        unsafe { Arc::<Export>::borrow(private) }
    }

    /// Lets in importers that take addresses without pages, and let go when they are told to;
    /// `EOPNOTSUPP` for others.
    ///
    /// # Safety
    ///
    /// `buf` is a dma-buf with these operations, and `attachment` is being made for it.
    unsafe extern "C" fn attach(
        buf: *mut bindings::dma_buf,
        attachment: *mut bindings::dma_buf_attachment,
    ) -> c_int {
        // SAFETY: The attachment is valid for the call.
        let fit =
            unsafe { (*attachment).peer2peer && bindings::dma_buf_attach_revocable(attachment) };
        if !fit {
            return not_supported().to_errno();
        }
        // SAFETY: The caller has a reference to the dma-buf.
        let export = unsafe { Self::export(buf) };
        let revoked = export.imports.lock().revoked;
        match revoked {
            true => ENODEV.to_errno(),
            false => 0,
        }
    }

    /// # Safety
    ///
    /// `attachment` is one to a dma-buf with these operations, whose reservation is locked.
    unsafe extern "C" fn map(
        attachment: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: The attachment is valid for the call.
        let attachment = unsafe { &*attachment };
        // SAFETY: An attachment has a reference to its dma-buf.
        let export = unsafe { Self::export(attachment.dmabuf) };
        export
            .map(attachment, direction)
            .unwrap_or_else(|error| error.to_ptr())
    }

    /// # Safety
    ///
    /// As for [`Self::map`], which returned `table` for the same `attachment` and `direction`.
    unsafe extern "C" fn unmap(
        attachment: *mut bindings::dma_buf_attachment,
        table: *mut bindings::sg_table,
        direction: bindings::dma_data_direction,
    ) {
        // SAFETY: The attachment is valid for the call.
        let attachment = unsafe { &*attachment };
        // SAFETY: An attachment has a reference to its dma-buf.
        let export = unsafe { Self::export(attachment.dmabuf) };
        // SAFETY: What `map` made, and the importer does not use any more.
        unsafe { helpers::ivshmem_dma_unmap(attachment.dev, table, export.size, direction) };
        let mut imports = export.imports.lock();
        imports.mapped -= 1;
        if imports.mapped == 0 {
            export.unmapped.notify_all();
        }
    }

    /// # Safety
    ///
    /// `buf` is a dma-buf with these operations, and `vma` is being set up for its file.
    unsafe extern "C" fn mmap(
        buf: *mut bindings::dma_buf,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The area's file has a reference to the dma-buf.
        let export = unsafe { Self::export(buf) };
        let window = &export.exports.window;
        // SAFETY: The area is being set up, for this thread alone.
        let area = unsafe { VmaNew::from_raw(vma) };
        if !export.writable && area.try_clear_maywrite().is_err() {
            return EACCES.to_errno();
        }
        // The page of the window's own files, by which it finds its areas.
        // SAFETY: The area is being set up by this thread alone.
        unsafe { (*vma).vm_pgoff += window.page_of_file(export.start) };
        match window.map(area) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `buf` is a dma-buf with these operations, and this is the last call for it.
    unsafe extern "C" fn release(buf: *mut bindings::dma_buf) {
        // SAFETY: The dma-buf is valid for the call.
        let private = unsafe { (*buf).priv_ };
        // SAFETY: `into_dma_buf` stored what `into_foreign` returned; nothing borrows it any more.
        let export = unsafe { Arc::<Export>::from_foreign(private) };
        let exports = &export.exports;
        let mut list = exports.list.lock();
        let at = list
            .entries
            .iter()
            .position(|entry| entry.buf.as_ptr() == buf);
        // One that could not be put on the list is not there.
        let entry = at.and_then(|at| list.entries.remove(at).ok());
        drop(list);
        if let Some(entry) = entry {
            exports.window.detach_inode(entry.inode);
        }
    }
}
