// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Litmus test of IVSHMEM_RING's promise: what a thread wrote to the shared memory before it rings is
 * what the woken peer reads. The data is written with plain stores to lines far from each other, and
 * nothing but the doorbell orders them; two threads on each side do this at once.
 *
 *	order 0|1 [ROUNDS]
 *
 * Start it in both guests, with 0 in one and 1 in the other, and the same ROUNDS (5000).
 */
#include "guests.h"

#include <pthread.h>

#define DEFAULT_ROUNDS	5000
#define THREADS		2
#define SPREAD		8	/* words of a round */
#define APART		4096u	/* bytes between them */

struct player {
	const struct guests *guests;
	unsigned int thread, rounds;
	int fd;
	pthread_t id;
};

/* Word @i of what @guest's @thread writes. */
static uint32_t *word(const struct player *player, unsigned int guest, unsigned int i)
{
	size_t place = (guest * THREADS + player->thread) * SPREAD + i;

	_Static_assert(DATA_AT + 2 * THREADS * SPREAD * APART <= GUEST_BYTES, "words fit");
	return (uint32_t *)(player->guests->memory + DATA_AT + place * APART + i * LINE_BYTES);
}

static void write_and_ring(const struct player *player, uint32_t round)
{
	const struct guests *guests = player->guests;

	for (unsigned int i = 0; i < SPREAD; i++)
		__atomic_store_n(word(player, guests->me, i), guests->session + round,
				 __ATOMIC_RELAXED);
	CHECK(ring(player->fd, guests->peers[!guests->me], player->thread));
}

/* Thread 0 sleeps in read, thread 1 in IVSHMEM_WAIT; both hear their own vector only. */
static void sleep_for_ring(const struct player *player)
{
	struct ivshmem_wait wait = { .timeout_ns = -1 };
	struct ivshmem_event event;

	if (player->thread == 0)
		CHECK(read(player->fd, &event, sizeof(event)));
	else
		CHECK(ioctl(player->fd, IVSHMEM_WAIT, &wait));
}

static void check_words(const struct player *player, uint32_t round)
{
	const struct guests *guests = player->guests;

	/* Last written, first read. */
	for (unsigned int i = SPREAD; i-- > 0;) {
		uint32_t found = __atomic_load_n(word(player, !guests->me, i), __ATOMIC_RELAXED);

		if (found != guests->session + round)
			fail("thread %u, round %u: word %u is of round %d", player->thread, round, i,
			     (int)(found - guests->session));
	}
}

static void *play(void *argument)
{
	const struct player *player = argument;

	for (uint32_t round = 0; round < player->rounds; round++) {
		if (player->guests->me == 0)
			write_and_ring(player, round);
		sleep_for_ring(player);
		check_words(player, round);
		if (player->guests->me == 1)
			write_and_ring(player, round);
		test_progress();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct player players[THREADS];
	struct guests guests;
	unsigned int me, rounds;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: order 0|1 [ROUNDS]\n");
		return TEST_EXIT_USAGE;
	}
	me = number_argument(argv[1], 0, 1);
	rounds = argc == 3 ? number_argument(argv[2], 1, 100000000) : DEFAULT_ROUNDS;
	meet(&guests, me, 2);
	if (guests.info.vectors < THREADS)
		fail("needs %d vectors, the device has %u", THREADS, guests.info.vectors);
	for (unsigned int i = 0; i < THREADS; i++) {
		players[i] = (struct player){ .guests = &guests, .thread = i, .rounds = rounds };
		players[i].fd = CHECK(open(dev_path(), O_RDWR | O_CLOEXEC));
		CHECK(subscribe(players[i].fd, 1ull << i));
	}
	barrier(&guests, 2);
	test_waits_for("a ring of the other guest");
	for (unsigned int i = 0; i < THREADS; i++)
		if (pthread_create(&players[i].id, NULL, play, &players[i]) != 0)
			fail("cannot start a thread");
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(players[i].id, NULL);
	barrier(&guests, 3);
	printf("order %u: %u rounds of %d threads passed\n", me, rounds, THREADS);
	return 0;
}
