// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * How long a round trip between two guests takes: write a number, ring, sleep until rung, and the
 * same back.
 *
 *	pingpong 0 [ROUNDS]	in one guest, which measures and prints
 *	pingpong 1 [ROUNDS]	in the other one, with the same ROUNDS (1000)
 */
#include "sample.h"
#include "rendezvous.h"

#define VECTOR		0
#define MEET_SECONDS	120
#define LIMIT_NS	30000000000ll	/* for one answer */
#define LINE_BYTES	64	/* so that the two numbers do not share a cache line */

/* Sleeps until the other guest has written @value. */
static void wait_for(const struct sample *sample, const uint32_t *theirs, uint32_t value)
{
	/* The doorbell is only a hint: look at the memory before each sleep. */
	while (ivshmem_load(theirs) != value) {
		uint64_t vectors = 1 << VECTOR;

		if (ivshmem_wait_vectors(sample->fd, &vectors, LIMIT_NS) != 0 && errno != EINTR)
			sample_fail("no answer");
	}
}

static void tell(const struct sample *sample, uint32_t *mine, uint32_t value, uint32_t peer)
{
	ivshmem_store(mine, value);
	sample_ring(sample, peer, VECTOR);
}

static int by_size(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static void print_table(double *times, uint32_t rounds)
{
	qsort(times, rounds, sizeof(*times), by_size);
	printf("%8s %10s %10s %10s %10s\n", "rounds", "min", "median", "p99", "max");
	printf("%8u %7.1f us %7.1f us %7.1f us %7.1f us\n", rounds, times[0], times[rounds / 2],
	       times[rounds * 99 / 100], times[rounds - 1]);
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 2, "pingpong [-d DEVICE] 0|1 [ROUNDS]");
	uint32_t me = sample_number(&sample, 0, 2, 1), rounds = sample_number(&sample, 1, 1000, 10000000);
	uint32_t session, peers[RENDEZVOUS_SLOTS], *mine, *theirs;
	char *memory;
	double *times;

	if (me > 1 || rounds == 0)
		sample_help(sample.help, SAMPLE_USAGE);
	sample_need_vectors(&sample, VECTOR + 1);
	times = calloc(rounds, sizeof(*times));
	if (!times)
		err(1, "calloc");

	memory = sample_map(&sample, 4096);
	mine = (uint32_t *)(memory + RENDEZVOUS_BYTES + me * LINE_BYTES);
	theirs = (uint32_t *)(memory + RENDEZVOUS_BYTES + !me * LINE_BYTES);
	session = rendezvous(memory, me, 2, sample.info.peer_id, peers, MEET_SECONDS);
	if (!session)
		errx(1, "the other guest did not come within %d s", MEET_SECONDS);

	/* Numbers start at the session's, which nobody has written before. */
	for (uint32_t round = 0; round < rounds; round++) {
		int64_t start = sample_now_ns();

		if (me == 1)
			wait_for(&sample, theirs, session + round);
		tell(&sample, mine, session + round, peers[!me]);
		if (me == 0)
			wait_for(&sample, theirs, session + round);
		times[round] = (sample_now_ns() - start) / 1e3;
	}
	if (me == 0)
		print_table(times, rounds);
	return 0;
}
