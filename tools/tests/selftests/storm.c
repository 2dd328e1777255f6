// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A storm: both CPUs ring this very device as fast as they can, on a vector with as many eventfds as
 * a device may have. Who waits for another vector is served all the same, and so is who wants
 * something else from the machine. The measured times are printed, not judged: they are the
 * machine's. Who gets no turn at all makes no progress, and that is a failure.
 */
#include "sleeper.h"
#include "sysfs.h"

#include <stdlib.h>

#define STORM_VECTOR	0
#define CALM_VECTOR	1
#define SAMPLES		100

static volatile bool storm_over;

/* One CPU of the storm; the result is the number of rings. */
static void *storm(void *cpu)
{
	struct ivshmem_ring ring = { .vector = STORM_VECTOR };
	int fd = dev_open(O_RDWR);
	cpu_set_t set;
	long rings = 0;

	CPU_ZERO(&set);
	CPU_SET((long)cpu, &set);
	ASSERT_EQ(0, pthread_setaffinity_np(pthread_self(), sizeof(set), &set));
	ring.peer = dev_info(fd).peer_id;
	for (; !storm_over; rings++)
		ASSERT_OK(ioctl(fd, IVSHMEM_RING, &ring));
	close(fd);
	return (void *)rings;
}

static void storm_start(pthread_t *threads, long cpus)
{
	for (long cpu = 0; cpu < cpus; cpu++)
		ASSERT_EQ(0, pthread_create(&threads[cpu], NULL, storm, (void *)cpu));
}

static long storm_end(const pthread_t *threads, long cpus)
{
	long rings = 0;

	storm_over = true;
	for (long cpu = 0; cpu < cpus; cpu++) {
		void *result;

		ASSERT_EQ(0, pthread_join(threads[cpu], &result));
		rings += (long)result;
	}
	return rings;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Prints the median and the longest of the times. */
static void report(const char *what, int64_t *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare);
	printf("# %s: median %lld us, longest %lld us of %zu\n", what,
	       (long long)times[n / 2] / 1000, (long long)times[n - 1] / 1000, n);
}

/* The time from a ring to the return of another opener's read() that slept. */
static int64_t ring_to_read(int fd)
{
	struct ivshmem_event event;
	struct sleeper sleeper = { .call = sleeper_read, .fd = fd, .argument = &event };
	int64_t start;

	sleeper_start(&sleeper, SYS_read);
	start = now_ns();
	ring_self(fd, CALM_VECTOR);
	sleeper_join(&sleeper);
	EXPECT_EQ(sizeof(event), sleeper.result);
	EXPECT_EQ(CALM_VECTOR, event.vector);
	return now_ns() - start;
}

static void measure_openers(const char *what)
{
	int64_t times[SAMPLES];
	int fd = dev_open(O_RDWR);

	ASSERT_OK(subscribe(fd, 1 << CALM_VECTOR));
	for (size_t i = 0; i < SAMPLES; i++) {
		times[i] = ring_to_read(fd);
		test_progress();
	}
	close(fd);
	report(what, times, SAMPLES);
}

static void measure_shell(const char *what)
{
	int64_t times[SAMPLES / 10];

	for (size_t i = 0; i < SAMPLES / 10; i++) {
		int64_t start = now_ns();

		test_waits_for("a shell to end");
		ASSERT_EQ(0, system("/bin/sh -c 'exit 0'"));
		times[i] = now_ns() - start;
		test_progress();
	}
	report(what, times, SAMPLES / 10);
}

TEST(leaves_other_openers_and_the_shell_their_turn)
{
	long cpus = ASSERT_OK(sysconf(_SC_NPROCESSORS_ONLN));
	pthread_t threads[cpus];
	int64_t start;
	long rings;

	dev_open_with(O_RDWR, 2);
	measure_openers("ring to read, calm");
	measure_shell("shell, calm");
	bind_eventfds(STORM_VECTOR, 256);
	start = now_ns();
	storm_start(threads, cpus);
	measure_openers("ring to read, storm");
	measure_shell("shell, storm");
	rings = storm_end(threads, cpus);
	printf("# %ld CPUs rang %ld times in %lld ms\n", cpus, rings,
	       (long long)(now_ns() - start) / 1000000);
	EXPECT_TRUE(rings > SAMPLES);
}

static unsigned long held_back(void)
{
	int fd = dev_open(O_RDONLY);
	unsigned long times = attribute_number(dev_info(fd).bus_id, "ivshmem_statistics/held_back");

	close(fd);
	return times;
}

/* The last ring of a flood counts, though the vector was held back. */
TEST(a_flood_is_held_back_and_its_last_ring_arrives)
{
	long cpus = ASSERT_OK(sysconf(_SC_NPROCESSORS_ONLN));
	int fd = dev_open_with(O_RDWR, 2);
	pthread_t threads[cpus];
	unsigned long before = held_back();

	ASSERT_OK(subscribe(fd, 1 << STORM_VECTOR));
	bind_eventfds(STORM_VECTOR, 256);
	storm_start(threads, cpus);
	test_waits_for("the vector to be held back");
	while (held_back() == before)
		usleep(10000);
	storm_end(threads, cpus);
	for (int i = 0; i < 100; i++)
		ring_arrives(STORM_VECTOR);
}

TEST(a_vector_that_is_rung_in_turn_is_not_held_back)
{
	unsigned long before = held_back();

	for (int i = 0; i < 500; i++)
		ring_arrives(CALM_VECTOR);
	EXPECT_EQ(before, held_back());
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
