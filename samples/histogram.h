/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Counts how often something took how long, in steps that double: what matters about latency is the
 * end of the tail.
 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_STEPS	21	/* the last one: half a second and more */

/* Step 0 counts what took less than a microsecond, step n what took less than 2^n of them. */
struct histogram {
	uint64_t sum_ns;
	uint64_t min_ns;
	uint64_t max_ns;
	uint32_t samples;
	uint32_t steps[HISTOGRAM_STEPS];
};

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned int step = us ? 64 - __builtin_clzll(us) : 0;

	if (histogram->samples == 0 || ns < histogram->min_ns)
		histogram->min_ns = ns;
	if (ns > histogram->max_ns)
		histogram->max_ns = ns;
	histogram->sum_ns += ns;
	histogram->samples++;
	histogram->steps[step < HISTOGRAM_STEPS ? step : HISTOGRAM_STEPS - 1]++;
}

/* Whether the parts agree, for a histogram that somebody else wrote. */
static inline bool histogram_is_sane(const struct histogram *histogram)
{
	uint64_t counted = 0;

	for (int step = 0; step < HISTOGRAM_STEPS; step++)
		counted += histogram->steps[step];
	return counted == histogram->samples && histogram->min_ns <= histogram->max_ns;
}

/* The step below whose upper end @percent of the samples are. */
static inline unsigned int histogram_percentile(const struct histogram *histogram, double percent)
{
	double left = histogram->samples * percent / 100;
	unsigned int step = 0;

	while (step < HISTOGRAM_STEPS - 1 && (left -= histogram->steps[step]) > 0)
		step++;
	return step;
}

/* One line: what a person wants to know first. */
static inline void histogram_summary(const char *what, const struct histogram *histogram)
{
	if (histogram->samples == 0) {
		printf("%s: nothing yet\n", what);
		return;
	}
	printf("%s: %u, min %.1f us, average %.1f us, 99 %% below %u us, max %.1f us\n", what,
	       histogram->samples, histogram->min_ns / 1e3,
	       histogram->sum_ns / 1e3 / histogram->samples,
	       1u << histogram_percentile(histogram, 99), histogram->max_ns / 1e3);
}

/* One line for each step from the first to the last with something in it, with a bar. */
static inline void histogram_print(const struct histogram *histogram)
{
	static const char bar[] = "########################################";
	unsigned int first = 0, last = HISTOGRAM_STEPS - 1;
	uint32_t most = 1;

	while (first < last && !histogram->steps[first])
		first++;
	while (last > first && !histogram->steps[last])
		last--;
	for (unsigned int step = first; step <= last; step++)
		if (histogram->steps[step] > most)
			most = histogram->steps[step];
	for (unsigned int step = first; step <= last; step++)
		printf("%8u us %8u %.*s\n", step ? 1u << (step - 1) : 0, histogram->steps[step],
		       (int)((sizeof(bar) - 1) * histogram->steps[step] / most), bar);
}

#endif /* HISTOGRAM_H */
