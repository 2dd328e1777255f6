/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The one time limit of a test program. It is for what hangs, never for speed: whoever has made no
 * progress for TEST_SECONDS is ended, and the last words say what was waited for.
 *
 * So waits have no limits of their own; each says with test_waits_for() what it is for. A loop of
 * many turns, whose number is fixed, calls test_progress() in each: it may take any time.
 *
 * IVSHMEM_TIME_SCALE multiplies the limit, for slow kernels and emulators.
 */
#ifndef LIMIT_H
#define LIMIT_H

#include "expect.h"

#include <pthread.h>

/* Before scaling. The host waits longer (tools/tests/test-limit): it knows less of what hangs. */
#define TEST_SECONDS	300

static inline unsigned int test_seconds(void)
{
	const char *text = getenv("IVSHMEM_TIME_SCALE");
	int scale = text ? atoi(text) : 1;

	return TEST_SECONDS * (scale > 0 ? scale : 1);
}

/* Another turn of a loop is done; in any process or thread of the program. */
static inline void test_progress(void)
{
	__atomic_fetch_add(&test_shared->progress, 1, __ATOMIC_RELAXED);
}

/* What the wait is for that begins now. */
__attribute__((format(printf, 1, 2)))
static inline void test_waits_for(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(test_shared->awaited, sizeof(test_shared->awaited), format, args);
	va_end(args);
}

static inline const char *test_awaited(void)
{
	return test_shared->awaited[0] ? test_shared->awaited : "nothing";
}

/* Also for signal handlers, where stdio must not be used. */
static inline void test_write(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(TEST_EXIT_FAIL);
}

/*
 * When the limit has passed: whether there was progress since the last time. A line then tells the
 * host, which has a limit too, that the program goes on.
 */
static inline bool test_goes_on(void)
{
	unsigned int progress = __atomic_load_n(&test_shared->progress, __ATOMIC_RELAXED);

	if (progress == test_shared->progress_seen)
		return false;
	test_shared->progress_seen = progress;
	test_write("# goes on\n");
	return true;
}

static inline void *test_watch(void *unused)
{
	(void)unused;
	do
		sleep(test_seconds());
	while (test_goes_on());
	printf("FAIL: TIMEOUT %u s without progress, last waited for %s\n", test_seconds(),
	       test_awaited());
	fflush(stdout);
	_exit(TEST_EXIT_FAIL);
}

/*
 * From now on this process is ended when it hangs; for programs and modes that are not cases. A
 * thread sees to it, as a signal would interrupt the system calls under test.
 */
static inline void test_limit_start(void)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ASSERT_EQ(0, pthread_create(&thread, NULL, test_watch, NULL));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

#endif /* LIMIT_H */
