// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * No wake-up is lost: one guest rings at random at full speed, in the other four open files in three
 * processes wait, by read, poll, eventfds and IVSHMEM_WAIT, without any time limit.
 *
 *	loss listen
 *	loss ring SECONDS
 *
 * The ringing guest rings in bursts, writes the burst's number into the shared memory, rings once
 * more, and goes on when all four have seen that number: one that slept with something pending would
 * stop it. That goes on for SECONDS in each of four variants: files kept open, files closed and
 * opened again, eventfds replaced, subscriptions changed. After each, nothing is pending and the
 * counts of each file equal the interrupts that the event page shows.
 */
#include "opener.h"

#include <sys/prctl.h>

#define LISTENER	0
#define RINGER		1
#define MAX_BURST	600

static const char *const variant_names[] = { "steady", "reopen", "eventfds", "subscriptions" };

/* Four openers in three processes: the last two are threads of one. */
static void start_openers(const struct guests *guests, struct local *local, enum variant variant)
{
	for (int process = 0; process < 3; process++) {
		struct opener openers[2];
		int n = process == 2 ? 2 : 1;

		if (CHECK(fork()) != 0)
			continue;
		CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
		for (int i = 0; i < n; i++) {
			openers[i] = (struct opener){
				.guests = guests, .control = control_of(guests), .local = local,
				.method = process + i, .variant = variant,
				.random = guests->session + process + i + 1,
			};
			if (pthread_create(&openers[i].thread, NULL, listen_until_stop, &openers[i]))
				fail("cannot start a thread");
		}
		for (int i = 0; i < n; i++)
			pthread_join(openers[i].thread, NULL);
		_exit(0);
	}
}

/* Waits until a word of this guest or of shared memory has @value. */
static void wait_word_is(const uint32_t *word, uint32_t value, const char *what)
{
	test_waits_for("%s", what);
	while (load(word) != value)
		usleep(1000);
}

/* Waits for the three processes; each must have ended well. */
static void join_openers(void)
{
	int status;

	for (int process = 0; process < 3; process++) {
		CHECK(wait(&status));
		if (status != 0)
			fail("a listening process ended with status %#x", status);
	}
}

static void check_counts(const struct guests *guests, const struct local *local,
			 enum variant variant, const uint64_t before[], const uint64_t after[])
{
	for (unsigned int v = 0; v < guests->info.vectors; v++) {
		uint64_t interrupts = after[v] - before[v];

		for (int opener = BY_READ; opener < BY_WAIT; opener++) {
			uint64_t counted = local->counted[opener][v];

			/* A file that is opened later misses what came before. */
			if (variant == REOPEN ? counted > interrupts : counted != interrupts)
				fail("opener %d counted %llu of %llu interrupts of vector %u", opener,
				     (unsigned long long)counted, (unsigned long long)interrupts, v);
		}
	}
}

static void listen_to(const struct guests *guests, enum variant variant)
{
	struct local *local = mmap(NULL, sizeof(*local), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const volatile struct ivshmem_event_page *page = map_event_page(guests->fd);
	struct control *control = control_of(guests);
	uint64_t before[IVSHMEM_MAX_VECTORS], after[IVSHMEM_MAX_VECTORS], total = 0, rung = 0;

	if (local == MAP_FAILED)
		fail("no memory");
	for (unsigned int v = 0; v < IVSHMEM_MAX_VECTORS; v++)
		before[v] = page->seq[v];
	start_openers(guests, local, variant);
	wait_word_is(&local->opened, OPENERS, "all openers to be ready");
	store(&control->go.word, guests->session + variant);
	wait_word_is(&control->done.word, guests->session + variant, "the ringer's last burst");
	/* All rings of the other guest are in after this; then wake everybody once more to stop. */
	settle(guests->fd);
	store(&local->stop, 1);
	for (unsigned int v = 0; v < guests->info.vectors; v++)
		ring_arrives(v);
	for (unsigned int v = 0; v < IVSHMEM_MAX_VECTORS; v++) {
		after[v] = page->seq[v];
		total += after[v] - before[v];
		rung += load(&control->rings[v].word);
	}
	store(&local->settled, 1);
	wait_word_is(&local->finished, OPENERS, "all openers to wake at the end");
	join_openers();
	check_counts(guests, local, variant, before, after);
	/* This guest has rung each vector once, and its marker twice. */
	if (total > rung + guests->info.vectors + 2)
		fail("%llu interrupts for %llu rings", (unsigned long long)total,
		     (unsigned long long)rung);
	printf("loss %s: %llu rings, %llu interrupts, counts add up\n", variant_names[variant],
	       (unsigned long long)rung, (unsigned long long)total);
}

/* Rings at random, at full speed, one at a time or many at once. */
static void ring_burst(const struct guests *guests, uint32_t *random, unsigned int count)
{
	static struct ivshmem_ring rings[MAX_BURST];
	struct ivshmem_ring_many many = { .count = count, .rings = (uintptr_t)rings };
	struct control *control = control_of(guests);

	for (unsigned int i = 0; i < count; i++) {
		rings[i].peer = guests->peers[LISTENER];
		rings[i].vector = next_random(random) % guests->info.vectors;
		control->rings[rings[i].vector].word++;
	}
	if (count > 1 && next_random(random) % 2) {
		CHECK(ioctl(guests->fd, IVSHMEM_RING_MANY, &many));
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		CHECK(ioctl(guests->fd, IVSHMEM_RING, &rings[i]));
}

/* Waits until all openers have seen the burst. */
static void wait_seen(const struct guests *guests, uint32_t burst)
{
	struct control *control = control_of(guests);

	for (int opener = 0; opener < OPENERS; opener++) {
		test_waits_for("opener %d, which was rung, to wake", opener);
		while (load(&control->seen[opener].word) != burst)
			sched_yield();
	}
	test_progress();
}

static void ring_for(const struct guests *guests, enum variant variant, unsigned int seconds,
		     uint32_t *burst)
{
	struct control *control = control_of(guests);
	uint32_t random = guests->session + 77 * variant + 1, first = *burst;
	int64_t end;

	wait_word_is(&control->go.word, guests->session + variant, "the listener to be ready");
	for (unsigned int v = 0; v < IVSHMEM_MAX_VECTORS; v++)
		control->rings[v].word = 0;
	end = now_ns() + seconds * 1000000000ll;
	while (now_ns() < end) {
		ring_burst(guests, &random, 1 + next_random(&random) % MAX_BURST);
		store(&control->burst.word, ++*burst);
		ring_burst(guests, &random, 1);
		wait_seen(guests, *burst);
	}
	store(&control->done.word, guests->session + variant);
	printf("loss %s: %u bursts\n", variant_names[variant], *burst - first);
}

int main(int argc, char **argv)
{
	bool ringer = argc == 3 && !strcmp(argv[1], "ring");
	unsigned int seconds = 0;
	struct guests guests;
	uint32_t burst;

	if (!ringer && (argc != 2 || strcmp(argv[1], "listen"))) {
		fprintf(stderr, "usage: loss listen | loss ring SECONDS\n");
		return TEST_EXIT_USAGE;
	}
	if (ringer)
		seconds = number_argument(argv[2], 1, 3600);
	meet(&guests, ringer ? RINGER : LISTENER, 2);
	burst = guests.session;
	for (int variant = 0; variant < VARIANTS; variant++) {
		if (ringer)
			ring_for(&guests, variant, seconds, &burst);
		else
			listen_to(&guests, variant);
	}
	barrier(&guests, 2);
	printf("loss: passed\n");
	return 0;
}
