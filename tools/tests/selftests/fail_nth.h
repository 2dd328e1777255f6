/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Makes an allocation of the calling thread's next calls fail, where the kernel can (CONFIG_FAILSLAB,
 * CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS).
 */
#ifndef FAIL_NTH_H
#define FAIL_NTH_H

#include "sysfs.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"

static inline bool can_fail_nth(void)
{
	return access(FAIL_NTH, F_OK) == 0 && access(FAILSLAB, F_OK) == 0 &&
	       access(FAIL_PAGE_ALLOC, F_OK) == 0;
}

/*
 * For the whole system, once: also allocations that may sleep fail, and of every size; without a trace
 * in the kernel log for each.
 */
static inline void fail_nth_set_up(void)
{
	ASSERT_OK(write_text(FAILSLAB "ignore-gfp-wait", "N"));
	ASSERT_OK(write_text(FAILSLAB "verbose", "0"));
	ASSERT_OK(write_text(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N"));
	ASSERT_OK(write_text(FAIL_PAGE_ALLOC "ignore-gfp-highmem", "N"));
	ASSERT_OK(write_text(FAIL_PAGE_ALLOC "min-order", "0"));
	ASSERT_OK(write_text(FAIL_PAGE_ALLOC "verbose", "0"));
}

/* A descriptor for the next two functions, for this thread alone. */
static inline int fail_nth_open(void)
{
	return (int)ASSERT_OK(open(FAIL_NTH, O_RDWR | O_CLOEXEC));
}

/* From now on the @nth allocation of this thread fails, once; with 0 none does. */
static inline void fail_nth_arm(int fail_nth, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	ASSERT_EQ(length, pwrite(fail_nth, text, length, 0));
}

/* No allocation fails from now on; whether one has. */
static inline bool fail_nth_disarm(int fail_nth)
{
	char text[16] = "";

	ASSERT_TRUE(pread(fail_nth, text, sizeof(text) - 1, 0) > 0);
	fail_nth_arm(fail_nth, 0);
	return atoi(text) == 0;
}

#endif /* FAIL_NTH_H */
