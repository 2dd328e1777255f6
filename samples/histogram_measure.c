// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A real-time guest measures, another one shows: this one wakes up each millisecond, notes how late
 * it is, and publishes the histogram ten times a second. It never waits for the other guest, which
 * sleeps until its doorbell is rung.
 *
 *	histogram_measure [WAKE-UPS]	in the real-time guest; 10000 wake-ups if not given
 *	histogram_show			in the other one; the order does not matter
 */
#include "histogram_share.h"
#include "realtime.h"

#define PERIOD_NS	1000000
#define REPORT_EVERY	100	/* wake-ups */

/* Sleeps until *@next, moves that to the next period, and returns how late it was, in nanoseconds. */
static int64_t wake_up(int64_t *next)
{
	struct timespec until = { .tv_sec = *next / 1000000000, .tv_nsec = *next % 1000000000 };
	int64_t now, late;

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
		;	/* a signal, such as SIGCONT */
	now = sample_now_ns();
	late = now - *next;
	/* Periods that have passed altogether are left out, and not made up for. */
	*next += (late / PERIOD_NS + 1) * PERIOD_NS;
	return late;
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "histogram_measure [-d DEVICE] [WAKE-UPS]");
	uint32_t wake_ups = sample_number(&sample, 0, 10000, 1000000000);
	uint32_t peers[RENDEZVOUS_SLOTS];
	struct report report = { 0 };
	char *memory;
	int64_t next;

	sample_need_vectors(&sample, SHARE_VECTOR + 1);
	memory = sample_map(&sample, SHARE_BYTES);
	report.session = rendezvous(memory, SHARE_MEASURE, 2, sample.info.peer_id, peers, SHARE_SECONDS);
	if (!report.session)
		errx(1, "nobody ran histogram_show within %d s", SHARE_SECONDS);

	realtime_start();
	next = sample_now_ns() + PERIOD_NS;
	for (uint32_t n = 1; n <= wake_ups; n++) {
		histogram_add(&report.histogram, wake_up(&next));
		report.last = n == wake_ups;
		if (n % REPORT_EVERY == 0 || report.last) {
			share_write(memory, &report);
			sample_ring(&sample, peers[SHARE_SHOW], SHARE_VECTOR);
		}
	}
	histogram_summary("wake-ups", &report.histogram);
	return 0;
}
