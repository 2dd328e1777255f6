// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * read(): records, blocking, signals, and what it marks seen.
 */
#include "sleeper.h"

#include <sys/uio.h>

TEST(nothing_pending_is_EAGAIN_with_O_NONBLOCK)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_event event;

	EXPECT_ERRNO(EAGAIN, read(fd, &event, sizeof(event)));
}

TEST(O_NONBLOCK_can_be_set_later)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_event event;

	ASSERT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_ERRNO(EAGAIN, read(fd, &event, sizeof(event)));
}

TEST(a_record_says_vector_count_and_reserved_0)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event event;

	memset(&event, 0xa5, sizeof(event));
	ring_arrives(1);
	ASSERT_EQ(sizeof(event), read(fd, &event, sizeof(event)));
	EXPECT_EQ(1, event.vector);
	EXPECT_EQ(0, event.reserved);
	EXPECT_EQ(1, event.count);
}

TEST(less_than_a_record_is_EINVAL_and_loses_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_event event;

	EXPECT_ERRNO(EINVAL, read(fd, &event, sizeof(event) - 1));
	ring_arrives(0);
	EXPECT_ERRNO(EINVAL, read(fd, &event, 0));
	EXPECT_ERRNO(EINVAL, read(fd, &event, 1));
	EXPECT_ERRNO(EINVAL, read(fd, &event, sizeof(event) - 1));
	EXPECT_EQ(1, take_pending(fd));
}

TEST(blocks_until_something_is_pending)
{
	struct ivshmem_event event = { 0 };
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 1), .argument = &event,
	};

	sleeper_start(&sleeper, SYS_read);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(sizeof(event), sleeper.result);
	EXPECT_EQ(0, event.vector);
	EXPECT_EQ(1, event.count);
}

TEST(signal_without_SA_RESTART_is_EINTR)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 1), .argument = &event,
	};

	catch_signal(0);
	sleeper_start(&sleeper, SYS_read);
	sleeper_interrupt(&sleeper);
	sleeper_join(&sleeper);
	EXPECT_EQ(-1, sleeper.result);
	EXPECT_EQ(EINTR, sleeper.error);
}

TEST(signal_with_SA_RESTART_goes_on_waiting)
{
	struct ivshmem_event event = { 0 };
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 1), .argument = &event,
	};

	catch_signal(SA_RESTART);
	sleeper_start(&sleeper, SYS_read);
	sleeper_interrupt(&sleeper);
	sleeper_wait_asleep(&sleeper, SYS_read);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(sizeof(event), sleeper.result);
}

TEST(several_vectors_come_lowest_first)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 3);
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];

	ring_arrives(2);
	ring_arrives(0);
	ring_arrives(1);
	ASSERT_EQ(3, read_events(fd, events, IVSHMEM_MAX_VECTORS));
	for (unsigned int i = 0; i < 3; i++)
		EXPECT_EQ(i, events[i].vector);
}

TEST(only_what_fits_is_marked_seen)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 3);
	struct ivshmem_event events[3];

	ring_arrives(0);
	ring_arrives(1);
	ring_arrives(2);
	/* Room for two records and a part of a third. */
	ASSERT_EQ(2 * sizeof(events[0]), read(fd, events, 3 * sizeof(events[0]) - 1));
	EXPECT_EQ(0, events[0].vector);
	EXPECT_EQ(1, events[1].vector);
	EXPECT_EQ(1 << 2, take_pending(fd));
	EXPECT_EQ(0, take_pending(fd));
}

TEST(counts_are_the_interrupts_since_the_last_look)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_event event;

	for (int i = 0; i < 5; i++)
		ring_arrives(0);
	ASSERT_EQ(1, read_events(fd, &event, 1));
	EXPECT_EQ(5, event.count);
	ring_arrives(0);
	ASSERT_EQ(1, read_events(fd, &event, 1));
	EXPECT_EQ(1, event.count);
}

TEST(a_count_is_at_least_1_and_at_most_the_rings)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event event;

	for (int i = 0; i < 100; i++)
		ring_self(fd, 0);
	settle(fd);
	ASSERT_EQ(1, read_events(fd, &event, 1));
	EXPECT_EQ(0, event.vector);
	EXPECT_TRUE(event.count >= 1 && event.count <= 100);
}

TEST(what_came_before_open_is_seen)
{
	int early = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int late;

	ring_arrives(0);
	late = dev_open(O_RDWR | O_NONBLOCK);
	EXPECT_EQ(0, take_pending(late));
	EXPECT_EQ(1, take_pending(early));
}

TEST(no_opener_takes_another_s_event)
{
	int first = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	int second = dev_open(O_RDONLY | O_NONBLOCK);

	ring_arrives(0);
	EXPECT_EQ(1, take_pending(first));
	ring_arrives(1);
	EXPECT_EQ(1 << 1, take_pending(first));
	EXPECT_EQ(1 | 1 << 1, take_pending(second));
}

TEST(a_dup_is_the_same_opener)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int twin = ASSERT_OK(dup(fd));

	ring_arrives(0);
	EXPECT_EQ(1, take_pending(twin));
	EXPECT_EQ(0, take_pending(fd));
}

TEST(readv_fills_records_across_its_buffers)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event events[2];
	struct iovec parts[3] = {
		{ .iov_base = &events[0], .iov_len = 8 },
		{ .iov_base = (char *)&events[0] + 8, .iov_len = 16 },
		{ .iov_base = (char *)&events[0] + 24, .iov_len = 8 },
	};

	ring_arrives(0);
	ring_arrives(1);
	ASSERT_EQ(sizeof(events), readv(fd, parts, 3));
	EXPECT_EQ(0, events[0].vector);
	EXPECT_EQ(1, events[1].vector);
}

TEST(readv_does_not_sleep_for_its_second_buffer)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_event events[2];
	struct iovec parts[2] = {
		{ .iov_base = &events[0], .iov_len = sizeof(events[0]) },
		{ .iov_base = &events[1], .iov_len = sizeof(events[1]) },
	};

	ring_arrives(0);
	EXPECT_EQ(sizeof(events[0]), readv(fd, parts, 2));
}

TEST(pread_is_read_as_the_position_is_unused)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event event;

	ring_arrives(0);
	ASSERT_EQ(sizeof(event), pread(fd, &event, sizeof(event), 12345));
	EXPECT_EQ(0, event.vector);
	ring_arrives(1);
	ASSERT_OK(lseek(fd, 4096, SEEK_SET));
	ASSERT_EQ(sizeof(event), read(fd, &event, sizeof(event)));
	EXPECT_EQ(1, event.vector);
}

TEST(bad_buffer_is_EFAULT_and_loses_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	ring_arrives(0);
	EXPECT_ERRNO(EFAULT, read(fd, bad_pointer(), sizeof(struct ivshmem_event)));
	EXPECT_EQ(1, take_pending(fd));
}

TEST(buffer_that_ends_in_a_bad_page_loses_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_event *event = (struct ivshmem_event *)page_end() - 1;
	ssize_t bytes;

	ring_arrives(0);
	ring_arrives(1);
	bytes = read(fd, event, 2 * sizeof(*event));
	if (bytes == -1) {
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(1 | 1 << 1, take_pending(fd));
	} else {
		ASSERT_EQ(sizeof(*event), bytes);
		EXPECT_EQ(0, event->vector);
		EXPECT_EQ(1 << 1, take_pending(fd));
	}
}

TEST(write_only_file_may_not_read)
{
	int fd = dev_open_with(O_WRONLY | O_NONBLOCK, 1);
	struct ivshmem_event event;

	EXPECT_ERRNO(EBADF, read(fd, &event, sizeof(event)));
}

TEST(two_sleepers_of_one_file_both_go_on)
{
	struct ivshmem_event events[2];
	struct sleeper sleepers[2];
	int fd = dev_open_with(O_RDWR, 2);

	for (int i = 0; i < 2; i++) {
		sleepers[i] = (struct sleeper){
			.call = sleeper_read, .fd = fd, .argument = &events[i],
		};
		sleeper_start(&sleepers[i], SYS_read);
	}
	/* One takes the first event; the other must still be there for the second. */
	ring_arrives(0);
	ring_arrives(1);
	for (int i = 0; i < 2; i++) {
		sleeper_join(&sleepers[i]);
		EXPECT_EQ(sizeof(events[i]), sleepers[i].result);
	}
	EXPECT_EQ(1, events[0].vector + events[1].vector);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
