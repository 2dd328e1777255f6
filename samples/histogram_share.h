/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What histogram_measure and histogram_show agree on. The one who measures must never wait, so there
 * is no lock: it counts a version up before and after each change, and the reader tries again if the
 * version has changed or is odd.
 */
#ifndef HISTOGRAM_SHARE_H
#define HISTOGRAM_SHARE_H

#include "sample.h"
#include "histogram.h"
#include "rendezvous.h"

#define SHARE_MEASURE	0	/* places in the rendezvous */
#define SHARE_SHOW	1
#define SHARE_VECTOR	0	/* of the one who shows: there is a new version */
#define SHARE_SECONDS	120	/* how long to wait for the other guest */
#define SHARE_VERSION_AT	RENDEZVOUS_BYTES	/* byte offsets in the shared memory */
#define SHARE_REPORT_AT	(RENDEZVOUS_BYTES + 8)
#define SHARE_BYTES	4096

struct report {
	uint32_t session;		/* of the rendezvous: else the report is an old one */
	uint32_t last;			/* 1: nothing comes after this one */
	struct histogram histogram;
};

/* Writes the report; never waits. */
static inline void share_write(char *memory, const struct report *report)
{
	uint32_t *version = (uint32_t *)(memory + SHARE_VERSION_AT);
	/* Odd from the beginning if an earlier run was killed in here. */
	uint32_t even = ivshmem_load(version) & ~1u;

	ivshmem_store(version, even + 1);
	ivshmem_fence();
	ivshmem_copy_to(memory + SHARE_REPORT_AT, report, sizeof(*report));
	ivshmem_store(version, even + 2);
}

/* Copies the report of version @version; false if it was being written meanwhile. */
static inline bool share_read(const char *memory, uint32_t version, struct report *report)
{
	ivshmem_copy_from(report, memory + SHARE_REPORT_AT, sizeof(*report));
	ivshmem_fence();
	return version % 2 == 0 && ivshmem_load(memory + SHARE_VERSION_AT) == version;
}

#endif /* HISTOGRAM_SHARE_H */
