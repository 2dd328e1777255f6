// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Parts of the kernel that want to hold the pages of a mapping: direct I/O, vmsplice, io_uring,
 * process_vm_readv. They get none, so nobody can keep the device from being removed.
 *
 *	IVSHMEM_DISK	a block device of at least one page, which is overwritten
 */
#include "sysfs.h"

#include <grp.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define NOBODY	65534

/* A page that is mapped, and in the page table. */
static void *touched_page(int flags, int prot)
{
	int fd = dev_open(flags);
	volatile uint32_t *page = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, prot);

	close(fd);
	(void)*page;
	return (void *)page;
}

/* A file whose reads and writes go around the page cache, into the caller's pages. */
static int open_disk(void)
{
	const char *path = getenv("IVSHMEM_DISK");

	ASSERT_TRUE(path != NULL);
	return (int)ASSERT_OK(open(path, O_RDWR | O_DIRECT | O_CLOEXEC));
}

/* Tries to have the page held by a pipe, a request to a disk, and an io_uring. */
static void expect_not_held(void *page, int disk)
{
	struct iovec piece = { .iov_base = page, .iov_len = PAGE_BYTES };
	struct io_uring_params params = { 0 };
	int ends[2], ring;

	ASSERT_OK(pipe2(ends, O_CLOEXEC));
	EXPECT_ERRNO(EFAULT, vmsplice(ends[1], &piece, 1, 0));
	EXPECT_ERRNO(EFAULT, pwrite(disk, page, PAGE_BYTES, 0));
	EXPECT_ERRNO(EFAULT, pread(disk, page, PAGE_BYTES, 0));
	ring = (int)ASSERT_OK(syscall(SYS_io_uring_setup, 1, &params));
	EXPECT_ERRNO(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &piece,
				     1));
}

TEST(nothing_holds_a_page)
{
	expect_not_held(touched_page(O_RDWR, PROT_READ | PROT_WRITE), open_disk());
}

TEST(nothing_holds_a_page_that_is_mapped_read_only)
{
	expect_not_held(touched_page(O_RDONLY, PROT_READ), open_disk());
}

TEST(another_process_cannot_get_at_a_page_by_its_address)
{
	char copy[PAGE_BYTES];
	struct iovec theirs = { touched_page(O_RDWR, PROT_READ | PROT_WRITE), PAGE_BYTES };
	struct iovec ours = { copy, PAGE_BYTES };

	/* ENOSYS: a kernel without them. */
	EXPECT_EQ(-1, process_vm_readv(getpid(), &ours, 1, &theirs, 1, 0));
	EXPECT_TRUE(errno == EFAULT || errno == ENOSYS);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &ours, 1, &theirs, 1, 0));
	EXPECT_TRUE(errno == EFAULT || errno == ENOSYS);
}

static void write_one(const char *path)
{
	int fd = (int)ASSERT_OK(open(path, O_WRONLY | O_CLOEXEC));

	ASSERT_EQ(1, write(fd, "1", 1));
	close(fd);
}

/* What a user can do who may only read: tries to hold a page, keeps what it got, and waits. */
static void hold_as_nobody(int ready, int disk)
{
	volatile uint32_t *page;

	ASSERT_OK(setgroups(0, NULL));
	ASSERT_OK(setgid(NOBODY));
	ASSERT_OK(setuid(NOBODY));
	EXPECT_ERRNO(EACCES, open(dev_path(), O_RDWR | O_CLOEXEC));
	page = touched_page(O_RDONLY, PROT_READ);
	expect_not_held((void *)page, disk);
	ASSERT_OK(munmap((void *)page, PAGE_BYTES));
	ASSERT_EQ(1, write(ready, "x", 1));
	pause();
}

TEST(a_stranger_cannot_hold_up_removal_and_rescan)
{
	char path[128], byte;
	int disk = open_disk(), ready[2];
	int64_t removed, found;
	pid_t stranger;

	ASSERT_OK(chmod(dev_path(), 0444));
	ASSERT_OK(pipe2(ready, O_CLOEXEC));
	stranger = ASSERT_OK(fork());
	if (stranger == 0)
		hold_as_nobody(ready[1], disk);
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/remove", device_bus_id);
	removed = now_ns();
	write_one(path);
	found = now_ns();
	EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
	write_one("/sys/bus/pci/rescan");
	printf("# remove %lld ms, rescan %lld ms\n", (long long)(found - removed) / 1000000,
	       (long long)(now_ns() - found) / 1000000);
	EXPECT_OK(access(dev_path(), F_OK));
	ASSERT_OK(kill(stranger, SIGKILL));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
