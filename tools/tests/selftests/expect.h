/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Expectations of the tests: EXPECT_* notes a failure and goes on, ASSERT_* ends the case, SKIP()
 * leaves it. They print file, line, values and the errno's name, and count in any process or thread
 * of a case.
 *
 * Include this or a header that includes it first: it defines the feature macros.
 */
#ifndef EXPECT_H
#define EXPECT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit statuses, those of kselftest. */
#define TEST_EXIT_FAIL	1
#define TEST_EXIT_USAGE	2
#define TEST_EXIT_SKIP	4

/* Shared by all processes of a case, so that a failure anywhere counts, and progress (limit.h). */
struct test_shared {
	unsigned int failures;
	unsigned int progress, progress_seen;
	char awaited[100];
	char skip[160];
};

static struct test_shared *test_shared;

/* Makes room for what the processes share; before the first expectation. */
static inline void test_share(void)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	test_shared = mmap(NULL, sizeof(*test_shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (test_shared == MAP_FAILED) {
		perror("cannot start");
		exit(TEST_EXIT_FAIL);
	}
}

static inline const char *test_errno_name(int number)
{
#ifdef __GLIBC__
	const char *name = strerrorname_np(number);

	return name ? name : "no error";
#else
	return strerror(number);
#endif
}

/* Ends this process of the case; what failed has been noted before. */
static inline void test_stop(void)
{
	fflush(stdout);
	_exit(TEST_EXIT_FAIL);
}

__attribute__((format(printf, 3, 4)))
static inline void test_fail(const char *file, int line, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("# %s:%d: %s\n", file, line, text);
	__atomic_fetch_add(&test_shared->failures, 1, __ATOMIC_RELAXED);
}

static inline bool test_true(const char *file, int line, const char *text, bool value)
{
	if (!value)
		test_fail(file, line, "not true: %s", text);
	return value;
}

static inline bool test_eq(const char *file, int line, long long want, const char *text,
			   long long got)
{
	if (want != got)
		test_fail(file, line, "%s is %lld (%#llx), should be %lld (%#llx)", text, got, got,
			  want, want);
	return want == got;
}

static inline long test_ok(const char *file, int line, const char *text, long result)
{
	if (result == -1)
		test_fail(file, line, "%s failed: %s", text, test_errno_name(errno));
	return result;
}

static inline bool test_errno(const char *file, int line, int want, const char *text, long result)
{
	int error = errno;

	if (result != -1)
		test_fail(file, line, "%s returned %ld, should fail with %s", text, result,
			  test_errno_name(want));
	else if (error != want)
		test_fail(file, line, "%s failed with %s, should fail with %s", text,
			  test_errno_name(error), test_errno_name(want));
	return result == -1 && error == want;
}

#define EXPECT_TRUE(cond)	test_true(__FILE__, __LINE__, #cond, (cond))
#define EXPECT_EQ(want, got)	\
	test_eq(__FILE__, __LINE__, (long long)(want), #got, (long long)(got))
/* The call returns anything but -1. */
#define EXPECT_OK(call)		test_ok(__FILE__, __LINE__, #call, (long)(call))
/* The call returns -1 and sets this errno. */
#define EXPECT_ERRNO(want, call) test_errno(__FILE__, __LINE__, want, #call, (long)(call))

#define ASSERT_TRUE(cond)	do { if (!EXPECT_TRUE(cond)) test_stop(); } while (0)
#define ASSERT_EQ(want, got)	do { if (!EXPECT_EQ(want, got)) test_stop(); } while (0)
#define ASSERT_ERRNO(want, call) do { if (!EXPECT_ERRNO(want, call)) test_stop(); } while (0)
/* Has the value of the call. */
#define ASSERT_OK(call) ({							\
	long result_ = EXPECT_OK(call);						\
	if (result_ == -1)							\
		test_stop();							\
	result_; })

/* Leaves the case: what it needs is not there. */
#define SKIP(...) do {								\
	snprintf(test_shared->skip, sizeof(test_shared->skip), __VA_ARGS__);	\
	fflush(stdout);								\
	_exit(TEST_EXIT_SKIP);							\
} while (0)

/* Waits for a child of a case and checks that it ended well. */
static inline void test_join_child(pid_t pid)
{
	int status = 0;

	ASSERT_OK(waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

#endif /* EXPECT_H */
