/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Runs fuzzed programs, each in a process of its own, which may make allocations fail; counts their
 * calls, and what new code they reach.
 */
#ifndef FUZZ_RUN_H
#define FUZZ_RUN_H

#include "fuzz_cover.h"
#include "fuzz_program.h"
#include "fail_nth.h"

#include <sys/prctl.h>
#include <time.h>

/* Programs that run at a time: while some sleep, others use the processors. */
#define WORKERS		8

/* Of each thread, and how much of it is used. */
#define STACK_BYTES	(256u << 10)
#define STACK_USED	(64u << 10)

/* Calls that may sleep for ever are interrupted so often. */
#define INTERRUPT_NS	10000000

/* One of the first so many allocations of a call fails, where they are made to. */
#define MOST_ALLOCATIONS	24

/* What the processes share. */
struct fuzz_shared {
	/* Ends who disturbs. */
	uint32_t stop;
	/* The number of the next program. */
	uint32_t next;
	/* Whether a worker's program reached new code. */
	uint32_t fresh[WORKERS];
	/* The wait status of the first program that failed, and which it was. */
	uint32_t status;
	struct program failed;
	uint32_t places, failed_allocations;
	uint32_t made[FUZZ_CALLS], succeeded[FUZZ_CALLS];
	uint8_t seen[COVER_SEEN];
	struct corpus kept;
};

static struct fuzz_shared *shared;
static bool failing;
static struct pool pool;
/* The number of this process, or of that whose program this is. */
static unsigned int worker;

static void on_alarm(int signal)
{
	(void)signal;
}

static void be_interrupted_now_and_then(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };
	struct itimerspec every = { { .tv_nsec = INTERRUPT_NS }, { .tv_nsec = INTERRUPT_NS } };
	timer_t timer;

	event._sigev_un._tid = gettid();
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(timer_settime(timer, 0, &every, NULL));
}

/* Most often one of the first, for most calls make few allocations. */
static unsigned int some_allocation(struct fuzzer *f)
{
	return 1 + pick(f, 1 + pick(f, MOST_ALLOCATIONS));
}

static void make_call(struct fuzzer *f, uint32_t number, int fail_nth)
{
	unsigned int call, fresh;

	f->random = number;
	call = fuzz_call_of(next_random(&f->random));
	/*
	 * The kernel itself complains of a thread that gets no stack: of a fork(), and of io_uring's workers, which it makes
	 * when it likes.
	 */
	if (failing && fuzz_calls[call].make == call_io_uring)
		return;
	if (fuzz_calls[call].make == call_fork)
		fail_nth = -1;
	if (fail_nth != -1)
		fail_nth_arm(fail_nth, some_allocation(f));
	cover_forget();
	__atomic_fetch_add(&shared->made[call], 1, __ATOMIC_RELAXED);
	if (fuzz_calls[call].make(f) != -1)
		__atomic_fetch_add(&shared->succeeded[call], 1, __ATOMIC_RELAXED);
	fresh = cover_collect(shared->seen);
	if (fail_nth != -1 && fail_nth_disarm(fail_nth))
		__atomic_fetch_add(&shared->failed_allocations, 1, __ATOMIC_RELAXED);
	if (fresh) {
		__atomic_fetch_add(&shared->places, fresh, __ATOMIC_RELAXED);
		store(&shared->fresh[worker], 1);
	}
}

/*
 * Has all memory of the program itself, and of the thread's stack: where the kernel finds none for a stack that grows, it kills.
 * So it does where it finds none for a signal's frame, and a fork() takes that of an ordinary stack away: its pages are copied at
 * the next write to them. Shared memory's are not.
 */
static void have_all_memory(void)
{
	char stack[STACK_USED];
	stack_t for_signals = { .ss_size = STACK_USED };

	memset(stack, 0, sizeof(stack));
	__asm__ volatile("" : : "r"(stack) : "memory");
	for_signals.ss_sp = mmap(NULL, STACK_USED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(for_signals.ss_sp == MAP_FAILED ? -1 : 0);
	CHECK(sigaltstack(&for_signals, NULL));
	CHECK(mlockall(MCL_CURRENT));
}

static const struct program *running;

/*
 * Where all threads have what they need, and the calls begin. Later, it could get the address of a mapping of the device that
 * a thread still uses after another one unmapped it.
 */
static pthread_barrier_t start;

/* Makes every so-manieth call. */
static void *run_thread(void *number)
{
	static struct fuzzer fuzzers[MOST_THREADS];
	unsigned int thread = (unsigned int)(uintptr_t)number;
	struct fuzzer *f = &fuzzers[thread];
	int fail_nth;

	f->pool = &pool;
	be_interrupted_now_and_then();
	cover_begin();
	if (failing)
		have_all_memory();
	fail_nth = failing ? fail_nth_open() : -1;
	pthread_barrier_wait(&start);
	for (unsigned int i = thread; i < running->calls; i += running->threads)
		make_call(f, running->numbers[i], fail_nth);
	return NULL;
}

static void prepare_process(void)
{
	struct sigaction interrupted = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK };
	/* Nobody has to unblock them after siglongjmp(). */
	struct sigaction bad_touch = { .sa_sigaction = on_bad_touch,
				       .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
	CHECK(sigaction(SIGALRM, &interrupted, NULL));
	CHECK(sigaction(SIGBUS, &bad_touch, NULL));
	CHECK(sigaction(SIGSEGV, &bad_touch, NULL));
	/* Of files that were made asynchronous, and of broken pipes. */
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned int i = 0; i < FILES; i++)
		pool.files[i] = -1;
	for (unsigned int i = 0; i < DEVICES / 2; i++)
		pool.files[i] = open(dev_path(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static void run_program(const struct program *program)
{
	pthread_t threads[MOST_THREADS];

	running = program;
	prepare_process();
	pthread_barrier_init(&start, NULL, program->threads);
	for (unsigned int i = 1; i < program->threads; i++)
		if (pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)i))
			fail("no thread");
	run_thread(NULL);
	for (unsigned int i = 1; i < program->threads; i++)
		pthread_join(threads[i], NULL);
}

/* The wait status of the process that a program runs in. */
static int status_of(const struct program *program)
{
	pid_t child = (pid_t)CHECK(fork());
	int status;

	if (child == 0) {
		run_program(program);
		_exit(0);
	}
	test_waits_for("a program to end");
	CHECK(waitpid(child, &status, 0));
	test_progress();
	return status;
}

static uint64_t calls_made(void)
{
	uint64_t made = 0;

	for (unsigned int i = 0; i < FUZZ_CALLS; i++)
		made += shared->made[i];
	return made;
}

/* Threads have stacks of STACK_BYTES: those of the usual size would take long to lock in memory. */
static void make_small_stacks(void)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_setattr_default_np(&attributes))
		fail("no stacks of %u bytes", STACK_BYTES);
	pthread_attr_destroy(&attributes);
}

#endif /* FUZZ_RUN_H */
