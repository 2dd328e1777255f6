/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Fuzzed calls by io_uring: the kernel makes them at once, from a thread of its own, or when the file
 * is ready, and takes them back when the ring is closed.
 */
#ifndef FUZZ_URING_H
#define FUZZ_URING_H

#include "fuzz_pool.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

/* Whether the kernel has it, and lets this program use it. */
static inline bool has_io_uring(void)
{
	struct io_uring_params params = { 0 };
	int ring = (int)syscall(__NR_io_uring_setup, 1, &params);

	if (ring >= 0)
		close(ring);
	return ring >= 0;
}

/* Gives @entry to a new ring, and waits for it until it is done or the thread's timer interrupts. */
static inline int submit(int ring, const struct io_uring_params *params,
			 const struct io_uring_sqe *entry)
{
	size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t entry_bytes = params->sq_entries * sizeof(*entry);
	int prot = PROT_READ | PROT_WRITE, result = -1;
	char *sq = mmap(NULL, sq_bytes, prot, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *entries = mmap(NULL, entry_bytes, prot, MAP_SHARED, ring, IORING_OFF_SQES);

	if (sq != MAP_FAILED && entries != MAP_FAILED) {
		uint32_t one = 1, none = 0;

		/* Mappings of the device were here, which other threads may still touch. */
		if (touch_copy(entries, (const char *)entry, sizeof(*entry)) &&
		    touch_copy(sq + params->sq_off.array, (const char *)&none, sizeof(none)) &&
		    touch_copy(sq + params->sq_off.tail, (const char *)&one, sizeof(one)))
			result = (int)syscall(__NR_io_uring_enter, ring, 1, 1,
					      IORING_ENTER_GETEVENTS, NULL, 0);
	}
	if (sq != MAP_FAILED)
		munmap(sq, sq_bytes);
	if (entries != MAP_FAILED)
		munmap(entries, entry_bytes);
	return result;
}

static int call_io_uring(struct fuzzer *f)
{
	struct io_uring_params params = { 0 };
	struct io_uring_sqe entry = {
		.flags = one_in(&f->random, 3) ? IOSQE_ASYNC : 0,
		.fd = some_device(f),
		.user_data = 1,
	};
	int ring = (int)syscall(__NR_io_uring_setup, 2, &params), result;

	if (ring == -1)
		return -1;
	switch (pick(f, 4)) {
	case 0:
		entry.opcode = IORING_OP_POLL_ADD;
		entry.poll32_events = POLLIN;
		entry.len = one_in(&f->random, 3) ? IORING_POLL_ADD_MULTI : 0;
		break;
	case 1:
		entry.opcode = IORING_OP_FSYNC;
		break;
	default:
		entry.opcode = IORING_OP_READ;
		entry.len = sizeof(struct ivshmem_event) * pick(f, 9);
		entry.addr = (uintptr_t)some_pointer(f, entry.len);
		entry.off = rarely(f) ? 0 : -1ull;
	}
	result = submit(ring, &params, &entry);
	close(ring);
	return result;
}

#endif /* FUZZ_URING_H */
