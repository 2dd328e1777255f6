// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The register page, where the administrator allowed it (map_registers=1) and BAR0 has a page of its
 * own. Cases are skipped elsewhere.
 */
#include "sigbus.h"
#include "sysfs.h"

#define REGISTERS	IVSHMEM_REGION_REGISTERS
#define READ_WRITE	(PROT_READ | PROT_WRITE)

/* Words of BAR0; see Documentation/device.rst. */
#define IV_POSITION	2
#define DOORBELL	3

static int open_mappable(int flags)
{
	int fd = dev_open_with(flags, 1);

	if (!(dev_info(fd).flags & IVSHMEM_INFO_REGISTERS_MAPPABLE))
		SKIP("the register page of %s cannot be mapped", dev_path());
	return fd;
}

static volatile uint32_t *map_registers(int fd, int prot)
{
	return must_map(fd, REGISTERS, 0, PAGE_BYTES, prot);
}

TEST(a_plain_store_rings)
{
	int fd = open_mappable(O_RDWR | O_NONBLOCK);
	struct ivshmem_info info = dev_info(fd);
	volatile uint32_t *registers = map_registers(fd, READ_WRITE);

	for (unsigned int vector = 0; vector < info.vectors; vector++) {
		registers[DOORBELL] = info.peer_id << 16 | vector;
		EXPECT_EQ(1ull << vector, wait_for_vectors(fd, 1ull << vector));
	}
}

TEST(the_page_shows_the_peer_id)
{
	int fd = open_mappable(O_RDWR);

	EXPECT_EQ(dev_info(fd).peer_id, map_registers(fd, PROT_READ)[IV_POSITION]);
}

TEST(a_read_only_file_maps_read_only)
{
	int fd = open_mappable(O_RDONLY);
	volatile uint32_t *registers = map_registers(fd, PROT_READ);

	EXPECT_EQ(dev_info(fd).peer_id, registers[IV_POSITION]);
	EXPECT_ERRNO(EACCES, (long)map_region(fd, REGISTERS, 0, PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EACCES, mprotect((void *)registers, PAGE_BYTES, READ_WRITE));
}

TEST(it_is_one_page_shared_and_not_executable)
{
	int fd = open_mappable(O_RDWR);
	off_t offset = (off_t)REGISTERS << IVSHMEM_REGION_SHIFT;
	void *at = (void *)map_registers(fd, READ_WRITE);

	EXPECT_ERRNO(EINVAL, (long)map_region(fd, REGISTERS, 0, 2 * PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, REGISTERS, PAGE_BYTES, PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EINVAL, (long)mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, offset));
	EXPECT_ERRNO(EACCES, mprotect(at, PAGE_BYTES, READ_WRITE | PROT_EXEC));
	EXPECT_TRUE(mremap(at, PAGE_BYTES, 2 * PAGE_BYTES, MREMAP_MAYMOVE) == MAP_FAILED);
}

TEST(after_removal_it_is_SIGBUS_in_every_process)
{
	int fd = open_mappable(O_RDWR), touched[2], removed[2];
	volatile uint32_t *registers = map_registers(fd, READ_WRITE);
	char byte;
	pid_t child;

	EXPECT_TRUE(!is_gone(registers));
	ASSERT_OK(pipe(touched));
	ASSERT_OK(pipe(removed));
	child = ASSERT_OK(fork());
	if (child == 0) {
		close(removed[1]);
		EXPECT_TRUE(!is_gone(registers));
		EXPECT_EQ(1, write(touched[1], "x", 1));
		EXPECT_EQ(1, read(removed[0], &byte, 1));
		EXPECT_TRUE(is_gone(registers));
		_exit(0);
	}
	close(touched[1]);
	ASSERT_EQ(1, read(touched[0], &byte, 1));
	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_TRUE(is_gone(registers));
	EXPECT_ERRNO(ENODEV, (long)map_region(fd, REGISTERS, 0, PAGE_BYTES, PROT_READ));
	ASSERT_EQ(1, write(removed[1], "x", 1));
	test_join_child(child);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
