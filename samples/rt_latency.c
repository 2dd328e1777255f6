// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * How long it takes from a ring to the program that it wakes, for a real-time program: memory locked,
 * SCHED_FIFO. First sleeping in IVSHMEM_WAIT, then spinning on the event page.
 *
 *	rt_latency			rings this guest itself, to be tried alone
 *	rt_latency ROUNDS 0		in one guest, which measures the round trip and prints
 *	rt_latency ROUNDS 1		in the other one, which rings back
 */
#include "sample.h"
#include "histogram.h"
#include "realtime.h"
#include "rendezvous.h"

#define VECTOR		0
#define MEET_SECONDS	120
#define LIMIT_NS	30000000000ll	/* for one turn */
#define LINE_BYTES	64		/* so that the two numbers do not share a cache line */
#define SPINS		1000		/* between looks at the clock */

/* Who plays with whom. Alone, there are no numbers, and the interrupt itself is the answer. */
struct game {
	const struct sample *sample;
	const struct ivshmem_event_page *page;
	uint32_t peer;
	uint32_t *mine, *theirs;	/* numbers in the shared memory, or NULL */
	uint32_t before;		/* the vector's interrupts before the ring */
};

static void ring(struct game *game, uint32_t number)
{
	game->before = ivshmem_interrupts(game->page, VECTOR);
	if (game->mine)
		ivshmem_store(game->mine, number);
	sample_ring(game->sample, game->peer, VECTOR);
}

/* A doorbell is a hint. What counts is the number, where there is one. */
static bool has_come(const struct game *game, uint32_t number)
{
	if (game->theirs)
		return ivshmem_load(game->theirs) == number;
	return ivshmem_interrupts(game->page, VECTOR) != game->before;
}

static void sleep_for(struct game *game, uint32_t number)
{
	while (!has_come(game, number)) {
		uint64_t vectors = 1 << VECTOR;

		if (ivshmem_wait_vectors(game->sample->fd, &vectors, LIMIT_NS) != 0 && errno != EINTR)
			sample_fail("no answer");
	}
}

/* Spins until the vector is rung once more. */
static void spin_until_rung(const struct ivshmem_event_page *page, uint32_t seen, int64_t until)
{
	for (unsigned int spin = 1; ivshmem_interrupts(page, VECTOR) == seen; spin++) {
		if (spin % SPINS)
			continue;
		errno = ivshmem_is_gone(page) ? ENODEV : ETIMEDOUT;
		if (errno == ENODEV || sample_now_ns() > until)
			sample_fail("no answer");
	}
}

static void spin_for(struct game *game, uint32_t number)
{
	int64_t until = sample_now_ns() + LIMIT_NS;

	/* First remember the count, then look, then spin: what comes in between is seen. */
	for (;;) {
		uint32_t seen = ivshmem_interrupts(game->page, VECTOR);

		if (has_come(game, number))
			return;
		spin_until_rung(game->page, seen, until);
	}
}

/* One round: ring and wait for the answer, or wait and ring back. */
static void play(struct game *game, uint32_t number, bool begin, bool sleep)
{
	if (begin)
		ring(game, number);
	if (sleep)
		sleep_for(game, number);
	else
		spin_for(game, number);
	if (!begin)
		ring(game, number);
}

/* Plays @rounds rounds and prints how long they took, if this side has begun them. */
static void measure(struct game *game, uint32_t session, uint32_t rounds, bool begin, bool sleep)
{
	struct histogram histogram = { 0 };

	for (uint32_t round = 0; round < rounds; round++) {
		int64_t start = sample_now_ns();

		play(game, session + round, begin, sleep);
		histogram_add(&histogram, sample_now_ns() - start);
	}
	if (!begin)
		return;
	histogram_summary(sleep ? "sleeping" : "spinning", &histogram);
	histogram_print(&histogram);
}

/* Finds the other guest; returns the number that the rounds begin with, which nobody has used. */
static uint32_t meet(struct game *game, unsigned int me)
{
	uint32_t session, peers[RENDEZVOUS_SLOTS];
	char *memory = sample_map(game->sample, 4096);

	session = rendezvous(memory, me, 2, game->peer, peers, MEET_SECONDS);
	if (!session)
		errx(1, "the other guest did not come within %d s", MEET_SECONDS);
	game->peer = peers[!me];
	game->mine = (uint32_t *)(memory + RENDEZVOUS_BYTES + me * LINE_BYTES);
	game->theirs = (uint32_t *)(memory + RENDEZVOUS_BYTES + !me * LINE_BYTES);
	return session;
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 2, "rt_latency [-d DEVICE] [ROUNDS [0|1]]");
	uint32_t rounds = sample_number(&sample, 0, 1000, 10000000);
	uint32_t me = sample_number(&sample, 1, 0, 1), session = 0;
	struct game game = { .sample = &sample, .peer = sample.info.peer_id };

	if (rounds == 0)
		sample_help(sample.help, SAMPLE_USAGE);
	sample_need_vectors(&sample, VECTOR + 1);
	game.page = ivshmem_map_events(sample.fd);
	if (!game.page)
		sample_fail("cannot map the event page");
	if (sample.argc == 2)
		session = meet(&game, me);
	realtime_start();
	measure(&game, session, rounds, me == 0, true);
	measure(&game, session + rounds, rounds, me == 0, false);
	return 0;
}
