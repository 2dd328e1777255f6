// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Binding again and unloading the module.
 *
 *	IVSHMEM_MODULE		the file to insert again; /ivshmem_rs.ko if unset
 *	IVSHMEM_MODULE_ARGS	its parameters; none if unset
 */
#include "sysfs.h"

#include <sys/syscall.h>

#define MODULE_NAME	"ivshmem_rs"

static int insert_module(void)
{
	const char *path = getenv("IVSHMEM_MODULE"), *args = getenv("IVSHMEM_MODULE_ARGS");
	int fd = open(path ? path : "/" MODULE_NAME ".ko", O_RDONLY | O_CLOEXEC);
	int result, error;

	if (fd < 0)
		return -1;
	result = syscall(SYS_finit_module, fd, args ? args : "", 0);
	error = errno;
	close(fd);
	errno = error;
	return result;
}

/* O_NONBLOCK: answer at once instead of waiting until the module is unused. */
static int remove_module(void)
{
	return syscall(SYS_delete_module, MODULE_NAME, O_NONBLOCK);
}

/* Brings module and binding back, if a case has left them away. */
static void restore(void)
{
	if (access(DRIVER_DIR, F_OK) != 0 && insert_module() != 0)
		printf("# cannot insert the module again: %s\n", strerror(errno));
	bind_device_again();
}

/* Whether the module can be taken out and put back; built in, there is nothing to test. */
static void need_module(void)
{
	const char *path = getenv("IVSHMEM_MODULE");

	path = path ? path : "/" MODULE_NAME ".ko";
	if (access("/sys/module/" MODULE_NAME "/initstate", F_OK) || access(path, R_OK))
		SKIP("needs a loadable module and its file at %s", path);
}

TEST(bound_again_everything_works)
{
	for (int i = 0; i < 5; i++) {
		volatile uint32_t *words;
		int fd;

		ASSERT_OK(driver_unbind(device_bus_id));
		ASSERT_OK(driver_bind(device_bus_id));
		fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
		words = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
		words[0] = i;
		EXPECT_EQ(i, words[0]);
		for (unsigned int vector = 0; vector < dev_vectors(fd); vector++)
			ring_arrives(vector);
		EXPECT_EQ((1ull << dev_vectors(fd)) - 1, take_pending(fd));
	}
}

TEST(an_open_file_keeps_the_module)
{
	int fd;

	need_module();
	fd = dev_open(O_RDONLY);
	EXPECT_ERRNO(EWOULDBLOCK, remove_module());
	close(fd);
	ASSERT_OK(remove_module());
	EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
	ASSERT_OK(insert_module());
	EXPECT_OK(open(dev_path(), O_RDWR | O_CLOEXEC));
}

TEST(a_mapping_keeps_the_module)
{
	void *at;
	int fd;

	need_module();
	fd = dev_open(O_RDWR);
	at = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ);
	close(fd);
	EXPECT_ERRNO(EWOULDBLOCK, remove_module());
	ASSERT_OK(munmap(at, PAGE_BYTES));
	ASSERT_OK(remove_module());
	ASSERT_OK(insert_module());
}

TEST(a_file_of_a_removed_device_keeps_the_module)
{
	int fd;

	need_module();
	fd = dev_open(O_RDWR);
	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_ERRNO(EWOULDBLOCK, remove_module());
	close(fd);
	ASSERT_OK(remove_module());
	ASSERT_OK(insert_module());
	EXPECT_OK(open(dev_path(), O_RDWR | O_CLOEXEC));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_device, restore);
}
