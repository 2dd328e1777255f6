// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Mapping the shared memory and touching all of it: how long, with how many page faults, by how many
 * threads at once; then unmapping it, and forking while it is mapped.
 *
 *	faults SUBJECT BYTES THREADS SAMPLES
 *
 * Prints "faults.SUBJECT.WHAT" for each of touch, faults, unmap, fork, touch_in_child; with THREADS
 * only touch_THREADS, the time from when all of them start to when the last has ended.
 */
#include "devices.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define LARGE	(2ul << 20)

#define MOST_THREADS	16

/* Where a mapping goes. */
enum place {
	/* Where the kernel puts it. */
	ANYWHERE,
	/* At a multiple of 2 MiB, which vfio and memfd do not get by themselves. */
	ALIGNED,
	/* A page above that: no large page fits. */
	OFF_BY_A_PAGE,
};

struct subject {
	const char *name;
	int (*open)(size_t bytes, off_t *offset);
	enum place place;
	int flags;
	/* Wants large pages of the page cache. */
	int advise;
};

static int open_ours(size_t bytes, off_t *offset)
{
	(void)bytes;
	*offset = 0;
	return ours_open(0);
}

static int open_vfio(size_t bytes, off_t *offset)
{
	struct vfio vfio = vfio_open(address_of("BENCH_VFIO"));

	(void)bytes;
	*offset = vfio_region(&vfio, VFIO_PCI_BAR2_REGION_INDEX).offset;
	return vfio.device;
}

static int open_resource(size_t bytes, off_t *offset)
{
	char path[128];

	(void)bytes;
	*offset = 0;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2", address_of("BENCH_BARE"));
	return MUST(open(path, O_RDWR | O_CLOEXEC));
}

/* Memory that is there already, as the shared memory is: what is measured is mapping it. */
static int open_memfd(size_t bytes, unsigned int flags, int advise)
{
	int fd = MUST(memfd_create("rival", MFD_CLOEXEC | flags));
	char *at;

	MUST(ftruncate(fd, bytes));
	at = MUST(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	if (advise)
		MUST(madvise(at, bytes, MADV_HUGEPAGE));
	memset(at, 1, bytes);
	munmap(at, bytes);
	return fd;
}

static int open_memfd_small(size_t bytes, off_t *offset)
{
	*offset = 0;
	return open_memfd(bytes, 0, 0);
}

static int open_memfd_thp(size_t bytes, off_t *offset)
{
	*offset = 0;
	return open_memfd(bytes, 0, 1);
}

static int open_memfd_hugetlb(size_t bytes, off_t *offset)
{
	*offset = 0;
	return open_memfd(bytes, MFD_HUGETLB, 0);
}

static const struct subject subjects[] = {
	{ "ours", open_ours, ANYWHERE, 0, 0 },
	{ "ours_populate", open_ours, ANYWHERE, MAP_POPULATE, 0 },
	{ "ours_off_by_a_page", open_ours, OFF_BY_A_PAGE, 0, 0 },
	{ "vfio", open_vfio, ANYWHERE, 0, 0 },
	{ "vfio_aligned", open_vfio, ALIGNED, 0, 0 },
	{ "vfio_off_by_a_page", open_vfio, OFF_BY_A_PAGE, 0, 0 },
	{ "resource2", open_resource, ANYWHERE, 0, 0 },
	{ "memfd", open_memfd_small, ANYWHERE, 0, 0 },
	{ "memfd_thp", open_memfd_thp, ALIGNED, 0, 1 },
	{ "memfd_hugetlb", open_memfd_hugetlb, ANYWHERE, 0, 0 },
};

static char *map(const struct subject *subject, int fd, off_t offset, size_t bytes)
{
	char *at = NULL;

	if (subject->place != ANYWHERE) {
		at = MUST(mmap(NULL, bytes + 2 * LARGE, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
		MUST(munmap(at, bytes + 2 * LARGE));
		at = (char *)(((uintptr_t)at + LARGE - 1) & ~(LARGE - 1));
		if (subject->place == OFF_BY_A_PAGE)
			at += PAGE_BYTES;
	}
	return MUST(mmap(at, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | subject->flags | (at ? MAP_FIXED_NOREPLACE : 0), fd, offset));
}

static void touch(volatile char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE_BYTES)
		at[i] = 1;
}

/* --- threads --- */

struct toucher {
	pthread_t thread;
	pthread_barrier_t *start;
	volatile char *at;
	size_t bytes;
	int cpu;
};

static void *touch_stretch(void *argument)
{
	struct toucher *toucher = argument;

	pin_to_cpu(toucher->cpu);
	pthread_barrier_wait(toucher->start);
	touch(toucher->at, toucher->bytes);
	return NULL;
}

/* Touches all in as many stretches as there are threads, and returns how long it took. */
static uint64_t touch_together(char *at, size_t bytes, unsigned int threads)
{
	struct toucher touchers[MOST_THREADS];
	pthread_barrier_t start;
	uint64_t from;

	pthread_barrier_init(&start, NULL, threads + 1);
	for (unsigned int i = 0; i < threads; i++) {
		touchers[i] = (struct toucher){ .start = &start, .at = at + bytes / threads * i,
						.bytes = bytes / threads, .cpu = i };
		if (pthread_create(&touchers[i].thread, NULL, touch_stretch, &touchers[i]))
			die("pthread_create");
	}
	from = ticks();
	pthread_barrier_wait(&start);
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(touchers[i].thread, NULL);
	from = ticks() - from;
	pthread_barrier_destroy(&start);
	return from;
}

static long faults(void)
{
	struct rusage usage;

	MUST(getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt + usage.ru_majflt;
}

/* Forks; returns how long that took, and by @child how long the child took to touch all. */
static uint64_t fork_touching(char *at, size_t bytes, uint64_t *child)
{
	uint64_t *answer = MUST(mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	uint64_t from = ticks(), to;
	pid_t pid = MUST(fork());

	if (!pid) {
		from = ticks();
		touch(at, bytes);
		*answer = ticks() - from;
		_exit(0);
	}
	to = ticks();
	waitpid(pid, NULL, 0);
	*child = *answer;
	munmap(answer, PAGE_BYTES);
	return to - from;
}

static void report(struct series *series, const char *subject, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), "faults.%s.%s", subject, what);
	series_report(series, name, 0);
}

static void measure(const struct subject *subject, size_t bytes, unsigned int threads,
		    unsigned int samples)
{
	struct series times = series_new(samples), counts = series_new(samples);
	struct series unmaps = series_new(samples), forks = series_new(samples);
	struct series children = series_new(samples);
	char name[64];
	off_t offset;
	int fd = subject->open(bytes, &offset);

	for (unsigned int i = 0; i < samples; i++) {
		long before = faults();
		uint64_t from = ticks(), child;
		char *at = map(subject, fd, offset, bytes);

		if (subject->advise)
			MUST(madvise(at, bytes, MADV_HUGEPAGE));
		if (threads) {
			series_add(&times, touch_together(at, bytes, threads));
		} else {
			touch(at, bytes);
			series_add(&times, ticks() - from);
			series_add(&counts, faults() - before);
			series_add(&forks, fork_touching(at, bytes, &child));
			series_add(&children, child);
		}
		from = ticks();
		munmap(at, bytes);
		series_add(&unmaps, ticks() - from);
	}
	if (threads) {
		snprintf(name, sizeof(name), "touch_%u", threads);
		report(&times, subject->name, name);
		return;
	}
	report(&times, subject->name, "touch");
	snprintf(name, sizeof(name), "faults.%s.faults", subject->name);
	report_count(name, series_quantile(&counts, 50));
	free(counts.at);
	report(&unmaps, subject->name, "unmap");
	report(&forks, subject->name, "fork");
	report(&children, subject->name, "touch_in_child");
}

int main(int argc, char **argv)
{
	if (argc != 5)
		die("usage: faults SUBJECT BYTES THREADS SAMPLES; 0 threads: this one, and the rest");
	if (atoi(argv[3]) > MOST_THREADS)
		die("at most %d threads", MOST_THREADS);
	pin_to_cpu(0);
	report_tick_rate();
	for (unsigned int i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
		if (!strcmp(subjects[i].name, argv[1])) {
			measure(&subjects[i], strtoul(argv[2], NULL, 0), atoi(argv[3]),
				atoi(argv[4]));
			return 0;
		}
	die("no subject %s", argv[1]);
}
