/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * One of the listening ends of the loss test: a file that is waited on without any time limit, and
 * what happens to it meanwhile.
 */
#ifndef OPENER_H
#define OPENER_H

#include "guests.h"
#include "random.h"

#include <pthread.h>
#include <sys/eventfd.h>

#define OPENERS		4

/* What is done to the files between a wake-up and the next sleep. */
enum variant { STEADY, REOPEN, EVENTFDS, SUBSCRIPTIONS, VARIANTS };

/* How an opener sleeps. */
enum method { BY_READ, BY_POLL, BY_EVENTFD, BY_WAIT };

/* In shared memory, each word in a line of its own. */
struct line {
	uint32_t word;
	uint32_t pad[15];
};

struct control {
	struct line go, done;		/* variant that may start, that has ended */
	struct line burst;		/* the latest burst */
	struct line seen[OPENERS];	/* the latest burst that each opener has seen */
	struct line rings[IVSHMEM_MAX_VECTORS];
};

/* In the listening guest's own memory. */
struct local {
	uint32_t stop, settled, opened, finished;
	uint64_t counted[OPENERS][IVSHMEM_MAX_VECTORS];
};

struct opener {
	const struct guests *guests;
	struct control *control;
	struct local *local;
	enum method method;
	enum variant variant;
	uint32_t random;
	int fd;
	int eventfds[IVSHMEM_MAX_VECTORS];
	pthread_t thread;
};

static inline struct control *control_of(const struct guests *guests)
{
	return (struct control *)(guests->memory + DATA_AT);
}

static inline void bind_new_eventfd(struct opener *opener, unsigned int vector)
{
	int old = opener->eventfds[vector];
	struct ivshmem_eventfd binding = {
		.vector = vector, .fd = CHECK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
	};

	CHECK(ioctl(opener->fd, IVSHMEM_SET_EVENTFD, &binding));
	opener->eventfds[vector] = binding.fd;
	if (old >= 0)
		close(old);
}

static inline void open_device(struct opener *opener)
{
	opener->fd = CHECK(open(dev_path(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
	for (unsigned int v = 0; v < opener->guests->info.vectors; v++) {
		opener->eventfds[v] = -1;
		if (opener->method == BY_EVENTFD)
			bind_new_eventfd(opener, v);
	}
}

static inline void close_device(struct opener *opener)
{
	close(opener->fd);
	for (unsigned int v = 0; v < opener->guests->info.vectors; v++)
		if (opener->eventfds[v] >= 0)
			close(opener->eventfds[v]);
}

/* Reads what is pending and adds it up; false if there was nothing. */
static inline bool take(struct opener *opener)
{
	uint64_t *counted = opener->local->counted[opener->method];
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	ssize_t bytes = read(opener->fd, events, sizeof(events));

	if (bytes == -1 && errno == EAGAIN)
		return false;
	CHECK(bytes);
	for (size_t i = 0; i < bytes / sizeof(events[0]); i++)
		counted[events[i].vector] += events[i].count;
	return true;
}

/* What the variant does to the file between a wake-up and the next look at the memory. */
static inline void disturb(struct opener *opener)
{
	uint32_t random = next_random(&opener->random);
	unsigned int vectors = opener->guests->info.vectors;

	switch (opener->variant) {
	case REOPEN:
		if (random % 4 == 0) {
			close_device(opener);
			open_device(opener);
		}
		break;
	case EVENTFDS:
		if (opener->method == BY_EVENTFD)
			bind_new_eventfd(opener, random % vectors);
		break;
	case SUBSCRIPTIONS:
		CHECK(subscribe(opener->fd, random & ((1u << vectors) - 1)));
		take(opener);
		CHECK(subscribe(opener->fd, (1ull << vectors) - 1));
		break;
	default:
		break;
	}
}

/* Sleeps until any eventfd is signalled and clears them. */
static inline void sleep_by_eventfd(struct opener *opener)
{
	struct pollfd entries[IVSHMEM_MAX_VECTORS];
	unsigned int vectors = opener->guests->info.vectors;
	uint64_t count;

	for (unsigned int v = 0; v < vectors; v++)
		entries[v] = (struct pollfd){ .fd = opener->eventfds[v], .events = POLLIN };
	CHECK(poll(entries, vectors, -1));
	for (unsigned int v = 0; v < vectors; v++)
		if (entries[v].revents)
			CHECK(read(opener->eventfds[v], &count, sizeof(count)));
}

/* Sleeps without a time limit until something is pending; then takes it. */
static inline void sleep_and_take(struct opener *opener)
{
	struct pollfd entry = { .fd = opener->fd, .events = POLLIN };
	struct ivshmem_wait wait = { .timeout_ns = -1 };

	switch (opener->method) {
	case BY_READ:
		CHECK(fcntl(opener->fd, F_SETFL, 0));
		take(opener);
		CHECK(fcntl(opener->fd, F_SETFL, O_NONBLOCK));
		break;
	case BY_POLL:
		CHECK(poll(&entry, 1, -1));
		if (!take(opener))
			fail("poll said readable, read finds nothing");
		break;
	case BY_EVENTFD:
		sleep_by_eventfd(opener);
		take(opener);
		break;
	case BY_WAIT:
		CHECK(ioctl(opener->fd, IVSHMEM_WAIT, &wait));
		if (!wait.vectors)
			fail("WAIT returned without a vector");
		break;
	}
}

static inline void *listen_until_stop(void *argument)
{
	struct opener *opener = argument;

	open_device(opener);
	__atomic_fetch_add(&opener->local->opened, 1, __ATOMIC_RELEASE);
	for (;;) {
		disturb(opener);
		store(&opener->control->seen[opener->method].word,
		      load(&opener->control->burst.word));
		if (load(&opener->local->stop))
			break;
		sleep_and_take(opener);
		test_progress();
	}
	while (!load(&opener->local->settled))
		usleep(1000);
	take(opener);
	if (poll_now(opener->fd, POLLIN))
		fail("opener %d: something is pending after all was read", opener->method);
	close_device(opener);
	__atomic_fetch_add(&opener->local->finished, 1, __ATOMIC_RELEASE);
	return NULL;
}

#endif /* OPENER_H */
