// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Binding again and unloading the module, also while programs keep on using the device.
 *
 *	IVSHMEM_MODULE		the file to insert again; /ivshmem_rs.ko if unset
 *	IVSHMEM_MODULE_ARGS	its parameters; none if unset
 */
#include "sysfs.h"
#include "sigbus.h"

#include <sys/syscall.h>

#define MODULE_NAME	"ivshmem_rs"

/* The stress: how often the driver is bound again, under how many users. */
#define ROUNDS		20
#define USERS		2
/* How often a user touches a mapping before it lets go of it. */
#define TOUCHES		20000

static char device_bus_id[IVSHMEM_BUS_ID_LEN];

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

static void remember_bus_id(void)
{
	node_bus_id(dev_path(), device_bus_id);
}

/* Brings module and binding back, if a case has left them away. */
static void restore(void)
{
	if (access(DRIVER_DIR, F_OK) != 0 && insert_module() != 0)
		printf("# cannot insert the module again: %s\n", strerror(errno));
	if (access(dev_path(), F_OK) != 0 && driver_bind(device_bus_id) != 0)
		printf("# cannot bind %s again: %s\n", device_bus_id, strerror(errno));
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

/* The call worked, or failed only because the device is away. */
static bool fine_or_gone(const char *what, long result)
{
	if (result == -1 && errno != ENODEV)
		test_fail(__FILE__, __LINE__, "%s failed: %s", what, test_errno_name(errno));
	return result != -1;
}

/* Touches the memory for a while and rings; at any moment the device may go. */
static void use_mapping(int fd, volatile uint32_t *words)
{
	struct ivshmem_info info;

	if (sigsetjmp(touch_failed, 1) == 0)
		for (int i = 0; i < TOUCHES; i++)
			words[i % (PAGE_BYTES / 4)]++;
	if (fine_or_gone("GET_INFO", ioctl(fd, IVSHMEM_GET_INFO, &info)))
		fine_or_gone("RING", ring(fd, info.peer_id, 0));
}

/* Opens, maps, uses and closes; true if the device was there long enough to be mapped. */
static bool use_device(void)
{
	int fd = open(dev_path(), O_RDWR | O_CLOEXEC);
	void *at;

	if (fd == -1) {
		/* The node is away (ENOENT), or its number has no owner any more. */
		EXPECT_TRUE(errno == ENOENT || errno == ENODEV || errno == ENXIO);
		sched_yield();
		return false;
	}
	at = map_region(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
	if (at == MAP_FAILED) {
		fine_or_gone("mmap", -1);
	} else {
		use_mapping(fd, at);
		EXPECT_OK(munmap(at, PAGE_BYTES));
	}
	close(fd);
	return at != MAP_FAILED;
}

struct stress {
	unsigned int stop;
	unsigned int turns[USERS];
};

static void use_until_stop(struct stress *stress, int user)
{
	catch_sigbus();
	while (!__atomic_load_n(&stress->stop, __ATOMIC_RELAXED))
		if (use_device())
			__atomic_fetch_add(&stress->turns[user], 1, __ATOMIC_RELAXED);
	_exit(0);
}

/* Waits until each user has used the device once more, so that no round passes without them. */
static void wait_for_users(const struct stress *stress, unsigned int before[USERS])
{
	for (int user = 0; user < USERS; user++) {
		while (__atomic_load_n(&stress->turns[user], __ATOMIC_RELAXED) == before[user])
			usleep(1000);
		before[user] = stress->turns[user];
	}
}

TEST_LIMIT(users_survive_20_rounds_of_unbind_and_bind, 600)
{
	struct stress *stress = mmap(NULL, sizeof(*stress), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int before[USERS] = { 0 };
	pid_t users[USERS];

	ASSERT_TRUE(stress != MAP_FAILED);
	for (int user = 0; user < USERS; user++) {
		users[user] = ASSERT_OK(fork());
		if (users[user] == 0)
			use_until_stop(stress, user);
	}
	for (int round = 0; round < ROUNDS; round++) {
		wait_for_users(stress, before);
		ASSERT_OK(driver_unbind(device_bus_id));
		ASSERT_OK(driver_bind(device_bus_id));
	}
	__atomic_store_n(&stress->stop, 1, __ATOMIC_RELAXED);
	for (int user = 0; user < USERS; user++) {
		test_join_child(users[user]);
		printf("# user %d: %u turns\n", user, stress->turns[user]);
	}
	ring_arrives(0);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_bus_id, restore);
}
