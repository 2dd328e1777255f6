// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_SET_EVENTFD: what is counted, and how long a binding lives.
 */
#include "device.h"

#include <sys/eventfd.h>

/* Many more files than a device has vectors. */
#define MANY	300

static int bind_eventfd(int fd, uint32_t vector, int eventfd)
{
	struct ivshmem_eventfd binding = { .vector = vector, .fd = eventfd };

	return ioctl(fd, IVSHMEM_SET_EVENTFD, &binding);
}

static int new_eventfd(void)
{
	return ASSERT_OK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

/* Takes what the eventfd has counted; 0 for nothing. */
static uint64_t counted(int eventfd)
{
	uint64_t count = 0;

	if (read(eventfd, &count, sizeof(count)) == -1)
		ASSERT_EQ(EAGAIN, errno);
	return count;
}

/* Waits until the eventfd has counted @want in total. */
static void wait_count(int eventfd, uint64_t want)
{
	uint64_t count = 0;

	while (count < want) {
		wait_readable(eventfd);
		count += counted(eventfd);
	}
	EXPECT_EQ(want, count);
}

TEST(each_interrupt_adds_1)
{
	int fd = dev_open_with(O_RDWR, 2);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 1, event));
	EXPECT_EQ(0, counted(event));
	for (int i = 0; i < 3; i++)
		ring_arrives(1);
	wait_count(event, 3);
}

TEST(other_vectors_do_not_count)
{
	int fd = dev_open_with(O_RDWR, 2);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	settle(fd);
	EXPECT_EQ(0, counted(event));
}

TEST(an_unsubscribed_vector_counts)
{
	int fd = dev_open_with(O_RDWR, 1);
	int event = new_eventfd();

	ASSERT_OK(subscribe(fd, 0));
	ASSERT_OK(bind_eventfd(fd, 0, event));
	ring_arrives(0);
	wait_count(event, 1);
}

TEST(it_does_not_take_the_event_from_read)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	ring_arrives(0);
	wait_count(event, 1);
	EXPECT_EQ(1, take_pending(fd));
}

TEST(the_last_bound_replaces_and_the_old_one_is_silent)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	int old = new_eventfd(), new = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, old));
	ASSERT_OK(bind_eventfd(fd, 0, new));
	ring_arrives(0);
	wait_count(new, 1);
	settle(fd);
	EXPECT_EQ(0, counted(old));
}

TEST(minus_1_unbinds)
{
	int fd = dev_open_with(O_RDWR, 2);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	ASSERT_OK(bind_eventfd(fd, 0, -1));
	ring_arrives(0);
	settle(fd);
	EXPECT_EQ(0, counted(event));
	EXPECT_OK(bind_eventfd(fd, 0, -1));
}

TEST(pending_when_bound_is_signalled_at_once)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int event = new_eventfd();

	ring_arrives(0);
	ring_arrives(0);
	ASSERT_OK(bind_eventfd(fd, 0, event));
	EXPECT_EQ(1, counted(event));
	take_pending(fd);
	ASSERT_OK(bind_eventfd(fd, 0, event));
	EXPECT_EQ(0, counted(event));
}

TEST(a_closed_fd_is_EBADF)
{
	int fd = dev_open_with(O_RDWR, 1);
	int event = new_eventfd();

	close(event);
	EXPECT_ERRNO(EBADF, bind_eventfd(fd, 0, event));
	EXPECT_ERRNO(EBADF, bind_eventfd(fd, 0, -2));
	EXPECT_ERRNO(EBADF, bind_eventfd(fd, 0, INT32_MIN));
}

TEST(no_eventfd_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR, 1);
	int ends[2];

	ASSERT_OK(pipe(ends));
	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, 0, ends[0]));
	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, 0, fd));
}

TEST(a_vector_that_is_not_armed_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR, 1);
	int event = new_eventfd();

	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, dev_vectors(fd), event));
	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, UINT32_MAX, event));
	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, dev_vectors(fd), -1));
}

TEST(flags_and_reserved_must_be_0)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_eventfd flags = { .fd = new_eventfd(), .flags = 1 };
	struct ivshmem_eventfd reserved = { .fd = new_eventfd(), .reserved = 1 };

	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_SET_EVENTFD, &flags));
	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_SET_EVENTFD, &reserved));
	ring_arrives(0);
	EXPECT_EQ(0, counted(flags.fd) + counted(reserved.fd));
}

TEST(a_refused_binding_leaves_the_old_one)
{
	int fd = dev_open_with(O_RDWR, 1);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	EXPECT_ERRNO(EINVAL, bind_eventfd(fd, 0, fd));
	EXPECT_ERRNO(EBADF, bind_eventfd(fd, 0, -2));
	ring_arrives(0);
	wait_count(event, 1);
}

TEST(bad_pointer_is_EFAULT)
{
	int fd = dev_open_with(O_RDWR, 1);

	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_SET_EVENTFD, bad_pointer()));
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, bad_pointer()));
}

TEST(a_read_only_file_may_bind)
{
	int fd = dev_open_with(O_RDONLY, 1);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	ring_arrives(0);
	wait_count(event, 1);
}

TEST(two_files_on_one_vector_both_count)
{
	int first = dev_open_with(O_RDWR, 1), second = dev_open(O_RDWR);
	int events[2] = { new_eventfd(), new_eventfd() };

	ASSERT_OK(bind_eventfd(first, 0, events[0]));
	ASSERT_OK(bind_eventfd(second, 0, events[1]));
	ring_arrives(0);
	wait_count(events[0], 1);
	wait_count(events[1], 1);
}

TEST(one_eventfd_can_serve_two_vectors)
{
	int fd = dev_open_with(O_RDWR, 2);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	ASSERT_OK(bind_eventfd(fd, 1, event));
	ring_arrives(0);
	ring_arrives(1);
	wait_count(event, 2);
}

TEST(the_eventfd_may_be_closed_while_bound)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	close(event);
	ring_arrives(0);
	EXPECT_EQ(1, take_pending(fd));
}

TEST(the_binding_ends_with_the_file)
{
	int observer = dev_open_with(O_RDWR, 2), fd = dev_open(O_RDWR);
	int event = new_eventfd();

	ASSERT_OK(bind_eventfd(fd, 0, event));
	close(fd);
	ring_arrives(0);
	settle(observer);
	EXPECT_EQ(0, counted(event));
}

TEST(the_file_lives_until_its_last_dup_is_closed)
{
	int observer = dev_open_with(O_RDWR, 2), fd = dev_open(O_RDWR);
	int event = new_eventfd(), twin = ASSERT_OK(dup(fd));

	ASSERT_OK(bind_eventfd(fd, 0, event));
	close(fd);
	ring_arrives(0);
	wait_count(event, 1);
	close(twin);
	ring_arrives(0);
	settle(observer);
	EXPECT_EQ(0, counted(event));
}

TEST(the_file_lives_until_the_last_process_has_closed_it)
{
	int observer = dev_open_with(O_RDWR, 2), fd = dev_open(O_RDWR);
	int event = new_eventfd(), ends[2];
	pid_t child;
	char byte;

	ASSERT_OK(bind_eventfd(fd, 0, event));
	ASSERT_OK(pipe(ends));
	child = ASSERT_OK(fork());
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	close(ends[0]);
	close(fd);
	ring_arrives(0);
	wait_count(event, 1);
	close(ends[1]);
	test_join_child(child);
	ring_arrives(0);
	settle(observer);
	EXPECT_EQ(0, counted(event));
}

TEST(many_files_bind_and_none_starves_another)
{
	int event = new_eventfd(), other = new_eventfd(), last = dev_open_with(O_RDWR, 1);

	for (unsigned int file = 0; file < MANY; file++)
		ASSERT_OK(bind_eventfd(dev_open(O_RDWR), 0, event));
	EXPECT_OK(bind_eventfd(last, 0, other));
	ring_arrives(0);
	wait_count(other, 1);
	wait_count(event, MANY);
}

TEST(acrn_s_command_binds_and_unbinds)
{
	int fd = dev_open_with(O_RDWR, 2);
	struct ivshmem_acrn_eventfd binding = { .fd = new_eventfd(), .vector = 0 };
	int event = binding.fd;

	EXPECT_EQ(0x40087564, IVSHMEM_ACRN_SET_EVENTFD);
	ASSERT_OK(ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &binding));
	ring_arrives(0);
	wait_count(event, 1);
	binding.fd = -5;
	EXPECT_OK(ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &binding));
	ring_arrives(0);
	settle(fd);
	EXPECT_EQ(0, counted(event));
}

TEST(acrn_s_command_checks_as_ours)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_acrn_eventfd negative = { .fd = new_eventfd(), .vector = -1 };
	struct ivshmem_acrn_eventfd unarmed = { .fd = -1, .vector = (int)dev_vectors(fd) };
	struct ivshmem_acrn_eventfd no_eventfd = { .fd = fd, .vector = 0 };
	struct ivshmem_acrn_eventfd closed = { .fd = new_eventfd(), .vector = 0 };

	close(closed.fd);
	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &negative));
	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &unarmed));
	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &no_eventfd));
	EXPECT_ERRNO(EBADF, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &closed));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
