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
    device::Bound,
    error::to_result,
    fs::File,
    mm::virt::{
        flags,
        VmaNew, //
    },
    new_mutex,
    page::PAGE_SHIFT,
    pci,
    prelude::*,
    revocable::Revocable,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    types::ForeignOwnable, //
};

use super::area;

/// How the CPU caches accesses to the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Write-back: cached.
    WriteBack,
    /// Writes are combined, reads are not cached.
    WriteCombining,
    /// Neither reads nor writes are cached.
    Uncached,
}

impl Cache {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WriteBack => "write-back",
            Self::WriteCombining => "write-combining",
            Self::Uncached => "uncached",
        }
    }

    /// For programs.
    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Self::WriteBack => "wb",
            Self::WriteCombining => "wc",
            Self::Uncached => "uc",
        }
    }
}

/// A BAR that is claimed and mapped into the kernel, shown page frame by page frame.
///
/// # Invariants
///
/// The BAR `bar` of `pdev`, `size` bytes from physical address `start`, both multiples of the page
/// size, is requested by us and mapped at `mapping` while this object lives.
pub(crate) struct Memory {
    pdev: ARef<pci::Device>,
    bar: c_int,
    start: u64,
    size: u64,
    mapping: NonNull<c_void>,
}

// SAFETY: The claim and the mapping belong to no thread.
unsafe impl Send for Memory {}

// SAFETY: The only access through a shared reference is a volatile read.
unsafe impl Sync for Memory {}

impl Memory {
    /// Claims and maps all of memory BAR `bar`, write-back if the machine allows it.
    ///
    /// The mapping also reserves its cache type: on x86 the page frames that programs get take
    /// their cache type from this reservation (`pfnmap_setup_cachemode()`), not from their own
    /// protection bits. `EBUSY` if somebody else has the BAR, `ENOMEM` if it cannot be mapped.
    pub(crate) fn claim(pdev: &pci::Device<Bound>, bar: u32, name: &'static CStr) -> Result<Self> {
        let start = pdev.resource_start(bar)?;
        let size = pdev.resource_len(bar)?;
        let page_mask = (1 << PAGE_SHIFT) - 1;
        if size == 0 || (start | size) & page_mask != 0 {
            return Err(EINVAL);
        }
        let bar = c_int::try_from(bar)?;
        let len = usize::try_from(size)?;
        let raw = super::pci::as_raw(pdev);
        // SAFETY: The device is valid, the BAR number was checked by `resource_len`.
        to_result(unsafe { bindings::pci_request_region(raw, bar, name.as_char_ptr()) })?;
        // CAST: A flag that fits into any integer.
        let write_back = bindings::MEMREMAP_WB as c_ulong;
        // SAFETY: The range is a BAR that was just requested.
        let mapping = unsafe { bindings::memremap(start, len, write_back) };
        let Some(mapping) = NonNull::new(mapping) else {
            // SAFETY: Requested above.
            unsafe { bindings::pci_release_region(raw, bar) };
            return Err(ENOMEM);
        };
        // INVARIANT: Requested, mapped and page-aligned, see above.
        Ok(Self {
            pdev: pdev.into(),
            bar,
            start,
            size,
            mapping,
        })
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The cache type that the kernel's own mapping, and so each page frame given out, really has.
    #[cfg(CONFIG_X86_64)]
    pub(crate) fn cache(&self) -> Cache {
        let mut level: c_uint = 0;
        // SAFETY: The address is mapped by the type invariant; `level` can be written to.
        let entry =
            unsafe { bindings::lookup_address(self.mapping.as_ptr().addr(), &raw mut level) };
        if entry.is_null() {
            return Cache::Uncached;
        }
        // SAFETY: `lookup_address` returned a valid entry, which stays while the mapping stays.
        let bits = unsafe { entry.cast::<u64>().read_volatile() };
        cache_of_entry(bits, level == bindings::pg_level_PG_LEVEL_4K)
    }

    /// The cache type that the kernel's own mapping, and so each page frame given out, really has.
    ///
    /// Elsewhere than on x86 there is nothing that would overrule `memremap`.
    #[cfg(not(CONFIG_X86_64))]
    pub(crate) fn cache(&self) -> Cache {
        Cache::WriteBack
    }

    /// Reads the 32-bit word at `offset`, in the CPU's byte order, or `None` if `offset` is not a
    /// multiple of 4 below the size. Any context.
    pub(crate) fn word(&self, offset: u64) -> Option<u32> {
        if offset % 4 != 0 || offset > self.size - 4 {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: Within the mapping, as was checked.
        let word = unsafe { self.mapping.byte_add(offset) };
        // SAFETY: The word is mapped and aligned. Another machine may write it at any time, which a
        // volatile read of one word tolerates.
        Some(unsafe { word.cast::<u32>().read_volatile() })
    }

    /// The page frame number of the page that holds byte `offset`, if that is in the memory.
    fn frame(&self, offset: u64) -> Option<c_ulong> {
        if offset >= self.size {
            return None;
        }
        c_ulong::try_from((self.start + offset) >> PAGE_SHIFT).ok()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Mapped by the type invariant.
        unsafe { bindings::memunmap(self.mapping.as_ptr()) };
        // SAFETY: Requested by the type invariant.
        unsafe { bindings::pci_release_region(super::pci::as_raw(&*self.pdev), self.bar) };
    }
}

/// Decodes the cache type of an x86 page table entry, `small` if it maps a 4 KiB page.
///
/// The three bits index the page attribute table as `pat_bp_init()` in
/// `arch/x86/mm/pat/memtype.c` programs it: WB, WC, UC-, UC, WB, WP, UC-, WT.
#[cfg(CONFIG_X86_64)]
fn cache_of_entry(bits: u64, small: bool) -> Cache {
    let attribute = if small {
        bindings::_PAGE_BIT_PAT
    } else {
        bindings::_PAGE_BIT_PAT_LARGE
    };
    let bit = |n: u32| (bits >> n) & 1;
    let index =
        bit(attribute) << 2 | bit(bindings::_PAGE_BIT_PCD) << 1 | bit(bindings::_PAGE_BIT_PWT);
    match index {
        0 | 4 => Cache::WriteBack,
        1 => Cache::WriteCombining,
        _ => Cache::Uncached,
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
    /// Whether faults are answered; the memory is there while this is true.
    open: bool,
    nodes: KVec<Node>,
}

/// Memory shown to programs until the window is closed.
#[pin_data]
pub(crate) struct Window {
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    memory: Revocable<Memory>,
    size: u64,
    mappings: Atomic<usize>,
}

impl Window {
    /// Opens a window on `memory`. Byte 0 of the memory is byte 0 of the file.
    pub(crate) fn new(memory: Memory) -> Result<Arc<Self>> {
        let size = memory.size();
        let inner = Inner {
            open: true,
            nodes: KVec::new(),
        };
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(inner, "ivshmem_window"),
                memory <- Revocable::new(memory),
                size,
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

    /// The cache type of mappings, `None` once the window is closed.
    pub(crate) fn cache(&self) -> Option<Cache> {
        self.memory.try_access_with(Memory::cache)
    }

    /// Remembers an open file, so that [`Window::close`] finds its mappings. `ENODEV` once closed.
    pub(crate) fn attach(&self, file: &File) -> Result {
        let inode = inode_of(file).ok_or(ENODEV)?;
        let mut inner = self.inner.lock();
        if !inner.open {
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
    /// end in SIGBUS. May sleep.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.open = false;
        for node in &inner.nodes {
            // CAST: A BAR's size is far below 2^63.
            node.zap(0, self.size as i64);
        }
        drop(inner);
        self.memory.revoke();
    }

    /// Reads a 32-bit word of the memory: `ENODEV` once closed, `EINVAL` if `offset` is bad. Any
    /// context.
    pub(crate) fn word(&self, offset: u64) -> Result<u32> {
        let memory = self.memory.try_access().ok_or(ENODEV)?;
        memory.word(offset).ok_or(EINVAL)
    }

    /// Makes `vma` show the memory at the file offset that it was created with.
    ///
    /// The caller has checked that all of it lies within the memory. `EINVAL` for private and
    /// `EACCES` for executable mappings. Read-only files cannot be mapped writable: `mmap` itself
    /// sees to that.
    pub(crate) fn map(self: &Arc<Self>, vma: &VmaNew) -> Result {
        area::restrict(vma)?;
        vma.set_io();
        let raw = vma.as_ptr();
        // SAFETY: The area is being set up and nobody else sees it. VM_PFNMAP goes with the fault
        // handler below, which gives out page frames only.
        unsafe { (*raw).__bindgen_anon_2.vm_flags |= flags::PFNMAP };
        self.mappings.add(1usize, Relaxed);
        // SAFETY: As above. The reference is given back by `Area::close`.
        unsafe { (*raw).vm_private_data = self.clone().into_foreign() };
        // SAFETY: As above.
        unsafe { (*raw).vm_ops = &Area::OPERATIONS };
        Ok(())
    }

    /// Answers a page fault: one page, or SIGBUS if the window is closed.
    fn fault(&self, vma: *mut bindings::vm_area_struct, address: usize, offset: u64) -> u32 {
        // Held until the page is in: `close` may not come between the test and the insertion.
        let inner = self.inner.lock();
        let frame = if inner.open {
            self.memory
                .try_access_with(|memory| memory.frame(offset))
                .flatten()
        } else {
            None
        };
        match frame {
            // SAFETY: The area has VM_PFNMAP, is not private, and `address` is in it; its lock is
            // held by the page fault. The frame is memory of a BAR that we own until `close` has
            // taken this page away again, which needs the lock that is held here.
            Some(frame) => unsafe { bindings::vmf_insert_pfn(vma, address, frame) },
            None => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }
}

/// The operations of an area that [`Window::map`] set up.
struct Area;

impl Area {
    const OPERATIONS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// A copy of the area was made: by fork, by a split, by mremap.
    ///
    /// # Safety
    ///
    /// `vma` has these operations.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The area is valid for the call.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: `map` stored an `Arc<Window>`; the original area still owns its reference.
        let window = unsafe { Arc::<Window>::borrow(private) };
        window.mappings.add(1usize, Relaxed);
        core::mem::forget(Arc::from(window));
    }

    /// The area goes away.
    ///
    /// # Safety
    ///
    /// `vma` has these operations, and this is the last call for it.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The area is valid for the call.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: `map` or `open` gave this area a reference, which is not used any more.
        let window = unsafe { Arc::<Window>::from_foreign(private) };
        window.mappings.fetch_sub(1usize, Relaxed);
    }

    /// A page is touched that is not there. May sleep.
    ///
    /// # Safety
    ///
    /// `vmf` describes a fault in an area with these operations.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The description is valid for the call.
        let at = unsafe { (*vmf).__bindgen_anon_1 };
        // SAFETY: The area is locked by the page fault.
        let private = unsafe { (*at.vma).vm_private_data };
        // SAFETY: The area owns a reference to the window while it exists.
        let window = unsafe { Arc::<Window>::borrow(private) };
        // CAST: Both are 64 bits wide.
        window.fault(at.vma, at.address, (at.pgoff as u64) << PAGE_SHIFT)
    }
}
