/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * User-space interface of /dev/ivshmemN, version 1: shared memory and doorbells between virtual
 * machines. The reference with errors, blocking and examples is Documentation/userspace-api.rst.
 */
#ifndef _UAPI_LINUX_IVSHMEM_RS_H
#define _UAPI_LINUX_IVSHMEM_RS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define IVSHMEM_ABI_VERSION	1

/*
 * Most vectors that the driver can arm. How many it does is the module parameter max_vectors, 8 by
 * default; struct ivshmem_info says how many are armed.
 */
#define IVSHMEM_MAX_VECTORS	64

/* Largest peer ID and vector that can be rung. */
#define IVSHMEM_MAX_PEER	65535
#define IVSHMEM_MAX_RING_VECTOR	255

/* Most entries of one IVSHMEM_RING_MANY. */
#define IVSHMEM_RING_MANY_MAX	1024

/**
 * struct ivshmem_event - one record of read(2)
 * @vector: the vector that was rung
 * @reserved: always 0
 * @count: interrupts since this open file last looked; a count means "at least one ring since",
 *	as several rings may be one interrupt
 *
 * read(2) blocks until a subscribed vector is pending (EAGAIN with O_NONBLOCK) and fills as many
 * records as fit, one for each pending vector, lowest first. EINVAL if not one record fits, ENODEV
 * once the device is gone and nothing is pending, EOPNOTSUPP where no vector is armed.
 */
struct ivshmem_event {
	__u32 vector;
	__u32 reserved;
	__u64 count;
};

/* Bits of ivshmem_info.flags */
#define IVSHMEM_INFO_DOORBELL		1 /* the device has a doorbell: peers can be rung */
#define IVSHMEM_INFO_PEER_ID_OVERRIDDEN	2 /* peer_id is the module parameter's */
#define IVSHMEM_INFO_REGISTERS_MAPPABLE	4 /* region 2 can be mapped */

/* Values of ivshmem_info.cache */
#define IVSHMEM_CACHE_WB	1 /* write-back */
#define IVSHMEM_CACHE_WC	2 /* write-combining */
#define IVSHMEM_CACHE_UC	3 /* uncached */

#define IVSHMEM_BUS_ID_LEN	16

/**
 * struct ivshmem_info - answer of IVSHMEM_GET_INFO
 * @abi_version: IVSHMEM_ABI_VERSION
 * @flags: IVSHMEM_INFO_* bits
 * @shm_size: bytes of shared memory
 * @peer_id: this end's peer ID; 0 is a valid one
 * @vectors: armed vectors, 0 to IVSHMEM_MAX_VECTORS; with 0, nothing can ever be pending here
 * @vectors_offered: vectors in the device's MSI-X table
 * @revision: PCI revision
 * @subsystem_vendor: PCI subsystem vendor; ACRN: 0x8086
 * @subsystem_device: PCI subsystem device; ACRN: the region's ID
 * @cache: IVSHMEM_CACHE_*, what a mapping of the shared memory really gets
 * @page_order: log2 of the bytes of the largest page that a mapping can get: with pages of 4 KiB,
 *	12 or 21, 30 is reserved; with pages of 16 KiB, 14 or 25
 * @generation: goes up by one at each resume and reset; what a peer told before may be stale
 * @bus_id: PCI address such as "0000:00:04.0", NUL-terminated
 * @reserved: always 0
 */
struct ivshmem_info {
	__u32 abi_version;
	__u32 flags;
	__u64 shm_size;
	__u32 peer_id;
	__u32 vectors;
	__u32 vectors_offered;
	__u32 revision;
	__u16 subsystem_vendor;
	__u16 subsystem_device;
	__u32 cache;
	__u32 page_order;
	__u32 generation;
	char  bus_id[IVSHMEM_BUS_ID_LEN];
	__u64 reserved[8];
};

/**
 * struct ivshmem_ring - argument of IVSHMEM_RING
 * @peer: whom to ring, at most IVSHMEM_MAX_PEER; ringing oneself is allowed
 * @vector: which of the peer's vectors, at most IVSHMEM_MAX_RING_VECTOR
 */
struct ivshmem_ring {
	__u32 peer;
	__u32 vector;
};

/**
 * struct ivshmem_ring_many - argument of IVSHMEM_RING_MANY
 * @count: number of entries, 1 to IVSHMEM_RING_MANY_MAX
 * @flags: must be 0
 * @rings: address of @count struct ivshmem_ring
 */
struct ivshmem_ring_many {
	__u32 count;
	__u32 flags;
	__u64 rings;
};

/**
 * struct ivshmem_eventfd - argument of IVSHMEM_SET_EVENTFD
 * @vector: an armed vector
 * @fd: the eventfd, or -1 to unbind what is bound
 * @flags: must be 0
 * @reserved: must be 0
 */
struct ivshmem_eventfd {
	__u32 vector;
	__s32 fd;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct ivshmem_acrn_eventfd - argument of IVSHMEM_ACRN_SET_EVENTFD
 * @fd: the eventfd, or any negative number to unbind what is bound
 * @vector: an armed vector
 */
struct ivshmem_acrn_eventfd {
	__s32 fd;
	__s32 vector;
};

/* Bits of ivshmem_dma_buf.flags */
#define IVSHMEM_DMA_BUF_CLOEXEC	1 /* close the descriptor when another program is executed */

/**
 * struct ivshmem_dma_buf - argument of IVSHMEM_KVMFR_CREATE_DMA_BUF
 * @flags: 0 or IVSHMEM_DMA_BUF_CLOEXEC
 * @padding: anything
 * @offset: first byte in the shared memory, a multiple of the page size
 * @size: bytes, a multiple of the page size and not 0
 */
struct ivshmem_dma_buf {
	__u8  flags;
	__u8  padding[7];
	__u64 offset;
	__u64 size;
};

/* Bits of ivshmem_wait.flags */
#define IVSHMEM_WAIT_WORD	1 /* look at a word of the shared memory around each sleep */

/**
 * struct ivshmem_wait - argument and answer of IVSHMEM_WAIT
 * @vectors: in: mask of vectors to wait for, 0 for the file's subscription;
 *	out: those that were pending, now marked seen
 * @timeout_ns: relative, CLOCK_MONOTONIC; negative: for ever; 0: only look
 * @offset: with IVSHMEM_WAIT_WORD: byte offset in the shared memory, a multiple of 4
 * @value: with IVSHMEM_WAIT_WORD: sleep only while the 32-bit word at @offset equals this
 * @flags: 0 or IVSHMEM_WAIT_WORD
 */
struct ivshmem_wait {
	__u64 vectors;
	__s64 timeout_ns;
	__u64 offset;
	__u32 value;
	__u32 flags;
};

/*
 * Commands. All answer ENODEV once the device is gone, EFAULT for a bad pointer and EINVAL for a
 * reserved field or unknown flag that is not 0; all checks come before any effect. RING and
 * RING_MANY answer EOPNOTSUPP on a device without a doorbell, SET_EVENTFD, ACRN_SET_EVENTFD and
 * WAIT where no vector is armed.
 */

/* Fills struct ivshmem_info; never blocks, never changes anything. */
#define IVSHMEM_GET_INFO	_IOR('i', 0xA0, struct ivshmem_info)

/*
 * Rings a doorbell: one 32-bit register write, after everything that this thread wrote to the
 * shared memory before. EINVAL: peer or vector out of range. EBADF: the file is read-only. Waits
 * while the device is reset.
 */
#define IVSHMEM_RING		_IOW('i', 0xA1, struct ivshmem_ring)

/* Validates all entries, then rings all; returns their number. Errors as IVSHMEM_RING. */
#define IVSHMEM_RING_MANY	_IOW('i', 0xA2, struct ivshmem_ring_many)

/* Replaces this open file's mask of subscribed vectors. EINVAL: a vector that is not armed. */
#define IVSHMEM_SUBSCRIBE	_IOW('i', 0xA3, __u64)

/*
 * Binds an eventfd to a vector of this open file, replacing what was bound: each interrupt adds 1.
 * Signalled at once if the vector is pending, and once when the device goes away. Ends with the
 * open file. EINVAL: not an eventfd or vector not armed. EBADF: fd is not open.
 */
#define IVSHMEM_SET_EVENTFD	_IOW('i', 0xA4, struct ivshmem_eventfd)

/*
 * Sleeps until a vector is pending or, with IVSHMEM_WAIT_WORD, until the word differs. ETIMEDOUT,
 * EINTR, and ENODEV if the device goes away meanwhile. EINVAL: vector not armed, offset out of
 * range or not aligned. EACCES: IVSHMEM_WAIT_WORD, and the file is write-only. ENOMEM: several
 * vectors in the mask, and no memory to wait for them.
 */
#define IVSHMEM_WAIT		_IOWR('i', 0xA5, struct ivshmem_wait)

/* UIO_MSIX_DATA of ACRN's patched kernel: the same as IVSHMEM_SET_EVENTFD. */
#define IVSHMEM_ACRN_SET_EVENTFD	_IOW('u', 100, struct ivshmem_acrn_eventfd)

/*
 * KVMFR_DMABUF_CREATE of Looking Glass' kvmfr: makes a dma-buf of a part of the memory and
 * returns its descriptor. It cannot be written to if this file is read-only. EINVAL: not whole
 * pages, or not inside of the memory. EACCES: the file is write-only.
 */
#define IVSHMEM_KVMFR_CREATE_DMA_BUF	_IOW('u', 0x42, struct ivshmem_dma_buf)

/* KVMFR_DMABUF_GETSIZE: returns the bytes of shared memory. EOVERFLOW: 2 GiB or more. */
#define IVSHMEM_KVMFR_GET_SIZE		_IO('u', 0x44)

/*
 * mmap(2): the file offset is (region << IVSHMEM_REGION_SHIFT) | byte offset. Only MAP_SHARED, not
 * PROT_EXEC. After removal touching regions 0 and 2 gives SIGBUS.
 */
#define IVSHMEM_REGION_SHIFT		40
#define IVSHMEM_REGION_MEMORY		0 /* the shared memory */
#define IVSHMEM_REGION_EVENTS		1 /* struct ivshmem_event_page, read-only */
#define IVSHMEM_REGION_REGISTERS	2 /* BAR0, if the administrator allowed it */

/**
 * struct ivshmem_event_page - what region 1 begins with; the rest of its page is 0
 * @dead: not 0 once the device is gone
 * @generation: as in struct ivshmem_info
 * @reserved: always 0
 * @seq: interrupts of each vector since the driver bound; on a cache line of its own
 */
struct ivshmem_event_page {
	__u32 dead;
	__u32 generation;
	__u8  reserved[56];
	__u64 seq[IVSHMEM_MAX_VECTORS];
};

#endif /* _UAPI_LINUX_IVSHMEM_RS_H */
