/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Which code of the driver the calls of a thread reach, where the kernel tells (CONFIG_KCOV) and the
 * driver was compiled for it.
 */
#ifndef FUZZ_COVER_H
#define FUZZ_COVER_H

#include "device.h"

#include <linux/kcov.h>

/* Places that one call reaches; the rest is not told. */
#define COVER_PLACES	(8u << 10)
#define COVER_BYTES	(COVER_PLACES * sizeof(uint64_t))

/* Places by their hash, shared by all programs. */
#define COVER_SEEN	(64u << 10)

static __thread uint64_t *cover;

/* For the rest of the thread's life. */
static inline void cover_begin(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);

	if (fd == -1)
		return;
	if (ioctl(fd, KCOV_INIT_TRACE, COVER_PLACES) == 0) {
		cover = mmap(NULL, COVER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (cover == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
			cover = NULL;
	}
	/* What is enabled keeps the file. */
	close(fd);
}

static inline void cover_forget(void)
{
	if (cover)
		__atomic_store_n(&cover[0], 0, __ATOMIC_RELAXED);
}

/* Marks what was reached since then in @seen; how much of it was new. */
static inline unsigned int cover_collect(uint8_t seen[COVER_SEEN])
{
	uint64_t places = cover ? __atomic_load_n(&cover[0], __ATOMIC_RELAXED) : 0;
	unsigned int fresh = 0;

	for (uint64_t i = 1; i <= places; i++) {
		uint64_t hash = cover[i] * 0x9e3779b97f4a7c15ull >> 48;

		if (!__atomic_load_n(&seen[hash], __ATOMIC_RELAXED))
			fresh += !__atomic_exchange_n(&seen[hash], 1, __ATOMIC_RELAXED);
	}
	return fresh;
}

#endif /* FUZZ_COVER_H */
