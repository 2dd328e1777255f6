// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Random programs of system calls against the device, each in a process of its own. None may end
 * otherwise than by itself, and nothing of it may be left; what the kernel says to it is for the host
 * to see.
 *
 *	fuzz N [SEED]		runs so many programs
 *	fuzz disturbed N [SEED]	the same, while the driver is unbound and bound, and the device reset
 *	fuzz plugged N [SEED]	the same, while the host unplugs the device and plugs it
 *	fuzz failing N [SEED]	the same as the first, and allocations of some calls fail
 *	fuzz replay NAME	runs one again, and tells its calls
 *
 * A program is a list of numbers, each of which stands for a call with its arguments. It is made by
 * changing another one at random; its name are the numbers that chose the changes. Where the kernel
 * tells which code was reached (KCOV), those that reached new code are changed on. Programs of one
 * thread do the same each time.
 */
#include "guests.h"
#include "fuzz_calls.h"
#include "fuzz_cover.h"
#include "fail_nth.h"

#include <sys/prctl.h>
#include <time.h>

#define MOST_CALLS	96
#define MOST_CHANGES	24
#define MOST_THREADS	4
#define MOST_KEPT	4096
#define STACK_USED	(64u << 10)

/* Calls that may sleep for ever are interrupted so often. */
#define INTERRUPT_NS	10000000

/* One of the first so many allocations of a call fails, where they are made to. */
#define MOST_ALLOCATIONS	24

/* From this number of programs on, each kind of call is to have succeeded. */
#define MANY_PROGRAMS	300

struct program {
	unsigned int threads, calls;
	uint32_t numbers[MOST_CALLS];
	unsigned int changes;
	uint32_t name[MOST_CHANGES];
};

struct fuzz_shared {
	uint32_t stop;
	uint32_t fresh, places;
	uint32_t failed_allocations;
	uint32_t made[FUZZ_CALLS], succeeded[FUZZ_CALLS];
	uint8_t seen[COVER_SEEN];
};

static struct fuzz_shared *shared;
static bool failing;
static struct pool pool;
static struct program kept[MOST_KEPT];
static unsigned int n_kept;

/* --- programs --- */

static void insert_calls(struct program *program, uint32_t *random)
{
	unsigned int count = 1 + random_below(random, 16);
	unsigned int at = random_below(random, program->calls + 1);

	if (count > MOST_CALLS - program->calls)
		count = MOST_CALLS - program->calls;
	memmove(&program->numbers[at + count], &program->numbers[at],
		(program->calls - at) * sizeof(program->numbers[0]));
	for (unsigned int i = 0; i < count; i++)
		program->numbers[at + i] = next_random(random);
	program->calls += count;
}

static void remove_calls(struct program *program, unsigned int at, unsigned int count)
{
	program->calls -= count;
	memmove(&program->numbers[at], &program->numbers[at + count],
		(program->calls - at) * sizeof(program->numbers[0]));
}

/* Changes @program in the way that @number stands for. */
static void change(struct program *program, uint32_t number)
{
	uint32_t random = number;

	if (program->calls == 0)
		for (unsigned int i = 0; i < 5; i++)
			insert_calls(program, &random);
	switch (random_below(&random, 4)) {
	case 0:
		insert_calls(program, &random);
		break;
	case 1: {
		unsigned int at = random_below(&random, program->calls);

		remove_calls(program, at, 1 + random_below(&random, program->calls - at));
		break;
	}
	case 2:
		program->numbers[random_below(&random, program->calls)] = next_random(&random);
		break;
	default:
		program->threads = 1 + random_below(&random, MOST_THREADS);
	}
	if (program->changes < MOST_CHANGES)
		program->name[program->changes++] = number;
}

static void print_name(const struct program *program)
{
	for (unsigned int i = 0; i < program->changes; i++)
		printf("%s%x", i ? "." : "", program->name[i]);
}

static void print_calls(const struct program *program)
{
	printf("# %u threads:", program->threads);
	for (unsigned int i = 0; i < program->calls; i++) {
		uint32_t random = program->numbers[i];

		printf(" %s,", fuzz_calls[fuzz_call_of(next_random(&random))].name);
	}
	putchar('\n');
}

static struct program program_of_name(const char *name)
{
	struct program program = { .threads = 1 };

	while (*name) {
		char *end;

		change(&program, (uint32_t)strtoul(name, &end, 16));
		if (end == name || (*end && *end != '.'))
			fail("'%s' is not the name of a program", name);
		name = *end ? end + 1 : end;
	}
	return program;
}

/* --- running one --- */

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
		fail_nth_arm(fail_nth, 1 + pick(f, MOST_ALLOCATIONS));
	cover_forget();
	__atomic_fetch_add(&shared->made[call], 1, __ATOMIC_RELAXED);
	if (fuzz_calls[call].make(f) != -1)
		__atomic_fetch_add(&shared->succeeded[call], 1, __ATOMIC_RELAXED);
	fresh = cover_collect(shared->seen);
	if (fail_nth != -1 && fail_nth_disarm(fail_nth))
		__atomic_fetch_add(&shared->failed_allocations, 1, __ATOMIC_RELAXED);
	if (fresh) {
		__atomic_fetch_add(&shared->places, fresh, __ATOMIC_RELAXED);
		store(&shared->fresh, 1);
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
	for (unsigned int i = thread; i < running->calls; i += running->threads)
		make_call(f, running->numbers[i], fail_nth);
	return NULL;
}

static void prepare_process(void)
{
	struct sigaction interrupted = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK };
	struct sigaction bad_touch = { .sa_sigaction = on_bad_touch,
				       .sa_flags = SA_SIGINFO | SA_ONSTACK };

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

/* --- failures --- */

/* Leaves out each call without which the program fails all the same. */
static void shorten(struct program *program)
{
	for (unsigned int at = program->calls; at-- > 0;) {
		struct program shorter = *program;

		remove_calls(&shorter, at, 1);
		if (status_of(&shorter) != 0)
			*program = shorter;
	}
}

static void report_failure(const struct program *program, int status)
{
	struct program shorter = *program;

	printf("# status %#x: ", status);
	print_name(program);
	putchar('\n');
	print_calls(program);
	shorten(&shorter);
	printf("# what is needed for it, if it fails each time:\n");
	print_calls(&shorter);
	fail("a program ended with status %#x", status);
}

static void run_and_check(const struct program *program)
{
	int status = status_of(program);

	if (status != 0)
		report_failure(program, status);
}

/* --- disturbances --- */

static pid_t start_disturbing(uint32_t seed)
{
	pid_t child = (pid_t)CHECK(fork());

	if (child != 0)
		return child;
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
	while (!load(&shared->stop)) {
		if (one_in(&seed, 3)) {
			if (device_is_resettable(device_bus_id))
				CHECK(device_reset(device_bus_id));
		} else {
			CHECK(driver_unbind(device_bus_id));
			CHECK(driver_bind(device_bus_id));
		}
		usleep(1000 + random_below(&seed, 20000));
	}
	_exit(0);
}

static void stop_disturbing(pid_t child)
{
	int status;

	store(&shared->stop, 1);
	CHECK(waitpid(child, &status, 0));
	if (status != 0)
		fail("who disturbed ended with status %#x", status);
}

/* --- all --- */

/* A changed one of those that were kept, or a new one. */
static struct program next_program(uint32_t *random)
{
	struct program program = { .threads = 1 };

	if (n_kept && !one_in(random, 4))
		program = kept[random_below(random, n_kept)];
	do
		change(&program, next_random(random));
	while (program.changes < MOST_CHANGES && one_in(random, 2));
	return program;
}

static void keep(const struct program *program)
{
	store(&shared->fresh, 0);
	if (n_kept < MOST_KEPT && program->changes < MOST_CHANGES)
		kept[n_kept++] = *program;
}

static void run_programs(unsigned int count, uint32_t seed, bool disturbed)
{
	uint32_t random = seed;

	for (unsigned int i = 0; i < count; i++) {
		struct program program = next_program(&random);

		run_and_check(&program);
		if (!disturbed)
			wait_until_unused(device_bus_id);
		if (load(&shared->fresh))
			keep(&program);
		if (i % 1000 == 999)
			printf("fuzz: %u programs, %u kept\n", i + 1, n_kept);
	}
}

static bool has_dma_bufs;

static bool exports_dma_bufs(void)
{
	struct ivshmem_dma_buf args = { .flags = IVSHMEM_DMA_BUF_CLOEXEC, .size = PAGE_BYTES };
	int fd = dev_open(O_RDWR), dma_buf = ioctl(fd, IVSHMEM_KVMFR_CREATE_DMA_BUF, &args);

	close(fd);
	if (dma_buf >= 0)
		close(dma_buf);
	return dma_buf >= 0;
}

/* Calls that are not meant to succeed, or need what the kernel may not have. */
static bool is_optional(const char *name)
{
	if (!strcmp(name, "any ioctl"))
		return true;
	if (!strcmp(name, "io_uring"))
		return failing || !has_io_uring();
	return !has_dma_bufs && strstr(name, "DMA_BUF");
}

/* With @all each kind of call is to have succeeded, else the first: open. */
static void print_and_check_calls(bool all)
{
	uint64_t made = 0;

	for (unsigned int i = 0; i < FUZZ_CALLS; i++) {
		const char *name = fuzz_calls[i].name;

		made += shared->made[i];
		printf("# %-16s %8u, of which %8u succeeded\n", name, shared->made[i],
		       shared->succeeded[i]);
		if (all && !shared->succeeded[i] && !is_optional(name))
			fail("no call of %s succeeded: nothing was tested", name);
	}
	printf("fuzz: %llu calls", (unsigned long long)made);
	if (failing)
		printf(", %u allocations failed", shared->failed_allocations);
	if (shared->places)
		printf(", %u places of the driver's code", shared->places);
	putchar('\n');
	if (!shared->succeeded[0] || (failing && !shared->failed_allocations))
		fail("nothing was tested");
}

static void prepare(void)
{
	int fd;

	test_share();
	remember_device();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		fail("no memory");
	fd = dev_open(O_RDONLY);
	pool.info = dev_info(fd);
	close(fd);
	has_dma_bufs = exports_dma_bufs();
	pthread_mutex_init(&pool.areas_lock, NULL);
	pool.unmapped = bad_pointer();
	pool.end = page_end();
	pool.read_only = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	test_limit_start();
}

/* What is done to the device in the meantime. */
enum disturbance { NONE, BY_US, BY_HOST, BY_FAILURES, DISTURBANCES };

static const char *const disturbance_names[DISTURBANCES] = { "", "disturbed", "plugged",
							      "failing" };

static enum disturbance disturbance_of(const char *name)
{
	for (unsigned int i = BY_US; i < DISTURBANCES; i++)
		if (!strcmp(name, disturbance_names[i]))
			return i;
	return NONE;
}

static void replay(const char *name)
{
	struct program program = program_of_name(name);

	prepare();
	print_calls(&program);
	run_and_check(&program);
	wait_until_unused(device_bus_id);
}

int main(int argc, char **argv)
{
	enum disturbance by = argc > 1 ? disturbance_of(argv[1]) : NONE;
	unsigned int count;
	uint32_t seed;
	pid_t disturber = 0;

	if (argc == 3 && !strcmp(argv[1], "replay")) {
		replay(argv[2]);
		return 0;
	}
	argv += by != NONE;
	argc -= by != NONE;
	if (argc < 2 || argc > 3)
		fail("usage: fuzz [disturbed|plugged|failing] N [SEED], or fuzz replay NAME");
	count = number_argument(argv[1], 1, 100000000);
	seed = argc == 3 ? number_argument(argv[2], 0, UINT32_MAX) : 1;
	prepare();
	puts("fuzz: ready");
	failing = by == BY_FAILURES;
	if (failing)
		fail_nth_set_up();
	if (by == BY_US)
		disturber = start_disturbing(seed);
	run_programs(count, seed, by == BY_US || by == BY_HOST);
	if (disturber)
		stop_disturbing(disturber);
	/* Otherwise nobody knows whether the device is there. */
	if (by != BY_HOST)
		wait_until_unused(device_bus_id);
	/* A device that is away most of the time is not there for each. */
	print_and_check_calls(count >= MANY_PROGRAMS && by != BY_US && by != BY_HOST);
	puts("fuzz: passed");
	return 0;
}
