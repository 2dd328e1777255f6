// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Each allocation of a call fails once, in its turn: the call says so or goes on without, and works the
 * next time. Needs a kernel with CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS.
 */
#include "sysfs.h"

#include <sys/eventfd.h>

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAILSLAB	"/sys/kernel/debug/failslab/"
/* More allocations than any call here makes. */
#define MOST		2000

static void write_text(const char *path, const char *text)
{
	int fd = (int)ASSERT_OK(open(path, O_WRONLY | O_CLOEXEC));

	ASSERT_EQ(strlen(text), write(fd, text, strlen(text)));
	close(fd);
}

/* Lets allocations that may sleep fail too, without a trace in the kernel log for each. */
static void set_up(void)
{
	remember_device();
	if (access(FAIL_NTH, F_OK) != 0 || access(FAILSLAB, F_OK) != 0)
		return;
	write_text(FAILSLAB "ignore-gfp-wait", "N");
	write_text(FAILSLAB "verbose", "0");
}

static void arm(int fail_nth, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	ASSERT_EQ(length, pwrite(fail_nth, text, length, 0));
}

/* Switches it off; whether an allocation has failed. */
static bool disarm(int fail_nth)
{
	char text[16] = "";

	ASSERT_TRUE(pread(fail_nth, text, sizeof(text) - 1, 0) > 0);
	arm(fail_nth, 0);
	return atoi(text) == 0;
}

/* Makes @call with the first allocation failing, then the second, until there is none left to fail. */
static void with_each_fault(bool (*call)(void), void (*undo)(void))
{
	int fail_nth;
	unsigned int nth, failed = 0;
	bool hit = true;

	if (access(FAIL_NTH, F_OK) != 0 || access(FAILSLAB, F_OK) != 0)
		SKIP("the kernel cannot make allocations fail");
	fail_nth = (int)ASSERT_OK(open(FAIL_NTH, O_RDWR | O_CLOEXEC));
	for (nth = 1; hit && nth < MOST; nth++) {
		bool worked;

		test_progress();
		arm(fail_nth, nth);
		worked = call();
		hit = disarm(fail_nth);
		failed += !worked;
		if (worked)
			undo();
		else
			ASSERT_TRUE(hit);
	}
	printf("# %u allocations, %u failures\n", nth - 2, failed);
	EXPECT_TRUE(nth > 2 && nth < MOST);
	close(fail_nth);
}

/* The kernel does not tell the driver that there was no memory for the node's inode. */
static bool bind_device(void)
{
	if (driver_bind(device_bus_id) != 0)
		return false;
	if (access(dev_path(), F_OK) == 0)
		return true;
	ASSERT_OK(driver_unbind(device_bus_id));
	return false;
}

static void unbind_device(void)
{
	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
}

TEST(binding_survives_each_failed_allocation)
{
	unbind_device();
	with_each_fault(bind_device, unbind_device);
	ASSERT_OK(driver_bind(device_bus_id));
	ring_arrives(0);
}

static int opened = -1;

static bool open_node(void)
{
	opened = open(dev_path(), O_RDWR | O_CLOEXEC);
	if (opened < 0)
		EXPECT_EQ(ENOMEM, errno);
	return opened >= 0;
}

static void close_node(void)
{
	close(opened);
}

TEST(opening_survives_each_failed_allocation)
{
	with_each_fault(open_node, close_node);
	ring_arrives(0);
}

static volatile uint32_t *mapped;

/* Touching is left out: a fault that finds no memory kills, here as everywhere. */
static bool map_memory(void)
{
	mapped = map_region(opened, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
	if (mapped == MAP_FAILED)
		EXPECT_EQ(ENOMEM, errno);
	return mapped != MAP_FAILED;
}

static void unmap_memory(void)
{
	*mapped = 1;
	ASSERT_OK(munmap((void *)mapped, PAGE_BYTES));
}

TEST(mapping_survives_each_failed_allocation)
{
	opened = dev_open(O_RDWR);
	with_each_fault(map_memory, unmap_memory);
}

/* More than the driver keeps on its stack. */
static bool ring_many(void)
{
	struct ivshmem_ring rings[100] = { 0 };
	struct ivshmem_ring_many many = { .count = 100, .rings = (uintptr_t)rings };
	int result = ioctl(opened, IVSHMEM_RING_MANY, &many);

	if (result < 0)
		EXPECT_EQ(ENOMEM, errno);
	return result == 100;
}

static void nothing(void)
{
}

TEST(ringing_many_survives_each_failed_allocation)
{
	opened = dev_open_with(O_RDWR, 1);
	with_each_fault(ring_many, nothing);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), set_up, bind_device_again);
}
