/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A small test harness. TEST(name) { ... } defines a case; the program runs its cases in the order
 * of the file, each in a process group of its own with the time limit of limit.h, and reports them
 * as KTAP version 1. What a case expects it says with the macros of expect.h.
 *
 *	prog			run all cases
 *	prog NAME...		run these
 *	prog --list		print the names, one per line, without touching any device
 *
 * Exit status: 0 all passed, 1 something failed, 2 wrong usage, 4 nothing could be tested.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include "limit.h"

struct test_case {
	const char *name;
	void (*run)(void);
	int line;
	struct test_case *next;
};

static struct test_case *test_cases;
static volatile sig_atomic_t test_pid;
static volatile sig_atomic_t test_expired;
static char test_last_words[256];

/* Cases register from constructors, whose order is the compiler's business: sort by line. */
static inline void test_register(struct test_case *new)
{
	struct test_case **at = &test_cases;

	while (*at && (*at)->line < new->line)
		at = &(*at)->next;
	new->next = *at;
	*at = new;
}

#define TEST(name)								\
	static void test_##name(void);						\
	static struct test_case case_##name = {					\
		#name, test_##name, __LINE__, NULL };				\
	__attribute__((constructor)) static void register_##name(void)		\
	{									\
		test_register(&case_##name);					\
	}									\
	static void test_##name(void)

/*
 * An expiry without progress kills the case; another one, a part of the limit later so that the
 * host hears of it, means that it cannot be killed.
 */
static inline void test_on_alarm(int signal)
{
	(void)signal;
	if (test_expired) {
		test_write(test_last_words);
		_exit(TEST_EXIT_FAIL);
	}
	if (test_goes_on()) {
		alarm(test_seconds());
		return;
	}
	test_expired = 1;
	kill(-test_pid, SIGKILL);
	alarm(test_seconds() / 4);
}

/* Runs case @number in a child and returns its wait status. */
static inline int test_run_child(const struct test_case *test, unsigned int number)
{
	int status = 0;
	pid_t pid;

	memset(test_shared, 0, sizeof(*test_shared));
	test_expired = 0;
	snprintf(test_last_words, sizeof(test_last_words),
		 "not ok %u %s # TIMEOUT and cannot be killed\nBail out!\n", number, test->name);
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		printf("Bail out! fork: %s\n", strerror(errno));
		exit(TEST_EXIT_FAIL);
	}
	if (pid == 0) {
		setpgid(0, 0);
		signal(SIGALRM, SIG_DFL);
		test->run();
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	test_pid = pid;
	alarm(test_seconds());
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	alarm(0);
	/* Children that the case left behind would disturb the next one. */
	kill(-pid, SIGKILL);
	return status;
}

/* Reports one case; returns its exit status in the sense of TEST_EXIT_*. */
static inline int test_report(const struct test_case *test, unsigned int number, int status)
{
	if (test_expired) {
		printf("not ok %u %s # TIMEOUT %u s without progress, last waited for %s\n", number,
		       test->name, test_seconds(), test_awaited());
		return TEST_EXIT_FAIL;
	}
	if (WIFSIGNALED(status))
		printf("# killed by signal %d (%s)\n", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	if (test_shared->failures || !WIFEXITED(status) ||
	    (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != TEST_EXIT_SKIP)) {
		printf("not ok %u %s\n", number, test->name);
		return TEST_EXIT_FAIL;
	}
	if (WEXITSTATUS(status) == TEST_EXIT_SKIP) {
		printf("ok %u %s # SKIP %s\n", number, test->name, test_shared->skip);
		return TEST_EXIT_SKIP;
	}
	printf("ok %u %s\n", number, test->name);
	return 0;
}

static inline bool test_selected(const struct test_case *test, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, test->name))
			return true;
	return false;
}

static inline bool test_known(const char *name)
{
	for (const struct test_case *test = test_cases; test; test = test->next)
		if (!strcmp(name, test->name))
			return true;
	return false;
}

/* Handles --list and wrong names; returns -1 if the program goes on. */
static inline int test_arguments(char **names)
{
	if (names[0] && !strcmp(names[0], "--list")) {
		for (const struct test_case *test = test_cases; test; test = test->next)
			puts(test->name);
		return 0;
	}
	for (; *names; names++) {
		if (!test_known(*names)) {
			fprintf(stderr, "no case '%s'; --list prints the names\n", *names);
			return TEST_EXIT_USAGE;
		}
	}
	return -1;
}

/* Runs @run in this process, without a report; for modes of a program that are not cases. */
static inline int test_alone(void (*run)(void))
{
	test_share();
	test_limit_start();
	run();
	return test_shared->failures ? TEST_EXIT_FAIL : 0;
}

/*
 * Runs the program. Without the device node at @path everything is skipped. @prepare runs once
 * before the first case and @after_each after each case, in the parent; either may be NULL.
 */
static inline int test_main_around(char **argv, const char *path, void (*prepare)(void),
				   void (*after_each)(void))
{
	struct sigaction action = { .sa_handler = test_on_alarm, .sa_flags = SA_RESTART };
	unsigned int plan = 0, number = 0, passed = 0, failed = 0;
	char **names = argv[0] ? argv + 1 : argv;
	int done = test_arguments(names);

	if (done >= 0)
		return done;
	test_share();
	puts("KTAP version 1");
	if (!path || access(path, F_OK) != 0) {
		printf("1..0 # SKIP no device node %s\n", path ? path : "named");
		return TEST_EXIT_SKIP;
	}
	sigaction(SIGALRM, &action, NULL);
	if (prepare)
		prepare();
	for (const struct test_case *test = test_cases; test; test = test->next)
		plan += test_selected(test, names);
	printf("1..%u\n", plan);
	for (const struct test_case *test = test_cases; test; test = test->next) {
		int status;

		if (!test_selected(test, names))
			continue;
		number++;
		status = test_report(test, number, test_run_child(test, number));
		passed += status == 0;
		failed += status == TEST_EXIT_FAIL;
		if (after_each)
			after_each();
	}
	printf("# Totals: pass:%u fail:%u skip:%u\n", passed, failed, plan - passed - failed);
	if (failed)
		return TEST_EXIT_FAIL;
	return passed ? 0 : TEST_EXIT_SKIP;
}

static inline int test_main(char **argv, const char *path)
{
	return test_main_around(argv, path, NULL, NULL);
}

#endif /* HARNESS_H */
