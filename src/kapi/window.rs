// SPDX-License-Identifier: GPL-2.0

//! Device memory that programs see through page faults, and can be taken away from them: for ever,
//! or for a while.
//!
//! A mapping set up at once in `mmap` could be missed when the memory is taken away: `mmap` calls
//! the driver before it makes the new area findable for `unmap_mapping_range`. So pages are given
//! out by faults only. Those of different processes go on side by side; whoever takes the memory
//! away first tells those that come from then on, waits for those under way, and takes the pages
//! away last.
//!
//! Lock order, outermost first:
//!
//! 1. the lock under which the state of [`Window`] changes
//! 2. the lock of its list of nodes, or one of those under which entries are made
//! 3. `i_mmap_rwsem`, page table locks
//!
//! Faults hold `mmap_lock` or the lock of their area, and of ours only one under which entries are
//! made, which is inside of those. They wait for a paused window without any lock, except where the
//! kernel does not let them try again.

use core::ptr::NonNull;

use kernel::{
    bindings,
    fs::File,
    mm::virt::{
        flags,
        VmaNew, //
    },
    new_mutex,
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    revocable::Revocable,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    }, //
};

use super::{
    area::{
        self,
        Access,
        Pager, //
    },
    atomic::read_once,
    cache::Cache,
    compat::synchronize_rcu,
    device_memory::DeviceMemory,
    frames::{
        Frames,
        Order, //
    },
    helpers,
    view::{
        is_word,
        View, //
    }, //
};

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
    // SAFETY: The mapping of an open file is valid, and its host does not change.
    NonNull::new(unsafe { (*mapping).host })
}

impl Node {
    /// # Safety
    ///
    /// `inode` is valid.
    unsafe fn new(inode: NonNull<bindings::inode>) -> Self {
        // SAFETY: The caller promises that the inode is valid.
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

/// Number of locks under which entries are made: a power of two.
const LOCKS: usize = 16;

/// Programs get pages.
const OPEN: u32 = 0;

/// Page faults wait, and nobody has a page.
const PAUSED: u32 = 1;

/// Page faults end in SIGBUS, and nobody has a page. There is no way back.
const CLOSED: u32 = 2;

/// Memory shown to programs until the window is closed.
///
/// # Invariants
///
/// `view` is of `memory`, and is revoked before that is dropped. `frames` are those of `memory`;
/// entries for them are made under a lock of `inserting` only, by who finds `state` to be [`OPEN`]
/// under it.
#[pin_data(PinnedDrop)]
pub(crate) struct Window {
    /// The memory until the window is closed. Held by whoever changes the state.
    #[pin]
    memory: Mutex<Option<DeviceMemory>>,
    /// Changed under the lock of `memory`; [`CLOSED`] is also seen under that of `nodes`.
    state: Atomic<u32>,
    /// A page fault looks at the state and makes entries under one of these, so that those who
    /// change the state can wait for it, and that small and large entries do not meet in one place:
    /// the kernel's walk that makes small ones must not find a large one. Several, by process, for
    /// page tables are allocated under them: a process that is short of memory holds up few others.
    #[pin]
    inserting: [Mutex<()>; LOCKS],
    #[pin]
    nodes: Mutex<KVec<Node>>,
    #[pin]
    view: Revocable<View>,
    frames: Frames,
    base: u64,
    cache: Cache,
    mappings: Atomic<usize>,
}

impl Window {
    /// Opens a window on `memory`. Byte 0 of the memory is byte `base` of the file. May sleep.
    pub(crate) fn new(memory: DeviceMemory, base: u64) -> Result<Arc<Self>> {
        let (frames, cache) = (memory.frames(), memory.cache());
        // SAFETY: The mapping is there until `memory` is dropped; `close` revokes this before.
        let view = unsafe { View::new(memory.mapping(), memory.size()) };
        Arc::pin_init(
            try_pin_init!(Self {
                memory <- new_mutex!(Some(memory), "ivshmem_window"),
                state: Atomic::new(OPEN),
                inserting <- pin_init::pin_init_array_from_fn(
                    |_| new_mutex!((), "ivshmem_inserting")
                ),
                nodes <- new_mutex!(KVec::new(), "ivshmem_nodes"),
                view <- Revocable::new(view),
                frames,
                base,
                cache,
                mappings: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Number of open files that are attached.
    pub(crate) fn opens(&self) -> usize {
        self.nodes.lock().iter().map(|node| node.opens).sum()
    }

    /// Number of mappings of the memory, parts that were split off counted by themselves.
    pub(crate) fn mappings(&self) -> usize {
        self.mappings.load(Relaxed)
    }

    /// Size of the memory in bytes, also after the window was closed.
    pub(crate) fn size(&self) -> u64 {
        self.frames.size()
    }

    /// Physical address of byte `offset`. The memory may be gone: see [`Window::close`].
    #[cfg(dma_bufs)]
    pub(super) fn physical(&self, offset: u64) -> u64 {
        self.frames.start() + offset
    }

    /// The page of a file that shows byte `offset`, a multiple of the page size.
    #[cfg(dma_bufs)]
    pub(super) fn page_of_file(&self, offset: u64) -> c_ulong {
        // CAST: Both are 64 bits wide.
        ((self.base + offset) >> PAGE_SHIFT) as c_ulong
    }

    /// The cache type of mappings.
    pub(crate) fn cache(&self) -> Cache {
        self.cache
    }

    /// Logarithm of the bytes of the largest page that a mapping can get.
    pub(crate) fn page_order(&self) -> u32 {
        self.frames.largest().log2()
    }

    /// Remembers an open file, so that its mappings are found when the memory is taken away.
    /// `ENODEV` once closed.
    pub(crate) fn attach(&self, file: &File) -> Result {
        let inode = inode_of(file).ok_or(ENODEV)?;
        // SAFETY: The inode of an open file.
        unsafe { self.attach_inode(inode) }
    }

    /// As [`Window::attach`], for a file by its inode.
    ///
    /// # Safety
    ///
    /// `inode` is valid for the call.
    pub(super) unsafe fn attach_inode(&self, inode: NonNull<bindings::inode>) -> Result {
        let mut nodes = self.nodes.lock();
        if self.state.load(Relaxed) == CLOSED {
            return Err(ENODEV);
        }
        if let Some(node) = nodes.iter_mut().find(|node| node.inode == inode) {
            node.opens += 1;
            return Ok(());
        }
        // SAFETY: The caller promises that the inode is valid.
        nodes.push(unsafe { Node::new(inode) }, GFP_KERNEL)?;
        Ok(())
    }

    /// Forgets an open file that was attached; its mappings are gone.
    pub(crate) fn detach(&self, file: &File) {
        if let Some(inode) = inode_of(file) {
            self.detach_inode(inode);
        }
    }

    /// As [`Window::detach`], for a file by its inode.
    pub(super) fn detach_inode(&self, inode: NonNull<bindings::inode>) {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.iter_mut().find(|node| node.inode == inode) {
            node.opens -= 1;
        }
        nodes.retain(|node| node.opens > 0);
    }

    /// Takes all pages away from all processes, then gives the memory back. Faults that come later,
    /// and those that wait for a paused window, end in SIGBUS. May sleep, for a grace period.
    pub(crate) fn close(&self) {
        let mut memory = self.memory.lock();
        let Some(memory) = memory.take() else { return };
        self.change(CLOSED);
        self.take_away();
        // Waits for readers of words.
        self.view.revoke();
        drop(memory);
    }

    /// Takes all pages away from all processes until [`Window::resume`] or [`Window::close`]: page
    /// faults wait for that, and [`Window::word`] does not read. When this returns, nobody in this
    /// machine accesses the memory any more, nor does what depends on [`Window::is_paused`].
    ///
    /// May sleep, for a grace period. To be called with no lock that a page fault or `open`
    /// needs; the device's lock is none of them.
    pub(crate) fn pause(&self) {
        let memory = self.memory.lock();
        if memory.is_none() || self.state.load(Relaxed) != OPEN {
            return;
        }
        self.change(PAUSED);
        self.take_away();
        // For readers of words, and callers of `is_paused`, who look at the state within a critical
        // section of RCU.
        synchronize_rcu();
    }

    /// Lets programs have pages again after [`Window::pause`]; else does nothing. Does not wait for
    /// anybody but a `pause` or `close` under way.
    pub(crate) fn resume(&self) {
        let _memory = self.memory.lock();
        if self.state.load(Relaxed) == PAUSED {
            self.change(OPEN);
        }
    }

    /// Whether the window is paused. If not, and the caller is in a critical section of RCU, no
    /// [`Window::pause`] returns before the end of that. Any context.
    pub(crate) fn is_paused(&self) -> bool {
        read_once(&self.state) == PAUSED
    }

    /// Changes the state and wakes the faults that wait for that.
    fn change(&self, state: u32) {
        // SAFETY: The word lives as long as `self` and is accessed with atomics only.
        unsafe { helpers::ivshmem_set_state(self.state.as_ptr(), state) };
    }

    /// The lock under which entries for a process are made.
    fn inserting(&self, mm: *const bindings::mm_struct) -> &Mutex<()> {
        // GOLDEN_RATIO_64, as in `hash_64()`. CAST: Both are 64 bits wide.
        let hash = (mm.addr() as u64).wrapping_mul(0x61c8_8646_80b5_83eb);
        // CAST: The upper bits are as many as a number below `LOCKS` has.
        &self.inserting[(hash >> (u64::BITS - LOCKS.ilog2())) as usize]
    }

    /// Takes all pages away from all processes; no more come, as the state is not [`OPEN`].
    fn take_away(&self) {
        // For faults that saw the old state.
        for lock in &self.inserting {
            drop(lock.lock());
        }
        for node in &*self.nodes.lock() {
            // CAST: File offsets are below 2^63.
            node.zap(self.base as i64, self.size() as i64);
        }
    }

    /// Whether `offset` is that of a 32-bit word of the memory: a multiple of 4 below the size.
    pub(crate) fn has_word(&self, offset: u64) -> bool {
        is_word(offset, self.size())
    }

    /// Reads a 32-bit word of the memory; `None` while the window is paused. `ENODEV` once closed,
    /// `EINVAL` if `offset` is not a multiple of 4 below the size. Any context.
    pub(crate) fn word(&self, offset: u64) -> Result<Option<u32>> {
        // From here on a critical section of RCU.
        let view = self.view.try_access().ok_or(ENODEV)?;
        if self.state.load(Acquire) == PAUSED {
            return Ok(None);
        }
        view.word(offset).map(Some).ok_or(EINVAL)
    }

    /// Makes `vma` show the memory at the file offset that it was created with.
    ///
    /// The caller has checked that all of it lies within the memory. `EINVAL` for private and
    /// `EACCES` for executable mappings, `ENODEV` once closed. Read-only files cannot be mapped
    /// writable: `mmap` itself sees to that.
    pub(crate) fn map(self: &Arc<Self>, vma: &VmaNew) -> Result {
        area::restrict(vma)?;
        if self.state.load(Relaxed) == CLOSED {
            return Err(ENODEV);
        }
        // SAFETY: The area is being set up and nobody else sees it. It is shared, and gets nothing
        // but page frames.
        unsafe { (*vma.as_ptr()).__bindgen_anon_2.vm_flags |= flags::PFNMAP | flags::IO };
        self.cache.apply(vma);
        area::attach(vma, self.clone());
        Ok(())
    }
}

#[cfg(CONFIG_HAVE_IOREMAP_PROT)]
#[allow(improper_ctypes, reason = "the kernel's own structures")]
extern "C" {
    /// Accesses page frames that the area has entries for.
    fn generic_access_phys(
        vma: *mut bindings::vm_area_struct,
        address: c_ulong,
        buffer: *mut c_void,
        len: c_int,
        write: c_int,
    ) -> c_int;
}

/// As `generic_access_phys`, to the end of the page at the most, which is what callers expect to
/// happen: some kernels, 7.2 among them, look at the first page only, and go on to what lies behind
/// it in the machine, at the end of the memory another device.
///
/// # Safety
///
/// As for `access` of `struct vm_operations_struct`.
#[cfg(CONFIG_HAVE_IOREMAP_PROT)]
unsafe extern "C" fn access_page(
    vma: *mut bindings::vm_area_struct,
    address: c_ulong,
    buffer: *mut c_void,
    len: c_int,
    write: c_int,
) -> c_int {
    // CAST: At most a page.
    let rest = (PAGE_SIZE - address % PAGE_SIZE) as c_int;
    // SAFETY: As our caller promises, of fewer bytes.
    unsafe { generic_access_phys(vma, address, buffer, len.min(rest), write) }
}

impl Pager for Window {
    #[cfg(CONFIG_HAVE_IOREMAP_PROT)]
    const ACCESS: Option<Access> = Some(access_page);

    const COPIES_ARE_EMPTY: bool = true;

    fn opened(&self) {
        self.mappings.add(1usize, Relaxed);
    }

    fn closed(&self) {
        self.mappings.fetch_sub(1usize, Relaxed);
    }

    /// SIGBUS if the window is closed; waits while it is paused.
    unsafe fn fault(
        this: ArcBorrow<'_, Self>,
        vmf: &mut bindings::vm_fault,
        order: Order,
    ) -> bindings::vm_fault_t {
        // CAST: Both are 64 bits wide.
        let at = (vmf.__bindgen_anon_1.pgoff as u64) << PAGE_SHIFT;
        // An offset below the window wraps, and is past its end.
        let offset = at.wrapping_sub(this.base);
        if offset >= this.size() {
            return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
        }
        // SAFETY: The fault is this thread's, in an area that `map` set up to show this memory.
        let Some(entries) = (unsafe { this.frames.entries(vmf, order, offset) }) else {
            return match order {
                // What is no smaller page there cannot be fallen back to.
                Order::PAGE => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
                _ => bindings::vm_fault_reason_VM_FAULT_FALLBACK,
            };
        };
        // SAFETY: A fault holds the lock of its area, which has a process.
        let mm = unsafe { (*vmf.__bindgen_anon_1.vma).vm_mm };
        let inserting = this.inserting(mm).lock();
        match this.state.load(Relaxed) {
            OPEN => {
                // SAFETY: `map` set the area up as shared, with VM_PFNMAP. Whoever changes the
                // state takes this lock before the pages are taken away, and gives the memory back
                // after that. It keeps other faults of this process out.
                return unsafe { entries.insert(vmf) };
            }
            CLOSED => return bindings::vm_fault_reason_VM_FAULT_SIGBUS,
            _ => {}
        }
        drop(inserting);
        // The area, which owns a reference, can go while this thread waits without the fault's
        // locks.
        let window = Arc::from(this);
        // SAFETY: The word lives as long as `window` and is accessed with atomics only; neither the
        // fault nor its area is touched any more.
        unsafe { helpers::ivshmem_wait_while_state(vmf, window.state.as_ptr(), PAUSED) }
    }
}

#[pinned_drop]
impl PinnedDrop for Window {
    fn drop(self: Pin<&mut Self>) {
        // A window that nobody closed, as the device was not bound to the end.
        self.close();
    }
}
