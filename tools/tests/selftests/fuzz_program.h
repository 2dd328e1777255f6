/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Fuzzed programs: lists of numbers, each of which stands for a call with its arguments. A program is
 * made by changing another one at random; its name are the numbers that chose the changes.
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include "fuzz_calls.h"

/* Making and ending a process takes as long as a hundred calls: programs are long. */
#define MOST_CALLS	960
#define MOST_CHANGES	24
#define MOST_THREADS	4

struct program {
	unsigned int threads, calls;
	uint32_t numbers[MOST_CALLS];
	unsigned int changes;
	uint32_t name[MOST_CHANGES];
};

static inline void insert_calls(struct program *program, uint32_t *random)
{
	unsigned int count = 1 + random_below(random, MOST_CALLS / 6);
	unsigned int at = random_below(random, program->calls + 1);

	if (count > MOST_CALLS - program->calls)
		count = MOST_CALLS - program->calls;
	memmove(&program->numbers[at + count], &program->numbers[at],
		(program->calls - at) * sizeof(program->numbers[0]));
	for (unsigned int i = 0; i < count; i++)
		program->numbers[at + i] = next_random(random);
	program->calls += count;
}

static inline void remove_calls(struct program *program, unsigned int at, unsigned int count)
{
	program->calls -= count;
	memmove(&program->numbers[at], &program->numbers[at + count],
		(program->calls - at) * sizeof(program->numbers[0]));
}

/* Changes @program in the way that @number stands for. */
static inline void change(struct program *program, uint32_t number)
{
	uint32_t random = number;

	if (program->calls == 0)
		for (unsigned int i = 0; i < 5; i++)
			insert_calls(program, &random);
	switch (random_below(&random, 4)) {
	case 0:
		insert_calls(program, &random);
		break;
	case 1: {
		unsigned int at = random_below(&random, program->calls);

		remove_calls(program, at, 1 + random_below(&random, program->calls - at));
		break;
	}
	case 2:
		program->numbers[random_below(&random, program->calls)] = next_random(&random);
		break;
	default:
		program->threads = 1 + random_below(&random, MOST_THREADS);
	}
	if (program->changes < MOST_CHANGES)
		program->name[program->changes++] = number;
}

static inline void print_name(const struct program *program)
{
	for (unsigned int i = 0; i < program->changes; i++)
		printf("%s%x", i ? "." : "", program->name[i]);
}

static inline void print_calls(const struct program *program)
{
	printf("# %u threads:", program->threads);
	for (unsigned int i = 0; i < program->calls; i++) {
		uint32_t random = program->numbers[i];

		printf(" %s,", fuzz_calls[fuzz_call_of(next_random(&random))].name);
	}
	putchar('\n');
}

static inline struct program program_of_name(const char *name)
{
	struct program program = { .threads = 1 };

	while (*name) {
		char *end;

		change(&program, (uint32_t)strtoul(name, &end, 16));
		if (end == name || (*end && *end != '.'))
			fail("'%s' is not the name of a program", name);
		name = *end ? end + 1 : end;
	}
	return program;
}

/* --- programs that are changed on --- */

#define MOST_KEPT	4096

/* Shared by processes. */
struct corpus {
	pthread_mutex_t lock;
	unsigned int n;
	struct program programs[MOST_KEPT];
};

static inline void make_corpus(struct corpus *corpus)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&corpus->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

/* Keeps a program, if it can still be changed. */
static inline void keep(struct corpus *corpus, const struct program *program)
{
	if (program->changes >= MOST_CHANGES)
		return;
	pthread_mutex_lock(&corpus->lock);
	if (corpus->n < MOST_KEPT)
		corpus->programs[corpus->n++] = *program;
	pthread_mutex_unlock(&corpus->lock);
}

/* Most often one that was kept, else one without calls. */
static inline struct program some_kept(struct corpus *corpus, uint32_t *random)
{
	struct program program = { .threads = 1 };

	pthread_mutex_lock(&corpus->lock);
	if (corpus->n && !one_in(random, 4))
		program = corpus->programs[random_below(random, corpus->n)];
	pthread_mutex_unlock(&corpus->lock);
	return program;
}

/* The same for the same seed, number, and programs that were kept. */
static inline struct program program_of_number(struct corpus *corpus, uint32_t number, uint32_t seed)
{
	uint32_t random = next_random(&seed) ^ number;
	struct program program;

	/* Neighbours are to have nothing in common. */
	random = next_random(&random);
	program = some_kept(corpus, &random);
	do
		change(&program, next_random(&random));
	while (program.changes < MOST_CHANGES && one_in(&random, 2));
	return program;
}

#endif /* FUZZ_PROGRAM_H */
