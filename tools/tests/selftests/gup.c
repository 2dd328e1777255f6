// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Parts of the kernel that want the pages of a mapping themselves: direct I/O, vmsplice, io_uring.
 *
 *	IVSHMEM_DISK	a block device of at least one page, which is overwritten
 *
 * They get the pages where the memory has page structures, as a user-space program cannot know:
 * IVSHMEM_GUP=works or IVSHMEM_GUP=EFAULT says what to expect.
 */
#include "sigbus.h"
#include "sysfs.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* How long the driver waits before it says so, and between two lines; src/kapi/pages.rs. */
#define WAITING		"pages of 2 MiB that other parts of the kernel hold"
#define WAITING_SECONDS	10

static bool gup_works(void)
{
	const char *text = getenv("IVSHMEM_GUP");

	ASSERT_TRUE(text && (!strcmp(text, "works") || !strcmp(text, "EFAULT")));
	return !strcmp(text, "works");
}

static uint32_t *map_page(void)
{
	int fd = dev_open(O_RDWR);
	uint32_t *page = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);

	close(fd);
	return page;
}

/* A file whose reads and writes go around the page cache, into the caller's pages. */
static int open_disk(void)
{
	const char *path = getenv("IVSHMEM_DISK");

	if (!path)
		SKIP("IVSHMEM_DISK names no disk");
	return (int)ASSERT_OK(open(path, O_RDWR | O_DIRECT | O_CLOEXEC));
}

TEST(direct_io_into_the_memory_works_or_is_EFAULT)
{
	uint32_t *page = map_page();
	int disk = open_disk();

	for (uint32_t i = 0; i < PAGE_BYTES / 4; i++)
		page[i] = i * 2654435761u;
	if (!gup_works()) {
		EXPECT_ERRNO(EFAULT, pwrite(disk, page, PAGE_BYTES, 0));
		EXPECT_ERRNO(EFAULT, pread(disk, page, PAGE_BYTES, 0));
		EXPECT_EQ(2654435761u, page[1]);
		return;
	}
	ASSERT_EQ(PAGE_BYTES, pwrite(disk, page, PAGE_BYTES, 0));
	memset(page, 0, PAGE_BYTES);
	ASSERT_EQ(PAGE_BYTES, pread(disk, page, PAGE_BYTES, 0));
	for (uint32_t i = 0; i < PAGE_BYTES / 4; i++)
		ASSERT_EQ(i * 2654435761u, page[i]);
}

/* Opens the kernel log at its end. */
static int open_log(void)
{
	int log = ASSERT_OK(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));

	ASSERT_OK(lseek(log, 0, SEEK_END));
	return log;
}

/* Waits until the kernel log says @text; returns when the kernel said it, in microseconds. */
static int64_t wait_log(int log, const char *text)
{
	struct pollfd entry = { .fd = log, .events = POLLIN };
	char line[1024];
	long long when;

	test_waits_for("the kernel log to say '%s'", text);

	for (;;) {
		ssize_t bytes = read(log, line, sizeof(line) - 1);

		if (bytes < 0) {
			ASSERT_EQ(EAGAIN, errno);
			ASSERT_EQ(1, poll(&entry, 1, -1));
			continue;
		}
		line[bytes] = '\0';
		if (!strstr(line, text))
			continue;
		/* Level, sequence number, time. */
		ASSERT_EQ(1, sscanf(line, "%*u,%*u,%lld", &when));
		return when;
	}
}

/*
 * Removes the device while somebody has its pages: that waits, and says so twice; touching is SIGBUS
 * all the same. @let_go gives the pages back, and the removal ends.
 */
static void remove_while_held(const uint32_t *page, void (*let_go)(int), int what)
{
	int log = open_log(), status;
	int64_t first;
	pid_t remover = ASSERT_OK(fork());

	if (remover == 0) {
		close(what);
		ASSERT_OK(driver_unbind(device_bus_id));
		_exit(0);
	}
	first = wait_log(log, WAITING);
	EXPECT_TRUE(is_gone(page));
	/* The kernel's two clocks, for sleeping and for its log, may differ a little. */
	EXPECT_TRUE(wait_log(log, WAITING) - first >= (WAITING_SECONDS - 1) * 1000000ll);
	EXPECT_EQ(0, waitpid(remover, &status, WNOHANG));
	let_go(what);
	test_join_child(remover);
	EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
}

/* Empties the pipe, which has references to the pages in it. */
static void empty_pipe(int pipe)
{
	char bytes[PAGE_BYTES];

	ASSERT_EQ(PAGE_BYTES, read(pipe, bytes, sizeof(bytes)));
	EXPECT_EQ(0x600d, *(uint32_t *)bytes);
}

TEST(removal_waits_for_pages_in_a_pipe)
{
	uint32_t *page = map_page();
	struct iovec piece = { .iov_base = page, .iov_len = PAGE_BYTES };
	int ends[2];

	ASSERT_OK(pipe2(ends, O_CLOEXEC));
	*page = 0x600d;
	if (!gup_works()) {
		EXPECT_ERRNO(EFAULT, vmsplice(ends[1], &piece, 1, 0));
		return;
	}
	ASSERT_EQ(PAGE_BYTES, vmsplice(ends[1], &piece, 1, 0));
	remove_while_held(page, empty_pipe, ends[0]);
}

static void unregister_buffers(int ring)
{
	ASSERT_OK(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
}

TEST(removal_waits_for_buffers_of_io_uring)
{
	struct io_uring_params params = { 0 };
	uint32_t *page = map_page();
	struct iovec piece = { .iov_base = page, .iov_len = PAGE_BYTES };
	int ring = syscall(SYS_io_uring_setup, 1, &params);

	if (ring < 0)
		SKIP("no io_uring: %s", strerror(errno));
	if (!gup_works()) {
		EXPECT_ERRNO(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
					     &piece, 1));
		return;
	}
	ASSERT_OK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &piece, 1));
	remove_while_held(page, unregister_buffers, ring);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
