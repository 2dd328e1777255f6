// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel's headers have as macros and inline functions, which Rust cannot call: the
 * counterpart of the kernel's rust/helpers/. src/kapi/helpers.rs declares it for Rust.
 */
#include <linux/cc_platform.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/wait_bit.h>

#ifdef CONFIG_ARM64
#include <asm/rsi.h>
#endif

/* Cache in cache.rs. */
enum ivshmem_cache {
	IVSHMEM_WRITE_BACK = 1,
	IVSHMEM_WRITE_COMBINING,
	IVSHMEM_UNCACHED,
};

bool ivshmem_guest_is_encrypted(void)
{
#ifdef CONFIG_ARM64
	return is_realm_world();
#else
	return cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT);
#endif
}

void ivshmem_cond_resched(void)
{
	cond_resched();
}

unsigned long ivshmem_array_index_nospec(unsigned long index, unsigned long size)
{
	return array_index_nospec(index, size);
}

/*
 * Whether entries of this type differ from those of the next stricter one. Without PAT x86 has no
 * write-combining; elsewhere than on x86 what is not cached is the memory of a device, on which
 * unaligned accesses fail.
 */
bool ivshmem_has_cache(enum ivshmem_cache cache)
{
	pgprot_t none = __pgprot(0);

	switch (cache) {
	case IVSHMEM_WRITE_BACK:
		return true;
	case IVSHMEM_WRITE_COMBINING:
		return pgprot_val(pgprot_writecombine(none)) != pgprot_val(pgprot_noncached(none));
	default:
		return IS_ENABLED(CONFIG_X86);
	}
}

/* Sets the type of an area's entries, while it is set up. Decrypted, for the host to see them. */
void ivshmem_set_cache(struct vm_area_struct *vma, enum ivshmem_cache cache)
{
	pgprot_t prot = pgprot_decrypted(vma->vm_page_prot);

	if (cache == IVSHMEM_WRITE_COMBINING)
		prot = pgprot_writecombine(prot);
	else if (cache == IVSHMEM_UNCACHED)
		prot = pgprot_device(prot);
	vma->vm_page_prot = prot;
}

/*
 * To be called by vm_operations_struct.open. Where mremap() has made @copy, takes all pages of the
 * same memory away from this process, so that none is moved: move_huge_pmd() has a large one in no
 * table for a moment, in which unmap_mapping_range() looks at both places without a lock, and
 * misses it. No fault brings one back before the move, for mremap() has locked the original.
 */
void ivshmem_leave_pages_behind(struct vm_area_struct *copy)
{
	VMA_ITERATOR(areas, copy->vm_mm, 0);
	struct vm_area_struct *area;

	/* The copy of a fork is another process's, that of a split lies within its original. */
	if (copy->vm_mm != current->mm || vma_lookup(copy->vm_mm, copy->vm_start))
		return;
	for_each_vma(areas, area) {
		if (area->vm_ops == copy->vm_ops && area->vm_private_data == copy->vm_private_data)
			zap_special_vma_range(area, area->vm_start,
					      area->vm_end - area->vm_start);
	}
}

#ifdef CONFIG_X86
/*
 * vmf_insert_pfn() and vmf_insert_pfn_pmd() would replace the type in vm_page_prot by that of the
 * reservation for the physical range, which the MTRRs of the firmware turn from write-back into
 * uncached. So the entries are made here. i915 has entries of its own type too
 * (remap_io_mapping()), but a reservation of that type as well; here there is none that says
 * write-back, as firmware has reserved nothing for what is RAM of the host. See
 * Documentation/memory.rst for what that means.
 */
struct pfn_range {
	struct vm_area_struct *vma;
	unsigned long pfn;
};

static int insert_pte(pte_t *pte, unsigned long address, void *data)
{
	struct pfn_range *range = data;
	unsigned long pfn = range->pfn++;
	struct vm_area_struct *vma = range->vma;

	if (pte_none(ptep_get(pte)))
		set_pte_at(vma->vm_mm, address, pte,
			   pte_mkspecial(pfn_pte(pfn, vma->vm_page_prot)));
	return 0;
}

static vm_fault_t insert_ptes(struct vm_fault *vmf, unsigned long start, unsigned long end,
			      unsigned long pfn)
{
	struct pfn_range range = { .vma = vmf->vma, .pfn = pfn };

	if (apply_to_page_range(vmf->vma->vm_mm, start, end - start, insert_pte, &range))
		return VM_FAULT_OOM;
	return VM_FAULT_NOPAGE;
}
#else
static vm_fault_t insert_ptes(struct vm_fault *vmf, unsigned long start, unsigned long end,
			      unsigned long pfn)
{
	vm_fault_t result = VM_FAULT_NOPAGE;

	for (; start < end && result == VM_FAULT_NOPAGE; start += PAGE_SIZE)
		result = vmf_insert_pfn(vmf->vma, start, pfn++);
	return result;
}
#endif

#ifndef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
static vm_fault_t insert_pmds(struct vm_fault *vmf, unsigned long start, unsigned long end,
			      unsigned long pfn)
{
	return VM_FAULT_FALLBACK;
}
#elif defined(CONFIG_X86)
static vm_fault_t insert_pmds(struct vm_fault *vmf, unsigned long start, unsigned long end,
			      unsigned long pfn)
{
	spinlock_t *ptl = pmd_lock(vmf->vma->vm_mm, vmf->pmd);
	pmd_t *pmd = vmf->pmd - pmd_index(vmf->address) + pmd_index(start);
	struct vm_area_struct *vma = vmf->vma;
	unsigned long address;
	pmd_t found;

	for (address = start; address < end; address += PMD_SIZE) {
		if (pmd_none(*pmd))
			set_pmd_at(vma->vm_mm, address, pmd,
				   pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, vma->vm_page_prot))));
		pfn += PMD_SIZE >> PAGE_SHIFT;
		pmd++;
	}
	found = *vmf->pmd;
	spin_unlock(ptl);
	/* There may have been small pages before, or one that cannot be written to. */
	if (!pmd_leaf(found) || ((vmf->flags & FAULT_FLAG_WRITE) && !pmd_write(found)))
		return VM_FAULT_FALLBACK;
	return VM_FAULT_NOPAGE;
}
#else
static vm_fault_t insert_pmds(struct vm_fault *vmf, unsigned long start, unsigned long end,
			      unsigned long pfn)
{
	pmd_t found = pmdp_get_lockless(vmf->pmd);

	/* There may have been small pages before. */
	if (!pmd_none(found) && !pmd_leaf(found))
		return VM_FAULT_FALLBACK;
	pfn += ((vmf->address & PMD_MASK) - start) >> PAGE_SHIFT;
	return vmf_insert_pfn_pmd(vmf, pfn, vmf->flags & FAULT_FLAG_WRITE);
}
#endif

/* Entries without a page are not for areas that copy what is written to: vma_is_cow_mapping(). */
static bool may_show_frames(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_PFNMAP) &&
	       (vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) != VM_MAYWRITE;
}

/*
 * Puts the page frames from @pfn on between @start and @end, where there are none yet: small pages,
 * all in the table that the fault's is in.
 */
vm_fault_t ivshmem_insert_ptes(struct vm_fault *vmf, unsigned long start, unsigned long end,
			       unsigned long pfn)
{
	pmd_t pmd = pmdp_get_lockless(vmf->pmd);

	/*
	 * Another thread's fault was faster, with a large page. None comes from now on: only the
	 * driver makes them, under the lock that its caller holds.
	 */
	if (pmd_present(pmd) && pmd_leaf(pmd))
		return VM_FAULT_NOPAGE;
	if (WARN_ON_ONCE(!may_show_frames(vmf->vma)))
		return VM_FAULT_SIGBUS;
	return insert_ptes(vmf, start, end, pfn);
}

/* The same with large pages. */
vm_fault_t ivshmem_insert_pmds(struct vm_fault *vmf, unsigned long start, unsigned long end,
			       unsigned long pfn)
{
	if (WARN_ON_ONCE(!may_show_frames(vmf->vma)))
		return VM_FAULT_SIGBUS;
	/*
	 * A write where entries are made read-only, because the kernel tracks which pages
	 * become dirty: it makes small ones writable by itself.
	 */
	if ((vmf->flags & FAULT_FLAG_WRITE) && !pte_write(pfn_pte(pfn, vmf->vma->vm_page_prot)))
		return VM_FAULT_FALLBACK;
	return insert_pmds(vmf, start, end, pfn);
}

/* Sets *@state and wakes those who wait for that. May be called with any value. */
void ivshmem_set_state(u32 *state, u32 value)
{
	store_release_wake_up(state, value);
}

/*
 * Waits while *@state is @value, without the locks of the fault if it may be tried again, so that
 * other threads of the program can map and unmap. Ends at a fatal signal. Not freezable: whoever
 * copies from or to the memory may hold locks, and a frozen thread would keep them.
 *
 * Without the locks the area can go, and with it the last reference to its file, which keeps the
 * module loaded that this code is in. So there is one of our own. A thread of a program gives the
 * file up when it returns to that (fput()).
 */
vm_fault_t ivshmem_wait_while_state(struct vm_fault *vmf, u32 *state, u32 value)
{
	bool again = vmf->flags & FAULT_FLAG_ALLOW_RETRY;
	struct file *file;

	if (again && (vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
		return VM_FAULT_RETRY;
	file = get_file(vmf->vma->vm_file);
	if (again)
		release_fault_lock(vmf);
	wait_var_event_killable(state, READ_ONCE(*state) != value);
	fput(file);
	if (again)
		return VM_FAULT_RETRY;
	return fatal_signal_pending(current) ? VM_FAULT_SIGBUS : VM_FAULT_NOPAGE;
}
