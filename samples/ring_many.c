// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_RING_MANY rings many doorbells with one system call: one guest tells something, and all others hear it.
 *
 *	ring_many 0 N		tells it, once all N parties are here
 *	ring_many ME N		hears it, as party ME, 1 to N - 1
 *
 * The parties are programs in any guests, each started once; they learn each other's peer IDs by rendezvous.h. What was
 * written before the call is visible to everybody who wakes. The driver checks all doorbells before it rings the first.
 */
#include "sample.h"
#include "rendezvous.h"

#define TELLER	0		/* the party that tells */
#define VECTOR	0
#define SECONDS	120		/* how long to wait for the others */
#define BYTES	4096		/* of shared memory: the rendezvous, then the news */

/* @session is written last and read first: with the present session the text is there. */
struct news {
	uint32_t session;
	char text[60];
};

static void tell(const struct sample *sample, struct news *news, uint32_t session, const uint32_t *peers, uint32_t n)
{
	struct ivshmem_ring rings[RENDEZVOUS_SLOTS];
	struct ivshmem_ring_many many = { .count = n - 1, .rings = (uintptr_t)rings };
	char text[sizeof(news->text)] = "";

	snprintf(text, sizeof(text), "all %u are here, says peer %u", n, sample->info.peer_id);
	ivshmem_copy_to(news->text, text, sizeof(text));
	ivshmem_store(&news->session, session);
	for (uint32_t i = 1; i < n; i++)
		rings[i - 1] = (struct ivshmem_ring){ .peer = peers[i], .vector = VECTOR };
	if (ioctl(sample->fd, IVSHMEM_RING_MANY, &many) < 0)
		sample_fail("IVSHMEM_RING_MANY");
	printf("rang %u doorbells with one call\n", many.count);
}

static void hear(const struct sample *sample, const struct news *news, uint32_t session)
{
	char text[sizeof(news->text) + 1] = "";
	uint32_t seen;

	while ((seen = ivshmem_load(&news->session)) != session)
		if (ivshmem_wait_word(sample->fd, RENDEZVOUS_BYTES, seen, SECONDS * 1000000000ll) != 0 && errno != EINTR)
			sample_fail("nothing was told");
	ivshmem_copy_from(text, news->text, sizeof(news->text));
	printf("heard: %s\n", text);
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 2, "ring_many [-d DEVICE] ME N");
	uint32_t n = sample_number(&sample, 1, 0, RENDEZVOUS_SLOTS), me, session;
	uint32_t peers[RENDEZVOUS_SLOTS];
	struct news *news;
	void *memory;

	if (n < 2)
		sample_help(sample.help, SAMPLE_USAGE);
	me = sample_number(&sample, 0, 0, n - 1);
	sample_need_vectors(&sample, VECTOR + 1);
	memory = sample_map(&sample, BYTES);
	news = (struct news *)((char *)memory + RENDEZVOUS_BYTES);
	session = rendezvous(memory, me, n, sample.info.peer_id, peers, SECONDS);
	if (!session)
		errx(1, "not all %u came within %d s: start ring_many with each number from 0 to %u", n, SECONDS, n - 1);
	if (me == TELLER)
		tell(&sample, news, session, peers, n);
	else
		hear(&sample, news, session);
	return 0;
}
