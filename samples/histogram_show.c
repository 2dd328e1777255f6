// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Shows what histogram_measure measures in another guest: a line for each report, and in the end the
 * histogram. In between it sleeps in IVSHMEM_WAIT until the version of the report changes.
 *
 *	histogram_show			in this guest
 *	histogram_measure [WAKE-UPS]	in the real-time one; the order does not matter
 */
#include "histogram_share.h"

/* How long the other guest may be silent, and how often a report may change while it is read. */
#define SILENCE_NS	30000000000ll
#define TRIES		1000

/* Waits for a report of this session that is newer than version *@last. */
static struct report next_report(const struct sample *sample, const char *memory, uint32_t session,
				 uint32_t *last)
{
	struct report report;

	for (int try = 0; try < TRIES; try++) {
		uint32_t version = ivshmem_load(memory + SHARE_VERSION_AT);

		if (version != *last && share_read(memory, version, &report)) {
			*last = version;
			if (report.session == session)
				return report;
		}
		/* Returns at once if there is a newer one already. A signal is no news. */
		if (ivshmem_wait_word(sample->fd, SHARE_VERSION_AT, version, SILENCE_NS) != 0 &&
		    errno != EINTR)
			sample_fail("no report");
	}
	errx(1, "the report changes all the time: does another program write there?");
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "histogram_show [-d DEVICE]");
	uint32_t session, last, peers[RENDEZVOUS_SLOTS];
	struct report report;
	char *memory;

	sample_need_vectors(&sample, SHARE_VECTOR + 1);
	memory = sample_map(&sample, SHARE_BYTES);
	session = rendezvous(memory, SHARE_SHOW, 2, sample.info.peer_id, peers, SHARE_SECONDS);
	if (!session)
		errx(1, "nobody ran histogram_measure within %d s", SHARE_SECONDS);

	last = 1;	/* odd: no version of a whole report */
	do {
		report = next_report(&sample, memory, session, &last);
		/* Another guest wrote this: check it before believing it. */
		if (!histogram_is_sane(&report.histogram))
			errx(1, "the report contradicts itself");
		histogram_summary("wake-ups", &report.histogram);
	} while (!report.last);
	histogram_print(&report.histogram);
	return 0;
}
