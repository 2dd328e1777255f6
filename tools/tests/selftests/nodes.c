// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The node /dev/ivshmemN: numbers, modes, open flags, lseek and fdinfo.
 */
#include "sleeper.h"
#include "sysfs.h"

#include <sys/eventfd.h>
#include <sys/uio.h>

/* Hidden argument: exit 0 if the descriptor of that number is open in this program. */
#define IS_OPEN	"--is-open"

/* What was where before the first case; the second is empty if no second device is named. */
static char first_bus_id[IVSHMEM_BUS_ID_LEN], second_bus_id[IVSHMEM_BUS_ID_LEN];

static void remember_bus_ids(void)
{
	node_bus_id(dev_path(), first_bus_id);
	if (getenv("IVSHMEM_DEV2"))
		node_bus_id(getenv("IVSHMEM_DEV2"), second_bus_id);
}

/* Binds again in the first order, if a case has left a device unbound. */
static void bind_again(void)
{
	const char *second = getenv("IVSHMEM_DEV2");

	if (access(dev_path(), F_OK) == 0 && (!second || access(second, F_OK) == 0))
		return;
	driver_unbind(first_bus_id);
	driver_unbind(second_bus_id);
	if (driver_bind(first_bus_id) != 0 || (second && driver_bind(second_bus_id) != 0))
		printf("# cannot bind again: %s\n", strerror(errno));
}

static void must_unbind(const char *bus_id)
{
	ASSERT_OK(driver_unbind(bus_id));
}

static void must_bind(const char *bus_id)
{
	ASSERT_OK(driver_bind(bus_id));
}

static bool is_node_of(const char *path, const char *bus_id)
{
	char found[IVSHMEM_BUS_ID_LEN];

	node_bus_id(path, found);
	return !strcmp(found, bus_id);
}

/* Skips the case unless /dev/ivshmem0 and /dev/ivshmem1 are the two devices under test. */
static void need_two_devices(void)
{
	const char *second = getenv("IVSHMEM_DEV2");

	if (!second || strcmp(dev_path(), "/dev/ivshmem0") || strcmp(second, "/dev/ivshmem1"))
		SKIP("needs IVSHMEM_DEV=/dev/ivshmem0 and IVSHMEM_DEV2=/dev/ivshmem1");
}

/* Copies the value of "key:\t..." in the fdinfo of @fd; the case ends if there is none. */
static void fdinfo(int fd, const char *key, char *value, size_t room)
{
	char path[64], line[256], format[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	snprintf(format, sizeof(format), "%s:\t", key);
	file = fopen(path, "re");
	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, format, strlen(format)))
			continue;
		snprintf(value, room, "%.*s", (int)strcspn(line, "\n") - (int)strlen(format),
			 line + strlen(format));
		fclose(file);
		return;
	}
	test_fail(__FILE__, __LINE__, "fdinfo has no line \"%s\"", key);
	test_stop();
}

TEST(parent_is_the_pci_device)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDONLY));

	EXPECT_TRUE(is_node_of(dev_path(), info.bus_id));
}

TEST(node_is_a_character_device_of_root_alone)
{
	struct stat status;

	ASSERT_OK(stat(dev_path(), &status));
	EXPECT_TRUE(S_ISCHR(status.st_mode));
	EXPECT_EQ(0600, status.st_mode & 07777);
	EXPECT_EQ(0, status.st_uid);
	EXPECT_EQ(0, status.st_gid);
}

TEST(the_freed_number_is_given_out_again)
{
	for (int i = 0; i < 3; i++) {
		must_unbind(first_bus_id);
		EXPECT_ERRNO(ENOENT, access(dev_path(), F_OK));
		must_bind(first_bus_id);
		EXPECT_TRUE(is_node_of(dev_path(), first_bus_id));
	}
}

TEST(the_lowest_free_number_is_given_out_first)
{
	need_two_devices();
	must_unbind(first_bus_id);
	must_unbind(second_bus_id);
	must_bind(second_bus_id);
	must_bind(first_bus_id);
	EXPECT_TRUE(is_node_of("/dev/ivshmem0", second_bus_id));
	EXPECT_TRUE(is_node_of("/dev/ivshmem1", first_bus_id));
	/* A gap below is filled, whatever is taken above. */
	must_unbind(second_bus_id);
	must_bind(second_bus_id);
	EXPECT_TRUE(is_node_of("/dev/ivshmem0", second_bus_id));
	must_unbind(second_bus_id);
	must_unbind(first_bus_id);
	must_bind(first_bus_id);
	must_bind(second_bus_id);
	EXPECT_TRUE(is_node_of("/dev/ivshmem0", first_bus_id));
}

TEST(two_devices_do_not_hear_each_other)
{
	int fd;

	need_two_devices();
	fd = (int)ASSERT_OK(open("/dev/ivshmem1", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	for (unsigned int vector = 0; vector < dev_vectors(dev_open(O_RDONLY)); vector++)
		ring_arrives(vector);
	EXPECT_EQ(0, poll_now(fd, POLLIN));
}

TEST(many_opens_each_hear_every_ring)
{
	int files[64];

	dev_open_with(O_RDWR, 1);
	for (int i = 0; i < 64; i++)
		files[i] = dev_open(i % 2 ? O_RDONLY | O_NONBLOCK : O_RDWR | O_NONBLOCK);
	ring_arrives(0);
	for (int i = 0; i < 64; i++)
		EXPECT_EQ(1, take_pending(files[i]));
}

TEST(O_CLOEXEC_closes_at_exec)
{
	int flags[2] = { O_CLOEXEC, 0 };

	for (int i = 0; i < 2; i++) {
		int fd = ASSERT_OK(open(dev_path(), O_RDWR | flags[i])), status = -1;
		pid_t child = ASSERT_OK(fork());
		char number[16];

		snprintf(number, sizeof(number), "%d", fd);
		if (child == 0) {
			execl("/proc/self/exe", "nodes", IS_OPEN, number, (char *)NULL);
			_exit(99);
		}
		ASSERT_OK(waitpid(child, &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		EXPECT_EQ(flags[i] == O_CLOEXEC, WEXITSTATUS(status));
	}
}

TEST(lseek_to_the_end_is_the_size_of_the_memory)
{
	int fd = dev_open(O_RDWR);

	EXPECT_EQ(dev_info(fd).shm_size, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(dev_info(fd).shm_size - 4096, lseek(fd, -4096, SEEK_END));
}

TEST(lseek_moves_a_position)
{
	int fd = dev_open(O_RDWR);

	EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(4096, lseek(fd, 4096, SEEK_SET));
	EXPECT_EQ(4100, lseek(fd, 4, SEEK_CUR));
	EXPECT_ERRNO(EINVAL, (long)lseek(fd, -1, SEEK_SET));
	EXPECT_ERRNO(EINVAL, (long)lseek(fd, -4101, SEEK_CUR));
	EXPECT_ERRNO(EINVAL, (long)lseek(fd, 0, 77));
	EXPECT_EQ(4100, lseek(fd, 0, SEEK_CUR));
}

TEST(write_is_EINVAL)
{
	int fd = dev_open(O_RDWR);

	EXPECT_ERRNO(EINVAL, write(fd, "12345678", 8));
}

TEST(fdinfo_shows_seen_and_mask)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	char text[256], *at = text;

	ASSERT_OK(subscribe(fd, 1 << 1));
	fdinfo(fd, "mask", text, sizeof(text));
	EXPECT_EQ(1 << 1, strtoull(text, NULL, 16));
	ring_arrives(0);
	ring_arrives(1);
	take_pending(fd);
	fdinfo(fd, "seen", text, sizeof(text));
	for (unsigned int vector = 0; vector < dev_vectors(fd); vector++) {
		uint64_t seen = strtoull(at, &at, 10);

		/* Vector 0 is not subscribed, so its ring is not seen. */
		EXPECT_EQ(page->seq[vector] - (vector == 0), seen);
	}
	EXPECT_EQ('\0', *at);
}

TEST(fdinfo_shows_bound_eventfds)
{
	int fd = dev_open_with(O_RDWR, 2);
	struct ivshmem_eventfd binding = { .vector = 1, .fd = ASSERT_OK(eventfd(0, EFD_CLOEXEC)) };
	char text[64];

	fdinfo(fd, "eventfds", text, sizeof(text));
	EXPECT_EQ(0, strtoull(text, NULL, 16));
	ASSERT_OK(ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	fdinfo(fd, "eventfds", text, sizeof(text));
	EXPECT_EQ(1 << 1, strtoull(text, NULL, 16));
}

TEST(fdinfo_shows_what_a_mapping_gets)
{
	static const char *const caches[] = { "none", "wb", "wc", "uc" };
	int fd = dev_open(O_RDONLY);
	struct ivshmem_info info = dev_info(fd);
	char text[64];

	ASSERT_TRUE(info.cache < 4);
	fdinfo(fd, "cache", text, sizeof(text));
	EXPECT_EQ(0, strcmp(text, caches[info.cache]));
	fdinfo(fd, "page_order", text, sizeof(text));
	EXPECT_EQ(info.page_order, strtoull(text, NULL, 10));
}

TEST(stat_gives_the_size_of_the_memory)
{
	int fd = dev_open(O_RDONLY);
	uint64_t size = dev_info(fd).shm_size;
	struct stat by_path, by_fd;

	ASSERT_OK(stat(dev_path(), &by_path));
	ASSERT_OK(fstat(fd, &by_fd));
	EXPECT_EQ(size, by_path.st_size);
	EXPECT_EQ(size, by_fd.st_size);
}

/*
 * init_shmem() of scream, Receivers/unix/shmem.c: the size comes first. open_mmap() of
 * jack-ivshmem, scream-ivshmem-jack.c, makes the same calls.
 */
TEST(the_calls_of_a_scream_receiver_in_their_order)
{
	struct stat status;
	void *at;
	int fd;

	/* As the udev rule does when the node appears. */
	close(dev_open(O_RDONLY));
	ASSERT_OK(stat(dev_path(), &status));
	fd = ASSERT_OK(open(dev_path(), O_RDONLY));
	at = mmap(0, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_TRUE(at != MAP_FAILED);
	EXPECT_OK(munmap(at, dev_info(fd).shm_size));
}

/*
 * open_mmap() and intHandler() of scream-ivshmem-pulse-transmitter, with which guests with Linux
 * send.
 */
TEST(the_calls_of_a_scream_transmitter_in_their_order)
{
	int receiver = dev_open(O_RDONLY), fd;
	const volatile uint32_t *heard;
	struct stat status;
	uint32_t *header;
	size_t last;

	ASSERT_OK(stat(dev_path(), &status));
	fd = ASSERT_OK(open(dev_path(), O_RDWR, (mode_t)0600));
	header = mmap(0, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(header != MAP_FAILED);
	heard = mmap(0, status.st_size, PROT_READ, MAP_SHARED, receiver, 0);
	ASSERT_TRUE(heard != MAP_FAILED);
	/* A chunk at the very end, and the header. */
	last = status.st_size / sizeof(*header) - 1;
	memset(&header[last], 0x55, sizeof(*header));
	memset(header, 0x55, 20);
	EXPECT_EQ(0x55555555, heard[last]);
	EXPECT_EQ(0x55555555, heard[0]);
	memset(header, 0, 20);
	EXPECT_EQ(0, heard[0]);
	EXPECT_OK(munmap(header, status.st_size));
	EXPECT_OK(munmap((void *)heard, status.st_size));
}

/* A memory backend of QEMU maps a file over room that it has reserved. */
TEST(the_calls_of_a_memory_backend_of_QEMU_in_their_order)
{
	int fd = ASSERT_OK(open(dev_path(), O_RDWR));
	off_t size = ASSERT_OK(lseek(fd, 0, SEEK_END));
	char *room = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);
	volatile char *at;

	ASSERT_TRUE(room != MAP_FAILED);
	at = mmap(room, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	ASSERT_TRUE(at == room);
	at[size - 1] = 1;
	EXPECT_OK(munmap(room, 2 * size));
}

TEST(syncing_succeeds_and_does_nothing)
{
	int fd = dev_open(O_RDWR);
	void *at = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);

	EXPECT_OK(fsync(fd));
	EXPECT_OK(fdatasync(fd));
	EXPECT_OK(msync(at, PAGE_BYTES, MS_SYNC));
	EXPECT_OK(msync(at, PAGE_BYTES, MS_ASYNC));
}

/* io_uring asks so: a reader that may not sleep is told EAGAIN, though the file may. */
TEST(a_read_with_RWF_NOWAIT_does_not_sleep)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_event event;
	struct iovec into = { .iov_base = &event, .iov_len = sizeof(event) };

	EXPECT_ERRNO(EAGAIN, preadv2(fd, &into, 1, -1, RWF_NOWAIT));
	ring_arrives(0);
	EXPECT_EQ((ssize_t)sizeof(event), preadv2(fd, &into, 1, -1, RWF_NOWAIT));
}

/* The number in the file @name among the statistics of the node's device: of several the first. */
static uint64_t counter(const char *name)
{
	char attribute[64], text[256];
	int fd = dev_open(O_RDONLY);

	snprintf(attribute, sizeof(attribute), "ivshmem_statistics/%s", name);
	read_attribute(dev_info(fd).bus_id, attribute, text, sizeof(text));
	close(fd);
	return strtoull(text, NULL, 10);
}

TEST(statistics_count_what_goes_on)
{
	int fd = dev_open_with(O_RDWR, 1), second;
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	struct ivshmem_eventfd binding = { .fd = ASSERT_OK(eventfd(0, EFD_CLOEXEC)) };
	uint64_t opens = counter("opens"), mappings = counter("mappings");
	uint64_t doorbells = counter("doorbells"), eventfds = counter("eventfds");
	void *memory;

	second = dev_open(O_RDWR);
	EXPECT_EQ(opens + 1, counter("opens"));
	close(second);
	EXPECT_EQ(opens, counter("opens"));
	memory = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ);
	EXPECT_EQ(mappings + 1, counter("mappings"));
	ASSERT_OK(munmap(memory, PAGE_BYTES));
	EXPECT_EQ(mappings, counter("mappings"));
	ASSERT_OK(ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	EXPECT_EQ(eventfds + 1, counter("eventfds"));
	ring_arrives(0);
	EXPECT_EQ(page->seq[0], counter("interrupts"));
	EXPECT_TRUE(counter("doorbells") > doorbells);
}

TEST(statistics_count_wake_ups)
{
	struct ivshmem_event event;
	struct sleeper sleeper = {
		.call = sleeper_read, .fd = dev_open_with(O_RDWR, 1), .argument = &event,
	};
	uint64_t wake_ups = counter("wake_ups");

	sleeper_start(&sleeper, SYS_read);
	ring_arrives(0);
	sleeper_join(&sleeper);
	EXPECT_TRUE(counter("wake_ups") > wake_ups);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], IS_OPEN))
		return fcntl(atoi(argv[2]), F_GETFD) == -1;
	return test_main_around(argv, dev_path(), remember_bus_ids, bind_again);
}
