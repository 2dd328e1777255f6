/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Time stamps, series of them, and what the programs print: one line for each series,
 *
 *	series NAME P10 P50 P90 SAMPLES
 *
 * in ticks of the time stamp counter, of which "ticks_per_second N" says how many there are. Under QEMU's
 * -icount shift=1 two ticks are one instruction. What is not a time is a line "count NAME VALUE".
 */
#ifndef MEASURE_H
#define MEASURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define die(...)							\
	do {								\
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);		\
		fprintf(stderr, __VA_ARGS__);				\
		fprintf(stderr, "\n");					\
		exit(1);						\
	} while (0)

/* The value of a call that must not be -1. */
#define MUST(call)							\
	({								\
		__auto_type must_value = (call);			\
		if (must_value == (__typeof__(must_value))-1)		\
			die("%s: %s", #call, strerror(errno));		\
		must_value;						\
	})

static inline uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Samples of one thing. */
struct series {
	double *at;
	unsigned int count, room;
};

static inline struct series series_new(unsigned int room)
{
	struct series series = { .at = calloc(room, sizeof(double)), .room = room };

	if (!series.at)
		die("no memory for %u samples", room);
	/* No page fault while it is filled. */
	memset(series.at, 0xff, room * sizeof(double));
	return series;
}

static inline void series_add(struct series *series, double value)
{
	if (series->count == series->room)
		die("more than %u samples", series->room);
	series->at[series->count++] = value;
}

static inline int series_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value below which @percent of the samples are. */
static inline double series_quantile(struct series *series, unsigned int percent)
{
	if (!series->count)
		die("no samples");
	qsort(series->at, series->count, sizeof(double), series_order);
	return series->at[(series->count - 1) * percent / 100];
}

/* Prints and frees it. Nothing is measured while the serial line or the agent's port is written to. */
static inline void series_report(struct series *series, const char *name, double minus)
{
	printf("series %s %.2f %.2f %.2f %u\n", name, series_quantile(series, 10) - minus,
	       series_quantile(series, 50) - minus, series_quantile(series, 90) - minus,
	       series->count);
	free(series->at);
}

/* A number that is not a time. */
static inline void report_count(const char *name, double value)
{
	printf("count %s %.2f\n", name, value);
}

/* How often a call is made for one sample: short ones would drown in the noise of real time stamps. */
#define BATCH	16

/*
 * MEASURE(name, count, statement): the median time of the statement over @count samples, each of
 * BATCH times in a row, without the time that the loop and the time stamps take.
 */
#define MEASURE(name, samples, ...)						\
	do {									\
		struct series measure_empty = series_new(samples);		\
		struct series measure_full = series_new(samples);		\
		for (unsigned int measure_i = 0; measure_i < (samples); measure_i++) {	\
			uint64_t measure_from = ticks();			\
			for (unsigned int measure_j = 0; measure_j < BATCH; measure_j++)	\
				__asm__ volatile("" : "+r"(measure_j) : : "memory");	\
			uint64_t measure_to = ticks();				\
			series_add(&measure_empty, (double)(measure_to - measure_from) / BATCH); \
			measure_from = ticks();					\
			for (unsigned int measure_j = 0; measure_j < BATCH; measure_j++) {	\
				__asm__ volatile("" : "+r"(measure_j) : : "memory");	\
				__VA_ARGS__;					\
			}							\
			measure_to = ticks();					\
			series_add(&measure_full, (double)(measure_to - measure_from) / BATCH); \
		}								\
		series_report(&measure_full, name, series_quantile(&measure_empty, 50)); \
		free(measure_empty.at);						\
	} while (0)

static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	MUST(sched_setaffinity(0, sizeof(set), &set));
}

/* Priority of real time for this thread: the higher one runs. 0: back to the ordinary ones. */
static inline void set_priority(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	MUST(sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &param));
}

static inline void report_tick_rate(void)
{
	struct timespec from, to;
	uint64_t start, end;

	clock_gettime(CLOCK_MONOTONIC, &from);
	start = ticks();
	usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &to);
	end = ticks();
	printf("ticks_per_second %.0f\n",
	       (end - start) / ((to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9));
}

#endif /* MEASURE_H */
