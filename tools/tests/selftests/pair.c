// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two guests answer each other: every round carries a checked record each way and wakes the other
 * side by read, poll, an eventfd or IVSHMEM_WAIT in turn, on every vector in turn.
 *
 *	pair 0|1 [ROUNDS]
 *
 * Start it in both guests, with 0 in one and 1 in the other, and the same ROUNDS (10000).
 * Both devices must have the same number of vectors.
 */
#include "guests.h"

#include <sys/eventfd.h>

#define DEFAULT_ROUNDS	10000

static void take_event(const struct guests *guests, unsigned int vector)
{
	struct ivshmem_event event;

	CHECK(read(guests->fd, &event, sizeof(event)));
	if (event.vector != vector || event.count != 1 || event.reserved != 0)
		fail("vector %u counted %llu times, expected vector %u once", event.vector,
		     (unsigned long long)event.count, vector);
}

static void wait_by_read(const struct guests *guests, unsigned int vector)
{
	take_event(guests, vector);
}

static void wait_by_poll(const struct guests *guests, unsigned int vector)
{
	struct pollfd entry = { .fd = guests->fd, .events = POLLIN };

	CHECK(poll(&entry, 1, -1));
	if (entry.revents != POLLIN)
		fail("poll reports %#x", (unsigned int)entry.revents);
	take_event(guests, vector);
}

static void wait_by_eventfd(const struct guests *guests, unsigned int vector)
{
	struct ivshmem_eventfd binding = { .vector = vector, .fd = CHECK(eventfd(0, EFD_CLOEXEC)) };
	uint64_t count;

	CHECK(ioctl(guests->fd, IVSHMEM_SET_EVENTFD, &binding));
	CHECK(read(binding.fd, &count, sizeof(count)));
	close(binding.fd);
	binding.fd = -1;
	CHECK(ioctl(guests->fd, IVSHMEM_SET_EVENTFD, &binding));
	take_event(guests, vector);
}

static void wait_by_wait(const struct guests *guests, unsigned int vector)
{
	struct ivshmem_wait wait = { .vectors = 1ull << vector, .timeout_ns = -1 };

	CHECK(ioctl(guests->fd, IVSHMEM_WAIT, &wait));
	if (wait.vectors != 1ull << vector)
		fail("WAIT for vector %u returned the mask %#llx", vector,
		     (unsigned long long)wait.vectors);
}

static void (*const methods[])(const struct guests *guests, unsigned int vector) = {
	wait_by_read, wait_by_poll, wait_by_eventfd, wait_by_wait,
};

#define METHODS	(sizeof(methods) / sizeof(methods[0]))

int main(int argc, char **argv)
{
	unsigned int me, other, rounds, vectors;
	struct guests guests;
	unsigned char *mine, *theirs;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: pair 0|1 [ROUNDS]\n");
		return TEST_EXIT_USAGE;
	}
	me = number_argument(argv[1], 0, 1);
	rounds = argc == 3 ? number_argument(argv[2], 1, 100000000) : DEFAULT_ROUNDS;
	meet(&guests, me, 2);
	other = !me;
	vectors = guests.info.vectors;
	mine = guests.memory + DATA_AT + me * LINE_BYTES;
	theirs = guests.memory + DATA_AT + other * LINE_BYTES;
	for (unsigned int round = 0; round < rounds; round++) {
		unsigned int vector = round % vectors;

		test_waits_for("round %u", round);
		if (me == 0) {
			write_record(&guests, mine, other, round);
			ring_guest(&guests, other, vector);
		}
		methods[round / vectors % METHODS](&guests, vector);
		check_record(&guests, theirs, other, round);
		if (me == 1) {
			write_record(&guests, mine, other, round);
			ring_guest(&guests, other, vector);
		}
		test_progress();
	}
	barrier(&guests, 2);
	if (poll_now(guests.fd, POLLIN))
		fail("something is pending at the end");
	printf("pair %u: %u rounds over %u vectors with peer %u passed\n", me, rounds, vectors,
	       guests.peers[other]);
	return 0;
}
