// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Whom an interrupt wakes: those who wait for its vector, in whatever way, and nobody else.
 */
#include "sleeper.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

/* The vector that is rung, and two that are waited for. */
#define RUNG	0
#define FIRST	1
#define SECOND	2

#define RINGS	20

/* How often the thread gave up the CPU to sleep. */
static unsigned long times_slept(const struct sleeper *sleeper)
{
	static const char key[] = "voluntary_ctxt_switches:";
	unsigned long times = 0;
	char path[64], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", sleeper->tid);
	file = fopen(path, "re");
	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0) {
			times = strtoul(line + strlen(key), NULL, 10);
			found = true;
		}
	}
	fclose(file);
	ASSERT_TRUE(found);
	return times;
}

static long call_epoll(struct sleeper *self)
{
	struct epoll_event event;

	return epoll_wait(*(int *)self->argument, &event, 1, -1) == 1 ? (long)event.events : -1;
}

static long call_eventfd(struct sleeper *self)
{
	uint64_t count;

	return read(*(int *)self->argument, &count, sizeof(count));
}

static int epoll_of(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };
	int epoll = ASSERT_OK(epoll_create1(EPOLL_CLOEXEC));

	ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	return epoll;
}

static int open_subscribed(uint64_t mask)
{
	int fd = dev_open_with(O_RDWR, 3);

	ASSERT_OK(subscribe(fd, mask));
	return fd;
}

/* Rings RUNG many times: the thread must sleep on. Then @wanted, which must wake it. */
static void sleeps_on_until(struct sleeper *sleeper, unsigned int wanted)
{
	unsigned long before = times_slept(sleeper);

	for (int i = 0; i < RINGS; i++)
		ring_arrives(RUNG);
	EXPECT_EQ(before, times_slept(sleeper));
	ring_arrives(wanted);
	sleeper_join(sleeper);
	EXPECT_TRUE(sleeper->result >= 0);
}

TEST(reading_for_another_vector_sleeps_on)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = open_subscribed(1 << FIRST), .argument = &event,
	};

	sleeper_start(&sleeper, SYS_read);
	sleeps_on_until(&sleeper, FIRST);
	EXPECT_EQ(FIRST, event.vector);
}

TEST(waiting_for_another_vector_sleeps_on)
{
	struct ivshmem_wait wait = { .vectors = 1 << FIRST, .timeout_ns = -1 };
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 3), .argument = &wait,
	};

	sleeper_start(&sleeper, SYS_ioctl);
	sleeps_on_until(&sleeper, FIRST);
	EXPECT_EQ(1 << FIRST, wait.vectors);
}

/* Several vectors: each of them wakes, no other does. */
TEST(waiting_for_two_other_vectors_sleeps_on)
{
	static const unsigned int wanted[] = { FIRST, SECOND };

	for (int i = 0; i < 2; i++) {
		struct ivshmem_wait wait = {
			.vectors = 1 << FIRST | 1 << SECOND, .timeout_ns = -1,
		};
		struct sleeper sleeper = {
			.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 3), .argument = &wait,
		};

		sleeper_start(&sleeper, SYS_ioctl);
		sleeps_on_until(&sleeper, wanted[i]);
		EXPECT_EQ(1 << wanted[i], wait.vectors);
	}
}

TEST(waiting_for_the_subscription_sleeps_on)
{
	struct ivshmem_wait wait = { .timeout_ns = -1 };
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = open_subscribed(1 << FIRST | 1 << SECOND), .argument = &wait,
	};

	sleeper_start(&sleeper, SYS_ioctl);
	sleeps_on_until(&sleeper, SECOND);
	EXPECT_EQ(1 << SECOND, wait.vectors);
}

TEST(polling_for_another_vector_sleeps_on)
{
	struct sleeper sleeper = { .call = sleeper_poll, .fd = open_subscribed(1 << FIRST) };

	sleeper_start(&sleeper, SYS_poll);
	sleeps_on_until(&sleeper, FIRST);
}

TEST(epolling_for_another_vector_sleeps_on)
{
	int epoll = epoll_of(open_subscribed(1 << FIRST), EPOLLIN);
	struct sleeper sleeper = { .call = call_epoll, .argument = &epoll };

	sleeper_start(&sleeper, SYS_epoll_wait);
	sleeps_on_until(&sleeper, FIRST);
}

TEST(an_eventfd_of_another_vector_sleeps_on)
{
	int event = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_eventfd binding = { .vector = FIRST, .fd = event };
	struct sleeper sleeper = { .call = call_eventfd, .argument = &event };

	ASSERT_OK(ioctl(dev_open_with(O_RDWR, 3), IVSHMEM_SET_EVENTFD, &binding));
	sleeper_start(&sleeper, SYS_read);
	sleeps_on_until(&sleeper, FIRST);
}

/* An interrupt that finds nobody forgets the file until somebody waits again. */
TEST(who_waits_again_is_woken_again)
{
	int fd = open_subscribed(1 << FIRST), watcher = dev_open(O_RDWR | O_NONBLOCK);

	for (int round = 0; round < 50; round++) {
		struct ivshmem_event event;
		struct sleeper sleeper = { .call = sleeper_read, .fd = fd, .argument = &event };

		sleeper_start(&sleeper, SYS_read);
		ring_arrives(FIRST);
		sleeper_join(&sleeper);
		/* Nobody waits for these. */
		ring_arrives(FIRST);
		ring_arrives(FIRST);
		ASSERT_EQ((long)sizeof(event), read(fd, &event, sizeof(event)));
		take_pending(watcher);
	}
}

TEST(a_changed_subscription_concerns_who_sleeps)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = open_subscribed(1 << FIRST), .argument = &event,
	};

	sleeper_start(&sleeper, SYS_read);
	ASSERT_OK(subscribe(sleeper.fd, 1 << SECOND));
	ring_arrives(FIRST);
	sleeper_wait_asleep(&sleeper, SYS_read);
	ring_arrives(SECOND);
	sleeper_join(&sleeper);
	EXPECT_EQ(SECOND, event.vector);
}

TEST(what_is_pending_when_it_is_subscribed_to_wakes)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = open_subscribed(1 << FIRST), .argument = &event,
	};

	sleeper_start(&sleeper, SYS_read);
	ring_arrives(SECOND);
	ASSERT_OK(subscribe(sleeper.fd, 1 << SECOND));
	sleeper_join(&sleeper);
	EXPECT_EQ(SECOND, event.vector);
}

/* epoll registers once: it is not asked again when the subscription changes. */
TEST(a_changed_subscription_concerns_epoll)
{
	int fd = open_subscribed(1 << FIRST), epoll = epoll_of(fd, EPOLLIN | EPOLLET);
	struct epoll_event event;

	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ASSERT_OK(subscribe(fd, 1 << SECOND));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ring_arrives(FIRST);
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ring_arrives(SECOND);
	test_waits_for("epoll to report the new vector");
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, -1));
}

TEST(EPOLLEXCLUSIVE_wakes_one_of_many)
{
	enum { MANY = 8 };
	int fd = open_subscribed(1 << FIRST), epolls[MANY], woken = 0;
	struct sleeper sleepers[MANY];
	unsigned long before[MANY];

	for (int i = 0; i < MANY; i++) {
		epolls[i] = epoll_of(fd, EPOLLIN | EPOLLEXCLUSIVE);
		sleepers[i] = (struct sleeper){ .call = call_epoll, .argument = &epolls[i] };
		sleeper_start(&sleepers[i], SYS_epoll_wait);
		before[i] = times_slept(&sleepers[i]);
	}
	ring_arrives(FIRST);
	test_waits_for("one of the epolls to be woken");
	while (!woken) {
		for (int i = 0; i < MANY; i++)
			woken += !sleeper_sleeps(&sleepers[i], SYS_epoll_wait);
	}
	/* Whoever else was woken has had a turn when this has arrived. */
	ring_arrives(RUNG);
	usleep(20000);
	woken = 0;
	for (int i = 0; i < MANY; i++) {
		if (!sleeper_sleeps(&sleepers[i], SYS_epoll_wait))
			woken++;
		else
			EXPECT_EQ(before[i], times_slept(&sleepers[i]));
	}
	EXPECT_EQ(1, woken);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
