/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the single-guest tests share: opening the device under test, ringing oneself, and waiting
 * until a ring has arrived.
 *
 *	IVSHMEM_DEV	the device under test, with a doorbell; /dev/ivshmem0 if unset
 *	IVSHMEM_DEV2	a second device; cases that need it are skipped if unset
 *	IVSHMEM_PLAIN	a device without a doorbell, for the program "plain"
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "harness.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/ivshmem_rs.h>

/* The size of a page; not all architectures have one alone. */
#define PAGE_BYTES	((unsigned int)sysconf(_SC_PAGESIZE))

static inline const char *dev_path(void)
{
	const char *path = getenv("IVSHMEM_DEV");

	return path ? path : "/dev/ivshmem0";
}

static inline int dev_open(int flags)
{
	return (int)ASSERT_OK(open(dev_path(), flags | O_CLOEXEC));
}

static inline struct ivshmem_info dev_info(int fd)
{
	struct ivshmem_info info;

	memset(&info, 0xa5, sizeof(info));
	ASSERT_OK(ioctl(fd, IVSHMEM_GET_INFO, &info));
	return info;
}

/* Opens the device; the case is skipped unless at least @vectors are armed. */
static inline int dev_open_with(int flags, unsigned int vectors)
{
	int fd = dev_open(flags);
	struct ivshmem_info info = dev_info(fd);

	if (info.vectors < vectors)
		SKIP("needs %u vectors, %s has %u", vectors, dev_path(), info.vectors);
	return fd;
}

static inline unsigned int dev_vectors(int fd)
{
	return dev_info(fd).vectors;
}

/* The last armed vector: rung by settle(), so cases watch other ones for silence. */
static inline unsigned int dev_last_vector(int fd)
{
	return dev_vectors(fd) - 1;
}

static inline int ring(int fd, unsigned int peer, unsigned int vector)
{
	struct ivshmem_ring ring = { .peer = peer, .vector = vector };

	return ioctl(fd, IVSHMEM_RING, &ring);
}

static inline void ring_self(int fd, unsigned int vector)
{
	ASSERT_OK(ring(fd, dev_info(fd).peer_id, vector));
}

static inline int subscribe(int fd, uint64_t mask)
{
	__u64 argument = mask;

	return ioctl(fd, IVSHMEM_SUBSCRIBE, &argument);
}

/* What poll() reports right now out of @wanted, POLLERR, POLLHUP and POLLNVAL. */
static inline short poll_now(int fd, short wanted)
{
	struct pollfd entry = { .fd = fd, .events = wanted };

	ASSERT_OK(poll(&entry, 1, 0));
	return entry.revents;
}

/* Waits until @fd (a device or an eventfd) is readable. */
static inline void wait_readable(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	test_waits_for("a device or an eventfd to be readable");
	ASSERT_EQ(1, poll(&entry, 1, -1));
	ASSERT_EQ(POLLIN, entry.revents);
}

/* Reads what is pending on a file opened with O_NONBLOCK; returns the number of records. */
static inline unsigned int read_events(int fd, struct ivshmem_event *events, unsigned int room)
{
	ssize_t bytes = read(fd, events, room * sizeof(*events));

	if (bytes == -1 && errno == EAGAIN)
		return 0;
	ASSERT_OK(bytes);
	ASSERT_TRUE(bytes > 0);
	ASSERT_EQ(0, bytes % sizeof(*events));
	return bytes / sizeof(*events);
}

/* Reads and forgets; returns the mask of the vectors that were pending. */
static inline uint64_t take_pending(int fd)
{
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	unsigned int n = read_events(fd, events, IVSHMEM_MAX_VECTORS);
	uint64_t mask = 0;

	for (unsigned int i = 0; i < n; i++) {
		ASSERT_TRUE(events[i].vector < IVSHMEM_MAX_VECTORS);
		mask |= 1ull << events[i].vector;
	}
	return mask;
}

/* Waits for at least the vectors of @mask on a file opened with O_NONBLOCK and reads them. */
static inline uint64_t wait_for_vectors(int fd, uint64_t mask)
{
	uint64_t seen = 0;

	while ((seen & mask) != mask) {
		wait_readable(fd);
		seen |= take_pending(fd);
	}
	return seen;
}

/* Rings this end's @vector and waits, with a file of its own, until the driver has counted it. */
static inline void ring_arrives(unsigned int vector)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);

	ring_self(fd, vector);
	wait_for_vectors(fd, 1ull << vector);
	close(fd);
}

/* Binds @count eventfds to @vector, each of a file of its own, which stay open. */
static inline void bind_eventfds(unsigned int vector, unsigned int count)
{
	int number = (int)ASSERT_OK(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	for (unsigned int n = 0; n < count; n++) {
		struct ivshmem_eventfd binding = { .vector = vector, .fd = number };

		ASSERT_OK(ioctl(dev_open(O_RDWR), IVSHMEM_SET_EVENTFD, &binding));
	}
}

/* Lets this thread run on each CPU that it may use, one after the other. */
static inline void visit_cpus(void)
{
	cpu_set_t all, one;

	ASSERT_OK(sched_getaffinity(0, sizeof(all), &all));
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		ASSERT_OK(sched_setaffinity(0, sizeof(one), &one));
	}
	ASSERT_OK(sched_setaffinity(0, sizeof(all), &all));
}

/*
 * Returns when the driver has handled everything rung before. Only the interrupts of one vector
 * have an order. The host may deliver several vectors in any order in one turn, so a marker is rung
 * twice: the second one comes in a later turn, when all before it are with their CPUs. Another CPU
 * than the marker's may still have to take its own; once it runs this program, it has.
 */
static inline void settle(int fd)
{
	unsigned int marker = dev_last_vector(fd);

	ring_arrives(marker);
	ring_arrives(marker);
	visit_cpus();
}

/* Maps @len bytes at @offset of a region; MAP_FAILED and errno if that is refused. */
static inline void *map_region(int fd, unsigned int region, uint64_t offset, size_t len, int prot)
{
	return mmap(NULL, len, prot, MAP_SHARED, fd,
		    (off_t)(((uint64_t)region << IVSHMEM_REGION_SHIFT) | offset));
}

static inline void *must_map(int fd, unsigned int region, uint64_t offset, size_t len, int prot)
{
	void *at = map_region(fd, region, offset, len, prot);

	if (at == MAP_FAILED) {
		EXPECT_OK((long)at);
		test_stop();
	}
	return at;
}

static inline const volatile struct ivshmem_event_page *map_event_page(int fd)
{
	return must_map(fd, IVSHMEM_REGION_EVENTS, 0, PAGE_BYTES, PROT_READ);
}

/* A page that is mapped nowhere. */
static inline void *bad_pointer(void)
{
	void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	ASSERT_TRUE(at != MAP_FAILED);
	ASSERT_OK(munmap(at, PAGE_BYTES));
	return at;
}

/* The end of a writable page that is followed by one without any access. */
static inline char *page_end(void)
{
	char *at = mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	ASSERT_TRUE((void *)at != MAP_FAILED);
	ASSERT_OK(mprotect(at + PAGE_BYTES, PAGE_BYTES, PROT_NONE));
	return at + PAGE_BYTES;
}

/* CLOCK_MONOTONIC in nanoseconds. */
static inline int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

#endif /* DEVICE_H */
