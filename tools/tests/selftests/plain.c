// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A device without a doorbell, named by IVSHMEM_PLAIN: memory works, and nobody sleeps for ever.
 */
#include "device.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

static const char *plain_path(void)
{
	return getenv("IVSHMEM_PLAIN");
}

static int plain_open(int flags)
{
	return (int)ASSERT_OK(open(plain_path(), flags | O_CLOEXEC));
}

TEST(info_says_no_doorbell_and_no_vectors)
{
	struct ivshmem_info info = dev_info(plain_open(O_RDWR));

	EXPECT_EQ(IVSHMEM_ABI_VERSION, info.abi_version);
	EXPECT_EQ(0, info.flags & IVSHMEM_INFO_DOORBELL);
	EXPECT_EQ(0, info.vectors);
	EXPECT_EQ(0, info.vectors_offered);
	EXPECT_TRUE(info.shm_size > 0);
}

TEST(read_is_EOPNOTSUPP)
{
	struct ivshmem_event event;

	EXPECT_ERRNO(EOPNOTSUPP, read(plain_open(O_RDWR), &event, sizeof(event)));
	EXPECT_ERRNO(EOPNOTSUPP, read(plain_open(O_RDONLY | O_NONBLOCK), &event, sizeof(event)));
}

TEST(ringing_is_EOPNOTSUPP)
{
	int fd = plain_open(O_RDWR);
	struct ivshmem_ring one = { .peer = 1, .vector = 0 };
	struct ivshmem_ring_many many = { .count = 1, .rings = (uintptr_t)&one };

	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_RING, &one));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_RING_MANY, &many));
}

TEST(binding_an_eventfd_is_EOPNOTSUPP)
{
	int fd = plain_open(O_RDWR), event = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_eventfd ours = { .fd = event };
	struct ivshmem_acrn_eventfd acrn = { .fd = event };

	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_SET_EVENTFD, &ours));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &acrn));
}

TEST(waiting_is_EOPNOTSUPP)
{
	int fd = plain_open(O_RDWR);
	struct ivshmem_wait vectors = { .timeout_ns = -1 };
	struct ivshmem_wait word = { .timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD };

	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_WAIT, &vectors));
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(fd, IVSHMEM_WAIT, &word));
}

TEST(poll_is_POLLERR_at_once)
{
	struct pollfd entry = { .fd = plain_open(O_RDWR), .events = POLLIN };

	EXPECT_EQ(1, poll(&entry, 1, -1));
	EXPECT_EQ(POLLERR, entry.revents);
}

TEST(epoll_is_EPOLLERR_at_once)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = ASSERT_OK(epoll_create1(EPOLL_CLOEXEC));

	ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, plain_open(O_RDWR), &event));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, -1));
	EXPECT_EQ(EPOLLERR, event.events);
}

TEST(subscribing_to_no_vector_is_all_there_is)
{
	int fd = plain_open(O_RDWR);

	EXPECT_OK(subscribe(fd, 0));
	EXPECT_ERRNO(EINVAL, subscribe(fd, 1));
	EXPECT_ERRNO(EINVAL, subscribe(fd, 1ull << 63));
}

TEST(memory_works_all_the_same)
{
	int fd = plain_open(O_RDWR);
	size_t size = dev_info(fd).shm_size;
	volatile uint32_t *words = must_map(fd, IVSHMEM_REGION_MEMORY, 0, size,
					    PROT_READ | PROT_WRITE);
	volatile uint32_t *last = must_map(plain_open(O_RDONLY), IVSHMEM_REGION_MEMORY,
					   size - PAGE_BYTES, PAGE_BYTES, PROT_READ);

	words[size / 4 - 1] = 0xb1a2b1a2;
	EXPECT_EQ(0xb1a2b1a2, last[PAGE_BYTES / 4 - 1]);
	EXPECT_EQ(size, lseek(fd, 0, SEEK_END));
}

TEST(event_page_shows_no_interrupts)
{
	const volatile struct ivshmem_event_page *page = map_event_page(plain_open(O_RDONLY));

	for (int vector = 0; vector < IVSHMEM_MAX_VECTORS; vector++)
		EXPECT_EQ(0, page->seq[vector]);
	EXPECT_EQ(0, page->dead);
}

/* Also "seen", which has no values here. */
TEST(every_line_of_fdinfo_has_a_name)
{
	char path[64], line[256];
	FILE *info;
	int seen = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", plain_open(O_RDONLY));
	info = fopen(path, "re");
	ASSERT_TRUE(info);
	while (fgets(line, sizeof(line), info)) {
		EXPECT_TRUE(line[strcspn(line, ":\n")] == ':');
		seen += !strcmp(line, "seen:\t\n");
	}
	EXPECT_EQ(1, seen);
	fclose(info);
}

TEST(unknown_commands_are_ENOTTY_here_too)
{
	EXPECT_ERRNO(ENOTTY, ioctl(plain_open(O_RDWR), _IO('i', 0xaf), 0));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, plain_path());
}
