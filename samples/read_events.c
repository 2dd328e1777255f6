// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * read() waits for doorbells and tells which vectors were rung.
 *
 *	read_events		rings this guest itself first, to be tried alone
 *	read_events -w		waits for another guest: there, run "ring_doorbell PEER VECTOR"
 *
 * A count means "at least one ring since this file looked last": several rings may be one interrupt.
 * Every open file has its own counts, so no program takes another one's events.
 */
#include "sample.h"

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "read_events [-d DEVICE] [-w]");
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	ssize_t bytes;

	sample_need_vectors(&sample, 1);
	if (sample.wait)
		printf("this is peer %u, waiting\n", sample.info.peer_id);
	else
		sample_ring(&sample, sample.info.peer_id, 0);

	/* One record for each vector that was rung, lowest first. */
	bytes = read(sample.fd, events, sizeof(events));
	if (bytes < 0)
		sample_fail("read");
	for (size_t i = 0; i < bytes / sizeof(events[0]); i++)
		printf("vector %u: count %llu\n", events[i].vector,
		       (unsigned long long)events[i].count);
	return 0;
}
