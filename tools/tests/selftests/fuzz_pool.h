/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the calls of a fuzzed program are made with: descriptors, mappings, pointers. The threads of a
 * program share the pool, and race for what is in it on purpose.
 */
#ifndef FUZZ_POOL_H
#define FUZZ_POOL_H

#include "device.h"
#include "random.h"

#include <pthread.h>
#include <setjmp.h>

/* Places for descriptors; the first are for those of the device. */
#define FILES		16
#define DEVICES		6
#define AREAS		4
#define SCRATCH_BYTES	8192

/* What mmap() has returned and munmap() is still to get. */
struct area {
	char *at;
	size_t bytes;
};

struct pool {
	int files[FILES];
	struct area areas[AREAS];
	pthread_mutex_t areas_lock;
	/* Pages that can be read only, and not at all; the end of the last that can be accessed. */
	char *read_only, *unmapped, *end;
	struct ivshmem_info info;
};

/* One thread of a program. */
struct fuzzer {
	struct pool *pool;
	uint32_t random;
	_Alignas(16) char scratch[SCRATCH_BYTES];
};

static inline uint32_t pick(struct fuzzer *f, uint32_t limit)
{
	return random_below(&f->random, limit);
}

static inline bool rarely(struct fuzzer *f)
{
	return one_in(&f->random, 16);
}

static inline uint64_t random_64(struct fuzzer *f)
{
	uint64_t high = next_random(&f->random);

	return high << 32 | next_random(&f->random);
}

/* A number around those where something changes. */
static inline uint64_t odd_number(struct fuzzer *f)
{
	switch (pick(f, 6)) {
	case 0:
		return 0;
	case 1:
		return random_64(f);
	case 2:
		return (1ull << pick(f, 64)) - 1;
	case 3:
		return 1ull << pick(f, 64);
	case 4:
		return f->pool->info.shm_size - pick(f, 8);
	default:
		return pick(f, 100);
	}
}

/* --- descriptors --- */

/* Most often one that is open, of places @first to @last. */
static inline int file_of(struct fuzzer *f, unsigned int first, unsigned int last)
{
	int fd = -1;

	if (one_in(&f->random, 64))
		return (int)next_random(&f->random);
	for (unsigned int tries = 0; fd < 0 && tries < 6; tries++)
		fd = __atomic_load_n(&f->pool->files[first + pick(f, last - first + 1)],
				     __ATOMIC_RELAXED);
	return fd;
}

static inline int some_file(struct fuzzer *f)
{
	return file_of(f, 0, FILES - 1);
}

/* Most often the device. */
static inline int some_device(struct fuzzer *f)
{
	return rarely(f) ? some_file(f) : file_of(f, 0, DEVICES - 1);
}

/* Most often anything else. */
static inline int some_other(struct fuzzer *f)
{
	return rarely(f) ? some_file(f) : file_of(f, DEVICES, FILES - 1);
}

static inline void put(int fd, int *place)
{
	int before;

	if (fd < 0)
		return;
	before = __atomic_exchange_n(place, fd, __ATOMIC_RELAXED);
	if (before >= 0)
		close(before);
}

/* Puts a descriptor of the device into a random place for such, and closes what was there. */
static inline void put_device(struct fuzzer *f, int fd)
{
	put(fd, &f->pool->files[pick(f, DEVICES)]);
}

/* The same for a descriptor of something else. */
static inline void put_other(struct fuzzer *f, int fd)
{
	put(fd, &f->pool->files[DEVICES + pick(f, FILES - DEVICES)]);
}

static inline int take_file(struct fuzzer *f)
{
	return __atomic_exchange_n(&f->pool->files[pick(f, FILES)], -1, __ATOMIC_RELAXED);
}

/* --- mappings --- */

/* A mapping that others can use, move and unmap meanwhile; no bytes if none was found. */
static inline struct area some_area(struct fuzzer *f)
{
	struct area area = { 0 };

	pthread_mutex_lock(&f->pool->areas_lock);
	for (unsigned int tries = 0; !area.bytes && tries < 6; tries++)
		area = f->pool->areas[pick(f, AREAS)];
	pthread_mutex_unlock(&f->pool->areas_lock);
	return area;
}

/* Puts @new into a random place; returns what was there, for the caller alone. */
static inline struct area exchange_area(struct fuzzer *f, struct area new)
{
	struct area *place = &f->pool->areas[pick(f, AREAS)], before;

	pthread_mutex_lock(&f->pool->areas_lock);
	before = *place;
	*place = new;
	pthread_mutex_unlock(&f->pool->areas_lock);
	return before;
}

static inline struct area take_area(struct fuzzer *f)
{
	return exchange_area(f, (struct area){ 0 });
}

static inline void put_area(struct fuzzer *f, char *at, size_t bytes)
{
	struct area before = exchange_area(f, (struct area){ at, bytes });

	if (before.bytes)
		munmap(before.at, before.bytes);
}

/* A random part of whole pages of @area. */
static inline struct area part_of(struct fuzzer *f, struct area area)
{
	size_t pages = area.bytes / PAGE_BYTES, first;

	if (pages < 2 || one_in(&f->random, 3))
		return area;
	first = pick(f, pages);
	return (struct area){ area.at + first * PAGE_BYTES,
			      (1 + pick(f, pages - first)) * PAGE_BYTES };
}

/* --- memory that may be gone --- */

/* Volatile: a signal handler reads it. */
static __thread sigjmp_buf *volatile touching;

static inline void on_bad_touch(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (touching)
		siglongjmp(*touching, signal);
	dprintf(STDERR_FILENO, "the program itself faulted: signal %d, code %d, address %p\n", signal,
		info->si_code, info->si_addr);
	raise(SIGABRT);
}

/* Copies, of which either end may be gone; whether all went well. */
static inline bool touch_copy(volatile char *to, const volatile char *from, size_t bytes)
{
	sigjmp_buf failed;

	if (sigsetjmp(failed, 0)) {
		touching = NULL;
		return false;
	}
	touching = &failed;
	for (size_t i = 0; i < bytes; i++)
		to[i] = from[i];
	touching = NULL;
	return true;
}

/* --- pointers --- */

/* Where a system call may read or write @bytes, or fail in different ways. */
static inline char *some_pointer(struct fuzzer *f, size_t bytes)
{
	struct area area = some_area(f);

	switch (pick(f, 12)) {
	case 0:
		return one_in(&f->random, 2) ? NULL : (char *)-4096l;
	case 1:
		return f->pool->unmapped;
	case 2:
		return f->pool->read_only;
	case 3:
		return f->pool->end - pick(f, bytes + 1);
	case 4:
	case 5:
		if (area.bytes)
			return area.at + pick(f, area.bytes);
		/* fall through */
	default:
		return f->scratch;
	}
}

/* A pointer to @value for a call, most often. */
static inline void *argument(struct fuzzer *f, const void *value, size_t bytes)
{
	char *at = some_pointer(f, bytes);

	if (at)
		touch_copy(at, value, bytes);
	return at;
}

#define ARGUMENT(f, ...) ({							\
	__typeof__(__VA_ARGS__) value_ = __VA_ARGS__;				\
	argument(f, &value_, sizeof(value_)); })

#endif /* FUZZ_POOL_H */
