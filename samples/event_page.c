// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The event page shows interrupts without any system call: for programs that spin for the lowest
 * latency.
 *
 *	event_page		rings this guest itself first, to be tried alone
 *	event_page -w		waits for another guest to ring vector 0
 *
 * The page is read-only, one counter for each vector since the driver was bound; "dead" is set once
 * the device is gone, and the page stays readable then.
 */
#include "sample.h"

#define VECTOR		0
#define LIMIT_NS	10000000000ll

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "event_page [-d DEVICE] [-w]");
	const struct ivshmem_event_page *page;
	uint32_t before;
	int64_t start;

	sample_need_vectors(&sample, VECTOR + 1);
	page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, sample.fd,
		    (off_t)IVSHMEM_REGION_EVENTS << IVSHMEM_REGION_SHIFT);
	if (page == MAP_FAILED)
		sample_fail("cannot map the event page");

	/* First remember the counter, then look for work in the shared memory, then spin. */
	before = ivshmem_interrupts(page, VECTOR);
	start = sample_now_ns();
	if (sample.wait)
		printf("this is peer %u, spinning\n", sample.info.peer_id);
	else
		sample_ring(&sample, sample.info.peer_id, VECTOR);
	while (ivshmem_interrupts(page, VECTOR) == before) {
		errno = ivshmem_is_gone(page) ? ENODEV : ETIMEDOUT;
		if (errno == ENODEV || (!sample.wait && sample_now_ns() - start > LIMIT_NS))
			sample_fail("no interrupt");
	}
	printf("vector %d: interrupt %u, seen after %.0f microseconds\n", VECTOR,
	       ivshmem_interrupts(page, VECTOR), (sample_now_ns() - start) / 1e3);
	return 0;
}
