// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A device with a doorbell in a machine that has no vectors for it: it can ring, and cannot be rung.
 */
#include "sysfs.h"

#include <sys/eventfd.h>

static int deaf_open(int flags)
{
	int fd = dev_open(flags);

	if (dev_info(fd).vectors)
		SKIP("%s has vectors: boot with pci=nomsi", dev_path());
	return fd;
}

static unsigned long doorbells(int fd)
{
	return attribute_number(dev_info(fd).bus_id, "ivshmem_statistics/doorbells");
}

TEST(info_says_doorbell_and_no_vectors)
{
	struct ivshmem_info info = dev_info(deaf_open(O_RDWR));

	EXPECT_EQ(IVSHMEM_INFO_DOORBELL, info.flags & IVSHMEM_INFO_DOORBELL);
	EXPECT_EQ(0, info.vectors);
	EXPECT_TRUE(info.vectors_offered > 0);
}

TEST(ringing_works)
{
	int fd = deaf_open(O_RDWR);
	struct ivshmem_ring rings[2] = { { .peer = 0 }, { .peer = 65535, .vector = 255 } };
	struct ivshmem_ring_many many = { .count = 2, .rings = (uintptr_t)rings };
	unsigned long before = doorbells(fd);

	EXPECT_EQ(0, ioctl(fd, IVSHMEM_RING, &rings[0]));
	EXPECT_EQ(2, ioctl(fd, IVSHMEM_RING_MANY, &many));
	EXPECT_EQ(before + 3, doorbells(fd));
}

TEST(what_is_wrong_with_a_ring_is_still_said)
{
	struct ivshmem_ring ring = { .peer = 65536 };

	EXPECT_ERRNO(EINVAL, ioctl(deaf_open(O_RDWR), IVSHMEM_RING, &ring));
	ring.peer = 0;
	EXPECT_ERRNO(EBADF, ioctl(deaf_open(O_RDONLY), IVSHMEM_RING, &ring));
}

TEST(nobody_can_wait)
{
	int fd = deaf_open(O_RDWR), event = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_wait wait = { .timeout_ns = -1 }, word = { .flags = IVSHMEM_WAIT_WORD };
	struct ivshmem_eventfd binding = { .fd = event };
	struct ivshmem_acrn_eventfd acrn = { .fd = event };
	struct ivshmem_event record;

	EXPECT_ERRNO(EOPNOTSUPP, read(fd, &record, sizeof(record)));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_WAIT, &wait));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_WAIT, &word));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &acrn));
	EXPECT_EQ(POLLERR, poll_now(fd, POLLIN));
}

TEST(no_vector_can_be_subscribed_to)
{
	int fd = deaf_open(O_RDWR);

	EXPECT_OK(subscribe(fd, 0));
	EXPECT_ERRNO(EINVAL, subscribe(fd, 1));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
