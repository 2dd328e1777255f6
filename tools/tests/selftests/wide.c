// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * As many vectors as there are bits in a mask: the module parameter max_vectors, and a device with 64.
 */
#include "device.h"

#include <sys/eventfd.h>

#define ALL	IVSHMEM_MAX_VECTORS

TEST(all_64_are_armed)
{
	EXPECT_EQ(64, ALL);
	EXPECT_EQ(ALL, dev_vectors(dev_open(O_RDWR)));
}

TEST(each_counts_for_itself)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, ALL);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);

	for (unsigned int vector = 0; vector < ALL; vector++) {
		uint64_t before = page->seq[vector];

		ring_arrives(vector);
		EXPECT_EQ(before + 1, page->seq[vector]);
		EXPECT_EQ(1ull << vector, take_pending(fd));
	}
}

/* More records than the driver hands over at a time. */
TEST(one_read_brings_a_record_of_each)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, ALL);
	struct ivshmem_event events[ALL];

	for (unsigned int vector = 0; vector < ALL; vector++)
		ring_arrives(vector);
	ASSERT_EQ(ALL, read_events(fd, events, ALL));
	for (unsigned int vector = 0; vector < ALL; vector++) {
		EXPECT_EQ(vector, events[vector].vector);
		EXPECT_EQ(1, events[vector].count);
	}
}

/* Interrupts come while one read() goes on: what has a record is not rung again in it. */
TEST(one_read_brings_each_once_and_in_order)
{
	static struct ivshmem_ring rings[IVSHMEM_RING_MANY_MAX];
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, ALL);
	const struct ivshmem_ring_many many = {
		.rings = (uintptr_t)rings, .count = IVSHMEM_RING_MANY_MAX
	};
	struct ivshmem_event events[ALL];

	for (unsigned int i = 0; i < IVSHMEM_RING_MANY_MAX; i++)
		rings[i] = (struct ivshmem_ring){ .peer = dev_info(fd).peer_id, .vector = i % 16 };
	for (unsigned int round = 0; round < 10; round++) {
		ASSERT_EQ(IVSHMEM_RING_MANY_MAX, ioctl(fd, IVSHMEM_RING_MANY, &many));
		for (unsigned int reads = 0; reads < 100; reads++) {
			long bytes = read(fd, events, sizeof(events));

			for (unsigned int i = 1; bytes > 0 && i < bytes / sizeof(*events); i++)
				ASSERT_EQ(1, events[i].vector > events[i - 1].vector);
		}
		test_progress();
	}
}

TEST(what_does_not_fit_stays_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, ALL);
	struct ivshmem_event events[ALL];

	for (unsigned int vector = 0; vector < ALL; vector++)
		ring_arrives(vector);
	ASSERT_EQ(13, read_events(fd, events, 13));
	ASSERT_EQ(ALL - 13, read_events(fd, events, ALL));
	EXPECT_EQ(13, events[0].vector);
}

TEST(the_last_is_waited_for_in_every_way)
{
	const uint64_t last = 1ull << (ALL - 1);
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, ALL), event = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_eventfd binding = { .vector = ALL - 1, .fd = event };
	struct ivshmem_wait wait = { .vectors = last, .timeout_ns = -1 };
	uint64_t count;

	ASSERT_OK(subscribe(fd, last));
	ASSERT_OK(ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	ring_arrives(ALL - 1);
	ASSERT_EQ((long)sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	EXPECT_EQ(POLLIN, poll_now(fd, POLLIN));
	ASSERT_OK(ioctl(fd, IVSHMEM_WAIT, &wait));
	EXPECT_EQ(last, wait.vectors);
}

TEST(one_more_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR, ALL);
	struct ivshmem_eventfd binding = { .vector = ALL, .fd = -1 };

	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	EXPECT_OK(subscribe(fd, UINT64_MAX));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
