// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What real-time programs on a PREEMPT_RT kernel rely on: each vector's handler is a thread, and
 * nothing between a ring and the program that it wakes runs below real-time priority. So programs of
 * a lower priority that keep every CPU busy delay nobody.
 *
 * The caller has switched off what gives ordinary programs their turn nevertheless: RT throttling
 * and the fair server.
 */
#include "sleeper.h"
#include "sysfs.h"
#include <libivshmem.h>

#include <dirent.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* Consumers are below the handlers' threads, and above what keeps the CPUs busy. */
#define HANDLER_PRIORITY	50
#define CONSUMER_PRIORITY	40
#define BUSY_PRIORITY		10

#define VECTOR		0
#define FLOOD_VECTOR	1
#define ROUNDS		20

/* This part of the time limit without progress ends it: whoever watches the limit gets no turn. */
#define BUSY_PART	4

static volatile bool idle_again;

/* What the busy CPUs ring the flooded vector with, or -1. */
static volatile int flood_fd = -1;

/* Whether the CPUs were busy for all the time that a consumer waited. */
static volatile bool kept_busy;

static void set_priority(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	ASSERT_EQ(0, pthread_setschedparam(pthread_self(), SCHED_FIFO, &param));
}

static void *busy(void *cpu)
{
	const int64_t limit = test_seconds() * 1000000000ll / BUSY_PART;
	unsigned int progress = 0;
	int64_t since = 0;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((long)cpu, &set);
	ASSERT_EQ(0, pthread_setaffinity_np(pthread_self(), sizeof(set), &set));
	set_priority(BUSY_PRIORITY);
	while (!idle_again && kept_busy) {
		unsigned int now = __atomic_load_n(&test_shared->progress, __ATOMIC_RELAXED);

		if (flood_fd >= 0)
			ring_self(flood_fd, FLOOD_VECTOR);
		if (!since || now != progress)
			since = now_ns();
		progress = now;
		if (now_ns() - since > limit)
			kept_busy = false;
	}
	return NULL;
}

/* Makes this thread a real-time one, and all CPUs busy. */
static void busy_start(pthread_t *threads, long cpus)
{
	ASSERT_OK(mlockall(MCL_CURRENT | MCL_FUTURE));
	/* First, so that this thread has its turn when they are there. */
	set_priority(CONSUMER_PRIORITY);
	idle_again = false;
	kept_busy = true;
	for (long cpu = 0; cpu < cpus; cpu++)
		ASSERT_EQ(0, pthread_create(&threads[cpu], NULL, busy, (void *)cpu));
}

static void busy_end(const pthread_t *threads, long cpus)
{
	EXPECT_TRUE(kept_busy);
	idle_again = true;
	for (long cpu = 0; cpu < cpus; cpu++)
		ASSERT_EQ(0, pthread_join(threads[cpu], NULL));
}

#define SPINS		(-1)

/* A thread that waits for the vector, ROUNDS times. */
struct consumer {
	/* Returns when the vector was rung; 0, or -1 if that cannot be. */
	long (*await)(struct consumer *self);
	long call;		/* the system call that it sleeps in, or SPINS */
	int fd, other;
	struct ivshmem_wait wait;
	uint32_t *word;		/* that each ring changes, or NULL */
	const struct ivshmem_event_page *page;
	uint32_t begin;		/* what the event page counted before the first ring */
	uint32_t woken;		/* how often */
	struct sleeper thread;	/* its tid */
};

static void *consumer_main(void *argument)
{
	struct consumer *consumer = argument;

	set_priority(CONSUMER_PRIORITY);
	__atomic_store_n(&consumer->thread.tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	for (int round = 0; round < ROUNDS; round++) {
		ASSERT_OK(consumer->await(consumer));
		test_progress();
		__atomic_add_fetch(&consumer->woken, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Rings each time that the consumer waits; it must come while the CPUs are busy. */
static void comes_in_time(struct consumer *consumer)
{
	long cpus = ASSERT_OK(sysconf(_SC_NPROCESSORS_ONLN));
	pthread_t threads[cpus], thread;

	busy_start(threads, cpus);
	ASSERT_EQ(0, pthread_create(&thread, NULL, consumer_main, consumer));
	for (uint32_t round = 0; round < ROUNDS; round++) {
		test_waits_for("the consumer to sleep, or to be woken, in round %u", round);
		while (consumer->call != SPINS &&
		       !sleeper_sleeps(&consumer->thread, consumer->call)) {
			ASSERT_TRUE(kept_busy);
			usleep(1000);
		}
		if (consumer->word)
			__atomic_add_fetch(consumer->word, 1, __ATOMIC_RELEASE);
		ring_self(consumer->fd, VECTOR);
		while (__atomic_load_n(&consumer->woken, __ATOMIC_ACQUIRE) == round) {
			ASSERT_TRUE(kept_busy);
			usleep(1000);
		}
	}
	busy_end(threads, cpus);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

static int open_subscribed(int flags)
{
	int fd = dev_open_with(O_RDWR | flags, 2);

	ASSERT_OK(subscribe(fd, 1 << VECTOR));
	return fd;
}

static long await_by_read(struct consumer *self)
{
	struct ivshmem_event event;

	return read(self->fd, &event, sizeof(event)) == sizeof(event) ? 0 : -1;
}

TEST(read_wakes_past_busy_CPUs)
{
	struct consumer consumer = {
		.await = await_by_read, .call = SYS_read, .fd = open_subscribed(0),
	};

	comes_in_time(&consumer);
}

static long await_by_wait(struct consumer *self)
{
	struct ivshmem_wait wait = self->wait;

	if (self->word)
		wait.value = __atomic_load_n(self->word, __ATOMIC_ACQUIRE);
	return ioctl(self->fd, IVSHMEM_WAIT, &wait);
}

TEST(WAIT_wakes_past_busy_CPUs)
{
	struct consumer consumer = {
		.await = await_by_wait, .call = SYS_ioctl, .fd = open_subscribed(0),
		.wait = { .vectors = 1 << VECTOR, .timeout_ns = -1 },
	};

	comes_in_time(&consumer);
}

TEST(WAIT_for_a_word_wakes_past_busy_CPUs)
{
	int fd = open_subscribed(0);
	struct consumer consumer = {
		.await = await_by_wait, .call = SYS_ioctl, .fd = fd,
		.wait = { .vectors = 1 << VECTOR, .timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD },
		.word = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE),
	};

	comes_in_time(&consumer);
}

static long await_by_poll(struct consumer *self)
{
	struct pollfd entry = { .fd = self->fd, .events = POLLIN };

	if (poll(&entry, 1, -1) != 1)
		return -1;
	return take_pending(self->fd) == 1 << VECTOR ? 0 : -1;
}

TEST(poll_wakes_past_busy_CPUs)
{
	struct consumer consumer = {
		.await = await_by_poll, .call = SYS_poll, .fd = open_subscribed(O_NONBLOCK),
	};

	comes_in_time(&consumer);
}

static long await_by_epoll(struct consumer *self)
{
	struct epoll_event event;

	if (epoll_wait(self->other, &event, 1, -1) != 1)
		return -1;
	return take_pending(self->fd) == 1 << VECTOR ? 0 : -1;
}

TEST(epoll_wakes_past_busy_CPUs)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct consumer consumer = {
		.await = await_by_epoll, .call = SYS_epoll_wait, .fd = open_subscribed(O_NONBLOCK),
	};

	consumer.other = ASSERT_OK(epoll_create1(EPOLL_CLOEXEC));
	ASSERT_OK(epoll_ctl(consumer.other, EPOLL_CTL_ADD, consumer.fd, &event));
	comes_in_time(&consumer);
}

static long await_by_eventfd(struct consumer *self)
{
	uint64_t count;

	return read(self->other, &count, sizeof(count)) == sizeof(count) ? 0 : -1;
}

TEST(eventfd_wakes_past_busy_CPUs)
{
	struct consumer consumer = {
		.await = await_by_eventfd, .call = SYS_read, .fd = open_subscribed(0),
	};
	struct ivshmem_eventfd binding = { .vector = VECTOR };

	binding.fd = consumer.other = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	ASSERT_OK(ioctl(consumer.fd, IVSHMEM_SET_EVENTFD, &binding));
	comes_in_time(&consumer);
}

static long await_by_event_page(struct consumer *self)
{
	while (ivshmem_interrupts(self->page, VECTOR) - self->begin <= self->woken)
		;
	return 0;
}

/* The consumer never sleeps. What makes the page change has the higher priority. */
TEST(event_page_changes_under_a_spinning_program)
{
	struct consumer consumer = {
		.await = await_by_event_page, .call = SPINS, .fd = open_subscribed(0),
	};

	consumer.page = (const void *)map_event_page(consumer.fd);
	consumer.begin = ivshmem_interrupts(consumer.page, VECTOR);
	comes_in_time(&consumer);
}

TEST(a_time_limit_ends_WAIT_past_busy_CPUs)
{
	long cpus = ASSERT_OK(sysconf(_SC_NPROCESSORS_ONLN));
	struct ivshmem_wait wait = { .vectors = 1 << VECTOR, .timeout_ns = 50000000 };
	int fd = open_subscribed(0);
	pthread_t threads[cpus];

	busy_start(threads, cpus);
	test_waits_for("the time limit of IVSHMEM_WAIT");
	EXPECT_ERRNO(ETIMEDOUT, ioctl(fd, IVSHMEM_WAIT, &wait));
	busy_end(threads, cpus);
}

static unsigned long held_back(int fd)
{
	return attribute_number(dev_info(fd).bus_id, "ivshmem_statistics/held_back");
}

/* A flooded vector that is held back for a while comes back at its time, too. */
TEST(a_vector_that_was_held_back_comes_back_past_busy_CPUs)
{
	long cpus = ASSERT_OK(sysconf(_SC_NPROCESSORS_ONLN));
	int fd = dev_open_with(O_RDWR, 2);
	unsigned long before = held_back(fd);
	pthread_t threads[cpus];

	bind_eventfds(FLOOD_VECTOR, 256);	/* so that an interrupt takes long */
	busy_start(threads, cpus);
	test_waits_for("the flooded vector to be held back");
	flood_fd = fd;
	while (held_back(fd) == before) {
		ASSERT_TRUE(kept_busy);
		usleep(1000);
	}
	flood_fd = -1;
	ring_arrives(FLOOD_VECTOR);
	busy_end(threads, cpus);
}

/* The process whose command has this name; 0 if there is none. */
static pid_t process_called(const char *name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	ASSERT_TRUE(proc);
	while (!found && (entry = readdir(proc))) {
		char path[300], text[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
		if (!file)
			continue;
		if (fgets(text, sizeof(text), file))
			text[strcspn(text, "\n")] = '\0';
		fclose(file);
		if (strcmp(text, name) == 0)
			found = atoi(entry->d_name);
	}
	closedir(proc);
	return found;
}

/* The number that /proc/interrupts has for a vector of the first device; -1 if it is not there. */
static int interrupt_number(unsigned int vector)
{
	char name[32], line[1024];
	FILE *file = fopen("/proc/interrupts", "re");
	int number = -1;

	ASSERT_TRUE(file);
	snprintf(name, sizeof(name), "ivshmem0-%u\n", vector);
	while (number < 0 && fgets(line, sizeof(line), file)) {
		size_t length = strlen(line);

		if (length > strlen(name) && strcmp(line + length - strlen(name), name) == 0)
			number = atoi(line);
	}
	fclose(file);
	return number;
}

TEST(each_vector_has_a_thread_with_its_name_and_priority)
{
	unsigned int vectors = dev_vectors(dev_open(O_RDONLY));

	ASSERT_TRUE(vectors > 0);
	for (unsigned int vector = 0; vector < vectors; vector++) {
		struct sched_param param;
		char name[64];
		pid_t thread;

		snprintf(name, sizeof(name), "irq/%d-ivshmem0-%u", interrupt_number(vector), vector);
		thread = process_called(name);
		if (!thread)
			test_fail(__FILE__, __LINE__, "there is no thread %s", name);
		if (!thread)
			continue;
		EXPECT_EQ(SCHED_FIFO, sched_getscheduler(thread));
		EXPECT_OK(sched_getparam(thread, &param));
		EXPECT_EQ(HANDLER_PRIORITY, param.sched_priority);
	}
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
