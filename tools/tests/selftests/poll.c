// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * poll() and epoll: level, edge, and the subscription.
 */
#include "sleeper.h"

#include <sys/epoll.h>

#define READABLE	(POLLIN | POLLRDNORM)

static int epoll_with(int fd, uint32_t events)
{
	struct epoll_event event = { .events = events };
	int epoll = ASSERT_OK(epoll_create1(EPOLL_CLOEXEC));

	ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	return epoll;
}

/* What epoll reports now; 0 for nothing. */
static uint32_t epoll_now(int epoll)
{
	struct epoll_event event = { 0 };

	return ASSERT_OK(epoll_wait(epoll, &event, 1, 0)) ? event.events : 0;
}

/* What epoll reports, once it does. */
static uint32_t epoll_events(int epoll)
{
	struct epoll_event event = { 0 };

	test_waits_for("epoll to report something");
	ASSERT_EQ(1, epoll_wait(epoll, &event, 1, -1));
	return event.events;
}

static long call_epoll_wait(struct sleeper *self)
{
	struct epoll_event event;

	return epoll_wait(self->fd, &event, 1, -1) == 1 ? (long)event.events : -1;
}

TEST(nothing_pending_is_not_readable)
{
	EXPECT_EQ(0, poll_now(dev_open_with(O_RDWR, 1), READABLE));
}

TEST(pending_is_POLLIN_and_POLLRDNORM)
{
	int fd = dev_open_with(O_RDWR, 1);

	ring_arrives(0);
	EXPECT_EQ(READABLE, poll_now(fd, READABLE));
	EXPECT_EQ(POLLIN, poll_now(fd, POLLIN));
	EXPECT_EQ(POLLRDNORM, poll_now(fd, POLLRDNORM));
}

TEST(readable_until_read)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event event;

	ring_arrives(0);
	ring_arrives(1);
	EXPECT_EQ(READABLE, poll_now(fd, READABLE));
	EXPECT_EQ(READABLE, poll_now(fd, READABLE));
	ASSERT_EQ(1, read_events(fd, &event, 1));
	EXPECT_EQ(READABLE, poll_now(fd, READABLE));
	ASSERT_EQ(1, read_events(fd, &event, 1));
	EXPECT_EQ(0, poll_now(fd, READABLE));
}

TEST(a_ring_wakes_a_sleeper)
{
	struct sleeper sleeper = { .call = sleeper_poll, .fd = dev_open_with(O_RDWR, 1) };

	sleeper_start(&sleeper, SYS_poll);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(POLLIN, sleeper.result);
}

TEST(unsubscribed_vectors_are_not_readable)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	ASSERT_OK(subscribe(fd, 1 << 1));
	ring_arrives(0);
	EXPECT_EQ(0, poll_now(fd, READABLE));
	ring_arrives(1);
	EXPECT_EQ(READABLE, poll_now(fd, READABLE));
}

TEST(each_opener_is_readable_for_itself)
{
	int first = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int second = dev_open(O_RDONLY | O_NONBLOCK);

	ring_arrives(0);
	take_pending(first);
	EXPECT_EQ(0, poll_now(first, READABLE));
	EXPECT_EQ(READABLE, poll_now(second, READABLE));
}

TEST(level_triggered_epoll_reports_until_read)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int epoll = epoll_with(fd, EPOLLIN | EPOLLRDNORM);

	EXPECT_EQ(0, epoll_now(epoll));
	ring_self(fd, 0);
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, epoll_events(epoll));
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, epoll_now(epoll));
	take_pending(fd);
	EXPECT_EQ(0, epoll_now(epoll));
}

TEST(edge_triggered_epoll_reports_each_arrival_once)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int epoll = epoll_with(fd, EPOLLIN | EPOLLET);

	for (int i = 0; i < 3; i++) {
		ring_self(fd, 0);
		EXPECT_EQ(EPOLLIN, epoll_events(epoll));
		EXPECT_EQ(0, epoll_now(epoll));
	}
}

TEST(epoll_added_while_pending_reports_at_once)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	ring_arrives(0);
	EXPECT_EQ(EPOLLIN, epoll_now(epoll_with(fd, EPOLLIN | EPOLLET)));
	EXPECT_EQ(EPOLLIN, epoll_now(epoll_with(fd, EPOLLIN)));
}

/* A wake-up carries bits, and epoll sleeps on if none is wanted: so each wanted bit alone. */
TEST(a_ring_wakes_an_epoll_sleeper)
{
	static const uint32_t wanted[] = { EPOLLIN, EPOLLRDNORM };

	for (int i = 0; i < 2; i++) {
		int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
		struct sleeper sleeper = {
			.call = call_epoll_wait, .fd = epoll_with(fd, wanted[i]),
		};

		sleeper_start(&sleeper, SYS_epoll_wait);
		ring_self(fd, 0);
		sleeper_join(&sleeper);
		EXPECT_EQ(wanted[i], sleeper.result);
		close(fd);
	}
}

TEST(a_closed_file_leaves_its_epoll)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int epoll = epoll_with(fd, EPOLLIN);

	close(fd);
	ring_arrives(0);
	EXPECT_EQ(0, epoll_now(epoll));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
