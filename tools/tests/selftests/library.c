// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * include/libivshmem.h: each function does its call, and passes its error on.
 */
#include "device.h"
#include "sysfs.h"

#include <libivshmem.h>

#include <sys/eventfd.h>

/* A time limit that never passes. */
#define FOR_EVER	(-1)

/* Opens the device under test through the library; at least two vectors, or the case is skipped. */
static int open_two(int flags, struct ivshmem_info *info)
{
	int fd = ASSERT_OK(ivshmem_open(dev_path(), flags | O_CLOEXEC, info));

	if (info->vectors < 2)
		SKIP("needs 2 vectors, %s has %u", dev_path(), info->vectors);
	return fd;
}

TEST(open_tells_what_the_device_is)
{
	struct ivshmem_info info, same;
	int fd = open_two(O_RDWR, &info);

	same = dev_info(fd);
	EXPECT_EQ(0, memcmp(&info, &same, sizeof(info)));
	EXPECT_EQ(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
}

TEST(open_of_something_else_fails_and_leaves_no_descriptor)
{
	struct ivshmem_info info;
	int next = ASSERT_OK(dup(0));

	close(next);
	EXPECT_ERRNO(ENOTTY, ivshmem_open("/dev/null", O_RDWR, &info));
	EXPECT_ERRNO(ENOENT, ivshmem_open("/dev/ivshmem_not", O_RDWR, &info));
	EXPECT_EQ(next, ASSERT_OK(dup(0)));
}

TEST(map_reaches_the_bytes_at_its_offset)
{
	static const char text[] = "written through one mapping, read through another";
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	char *all = ivshmem_map(fd, 0, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE);
	const char *second = ivshmem_map(fd, PAGE_BYTES, PAGE_BYTES, PROT_READ);
	char copy[sizeof(text)];

	ASSERT_TRUE(all && second);
	ivshmem_copy_to(all + PAGE_BYTES, text, sizeof(text));
	ivshmem_copy_from(copy, second, sizeof(copy));
	EXPECT_EQ(0, memcmp(text, copy, sizeof(text)));
}

static bool map_fails(int error, int fd, uint64_t offset, int prot)
{
	errno = 0;
	return !ivshmem_map(fd, offset, PAGE_BYTES, prot) && errno == error;
}

TEST(map_is_refused_past_the_memory_and_against_the_flags)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDONLY, &info);

	EXPECT_TRUE(map_fails(EINVAL, fd, info.shm_size, PROT_READ));
	EXPECT_TRUE(map_fails(EACCES, fd, 0, PROT_READ | PROT_WRITE));
	/* These offsets are other regions for the driver, and its event page can be mapped. */
	EXPECT_TRUE(map_fails(EINVAL, fd, 1ull << IVSHMEM_REGION_SHIFT, PROT_READ));
	EXPECT_TRUE(map_fails(EINVAL, fd, 1ull << 63, PROT_READ));
}

TEST(read_events_tells_the_vectors_that_were_rung)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR | O_NONBLOCK, &info);
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];

	EXPECT_ERRNO(EAGAIN, ivshmem_read_events(fd, events, IVSHMEM_MAX_VECTORS));
	ASSERT_OK(ivshmem_ring_peer(fd, info.peer_id, 1));
	wait_readable(fd);
	ASSERT_EQ(1, ivshmem_read_events(fd, events, IVSHMEM_MAX_VECTORS));
	EXPECT_EQ(1, events[0].vector);
	EXPECT_EQ(1, events[0].count);
}

TEST(ring_passes_errors_on)
{
	struct ivshmem_ring bad = { .peer = IVSHMEM_MAX_PEER + 1 };
	struct ivshmem_info info;
	int reader = open_two(O_RDONLY, &info), writer = open_two(O_RDWR, &info);

	EXPECT_ERRNO(EBADF, ivshmem_ring_peer(reader, info.peer_id, 0));
	EXPECT_ERRNO(EINVAL, ivshmem_ring_peer(writer, bad.peer, bad.vector));
	EXPECT_ERRNO(EINVAL, ivshmem_ring_peers(writer, &bad, 1));
	EXPECT_ERRNO(EINVAL, ivshmem_ring_peers(writer, &bad, 0));
}

TEST(ring_peers_rings_all)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR | O_NONBLOCK, &info);
	struct ivshmem_ring rings[] = { { info.peer_id, 0 }, { info.peer_id, 1 } };

	EXPECT_EQ(2, ivshmem_ring_peers(fd, rings, 2));
	EXPECT_EQ(3, wait_for_vectors(fd, 3));
}

TEST(wait_vectors_waits_for_these_only)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	uint64_t vectors = 1 << 1;

	ring_arrives(0);
	ASSERT_OK(ivshmem_ring_peer(fd, info.peer_id, 1));
	ASSERT_OK(ivshmem_wait_vectors(fd, &vectors, FOR_EVER));
	EXPECT_EQ(1 << 1, vectors);
	EXPECT_ERRNO(ETIMEDOUT, ivshmem_wait_vectors(fd, &vectors, 0));
	EXPECT_EQ(1 << 1, vectors);
	vectors = 1ull << 63;
	EXPECT_ERRNO(EINVAL, ivshmem_wait_vectors(fd, &vectors, 0));
}

TEST(wait_word_compares_the_word_at_its_offset)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	uint32_t *words = ivshmem_map(fd, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);

	ASSERT_TRUE(words);
	ivshmem_store(&words[3], 77);
	EXPECT_EQ(77, ivshmem_load(&words[3]));
	EXPECT_ERRNO(ETIMEDOUT, ivshmem_wait_word(fd, 3 * sizeof(*words), 77, 0));
	EXPECT_OK(ivshmem_wait_word(fd, 3 * sizeof(*words), 78, FOR_EVER));
	EXPECT_ERRNO(EINVAL, ivshmem_wait_word(fd, info.shm_size, 0, 0));
}

TEST(subscribe_replaces_the_mask)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR | O_NONBLOCK, &info);

	ASSERT_OK(ivshmem_subscribe(fd, 1 << 1));
	ring_arrives(0);
	ring_arrives(1);
	EXPECT_EQ(1 << 1, take_pending(fd));
	EXPECT_ERRNO(EINVAL, ivshmem_subscribe(fd, 1ull << 63));
}

TEST(an_eventfd_counts_until_it_is_unbound)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	int event = ASSERT_OK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	uint64_t count = 0;

	ASSERT_OK(ivshmem_bind_eventfd(fd, 1, event));
	ASSERT_OK(ivshmem_ring_peer(fd, info.peer_id, 1));
	wait_readable(event);
	EXPECT_EQ(sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	ASSERT_OK(ivshmem_bind_eventfd(fd, 1, -1));
	ring_arrives(1);
	EXPECT_ERRNO(EAGAIN, read(event, &count, sizeof(count)));
	EXPECT_ERRNO(EINVAL, ivshmem_bind_eventfd(fd, 1, fd));
}

TEST(the_event_page_counts_each_vector)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	const struct ivshmem_event_page *page = ivshmem_map_events(fd);
	uint32_t first, second;

	ASSERT_TRUE(page);
	first = ivshmem_interrupts(page, 0);
	second = ivshmem_interrupts(page, 1);
	EXPECT_EQ((uint32_t)page->seq[1], second);
	ring_arrives(1);
	EXPECT_EQ(first, ivshmem_interrupts(page, 0));
	EXPECT_EQ(second + 1, ivshmem_interrupts(page, 1));
}

TEST(the_event_page_tells_that_the_device_is_gone)
{
	struct ivshmem_info info;
	int fd = open_two(O_RDWR, &info);
	const struct ivshmem_event_page *page = ivshmem_map_events(fd);

	ASSERT_TRUE(page);
	EXPECT_EQ(0, ivshmem_is_gone(page));
	ASSERT_OK(driver_unbind(info.bus_id));
	EXPECT_EQ(1, ivshmem_is_gone(page));
	EXPECT_TRUE(!ivshmem_map_events(fd) && errno == ENODEV);
	ASSERT_OK(driver_bind(info.bus_id));
}

TEST(a_copy_is_exact_at_every_alignment_and_length)
{
	enum { ROOM = 48 };
	union { uint64_t align; unsigned char bytes[ROOM]; } from, to, want;

	for (int i = 0; i < ROOM; i++)
		from.bytes[i] = i + 1;
	for (int out = 0; out < 9; out++)
		for (int in = 0; in < 9; in++)
			for (int length = 0; length < ROOM - 9; length++) {
				memset(&to, 0, sizeof(to));
				memset(&want, 0, sizeof(want));
				memcpy(want.bytes + out, from.bytes + in, length);
				ivshmem_copy_from(to.bytes + out, from.bytes + in, length);
				ASSERT_EQ(0, memcmp(&want, &to, sizeof(to)));
				memset(&to, 0, sizeof(to));
				ivshmem_copy_to(to.bytes + out, from.bytes + in, length);
				ASSERT_EQ(0, memcmp(&want, &to, sizeof(to)));
			}
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
