// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_SUBSCRIBE: which vectors count as pending on a file.
 */
#include "sleeper.h"

TEST(all_vectors_are_subscribed_at_open)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	unsigned int vectors = dev_vectors(fd);

	for (unsigned int vector = 0; vector < vectors; vector++)
		ring_arrives(vector);
	EXPECT_EQ((1ull << vectors) - 1, take_pending(fd));
}

TEST(the_mask_is_replaced_not_added_to)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	ASSERT_OK(subscribe(fd, 1));
	ASSERT_OK(subscribe(fd, 1 << 1));
	ring_arrives(0);
	ring_arrives(1);
	EXPECT_EQ(1 << 1, take_pending(fd));
}

TEST(a_bit_that_is_not_armed_is_EINVAL_and_changes_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	unsigned int vectors = dev_vectors(fd);

	ASSERT_OK(subscribe(fd, 1));
	EXPECT_ERRNO(EINVAL, subscribe(fd, 1ull << vectors));
	EXPECT_ERRNO(EINVAL, subscribe(fd, 1 << 1 | 1ull << 63));
	EXPECT_ERRNO(EINVAL, subscribe(fd, UINT64_MAX));
	ring_arrives(0);
	ring_arrives(1);
	EXPECT_EQ(1, take_pending(fd));
}

TEST(mask_0_leaves_nothing_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	ASSERT_OK(subscribe(fd, 0));
	ring_arrives(0);
	EXPECT_EQ(0, take_pending(fd));
}

TEST(subscribed_later_it_is_still_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	ASSERT_OK(subscribe(fd, 1 << 1));
	ring_arrives(0);
	EXPECT_EQ(0, take_pending(fd));
	ASSERT_OK(subscribe(fd, 1 | 1 << 1));
	EXPECT_EQ(1, take_pending(fd));
}

TEST(a_sleeper_wakes_when_the_new_mask_makes_something_pending)
{
	struct ivshmem_event event = { 0 };
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 2), .argument = &event,
	};

	ASSERT_OK(subscribe(sleeper.fd, 1 << 1));
	ring_arrives(0);
	sleeper_start(&sleeper, SYS_read);
	ASSERT_OK(subscribe(sleeper.fd, 1));
	sleeper_join(&sleeper);
	EXPECT_EQ(sizeof(event), sleeper.result);
	EXPECT_EQ(0, event.vector);
}

TEST(each_opener_has_its_own_mask)
{
	int first = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	int second = dev_open(O_RDWR | O_NONBLOCK);

	ASSERT_OK(subscribe(first, 1));
	ring_arrives(0);
	ring_arrives(1);
	EXPECT_EQ(1, take_pending(first));
	EXPECT_EQ(1 | 1 << 1, take_pending(second));
}

TEST(a_read_only_file_may_subscribe)
{
	int fd = dev_open_with(O_RDONLY | O_NONBLOCK, 2);

	EXPECT_OK(subscribe(fd, 1 << 1));
	ring_arrives(0);
	EXPECT_EQ(0, take_pending(fd));
}

TEST(bad_pointer_is_EFAULT)
{
	EXPECT_ERRNO(EFAULT, ioctl(dev_open_with(O_RDWR, 1), IVSHMEM_SUBSCRIBE, bad_pointer()));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
