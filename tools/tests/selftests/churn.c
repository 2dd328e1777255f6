// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Four processes map, touch, fork, move, unmap and ring at random while the device goes and comes.
 * Each sees its own data or SIGBUS, and nothing is left behind.
 *
 *	churn ROUNDS		unbinds the driver and binds it again so many times
 *	churn plugged ROUNDS	says "round N" and waits for the host to replace the device, so many times
 *	churn opens N		opens the device so many times: nothing is left of it
 *	churn			leaves that to somebody else, until SIGTERM, and others write to the memory too
 */
#include "guests.h"
#include "random.h"
#include "sigbus.h"
#include "slabs.h"
#include "sysfs.h"

#include <sys/prctl.h>

#define USERS		4
/* The largest stretch that is mapped at once: more than a large page, where there is room. */
#define MOST_PAGES	1024u
/* From this number of rounds on, an object that each round leaks stands out in a slab cache. */
#define LEAK_ROUNDS	50u

struct churn {
	uint32_t stop;
	uint32_t turns[USERS];
};

static struct churn *churn;
/* Nobody else writes to the memory. */
static bool owns_memory;

static void on_term(int signal)
{
	(void)signal;
	store(&churn->stop, 1);
}

/* Writes words that belong to @user alone, one in each page of the mapping, and reads them back. */
static void touch(volatile uint32_t *at, unsigned int pages, unsigned int user, uint32_t value)
{
	for (unsigned int page = 0; page < pages; page += 1 + pages / 8)
		at[page * (PAGE_BYTES / 4) + user] = value + page;
	for (unsigned int page = 0; page < pages; page += 1 + pages / 8) {
		uint32_t found = at[page * (PAGE_BYTES / 4) + user];

		if (owns_memory && found != value + page)
			fail("user %u: %#x where %#x was written", user, found, value + page);
	}
}

/* The same from a child, to which the mapping is copied. */
static void touch_in_child(volatile uint32_t *at, unsigned int pages, unsigned int user,
			   uint32_t value)
{
	pid_t child = CHECK(fork());
	int status;

	if (child == 0) {
		if (sigsetjmp(touch_failed, 1) == 0)
			touch(at, pages, user, value);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0));
	if (status != 0)
		fail("user %u: its child ended with status %#x", user, status);
}

/* Maps a random stretch of @fd, uses it in a random way, and unmaps it in one or two pieces. */
static void use_mapping(int fd, unsigned int user, uint32_t *random)
{
	off_t size = CHECK(lseek(fd, 0, SEEK_END));
	unsigned int total = size / PAGE_BYTES;
	unsigned int most = total < MOST_PAGES ? total : MOST_PAGES;
	/* Volatile: they are used after a jump out of touch(). */
	volatile unsigned int pages = 1 + next_random(random) % most;
	unsigned int first = next_random(random) % (total - pages + 1);
	volatile uint32_t *volatile at =
		map_region(fd, IVSHMEM_REGION_MEMORY, (uint64_t)first * PAGE_BYTES,
			   (size_t)pages * PAGE_BYTES, PROT_READ | PROT_WRITE);
	uint32_t choice = next_random(random);

	if (at == MAP_FAILED) {
		if (errno != ENODEV)
			fail("user %u: mmap: %s", user, strerror(errno));
		return;
	}
	if (sigsetjmp(touch_failed, 1) == 0) {
		touch(at, pages, user, choice);
		if (choice % 4 == 0)
			touch_in_child(at, pages, user, choice);
		if (choice % 3 == 0) {
			size_t bytes = (size_t)pages * PAGE_BYTES;
			void *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			at = mremap((void *)at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room);
			touch(at, pages, user, choice);
		}
	}
	if (pages > 1 && choice % 2) {
		CHECK(munmap((char *)at + PAGE_BYTES, (size_t)(pages - 1) * PAGE_BYTES));
		pages = 1;
	}
	CHECK(munmap((void *)at, (size_t)pages * PAGE_BYTES));
}

/* The calls that a device may vanish under. */
static void use_calls(int fd, unsigned int user)
{
	struct ivshmem_info info;

	if (ioctl(fd, IVSHMEM_GET_INFO, &info) == 0 && ring(fd, info.peer_id, 0) == 0)
		return;
	if (errno != ENODEV)
		fail("user %u: GET_INFO or RING: %s", user, strerror(errno));
}

static void use_until_stop(unsigned int user)
{
	uint32_t random = 0x9e3779b9u * (user + 1);

	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
	catch_sigbus();
	while (!load(&churn->stop)) {
		int fd = open(dev_path(), O_RDWR | O_CLOEXEC);

		if (fd == -1) {
			if (errno != ENOENT && errno != ENODEV && errno != ENXIO)
				fail("user %u: open: %s", user, strerror(errno));
			usleep(1000);
			continue;
		}
		for (int i = 0; i < 4 && !load(&churn->stop); i++)
			use_mapping(fd, user, &random);
		use_calls(fd, user);
		close(fd);
		__atomic_fetch_add(&churn->turns[user], 1, __ATOMIC_RELAXED);
	}
	_exit(0);
}

/* Waits until each user has used the device since it looked last. */
static void wait_for_users(uint32_t before[USERS])
{
	for (int user = 0; user < USERS; user++) {
		test_waits_for("user %d to use the device", user);
		while (load(&churn->turns[user]) == before[user])
			usleep(1000);
		before[user] = load(&churn->turns[user]);
	}
}

/* The lines of /proc/iomem that are the driver's. */
static unsigned int claims(void)
{
	FILE *iomem = fopen("/proc/iomem", "re");
	unsigned int count = 0;
	char line[256];

	if (!iomem)
		fail("no /proc/iomem");
	while (fgets(line, sizeof(line), iomem))
		count += strstr(line, "ivshmem_rs") != NULL;
	fclose(iomem);
	return count;
}

static void unbind_and_bind(unsigned int rounds)
{
	char bus_id[IVSHMEM_BUS_ID_LEN];
	uint32_t before[USERS] = { 0 };

	node_bus_id(dev_path(), bus_id);
	for (unsigned int round = 0; round < rounds; round++) {
		wait_for_users(before);
		CHECK(driver_unbind(bus_id));
		CHECK(driver_bind(bus_id));
		test_progress();
	}
}

/* Files that wait, have an eventfd and a mapping, one after the other. */
static void open_and_close(unsigned int rounds)
{
	int eventfd_fd = CHECK(eventfd(0, EFD_CLOEXEC));

	for (unsigned int round = 0; round < rounds; round++) {
		int fd = CHECK(open(dev_path(), O_RDWR | O_CLOEXEC));
		struct ivshmem_eventfd bind = { .vector = 0, .fd = eventfd_fd };
		struct pollfd pollfd = { .fd = fd, .events = POLLIN };
		volatile uint32_t *at = map_region(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
						   PROT_READ | PROT_WRITE);

		CHECK(ioctl(fd, IVSHMEM_SET_EVENTFD, &bind));
		CHECK(poll(&pollfd, 1, 0));
		at[0] = round;
		CHECK(munmap((void *)at, PAGE_BYTES));
		CHECK(close(fd));
		test_progress();
	}
	close(eventfd_fd);
}

static void wait_for_node(bool there)
{
	test_waits_for("the node to %s", there ? "come" : "go");
	while ((access(dev_path(), F_OK) == 0) != there)
		usleep(1000);
}

static void be_plugged(unsigned int rounds)
{
	uint32_t before[USERS] = { 0 };

	for (unsigned int round = 0; round < rounds; round++) {
		wait_for_users(before);
		printf("churn: round %u\n", round);
		wait_for_node(false);
		wait_for_node(true);
		test_progress();
	}
}

static void join_users(void)
{
	int status;

	store(&churn->stop, 1);
	for (int user = 0; user < USERS; user++) {
		CHECK(wait(&status));
		if (status != 0)
			fail("a user ended with status %#x", status);
	}
	for (int user = 0; user < USERS; user++)
		printf("churn: user %d had the device %u times\n", user, churn->turns[user]);
}

int main(int argc, char **argv)
{
	bool plugged = argc > 2 && !strcmp(argv[1], "plugged");
	bool opens = argc > 2 && !strcmp(argv[1], "opens");
	unsigned int rounds = argc > 1 ? number_argument(argv[argc - 1], 1, 100000) : 0;
	struct sigaction action = { .sa_handler = on_term, .sa_flags = SA_RESTART };
	static struct slabs slabs;
	unsigned int claimed;

	owns_memory = rounds != 0;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	test_share();
	churn = mmap(NULL, sizeof(*churn), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (churn == MAP_FAILED)
		fail("no memory");
	CHECK(sigaction(SIGTERM, &action, NULL));
	claimed = claims();
	read_slabs(&slabs);
	if (opens) {
		test_limit_start();
		open_and_close(rounds);
		wait_for_slabs(&slabs, rounds);
		return 0;
	}
	for (int user = 0; user < USERS; user++)
		if (CHECK(fork()) == 0)
			use_until_stop(user);
	puts("churn: ready");
	if (rounds)
		test_limit_start();
	if (plugged)
		be_plugged(rounds);
	else if (rounds)
		unbind_and_bind(rounds);
	else
		/* A signal may come just before a sleep. */
		while (!load(&churn->stop))
			usleep(10000);
	join_users();
	if (rounds && claims() != claimed)
		fail("%u claims in /proc/iomem, there were %u", claims(), claimed);
	if (rounds >= LEAK_ROUNDS)
		wait_for_slabs(&slabs, rounds);
	puts("churn: passed");
	return 0;
}
