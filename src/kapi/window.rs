// SPDX-License-Identifier: GPL-2.0

//! Device memory that programs see through page faults, and can be taken away from them.
//!
//! A mapping set up at once in `mmap` could be missed when the memory is taken away: `mmap` calls
//! the driver before it makes the new area findable for `unmap_mapping_range`. So pages are given
//! out by faults only, each under the lock under which the window is closed.
//!
//! Lock order: `mmap_lock` or the area's lock > [`Window`]'s lock > `i_mmap_rwsem` > page tables.
//! No user memory is touched under the window's lock, for a fault would take it again.

use core::ptr::NonNull;

use kernel::{
    bindings,
    fs::File,
    mm::virt::VmaNew,
    new_mutex,
    page::PAGE_SHIFT,
    prelude::*,
    revocable::Revocable,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

use super::{
    area::{
        self,
        Pager, //
    },
    route::{
        Cache,
        Fault,
        Order,
        Route, //
    }, //
};

/// The kernel's own view of the memory.
///
/// # Invariants
///
/// `size` bytes at `start` are mapped memory of the device while this object is not revoked.
struct View {
    start: NonNull<c_void>,
    size: u64,
}

// SAFETY: The mapping belongs to no thread.
unsafe impl Send for View {}

// SAFETY: As for `Send`; the only access is a volatile read.
unsafe impl Sync for View {}

impl View {
    /// Reads the 32-bit word at `offset`, in the CPU's byte order, or `None` if `offset` is not a
    /// multiple of 4 below the size. Any context.
    fn word(&self, offset: u64) -> Option<u32> {
        if offset % 4 != 0 || offset >= self.size {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: Within the mapping, as was checked.
        let word = unsafe { self.start.byte_add(offset) };
        // SAFETY: The word is mapped and aligned. Another machine may write it at any time, which a
        // volatile read of one word tolerates.
        Some(unsafe { word.cast::<u32>().read_volatile() })
    }
}

/// The page cache identity of a device node, by which its mappings are found.
///
/// # Invariants
///
/// The pointer is to an inode of which this type owns a reference; `opens` open files use it.
struct Node {
    inode: NonNull<bindings::inode>,
    opens: usize,
}

// SAFETY: An inode is reference-counted and belongs to no thread.
unsafe impl Send for Node {}

/// The inode by whose mappings those of `file` are found.
fn inode_of(file: &File) -> Option<NonNull<bindings::inode>> {
    // SAFETY: An open file has a mapping, which does not change.
    let mapping = unsafe { (*file.as_ptr()).f_mapping };
    // SAFETY: As above; the host does not change.
    NonNull::new(unsafe { (*mapping).host })
}

impl Node {
    fn new(inode: NonNull<bindings::inode>) -> Self {
        // SAFETY: The caller has an open file of this inode.
        unsafe { bindings::ihold(inode.as_ptr()) };
        // INVARIANT: The reference was taken above.
        Self { inode, opens: 1 }
    }

    /// Takes every page of bytes `start .. start + len` of the file away from all processes.
    fn zap(&self, start: i64, len: i64) {
        // SAFETY: The inode is valid by the type invariant.
        let mapping = unsafe { (*self.inode.as_ptr()).i_mapping };
        // SAFETY: The mapping lives as long as the inode. Private copies cannot exist, for private
        // mappings are refused; 1 includes them all the same.
        unsafe { bindings::unmap_mapping_range(mapping, start, len, 1) };
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: The type owns a reference. May sleep; nodes are dropped in process context.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// What the lock of a [`Window`] protects.
struct Inner {
    /// None once the window is closed.
    route: Option<KBox<dyn Route>>,
    nodes: KVec<Node>,
}

/// Memory shown to programs until the window is closed.
///
/// # Invariants
///
/// `view` is of the memory of the route, and is revoked before the route is dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct Window {
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    view: Revocable<View>,
    base: u64,
    size: u64,
    cache: Cache,
    page_order: u32,
    mappings: Atomic<usize>,
}

impl Window {
    /// Opens a window on the memory of `route`. Byte 0 of the memory is byte `base` of the file.
    pub(crate) fn new(route: KBox<dyn Route>, base: u64) -> Result<Arc<Self>> {
        let (size, cache) = (route.size(), route.cache());
        let page_order = route.largest().log2();
        // INVARIANT: The route promises its mapping until it is dropped; `close` revokes this before.
        let view = View {
            start: route.mapping(),
            size,
        };
        let inner = Inner {
            route: Some(route),
            nodes: KVec::new(),
        };
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(inner, "ivshmem_window"),
                view <- Revocable::new(view),
                base,
                size,
                cache,
                page_order,
                mappings: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Number of open files that are attached.
    pub(crate) fn opens(&self) -> usize {
        self.inner.lock().nodes.iter().map(|node| node.opens).sum()
    }

    /// Number of mappings of the memory, parts that were split off counted by themselves.
    pub(crate) fn mappings(&self) -> usize {
        self.mappings.load(Relaxed)
    }

    /// Size of the memory in bytes, also after the window was closed.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The cache type that mappings really get.
    pub(crate) fn cache(&self) -> Cache {
        self.cache
    }

    /// Logarithm of the bytes of the largest page that a mapping can get.
    pub(crate) fn page_order(&self) -> u32 {
        self.page_order
    }

    /// Remembers an open file, so that [`Window::close`] finds its mappings. `ENODEV` once closed.
    pub(crate) fn attach(&self, file: &File) -> Result {
        let inode = inode_of(file).ok_or(ENODEV)?;
        let mut inner = self.inner.lock();
        if inner.route.is_none() {
            return Err(ENODEV);
        }
        if let Some(node) = inner.nodes.iter_mut().find(|node| node.inode == inode) {
            node.opens += 1;
            return Ok(());
        }
        inner.nodes.push(Node::new(inode), GFP_KERNEL)?;
        Ok(())
    }

    /// Forgets an open file that was attached; its mappings are gone.
    pub(crate) fn detach(&self, file: &File) {
        let Some(inode) = inode_of(file) else { return };
        let mut inner = self.inner.lock();
        if let Some(node) = inner.nodes.iter_mut().find(|node| node.inode == inode) {
            node.opens -= 1;
        }
        inner.nodes.retain(|node| node.opens > 0);
    }

    /// Takes all pages away from all processes, then gives the memory back. Faults that come later
    /// end in SIGBUS. May sleep, and does for as long as others hold pages of a page-backed route.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        let route = inner.route.take();
        for node in &inner.nodes {
            // CAST: File offsets are below 2^63.
            node.zap(self.base as i64, self.size as i64);
        }
        drop(inner);
        // Waits for an RCU grace period: for readers of words, and for `gup_fast`, which looks up
        // pages of user mappings with interrupts off and no lock.
        self.view.revoke();
        drop(route);
    }

    /// Reads a 32-bit word of the memory: `ENODEV` once closed, `EINVAL` if `offset` is bad. Any
    /// context.
    pub(crate) fn word(&self, offset: u64) -> Result<u32> {
        let view = self.view.try_access().ok_or(ENODEV)?;
        view.word(offset).ok_or(EINVAL)
    }

    /// Makes `vma` show the memory at the file offset that it was created with.
    ///
    /// The caller has checked that all of it lies within the memory. `EINVAL` for private and
    /// `EACCES` for executable mappings, `ENODEV` once closed. Read-only files cannot be mapped
    /// writable: `mmap` itself sees to that.
    pub(crate) fn map(self: &Arc<Self>, vma: &VmaNew) -> Result {
        area::restrict(vma)?;
        self.inner.lock().route.as_ref().ok_or(ENODEV)?.prepare(vma);
        area::attach(vma, self.clone());
        Ok(())
    }
}

impl Pager for Window {
    fn opened(&self) {
        self.mappings.add(1usize, Relaxed);
    }

    fn closed(&self) {
        self.mappings.fetch_sub(1usize, Relaxed);
    }

    /// SIGBUS if the window is closed.
    unsafe fn fault(&self, vmf: &mut bindings::vm_fault, order: Order) -> bindings::vm_fault_t {
        // CAST: Both are 64 bits wide.
        let at = (vmf.__bindgen_anon_1.pgoff as u64) << PAGE_SHIFT;
        // An offset below the window wraps, and is past its end.
        let offset = at.wrapping_sub(self.base);
        // Held until the page is in: `close` may not come between the test and the insertion.
        let inner = self.inner.lock();
        match &inner.route {
            // INVARIANT: `map` had the route prepare the area; the offset was checked.
            Some(route) if offset < self.size => route.fault(Fault { vmf, offset }, order),
            _ => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Window {
    fn drop(self: Pin<&mut Self>) {
        // A window that nobody closed, as the device was not bound to the end.
        self.close();
    }
}
