// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The event page shows interrupts without any system call: for programs that spin for the lowest
 * latency.
 *
 *	event_page		rings this machine itself first, to be tried alone
 *	event_page -w		waits for another machine to ring vector 0
 *
 * The page is read-only, one counter for each vector since the driver was bound; "dead" is set once
 * the device is gone, and the page stays readable then.
 */
#include "sample.h"

#include <time.h>

#define VECTOR		0
#define LIMIT_SECONDS	10

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, "event_page [-d DEVICE] [-w]");
	const volatile struct ivshmem_event_page *page;
	double start;
	uint64_t before;

	sample_need_vectors(&sample, VECTOR + 1);
	page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, sample.fd,
		    (off_t)IVSHMEM_REGION_EVENTS << IVSHMEM_REGION_SHIFT);
	if (page == MAP_FAILED)
		err(1, "cannot map the event page");

	/* First remember the counter, then look for work in the shared memory, then spin. */
	before = page->seq[VECTOR];
	start = seconds();
	if (sample.wait)
		printf("this is peer %u, spinning\n", sample.info.peer_id);
	else
		sample_ring(&sample, sample.info.peer_id, VECTOR);
	while (page->seq[VECTOR] == before) {
		if (page->dead)
			errx(1, "the device is gone");
		if (!sample.wait && seconds() - start > LIMIT_SECONDS)
			errx(1, "no interrupt within %d s", LIMIT_SECONDS);
	}
	printf("vector %d: interrupt %llu, seen after %.0f microseconds\n", VECTOR,
	       (unsigned long long)page->seq[VECTOR], (seconds() - start) * 1e6);
	return 0;
}
