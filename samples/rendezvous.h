/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * How programs in different virtual machines find each other through the shared memory alone.
 *
 * The memory starts with one slot for each party. What stands there may be stale: left by programs
 * that ran before, or by a guest that crashed. So each party picks a new token when it starts and
 * copies the others' tokens into its own slot. A slot that shows my token was written by somebody
 * who runs now, because nobody could know the token before.
 */
#ifndef RENDEZVOUS_H
#define RENDEZVOUS_H

#include <stdint.h>
#include <time.h>

#define RENDEZVOUS_SLOTS	8

struct rendezvous_slot {
	uint32_t token;				/* of the party's present run */
	uint32_t peer;				/* its peer ID, to ring it */
	uint32_t seen[RENDEZVOUS_SLOTS];	/* tokens that it has seen in the other slots */
	uint32_t reserved[6];
};

/* Bytes at the start of the shared memory that the slots take. */
#define RENDEZVOUS_BYTES	(RENDEZVOUS_SLOTS * sizeof(struct rendezvous_slot))

/* A number that earlier runs did not have. */
static inline uint32_t rendezvous_token(void)
{
	struct timespec now, up;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_MONOTONIC, &up);
	return ((uint32_t)now.tv_sec * 1000003u ^ (uint32_t)now.tv_nsec ^
		(uint32_t)up.tv_nsec << 7) | 1;
}

/*
 * Waits until parties 0 to @n - 1 are all here; this one is @me, with peer ID @peer. Fills @peers
 * with their peer IDs. Returns a number that all of them get and no earlier run had, to tell fresh
 * data from stale; 0 if somebody is still missing after @seconds.
 */
static inline uint32_t rendezvous(void *memory, unsigned int me, unsigned int n, uint32_t peer,
				  uint32_t *peers, unsigned int seconds)
{
	struct rendezvous_slot *slots = memory, *mine = &slots[me];
	uint32_t token = rendezvous_token();

	__atomic_store_n(&mine->peer, peer, __ATOMIC_RELAXED);
	__atomic_store_n(&mine->token, token, __ATOMIC_RELEASE);
	peers[me] = peer;
	for (unsigned int turn = 0; turn < seconds * 100; turn++) {
		uint32_t session = token, here = 1;

		for (unsigned int i = 0; i < n; i++) {
			uint32_t its_token;

			if (i == me)
				continue;
			/* In this order: if it has seen us, its token is the present one. */
			here += __atomic_load_n(&slots[i].seen[me], __ATOMIC_ACQUIRE) == token;
			its_token = __atomic_load_n(&slots[i].token, __ATOMIC_ACQUIRE);
			peers[i] = __atomic_load_n(&slots[i].peer, __ATOMIC_RELAXED);
			__atomic_store_n(&mine->seen[i], its_token, __ATOMIC_RELEASE);
			session ^= its_token;
		}
		if (here == n)
			return session | 1;
		/* Nobody knows yet whom to ring, so this one wait is by the clock. */
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return 0;
}

#endif /* RENDEZVOUS_H */
