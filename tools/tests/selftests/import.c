// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The memory as dma-bufs that a driver has imported, what a reset and the device's end do to them. The
 * driver is the module in tools/tests/selftests/importer.
 *
 *	import --vgem
 *
 * tries the kernel's own importer vgem, which is refused.
 *
 *	import --wait-for-unplug
 *
 * prints "ready" once a buffer is imported and mapped, and exits 0 if the unplug that follows is seen
 * as documented.
 */
#include "sysfs.h"

#include "importer/ivshmem_importer.h"

#include <drm/drm.h>
#include <linux/udmabuf.h>
#include <sys/mman.h>

#define MAGIC	0x4b564d46u

static int create(int fd, uint64_t offset, uint64_t size)
{
	struct ivshmem_dma_buf buf = { .offset = offset, .size = size };

	return ASSERT_OK(ioctl(fd, IVSHMEM_KVMFR_CREATE_DMA_BUF, &buf));
}

static int importer_open(void)
{
	return ASSERT_OK(open(IMPORTER_PATH, O_RDWR | O_CLOEXEC));
}

static int attach(int importer, int buf, unsigned int flags)
{
	struct importer_attach argument = { .fd = buf, .flags = flags };

	return ioctl(importer, IMPORTER_ATTACH, &argument);
}

static int read_word(int importer, uint32_t offset, uint32_t *value)
{
	struct importer_word word = { .offset = offset };
	int result = ioctl(importer, IMPORTER_READ, &word);

	*value = word.value;
	return result;
}

/* An import that is mapped, of the second page; the word in its middle is MAGIC. */
static int import(int fd, unsigned int flags)
{
	volatile uint32_t *words = must_map(fd, IVSHMEM_REGION_MEMORY, 0, 2 * PAGE_BYTES,
					    PROT_READ | PROT_WRITE);
	int importer = importer_open(), buf = create(fd, PAGE_BYTES, PAGE_BYTES);

	words[(PAGE_BYTES + PAGE_BYTES / 2) / 4] = MAGIC;
	ASSERT_OK(attach(importer, buf, flags));
	ASSERT_OK(ioctl(importer, IMPORTER_MAP));
	close(buf);
	return importer;
}

static bool has_memory(int importer)
{
	uint32_t value;

	return read_word(importer, PAGE_BYTES / 2, &value) == 0 && value == MAGIC;
}

TEST(the_device_of_an_importer_reaches_the_memory)
{
	EXPECT_TRUE(has_memory(import(dev_open(O_RDWR), 0)));
}

TEST(an_importer_that_cannot_let_go_is_refused)
{
	EXPECT_ERRNO(EOPNOTSUPP, attach(importer_open(), create(dev_open(O_RDWR), 0, PAGE_BYTES),
					IMPORTER_PINNED));
}

TEST(a_buffer_of_a_read_only_file_is_for_reading)
{
	int importer = importer_open();

	ASSERT_OK(attach(importer, create(dev_open(O_RDONLY), 0, PAGE_BYTES), 0));
	EXPECT_ERRNO(EACCES, ioctl(importer, IMPORTER_MAP));
	EXPECT_OK(ioctl(importer, IMPORTER_MAP_READ));
}

static void is_taken_away_at_removal(unsigned int flags)
{
	int importer = import(dev_open(O_RDWR), flags);
	uint32_t value;

	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_ERRNO(ENXIO, read_word(importer, 0, &value));
	EXPECT_EQ(1, ioctl(importer, IMPORTER_INVALIDATED));
	EXPECT_ERRNO(ENODEV, ioctl(importer, IMPORTER_MAP));
	ASSERT_OK(driver_bind(device_bus_id));
	EXPECT_ERRNO(ENODEV, ioctl(importer, IMPORTER_MAP));
	EXPECT_OK(close(importer));
}

TEST(removal_takes_the_memory_from_importers)
{
	is_taken_away_at_removal(0);
}

TEST(removal_waits_for_an_importer_that_lets_go_late)
{
	is_taken_away_at_removal(IMPORTER_LATE);
}

TEST(a_buffer_that_nobody_imported_yet_cannot_be_after_removal)
{
	int buf = create(dev_open(O_RDWR), 0, PAGE_BYTES);

	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_ERRNO(ENODEV, attach(importer_open(), buf, 0));
}

TEST(a_reset_takes_the_memory_and_gives_it_back)
{
	int importer = import(dev_open(O_RDWR), IMPORTER_LATE);
	uint32_t value;

	if (!device_is_resettable(device_bus_id))
		SKIP("%s cannot be reset alone", dev_path());
	ASSERT_OK(device_reset(device_bus_id));
	EXPECT_ERRNO(ENXIO, read_word(importer, 0, &value));
	EXPECT_TRUE(ioctl(importer, IMPORTER_INVALIDATED) >= 1);
	ASSERT_OK(ioctl(importer, IMPORTER_MAP));
	EXPECT_TRUE(has_memory(importer));
}

/* A buffer of ordinary memory, which has pages and stays. */
static int other_buffer(void)
{
	struct udmabuf_create argument = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = PAGE_BYTES };
	int memory = ASSERT_OK(memfd_create("other", MFD_ALLOW_SEALING));

	ASSERT_OK(ftruncate(memory, PAGE_BYTES));
	ASSERT_OK(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK));
	argument.memfd = (__u32)memory;
	return ASSERT_OK(ioctl(ASSERT_OK(open("/dev/udmabuf", O_RDWR)), UDMABUF_CREATE, &argument));
}

/* The kernel's vgem takes what others export, as most drivers of displays do: for as long as it likes. */
static void try_vgem(void)
{
	int vgem = ASSERT_OK(open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC));
	struct drm_prime_handle handle = { .fd = other_buffer() };

	EXPECT_OK(ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &handle));
	handle.fd = create(dev_open(O_RDWR), 0, PAGE_BYTES);
	EXPECT_ERRNO(EOPNOTSUPP, ioctl(vgem, DRM_IOCTL_PRIME_FD_TO_HANDLE, &handle));
}

static void watch_unplug(void)
{
	int importer;
	uint32_t value;

	remember_device();
	importer = import(dev_open(O_RDWR), IMPORTER_LATE);
	EXPECT_TRUE(has_memory(importer));
	puts("ready");
	fflush(stdout);
	wait_until_removed(device_bus_id);
	EXPECT_ERRNO(ENXIO, read_word(importer, 0, &value));
	EXPECT_ERRNO(ENODEV, ioctl(importer, IMPORTER_MAP));
	EXPECT_OK(close(importer));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--vgem"))
		return test_alone(try_vgem);
	if (argc == 2 && !strcmp(argv[1], "--wait-for-unplug"))
		return test_alone(watch_unplug);
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
