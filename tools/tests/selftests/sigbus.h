/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Touching memory that may have been taken away.
 */
#ifndef SIGBUS_H
#define SIGBUS_H

#include "expect.h"

#include <setjmp.h>

static sigjmp_buf touch_failed;

static inline void on_sigbus(int signal)
{
	siglongjmp(touch_failed, signal);
}

/* From now on SIGBUS goes to where sigsetjmp(touch_failed, 1) was called last. */
static inline void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	ASSERT_OK(sigaction(SIGBUS, &action, NULL));
}

/* Whether touching the word ends in SIGBUS. */
static inline bool is_gone(const volatile uint32_t *word)
{
	catch_sigbus();
	if (sigsetjmp(touch_failed, 1))
		return true;
	(void)*word;
	return false;
}

#endif /* SIGBUS_H */
