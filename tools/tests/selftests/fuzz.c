// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Random programs of system calls against the device, each in a process of its own, some at a time.
 * None may end otherwise than by itself, and nothing of them may be left; what the kernel says to it
 * is for the host to see.
 *
 *	fuzz N [SEED]			runs so many programs
 *	fuzz disturbed N [SEED]		the same, while the driver is unbound and bound, and the device reset
 *	fuzz plugged N [SEED]		the same, while the host unplugs the device and plugs it
 *	fuzz failing N [SEED]		the same as the first, and allocations of some calls fail
 *	fuzz [...] replay NAME		runs one again, alone, and tells its calls
 *
 * The seed and its number choose a program. Where the kernel tells which code was reached (KCOV),
 * those that reached new code are changed on: then it also depends on what the others have reached.
 */
#include "guests.h"
#include "fuzz_run.h"
#include "slabs.h"

/* After so many programs, nothing of them may be left. */
#define ROUND		200

/* So many objects more in a slab cache are a leak. The number moves by less without one. */
#define MOST_LEFT	200

/* From this number of calls on, each kind of them is to have succeeded. */
#define MANY_CALLS	20000

/* --- failures --- */

/* Leaves out each stretch of calls without which the program fails all the same, and at last each call. */
static void shorten(struct program *program)
{
	for (unsigned int count = MOST_CALLS / 2; count; count /= 2) {
		unsigned int at = 0;

		while (at + count <= program->calls) {
			struct program shorter = *program;

			remove_calls(&shorter, at, count);
			if (status_of(&shorter) != 0)
				*program = shorter;
			else
				at += count;
		}
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

/* --- many --- */

/* Of the first that fails. */
static void note_failure(const struct program *program, int status)
{
	uint32_t none = 0;

	if (__atomic_compare_exchange_n(&shared->status, &none, (uint32_t)status, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		shared->failed = *program;
}

/* Runs programs up to number @end, or until one fails. */
static void work(uint32_t end, uint32_t seed)
{
	uint32_t number;

	while (!load(&shared->status) &&
	       (number = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED)) < end) {
		struct program program = program_of_number(&shared->kept, number, seed);
		int status;

		store(&shared->fresh[worker], 0);
		status = status_of(&program);
		if (status)
			note_failure(&program, status);
		if (load(&shared->fresh[worker]))
			keep(&shared->kept, &program);
	}
}

static void run_round(uint32_t first, uint32_t end, uint32_t seed)
{
	pid_t workers[WORKERS];
	int status;

	store(&shared->next, first);
	for (worker = 0; worker < WORKERS; worker++) {
		workers[worker] = (pid_t)CHECK(fork());
		if (workers[worker] == 0) {
			CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
			work(end, seed);
			_exit(0);
		}
	}
	for (worker = 0; worker < WORKERS; worker++) {
		CHECK(waitpid(workers[worker], &status, 0));
		if (status)
			fail("a worker ended with status %#x", status);
	}
	worker = 0;
	if (shared->status)
		report_failure(&shared->failed, (int)shared->status);
}

/* What was in use after the first round, in which the kernel makes what it keeps. */
static struct slabs slabs;

/* Not on a kernel that looks for leaks itself: its notes of that are more and more. */
static bool can_compare_slabs(void)
{
	return access("/sys/kernel/debug/kmemleak", F_OK) != 0;
}

static void run_programs(uint32_t count, uint32_t seed, bool away)
{
	for (uint32_t first = 0, end; first < count; first = end) {
		end = count - first < ROUND ? count : first + ROUND;
		run_round(first, end, seed);
		if (!away)
			wait_until_unused(device_bus_id);
		if (first == 0 && count > ROUND)
			read_slabs(&slabs);
		if (end % (10 * ROUND) == 0)
			printf("fuzz: %u programs, %llu calls, %u kept\n", end,
			       (unsigned long long)calls_made(), shared->kept.n);
	}
}

/* --- all --- */

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

static void print_calls_made(int64_t ns)
{
	for (unsigned int i = 0; i < FUZZ_CALLS; i++)
		printf("# %-16s %8u, of which %8u succeeded\n", fuzz_calls[i].name, shared->made[i],
		       shared->succeeded[i]);
	printf("fuzz: %llu calls in %lld s", (unsigned long long)calls_made(), (long long)(ns / 1000000000));
	if (failing)
		printf(", %u allocations failed", shared->failed_allocations);
	if (shared->places)
		printf(", %u places of the driver's code", shared->places);
	putchar('\n');
}

/* Of many calls each kind is to have succeeded, unless the device is @away most of the time; else the first: open. */
static void check_calls_made(bool away)
{
	if (!shared->succeeded[0] || (failing && !shared->failed_allocations))
		fail("nothing was tested");
	for (unsigned int i = 0; i < FUZZ_CALLS && !away && calls_made() >= MANY_CALLS; i++)
		if (!shared->succeeded[i] && !is_optional(fuzz_calls[i].name))
			fail("no call of %s succeeded: nothing was tested", fuzz_calls[i].name);
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
	make_corpus(&shared->kept);
	make_small_stacks();
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
	int status;

	print_calls(&program);
	status = status_of(&program);
	if (status)
		report_failure(&program, status);
}

int main(int argc, char **argv)
{
	enum disturbance by = argc > 1 ? disturbance_of(argv[1]) : NONE;
	/* Without a device that stays, nobody knows what is in use, and calls may have found none. */
	bool away = by == BY_US || by == BY_HOST, again;
	uint32_t count, seed;
	pid_t disturber = 0;
	int64_t begin;

	argv += by != NONE;
	argc -= by != NONE;
	if (argc < 2 || argc > 3)
		fail("usage: fuzz [disturbed|plugged|failing] N [SEED], or with replay NAME");
	again = argc == 3 && !strcmp(argv[1], "replay");
	count = again ? 0 : number_argument(argv[1], 1, 100000000);
	seed = argc == 3 && !again ? number_argument(argv[2], 0, UINT32_MAX) : 1;
	prepare();
	puts("fuzz: ready");
	failing = by == BY_FAILURES;
	if (failing)
		fail_nth_set_up();
	if (by == BY_US)
		disturber = start_disturbing(seed);
	begin = now_ns();
	if (again)
		replay(argv[2]);
	run_programs(count, seed, away);
	if (disturber)
		stop_disturbing(disturber);
	if (by != BY_HOST)
		wait_until_unused(device_bus_id);
	print_calls_made(now_ns() - begin);
	if (!again)
		check_calls_made(away);
	if (!away && count > ROUND && can_compare_slabs())
		wait_for_slabs(&slabs, MOST_LEFT);
	puts("fuzz: passed");
	return 0;
}
