/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Numbers that look random, and are the same for the same start.
 */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* A Weyl sequence, whose numbers are mixed as in splitmix: neighbours have nothing in common. */
static inline uint32_t next_random(uint32_t *state)
{
	uint32_t number = *state += 0x9e3779b9;

	number = (number ^ number >> 16) * 0x21f0aaad;
	number = (number ^ number >> 15) * 0x735a2d97;
	return number ^ number >> 15;
}

/* A number below @limit. */
static inline uint32_t random_below(uint32_t *state, uint32_t limit)
{
	return next_random(state) % limit;
}

/* True once in @n times. */
static inline bool one_in(uint32_t *state, uint32_t n)
{
	return random_below(state, n) == 0;
}

#endif /* RANDOM_H */
