// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Each allocation of a call fails once, in its turn: the call says so or goes on without, and works the
 * next time.
 */
#include "fail_nth.h"

#include <sys/eventfd.h>

/* More allocations than any call here makes. */
#define MOST		2000

static void set_up(void)
{
	remember_device();
	if (can_fail_nth())
		fail_nth_set_up();
}

/* Makes @call with the first allocation failing, then the second, until there is none left to fail. */
static void with_each_fault(bool (*call)(void), void (*undo)(void))
{
	int fail_nth;
	unsigned int nth, failed = 0;
	bool hit = true;

	if (!can_fail_nth())
		SKIP("the kernel cannot make allocations fail");
	fail_nth = fail_nth_open();
	for (nth = 1; hit && nth < MOST; nth++) {
		bool worked;

		test_progress();
		fail_nth_arm(fail_nth, nth);
		worked = call();
		hit = fail_nth_disarm(fail_nth);
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

static bool unbind_works(void)
{
	return driver_unbind(device_bus_id) == 0;
}

static void bind_again(void)
{
	ASSERT_OK(driver_bind(device_bus_id));
}

/* Nobody can be told that a removal failed. */
TEST(unbinding_works_in_spite_of_each_failed_allocation)
{
	with_each_fault(unbind_works, bind_again);
	ring_arrives(0);
}

/* What a user of the device holds is taken away in the meantime. */
static bool reset_device(void)
{
	return device_reset(device_bus_id) == 0;
}

static void nothing(void)
{
}

TEST(a_reset_survives_each_failed_allocation)
{
	with_each_fault(reset_device, nothing);
	ring_arrives(0);
}

TEST(opening_survives_each_failed_allocation)
{
	with_each_fault(open_node, close_node);
	ring_arrives(0);
}

static volatile uint32_t *mapped;

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

/* A page fault that finds no memory is made again. */
static bool touch_memory(void)
{
	mapped = map_region(opened, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
	if (mapped == MAP_FAILED)
		return false;
	*mapped = 1;
	return true;
}

TEST(touching_survives_each_failed_allocation)
{
	opened = dev_open(O_RDWR);
	with_each_fault(touch_memory, unmap_memory);
}

static int bound = -1;

static bool bind_eventfd(void)
{
	struct ivshmem_eventfd binding = { .vector = 0, .fd = bound };
	int result = ioctl(opened, IVSHMEM_SET_EVENTFD, &binding);

	if (result < 0)
		EXPECT_EQ(ENOMEM, errno);
	return result == 0;
}

static void unbind_eventfd(void)
{
	struct ivshmem_eventfd binding = { .vector = 0, .fd = -1 };

	ASSERT_OK(ioctl(opened, IVSHMEM_SET_EVENTFD, &binding));
}

TEST(binding_an_eventfd_survives_each_failed_allocation)
{
	opened = dev_open(O_RDWR);
	bound = (int)ASSERT_OK(eventfd(0, EFD_CLOEXEC));
	with_each_fault(bind_eventfd, unbind_eventfd);
	ring_arrives(0);
}

static int exported = -1;

static bool export_memory(void)
{
	struct ivshmem_dma_buf args = { .flags = IVSHMEM_DMA_BUF_CLOEXEC, .size = PAGE_BYTES };

	exported = ioctl(opened, IVSHMEM_KVMFR_CREATE_DMA_BUF, &args);
	if (exported < 0 && errno != EOPNOTSUPP)
		EXPECT_EQ(ENOMEM, errno);
	return exported >= 0;
}

static void close_exported(void)
{
	close(exported);
}

TEST(exporting_survives_each_failed_allocation)
{
	opened = dev_open(O_RDWR);
	if (!export_memory()) {
		EXPECT_EQ(EOPNOTSUPP, errno);	/* the kernel has no dma-bufs */
		return;
	}
	close_exported();
	with_each_fault(export_memory, close_exported);
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
