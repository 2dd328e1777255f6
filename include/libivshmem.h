/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * libivshmem: /dev/ivshmemN from C and C++, as inline functions over <linux/ivshmem_rs.h>. There is
 * nothing to link with; Documentation/libivshmem.rst says why, and shows the use.
 *
 * Functions that make a system call answer as it does: -1 and errno. All take the descriptor that
 * ivshmem_open() returned, from any thread; none keeps anything. The errors are explained in
 * Documentation/userspace-api.rst; those at the functions here are the ones a caller has to expect.
 *
 * The shared memory is written by others at any time. Never use it through plain pointers: load and
 * store single words, or copy. Check the copy, and then use the copy.
 */
#ifndef LIBIVSHMEM_H
#define LIBIVSHMEM_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/ivshmem_rs.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Regions are told apart by file offsets of 41 bits: 32-bit programs need -D_FILE_OFFSET_BITS=64. */
typedef char ivshmem_needs_file_offset_bits_64[sizeof(off_t) == 8 ? 1 : -1];

/* Words of shared memory lie in objects of any type. */
typedef uint32_t __attribute__((__may_alias__)) ivshmem_word;
typedef uint64_t __attribute__((__may_alias__)) ivshmem_long;

/* --- The device ------------------------------------------------------------------------------- */

/**
 * ivshmem_open - open a device and learn what it is
 * @path: "/dev/ivshmem0" or another node
 * @flags: as for open(2): O_RDWR, or O_RDONLY to listen only; O_NONBLOCK; O_CLOEXEC
 * @info: filled
 *
 * Return: the descriptor, for close(2); or -1. ENOENT: there is no such device, or the driver is not
 * loaded. EACCES: the user may not open it. ENOTTY: this is no ivshmem device. EPROTO: the driver's
 * interface has another version than this header. ENODEV: it has just gone.
 */
static inline int ivshmem_open(const char *path, int flags, struct ivshmem_info *info)
{
	int fd = open(path, flags), error = 0;

	if (fd < 0)
		return -1;
	if (ioctl(fd, IVSHMEM_GET_INFO, info) != 0)
		error = errno;
	else if (info->abi_version != IVSHMEM_ABI_VERSION)
		error = EPROTO;
	if (!error)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

/**
 * ivshmem_map - map shared memory
 * @fd: the device
 * @offset: where it begins, a multiple of the page size
 * @bytes: how much
 * @prot: PROT_READ, PROT_WRITE or both
 *
 * The mapping lives until munmap(2), also after close(2). Once the device is gone, touching it gives
 * SIGBUS.
 *
 * Return: its address, or NULL. EINVAL: not all of it lies in the memory (&ivshmem_info.shm_size).
 * EACCES: the descriptor's flags do not allow it. ENODEV: the device is gone.
 */
static inline void *ivshmem_map(int fd, uint64_t offset, size_t bytes, int prot)
{
	void *at;

	if (offset >> IVSHMEM_REGION_SHIFT) {
		errno = EINVAL;
		return NULL;
	}
	at = mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);
	return at == MAP_FAILED ? NULL : at;
}

/* --- Ringing ---------------------------------------------------------------------------------- */

/**
 * ivshmem_ring_peer - interrupt another guest
 * @fd: the device, open for writing
 * @peer: its peer ID; one's own is allowed
 * @vector: which of its vectors
 *
 * What this thread wrote to the shared memory before is visible to whoever learns of this ring.
 * Blocks only while the device is reset.
 *
 * Return: 0, which does not mean that anybody heard it; or -1. EBADF: opened read-only. EOPNOTSUPP:
 * the device has no doorbell. EINVAL: out of range. ENODEV: the device is gone.
 */
static inline int ivshmem_ring_peer(int fd, uint32_t peer, uint32_t vector)
{
	struct ivshmem_ring ring = { peer, vector };

	return ioctl(fd, IVSHMEM_RING, &ring);
}

/**
 * ivshmem_ring_peers - ring several doorbells, in their order
 * @fd: the device, open for writing
 * @rings: whom
 * @count: how many, 1 to IVSHMEM_RING_MANY_MAX
 *
 * Return: @count, or -1 with the errors of ivshmem_ring_peer(); after EINVAL nothing was rung.
 */
static inline int ivshmem_ring_peers(int fd, const struct ivshmem_ring *rings, uint32_t count)
{
	struct ivshmem_ring_many many = { count, 0, (uintptr_t)rings };

	return ioctl(fd, IVSHMEM_RING_MANY, &many);
}

/* --- Being rung ------------------------------------------------------------------------------- */

/**
 * ivshmem_read_events - take what is pending; sleep until there is something
 * @fd: the device
 * @events: filled, one record for each vector that was rung
 * @room: number of records that fit, at least 1; IVSHMEM_MAX_VECTORS is always enough
 *
 * With O_NONBLOCK it does not sleep. poll(2) and epoll(7) on @fd tell when there is something.
 *
 * Return: the number of records, never 0; or -1. EAGAIN: O_NONBLOCK and nothing pending. EINTR: a
 * signal. EOPNOTSUPP: no vector is armed. ENODEV: the device is gone.
 */
static inline int ivshmem_read_events(int fd, struct ivshmem_event *events, unsigned int room)
{
	ssize_t bytes = read(fd, events, room * sizeof(*events));

	return bytes < 0 ? -1 : (int)((size_t)bytes / sizeof(*events));
}

/**
 * ivshmem_wait_vectors - sleep until one of some vectors is rung, with a time limit
 * @fd: the device
 * @vectors: bit n for vector n, 0 for those the file is subscribed to; then those that were rung
 * @timeout_ns: nanoseconds; 0 only looks, a negative number is for ever
 *
 * Return: 0 or -1. ETIMEDOUT. EINTR: a signal. EINVAL: a vector that is not armed. ENOMEM.
 * EOPNOTSUPP: no vector is armed. ENODEV: the device is gone.
 */
static inline int ivshmem_wait_vectors(int fd, uint64_t *vectors, int64_t timeout_ns)
{
	struct ivshmem_wait wait = { *vectors, timeout_ns, 0, 0, 0 };
	int result = ioctl(fd, IVSHMEM_WAIT, &wait);

	if (result == 0)
		*vectors = wait.vectors;
	return result;
}

/**
 * ivshmem_wait_word - sleep while a word of the shared memory has a value
 * @fd: the device
 * @offset: of the word in the shared memory, in bytes, a multiple of 4
 * @value: the value
 * @timeout_ns: nanoseconds; 0 only looks, a negative number is for ever
 *
 * Only interrupts wake, of the vectors that the file is subscribed to: who changes the word has to
 * ring one of those. Load the word again, with ivshmem_load(), before using what it guards. Marks
 * what is pending on them as seen.
 *
 * Return: 0 or -1, as ivshmem_wait_vectors(). EINVAL: no such word. EACCES: opened write-only.
 */
static inline int ivshmem_wait_word(int fd, uint64_t offset, uint32_t value, int64_t timeout_ns)
{
	struct ivshmem_wait wait = { 0, timeout_ns, offset, value, IVSHMEM_WAIT_WORD };

	return ioctl(fd, IVSHMEM_WAIT, &wait);
}

/**
 * ivshmem_subscribe - choose the vectors that reading, polling and waiting are about
 * @fd: the device
 * @vectors: bit n for vector n; all, after opening
 *
 * Return: 0 or -1. EINVAL: a vector that is not armed. ENODEV: the device is gone.
 */
static inline int ivshmem_subscribe(int fd, uint64_t vectors)
{
	__u64 mask = vectors;

	return ioctl(fd, IVSHMEM_SUBSCRIBE, &mask);
}

/**
 * ivshmem_bind_eventfd - let an eventfd count a vector's interrupts
 * @fd: the device
 * @vector: the vector
 * @eventfd: the eventfd, or -1 to end this
 *
 * It replaces what was bound, and lasts as long as the open file. When the device goes away, the
 * eventfd is signalled a last time.
 *
 * Return: 0 or -1. EINVAL: not an eventfd, or a vector that is not armed. EBADF: @eventfd is not open. EOPNOTSUPP:
 * no vector is armed. ENODEV: the device is gone.
 */
static inline int ivshmem_bind_eventfd(int fd, uint32_t vector, int eventfd)
{
	struct ivshmem_eventfd binding = { vector, eventfd, 0, 0 };

	return ioctl(fd, IVSHMEM_SET_EVENTFD, &binding);
}

/* --- The event page --------------------------------------------------------------------------- */

/**
 * ivshmem_map_events - map the event page, which shows interrupts without a system call
 * @fd: the device
 *
 * Return: the page, for munmap(2), readable also after the device is gone; or NULL. ENODEV: the
 * device is gone already.
 */
static inline const struct ivshmem_event_page *ivshmem_map_events(int fd)
{
	void *at = mmap(NULL, sizeof(struct ivshmem_event_page), PROT_READ, MAP_SHARED, fd,
			(off_t)IVSHMEM_REGION_EVENTS << IVSHMEM_REGION_SHIFT);

	return at == MAP_FAILED ? NULL : (const struct ivshmem_event_page *)at;
}

static inline uint32_t ivshmem_load(const void *shared);

/**
 * ivshmem_interrupts - how often a vector was rung, as the event page shows it
 * @page: the event page
 * @vector: less than IVSHMEM_MAX_VECTORS
 *
 * What the ringing guest wrote before the ring is visible after this.
 *
 * Return: the count's lower half, which every guest reads in one piece. Compare it with an earlier
 * one: different means rung.
 */
static inline uint32_t ivshmem_interrupts(const struct ivshmem_event_page *page, uint32_t vector)
{
	const ivshmem_word *halves = (const ivshmem_word *)&page->seq[vector];

	/* As a word of the shared memory, so also before loads of it where it is not write-back. */
	return ivshmem_load(&halves[__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__]);
}

/* Whether the device is gone, as the event page shows it. */
static inline int ivshmem_is_gone(const struct ivshmem_event_page *page)
{
	return __atomic_load_n(&page->dead, __ATOMIC_ACQUIRE) != 0;
}

/* --- The shared memory ------------------------------------------------------------------------ */

/*
 * What is stored before is visible before anything is loaded after. Needed between "I go to sleep"
 * and the last look, and between the data and the look whether anybody sleeps. For memory of every
 * kind: where the driver could not map it write-back, x86 does not keep accesses in order by itself,
 * and what compilers make of __atomic_thread_fence() does not cover it.
 */
static inline void ivshmem_fence(void)
{
#if defined(__x86_64__) || defined(__SSE2__)
	__asm__ __volatile__("mfence" : : : "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Loads a word, before everything that this thread does afterwards. */
static inline uint32_t ivshmem_load(const void *shared)
{
	uint32_t value = __atomic_load_n((const ivshmem_word *)shared, __ATOMIC_ACQUIRE);

#if defined(__x86_64__) || defined(__SSE2__)
	__asm__ __volatile__("lfence" : : : "memory");
#endif
	return value;
}

/* Stores a word, after everything that this thread did before. */
static inline void ivshmem_store(void *shared, uint32_t value)
{
#if defined(__x86_64__) || defined(__SSE2__)
	/* Also after stores that were combined, which a plain store does not wait for. */
	__asm__ __volatile__("sfence" : : : "memory");
#endif
	__atomic_store_n((ivshmem_word *)shared, value, __ATOMIC_RELEASE);
}

/* Eight bytes at any address. */
struct ivshmem_unaligned {
	uint64_t value;
} __attribute__((__packed__, __may_alias__));

/*
 * Copies so that each byte of the shared side is read or written once, so that what was checked is what is used: words
 * that are aligned there, at any address here.
 */
static inline void ivshmem_copy_in(void *own, const void *shared, size_t bytes)
{
	unsigned char *out = (unsigned char *)own;
	const volatile unsigned char *in = (const volatile unsigned char *)shared;

	for (; bytes && ((uintptr_t)in & 7); bytes--)
		*out++ = *in++;
	for (; bytes >= 8; bytes -= 8, in += 8, out += 8)
		((struct ivshmem_unaligned *)out)->value = *(const volatile ivshmem_long *)in;
	for (; bytes; bytes--)
		*out++ = *in++;
}

static inline void ivshmem_copy_out(void *shared, const void *own, size_t bytes)
{
	volatile unsigned char *out = (volatile unsigned char *)shared;
	const unsigned char *in = (const unsigned char *)own;

	for (; bytes && ((uintptr_t)out & 7); bytes--)
		*out++ = *in++;
	for (; bytes >= 8; bytes -= 8, in += 8, out += 8)
		*(volatile ivshmem_long *)out = ((const struct ivshmem_unaligned *)in)->value;
	for (; bytes; bytes--)
		*out++ = *in++;
}

/**
 * ivshmem_copy_from - copy out of the shared memory, to check and use the copy
 * @own: where to
 * @shared: where from
 * @bytes: how many
 *
 * Others may write meanwhile: the copy can be a mixture. ivshmem_load() first the word that says that
 * it is there.
 */
static inline void ivshmem_copy_from(void *own, const void *shared, size_t bytes)
{
	ivshmem_copy_in(own, shared, bytes);
}

/**
 * ivshmem_copy_to - copy into the shared memory
 * @shared: where to
 * @own: where from
 * @bytes: how many
 *
 * ivshmem_store() afterwards the word that says that it is there.
 */
static inline void ivshmem_copy_to(void *shared, const void *own, size_t bytes)
{
	ivshmem_copy_out(shared, own, bytes);
}

#ifdef __cplusplus
}
#endif

#endif /* LIBIVSHMEM_H */
