// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_RING and IVSHMEM_RING_MANY, ringing this end itself.
 */
#include "device.h"

static int ring_many(int fd, const struct ivshmem_ring *rings, uint32_t count, uint32_t flags)
{
	struct ivshmem_ring_many many = {
		.count = count, .flags = flags, .rings = (uintptr_t)rings,
	};

	return ioctl(fd, IVSHMEM_RING_MANY, &many);
}

/* What has arrived on @fd, once everything that was rung has; the marker's vector left out. */
static uint64_t arrived(int fd)
{
	settle(fd);
	return take_pending(fd) & ~(1ull << dev_last_vector(fd));
}

TEST(each_vector_arrives_on_that_vector_alone)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	unsigned int vectors = dev_vectors(fd);

	for (unsigned int vector = 0; vector < vectors; vector++) {
		ring_self(fd, vector);
		EXPECT_EQ(1ull << vector, wait_for_vectors(fd, 1ull << vector));
	}
	settle(fd);
	EXPECT_EQ(1ull << (vectors - 1), take_pending(fd));
}

TEST(peer_above_65535_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	uint32_t self = dev_info(fd).peer_id;

	EXPECT_ERRNO(EINVAL, ring(fd, IVSHMEM_MAX_PEER + 1, 0));
	/* Would be this end, if the driver cut the number to 16 bits. */
	EXPECT_ERRNO(EINVAL, ring(fd, self + IVSHMEM_MAX_PEER + 1, 0));
	EXPECT_ERRNO(EINVAL, ring(fd, UINT32_MAX, 0));
	EXPECT_EQ(0, arrived(fd));
}

TEST(vector_above_255_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	uint32_t self = dev_info(fd).peer_id;

	/* Would be vector 0, if it reached a device that looks at 8 bits. */
	EXPECT_ERRNO(EINVAL, ring(fd, self, IVSHMEM_MAX_RING_VECTOR + 1));
	EXPECT_ERRNO(EINVAL, ring(fd, self, 0x10000));
	EXPECT_ERRNO(EINVAL, ring(fd, self, UINT32_MAX));
	EXPECT_EQ(0, arrived(fd));
}

TEST(vector_that_the_peer_lacks_is_no_error)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	EXPECT_OK(ring(fd, dev_info(fd).peer_id, IVSHMEM_MAX_RING_VECTOR));
	EXPECT_EQ(0, arrived(fd));
}

TEST(absent_peer_is_no_error)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	uint32_t self = dev_info(fd).peer_id;

	EXPECT_OK(ring(fd, IVSHMEM_MAX_PEER - self, 0));
	EXPECT_EQ(0, arrived(fd));
}

TEST(read_only_file_may_not_ring)
{
	int fd = dev_open_with(O_RDONLY | O_NONBLOCK, 2);
	struct ivshmem_ring self = { .peer = dev_info(fd).peer_id, .vector = 0 };

	EXPECT_ERRNO(EBADF, ioctl(fd, IVSHMEM_RING, &self));
	EXPECT_ERRNO(EBADF, ring_many(fd, &self, 1, 0));
	EXPECT_EQ(0, arrived(fd));
}

TEST(write_only_file_may_ring)
{
	int listener = dev_open_with(O_RDONLY | O_NONBLOCK, 1);
	int fd = dev_open(O_WRONLY);

	ring_self(fd, 0);
	EXPECT_EQ(1, wait_for_vectors(listener, 1));
}

TEST(bad_pointer_is_EFAULT)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_RING, bad_pointer()));
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_RING_MANY, bad_pointer()));
	EXPECT_ERRNO(EFAULT, ring_many(fd, bad_pointer(), 1, 0));
}

TEST(many_rings_each_entry_and_returns_the_count)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	unsigned int vectors = dev_vectors(fd);
	struct ivshmem_ring rings[IVSHMEM_MAX_VECTORS];

	for (unsigned int i = 0; i < vectors; i++)
		rings[i] = (struct ivshmem_ring){ .peer = dev_info(fd).peer_id, .vector = i };
	EXPECT_EQ(vectors, ring_many(fd, rings, vectors, 0));
	EXPECT_EQ((1ull << vectors) - 1, wait_for_vectors(fd, (1ull << vectors) - 1));
}

TEST(many_takes_1024)
{
	static struct ivshmem_ring rings[IVSHMEM_RING_MANY_MAX];
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	for (int i = 0; i < IVSHMEM_RING_MANY_MAX; i++)
		rings[i].peer = dev_info(fd).peer_id;
	EXPECT_EQ(IVSHMEM_RING_MANY_MAX, ring_many(fd, rings, IVSHMEM_RING_MANY_MAX, 0));
	EXPECT_EQ(1, arrived(fd));
}

TEST(many_of_0_or_1025_is_EINVAL)
{
	static struct ivshmem_ring rings[IVSHMEM_RING_MANY_MAX + 1];
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);

	for (int i = 0; i <= IVSHMEM_RING_MANY_MAX; i++)
		rings[i].peer = dev_info(fd).peer_id;
	EXPECT_ERRNO(EINVAL, ring_many(fd, rings, 0, 0));
	EXPECT_ERRNO(EINVAL, ring_many(fd, rings, IVSHMEM_RING_MANY_MAX + 1, 0));
	EXPECT_ERRNO(EINVAL, ring_many(fd, rings, UINT32_MAX, 0));
	EXPECT_EQ(0, arrived(fd));
}

TEST(many_with_a_flag_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_ring self = { .peer = dev_info(fd).peer_id, .vector = 0 };

	EXPECT_ERRNO(EINVAL, ring_many(fd, &self, 1, 1));
	EXPECT_ERRNO(EINVAL, ring_many(fd, &self, 1, 1u << 31));
	EXPECT_EQ(0, arrived(fd));
}

TEST(many_with_a_bad_entry_rings_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	uint32_t self = dev_info(fd).peer_id;
	struct ivshmem_ring rings[3] = { { self, 0 }, { self, 256 }, { self, 0 } };

	EXPECT_ERRNO(EINVAL, ring_many(fd, rings, 3, 0));
	rings[1] = (struct ivshmem_ring){ .peer = IVSHMEM_MAX_PEER + 1, .vector = 0 };
	EXPECT_ERRNO(EINVAL, ring_many(fd, rings, 3, 0));
	EXPECT_EQ(0, arrived(fd));
}

TEST(many_that_ends_in_a_bad_page_rings_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_ring *rings = (struct ivshmem_ring *)page_end() - 2;

	rings[0] = (struct ivshmem_ring){ .peer = dev_info(fd).peer_id, .vector = 0 };
	rings[1] = rings[0];
	EXPECT_ERRNO(EFAULT, ring_many(fd, rings, 3, 0));
	EXPECT_EQ(0, arrived(fd));
	EXPECT_EQ(2, ring_many(fd, rings, 2, 0));
	EXPECT_EQ(1, arrived(fd));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
