// SPDX-License-Identifier: GPL-2.0

//! Misc devices with a name made at run time, data of their own, `poll` and `llseek`.
//!
//! The same structure as `kernel::miscdevice`, whose registrations have static names, no data for
//! `open` to find, and no `poll`.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    container_of,
    device,
    error::to_result,
    fs::{
        file::flags::O_NONBLOCK,
        File, //
    },
    iov::IovIterDest,
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    str::CString,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

use super::{
    compat::OWNER,
    wait::{
        PollTable,
        WaitQueue, //
    }, //
};

/// An open file of a character device.
///
/// It outlives the registration: nothing of it may borrow from what ends with that, so it is
/// `'static`.
///
/// All methods run in process context and may sleep, but where they say otherwise.
pub(crate) trait OpenFile: Send + Sync + Sized + 'static {
    /// What the device gives to each file that is opened.
    type Device: Send + Sync + 'static;

    /// Makes the state of a new open file. The device cannot be deregistered meanwhile.
    fn open(device: &Self::Device, file: &File) -> Result<Pin<KBox<Self>>>;

    /// The last reference to the file is gone; nothing else runs on it any more.
    fn release(this: Pin<KBox<Self>>, file: &File);

    /// Reads into `to`; returns the number of bytes. `nonblocking`: `EAGAIN` instead of sleeping,
    /// for files with `O_NONBLOCK` and for requests of io_uring.
    fn read(&self, to: &mut IovIterDest<'_>, nonblocking: bool) -> Result<usize>;

    /// The queue of those who wait for readiness.
    fn poll_queue(&self) -> &WaitQueue;

    /// What is ready now. A poller that waits is in [`OpenFile::poll_queue`] already, and a full
    /// barrier came since.
    fn poll(&self) -> u32;

    /// Size for `lseek` and `stat`. Never changes.
    fn size(&self) -> i64;

    /// Sets up a new mapping that begins at page `first_page` of the file.
    fn mmap(&self, vma: &VmaNew, first_page: usize) -> Result;

    /// Handles a command; 32-bit programs come here too, their pointers widened.
    fn ioctl(&self, file: &File, command: u32, argument: usize) -> Result<isize>;

    /// Writes lines for `/proc/PID/fdinfo/FD`.
    fn show_fdinfo(&self, to: &SeqFile);
}

/// A registered misc device.
///
/// # Invariants
///
/// `inner` is registered from the initialisation to the drop; its name is `name`'s buffer.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: OpenFile> {
    name: CString,
    device: T::Device,
    #[pin]
    inner: Opaque<bindings::miscdevice>,
}

// SAFETY: `misc_deregister` may be called by another thread than `misc_register`; the rest is
// `Send`.
unsafe impl<T: OpenFile> Send for Registration<T> {}

// SAFETY: A shared reference gives access to `device` only, which is `Sync`.
unsafe impl<T: OpenFile> Sync for Registration<T> {}

impl<T: OpenFile> Registration<T> {
    /// Registers `/dev/<name>` below `parent`; programs can open it before this returns.
    pub(crate) fn new(
        name: CString,
        parent: &device::Device<device::Bound>,
        device: T::Device,
    ) -> impl PinInit<Self, Error> + use<'_, T> {
        // CAST: `device::Device` is a transparent wrapper of `struct device`.
        let parent = core::ptr::from_ref(parent)
            .cast::<bindings::device>()
            .cast_mut();
        try_pin_init!(Self {
            name,
            device,
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let misc = bindings::miscdevice {
                    // CAST: A small positive constant.
                    minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                    name: name.as_char_ptr(),
                    fops: Operations::<T>::table(),
                    parent,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` can be written to.
                unsafe { slot.write(misc) };
                // SAFETY: The device was just initialised. It is pinned and deregistered by the
                // drop; the name's buffer and the table live longer. The parent is bound now, and
                // the device below it that this makes has a reference to it.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl<T: OpenFile> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariant.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}

/// `FMODE_NOWAIT` of `linux/fs.h`: a macro with a cast, which bindgen leaves out.
const FMODE_NOWAIT: bindings::fmode_t = 1 << 27;

/// `IOCB_NOWAIT` of `linux/fs.h`, which is `RWF_NOWAIT`: left out for the same reason.
const IOCB_NOWAIT: c_int = 8;

/// The `struct file_operations` of a [`Registration<T>`].
struct Operations<T: OpenFile>(PhantomData<T>);

/// What `private_data` of an open file holds.
type Private<T> = Pin<KBox<T>>;

impl<T: OpenFile> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: OWNER,
        open: Some(Self::open),
        // Nothing is ever kept back from the memory: there is nothing to write.
        fsync: Some(bindings::noop_fsync),
        release: Some(Self::release),
        read_iter: Some(Self::read_iter),
        poll: Some(Self::poll),
        llseek: Some(Self::llseek),
        mmap: Some(Self::mmap),
        #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        unlocked_ioctl: Some(Self::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: bindings::compat_ptr_ioctl,
        show_fdinfo: Some(Self::show_fdinfo),
        ..pin_init::zeroed()
    };

    const fn table() -> &'static bindings::file_operations {
        &Self::TABLE
    }

    /// The state that [`Self::open`] attached to `file`.
    ///
    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`] and is not released while the result is in
    /// use.
    unsafe fn state<'a>(file: *mut bindings::file) -> &'a T {
        // SAFETY: The pointer is to a valid file.
        let private = unsafe { (*file).private_data };
        // SAFETY: `open` stored what `into_foreign` returned; only `release` takes it back.
        let state: Pin<&'a T> = unsafe { Private::<T>::borrow(private) };
        state.get_ref()
    }

    /// # Safety
    ///
    /// `file` must be being opened by `misc_open()`, for a device that is a [`Registration<T>`].
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `misc_open()` stored the misc device here before it called us.
        let misc = unsafe { (*file).private_data }.cast::<bindings::miscdevice>();
        // SAFETY: Every device with this table is the `inner` of a `Registration<T>`.
        let registration =
            unsafe { container_of!(Opaque::cast_from(misc), Registration<T>, inner) };
        // SAFETY: `misc_open()` holds `misc_mtx`, which `misc_deregister()` takes too: the
        // registration stays until we return.
        let device = unsafe { &(*registration).device };
        // SAFETY: The file is valid for the call and nobody else knows it yet.
        match T::open(device, unsafe { File::from_raw_file(file) }) {
            Ok(state) => {
                let size = state.size();
                // SAFETY: The file is ours until we return.
                unsafe { (*file).private_data = state.into_foreign() };
                // `read_iter` honours IOCB_NOWAIT, so that io_uring need not guess by polling.
                // SAFETY: The file is ours until we return.
                unsafe { (*file).f_mode |= FMODE_NOWAIT };
                // SAFETY: The inode is valid while it is being opened. `misc_mtx` keeps other
                // openers out; the value is the same each time, and one word on 64-bit machines.
                unsafe { (&raw mut (*inode).i_size).write_volatile(size) };
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`], and this is the last call on it.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The pointer is to a valid file.
        let private = unsafe { (*file).private_data };
        // SAFETY: `open` stored what `into_foreign` returned; nothing borrows it any more.
        let state = unsafe { Private::<T>::from_foreign(private) };
        // SAFETY: The file is valid for the call.
        T::release(state, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// `kiocb` must be of a file opened by [`Self::open`], and `to` an iterator to write to.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        to: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The request is valid for the call.
        let (file, flags) = unsafe { ((*kiocb).ki_filp, (*kiocb).ki_flags) };
        // SAFETY: The file was opened by `open` and is not released while the request runs.
        let state = unsafe { Self::state(file) };
        // SAFETY: The file is valid for the call, and no `fdget_pos` of it is active: its position
        // is not locked for `read_iter`.
        let file = unsafe { File::from_raw_file(file) };
        let nonblocking = flags & IOCB_NOWAIT != 0 || file.flags() & O_NONBLOCK != 0;
        // SAFETY: The iterator is valid for the call and to be written to.
        match state.read(unsafe { IovIterDest::from_raw(to) }, nonblocking) {
            // CAST: A size of memory fits into `isize`.
            Ok(bytes) => bytes as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`]; `table` is null or valid for the call.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file was opened by `open` and is not released while it is polled.
        let state = unsafe { Self::state(file) };
        // SAFETY: The file is not null.
        let file = unsafe { NonNull::new_unchecked(file) };
        // SAFETY: The file is valid for the call, and the table is null or valid for it.
        let table = unsafe { PollTable::from_raw(file, table) };
        // SAFETY: What a method returns for `&T` lives as long as the `T`, which `release` drops.
        unsafe { table.register(state.poll_queue()) };
        state.poll()
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`].
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: The file was opened by `open` and is not released during the call.
        let size = unsafe { Self::state(file) }.size();
        // SAFETY: The file is valid; the function checks the other arguments.
        unsafe { bindings::fixed_size_llseek(file, offset, whence, size) }
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`]; `vma` is being set up for it.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The file was opened by `open` and is not released during the call.
        let state = unsafe { Self::state(file) };
        // SAFETY: The area is being set up by this thread alone.
        let first_page = unsafe { (*vma).vm_pgoff };
        // SAFETY: The area is being set up, for this thread alone.
        match state.mmap(unsafe { VmaNew::from_raw(vma) }, first_page) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`].
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        command: c_uint,
        argument: c_ulong,
    ) -> c_long {
        // SAFETY: The file was opened by `open` and is not released during the call.
        let state = unsafe { Self::state(file) };
        // SAFETY: The file is valid for the call.
        match state.ioctl(unsafe { File::from_raw_file(file) }, command, argument) {
            Ok(value) => value,
            Err(error) => error.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// `file` must have been opened by [`Self::open`]; `to` can be written to for the call.
    unsafe extern "C" fn show_fdinfo(to: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The file was opened by `open` and is not released during the call.
        let state = unsafe { Self::state(file) };
        // SAFETY: `to` can be written to for the call.
        state.show_fdinfo(unsafe { SeqFile::from_raw(to) });
    }
}
