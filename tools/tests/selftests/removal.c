// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The device goes away while it is in use. Cases unbind the driver through sysfs; after each one it
 * is bound again.
 *
 *	removal --wait-for-unplug
 *
 * leaves that to the host: it prints "ready" once everything is in use, and exits 0 if the unplug
 * that follows is seen as documented.
 */
#include "sleeper.h"
#include "sysfs.h"
#include "sigbus.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define UNPLUG_OPTION	"--wait-for-unplug"

static void remove_device(void)
{
	ASSERT_OK(driver_unbind(device_bus_id));
}

static volatile uint32_t *map_words(int fd)
{
	volatile uint32_t *words = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
					    PROT_READ | PROT_WRITE);

	words[0] = 1;
	return words;
}

TEST(a_reader_wakes_with_ENODEV)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 1), .argument = &event,
	};

	sleeper_start(&sleeper, SYS_read);
	remove_device();
	sleeper_join(&sleeper);
	EXPECT_EQ(-1, sleeper.result);
	EXPECT_EQ(ENODEV, sleeper.error);
}

TEST(a_poller_wakes_with_POLLERR_and_POLLHUP)
{
	struct sleeper sleeper = { .call = sleeper_poll, .fd = dev_open_with(O_RDWR, 1) };

	sleeper_start(&sleeper, SYS_poll);
	remove_device();
	sleeper_join(&sleeper);
	EXPECT_EQ(POLLERR | POLLHUP, sleeper.result);
	EXPECT_EQ(POLLERR | POLLHUP, poll_now(sleeper.fd, POLLIN));
}

TEST(epoll_reports_EPOLLERR_and_EPOLLHUP)
{
	int fd = dev_open_with(O_RDWR, 1), epoll = ASSERT_OK(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	ASSERT_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	ASSERT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	remove_device();
	test_waits_for("epoll to report something");
	ASSERT_EQ(1, epoll_wait(epoll, &event, 1, -1));
	EXPECT_EQ(EPOLLERR | EPOLLHUP, event.events);
}

TEST(a_waiter_wakes_with_ENODEV)
{
	struct ivshmem_wait vectors = { .timeout_ns = -1 };
	struct ivshmem_wait word = { .timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD, .value = 1 };
	int fd = dev_open_with(O_RDWR, 1);
	struct sleeper sleepers[2] = {
		{ .call = sleeper_wait, .fd = fd, .argument = &vectors },
		{ .call = sleeper_wait, .fd = fd, .argument = &word },
	};

	map_words(fd);
	for (int i = 0; i < 2; i++)
		sleeper_start(&sleepers[i], SYS_ioctl);
	remove_device();
	for (int i = 0; i < 2; i++) {
		sleeper_join(&sleepers[i]);
		EXPECT_EQ(-1, sleepers[i].result);
		EXPECT_EQ(ENODEV, sleepers[i].error);
	}
}

TEST(each_bound_eventfd_is_signalled_once)
{
	int fd = dev_open_with(O_RDWR, 2);
	struct ivshmem_eventfd bindings[2] = { { .vector = 0 }, { .vector = 1 } };
	uint64_t count = 0;

	for (int i = 0; i < 2; i++) {
		bindings[i].fd = ASSERT_OK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
		ASSERT_OK(ioctl(fd, IVSHMEM_SET_EVENTFD, &bindings[i]));
	}
	remove_device();
	for (int i = 0; i < 2; i++) {
		wait_readable(bindings[i].fd);
		ASSERT_EQ(sizeof(count), read(bindings[i].fd, &count, sizeof(count)));
		EXPECT_EQ(1, count);
	}
	close(fd);
	EXPECT_ERRNO(EAGAIN, read(bindings[0].fd, &count, sizeof(count)));
}

TEST(touching_memory_is_SIGBUS)
{
	int fd = dev_open(O_RDWR);
	volatile uint32_t *touched = map_words(fd);
	volatile uint32_t *untouched = must_map(fd, IVSHMEM_REGION_MEMORY, PAGE_BYTES, PAGE_BYTES,
						PROT_READ);

	EXPECT_TRUE(!is_gone(touched));
	remove_device();
	EXPECT_TRUE(is_gone(touched));
	EXPECT_TRUE(is_gone(untouched));
	EXPECT_OK(munmap((void *)touched, PAGE_BYTES));
}

TEST(a_child_s_mapping_is_SIGBUS_too)
{
	volatile uint32_t *words = map_words(dev_open(O_RDWR));
	int touched[2], removed[2];
	pid_t child;
	char byte;

	ASSERT_OK(pipe(touched));
	ASSERT_OK(pipe(removed));
	child = ASSERT_OK(fork());
	if (child == 0) {
		close(removed[1]);
		EXPECT_EQ(1, words[0]);
		EXPECT_EQ(1, write(touched[1], "x", 1));
		EXPECT_EQ(1, read(removed[0], &byte, 1));
		EXPECT_TRUE(is_gone(words));
		_exit(0);
	}
	close(touched[1]);
	ASSERT_EQ(1, read(touched[0], &byte, 1));
	remove_device();
	ASSERT_EQ(1, write(removed[1], "x", 1));
	test_join_child(child);
}

TEST(mappings_of_a_dup_and_of_a_closed_file_are_SIGBUS_too)
{
	int fd = dev_open(O_RDWR), twin = ASSERT_OK(dup(fd)), third = dev_open(O_RDWR);
	volatile uint32_t *of_twin = map_words(twin), *of_closed = map_words(third);

	close(fd);
	close(third);
	remove_device();
	EXPECT_TRUE(is_gone(of_twin));
	EXPECT_TRUE(is_gone(of_closed));
}

TEST(a_moved_mapping_is_SIGBUS_too)
{
	volatile uint32_t *words = map_words(dev_open(O_RDWR));
	void *room = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	words = mremap((void *)words, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_TRUE((void *)words == room);
	EXPECT_EQ(1, words[0]);
	remove_device();
	EXPECT_TRUE(is_gone(words));
}

TEST(mapping_the_memory_is_ENODEV)
{
	int fd = dev_open(O_RDWR);

	remove_device();
	EXPECT_ERRNO(ENODEV, (long)map_region(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(ENODEV, (long)map_region(fd, IVSHMEM_REGION_REGISTERS, 0, PAGE_BYTES,
					      PROT_READ));
}

TEST(every_command_is_ENODEV)
{
	int fd = dev_open_with(O_RDWR, 1), event = ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	struct ivshmem_ring ring = { .peer = 0 };
	struct ivshmem_ring_many many = { .count = 1, .rings = (uintptr_t)&ring };
	struct ivshmem_eventfd ours = { .fd = event };
	struct ivshmem_acrn_eventfd acrn = { .fd = event };
	struct ivshmem_wait wait = { .timeout_ns = -1 };
	struct ivshmem_info info;

	remove_device();
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_GET_INFO, &info));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_RING, &ring));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_RING_MANY, &many));
	EXPECT_ERRNO(ENODEV, subscribe(fd, 1));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_SET_EVENTFD, &ours));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_ACRN_SET_EVENTFD, &acrn));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_WAIT, &wait));
}

TEST(read_gives_what_is_pending_and_then_ENODEV)
{
	int fd = dev_open_with(O_RDWR, 2);
	struct ivshmem_event event;

	ring_arrives(0);
	ring_arrives(1);
	remove_device();
	EXPECT_EQ(POLLIN | POLLERR | POLLHUP, poll_now(fd, POLLIN));
	for (unsigned int vector = 0; vector < 2; vector++) {
		EXPECT_EQ(sizeof(event), read(fd, &event, sizeof(event)));
		EXPECT_EQ(vector, event.vector);
	}
	EXPECT_ERRNO(ENODEV, read(fd, &event, sizeof(event)));
	EXPECT_ERRNO(ENODEV, read(fd, &event, sizeof(event)));
}

TEST(a_nonblocking_read_is_ENODEV_not_EAGAIN)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_event event;

	remove_device();
	EXPECT_ERRNO(ENODEV, read(fd, &event, sizeof(event)));
}

TEST(event_page_stays_and_says_dead)
{
	int fd = dev_open_with(O_RDWR, 1);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	uint64_t seq;

	ring_arrives(0);
	seq = page->seq[0];
	EXPECT_EQ(0, page->dead);
	remove_device();
	EXPECT_TRUE(page->dead != 0);
	EXPECT_EQ(seq, page->seq[0]);
	close(fd);
	EXPECT_TRUE(page->dead != 0);
}

TEST(the_node_is_gone_and_the_next_one_is_new)
{
	int old = dev_open_with(O_RDWR | O_NONBLOCK, 1), new;
	volatile uint32_t *old_words = map_words(old), *new_words;

	remove_device();
	EXPECT_ERRNO(ENOENT, open(dev_path(), O_RDWR));
	ASSERT_OK(driver_bind(device_bus_id));
	new = dev_open(O_RDWR | O_NONBLOCK);
	new_words = map_words(new);
	ring_arrives(0);
	EXPECT_EQ(1, take_pending(new));
	EXPECT_EQ(1, new_words[0]);
	/* The old file and its mapping do not come back to life. */
	EXPECT_EQ(POLLERR | POLLHUP, poll_now(old, POLLIN));
	EXPECT_TRUE(is_gone(old_words));
	EXPECT_EQ(0, close(old));
}

/* Sees an unplug by the host as a program would: a sleeper each in read and poll, and a mapping. */
static void watch_unplug(void)
{
	struct ivshmem_event event;
	int fd = dev_open_with(O_RDWR, 1);
	struct sleeper reader = { .call = sleeper_read, .fd = fd, .argument = &event };
	struct sleeper poller = { .call = sleeper_poll, .fd = fd };
	volatile uint32_t *words = map_words(fd);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);

	remember_device();
	sleeper_start(&reader, SYS_read);
	sleeper_start(&poller, SYS_poll);
	puts("ready");
	fflush(stdout);
	sleeper_join(&reader);
	sleeper_join(&poller);
	EXPECT_EQ(-1, reader.result);
	EXPECT_EQ(ENODEV, reader.error);
	EXPECT_EQ(POLLERR | POLLHUP, poller.result);
	/* Sleepers are woken first; the memory is taken away before the removal is over. */
	wait_until_removed(device_bus_id);
	EXPECT_TRUE(is_gone(words));
	EXPECT_TRUE(page->dead != 0);
	EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], UNPLUG_OPTION))
		return test_alone(watch_unplug);
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
