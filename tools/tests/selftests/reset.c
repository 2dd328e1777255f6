// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The device is reset (sysfs "reset") while programs use it. The device has to be one that can be reset alone:
 * behind a port of its own.
 *
 *	reset --wait-for-error
 *
 * leaves that to the host: it prints "ready" once the device is in use, and exits 0 if the recovery from the error that
 * follows is seen as a reset.
 *
 *	reset --reset-until-told
 *
 * resets the device again and again, prints "ready" at the beginning, and ends with SIGUSR1, after which all has to work.
 *
 *	reset --ring-to-the-end
 *
 * rings until the device is gone, and prints "ready" before.
 *
 *	reset --look-past-the-end
 *
 * prints "ready PEER", "gone" once the device is, and exits after SIGUSR1, with 0 if nothing has happened between the two.
 */
#include "sleeper.h"
#include "sysfs.h"

#include <sys/eventfd.h>

#define ERROR_OPTION	"--wait-for-error"
#define UNTIL_OPTION	"--reset-until-told"
#define END_OPTION	"--ring-to-the-end"
#define PAST_OPTION	"--look-past-the-end"

#define RESETS	10
#define WORD	0x11223344

static volatile bool over;

/* Reads a word of the memory all the time; the result is how often it was wrong. */
static void *look(void *word)
{
	const volatile uint32_t *at = word;
	long wrong = 0;

	while (!over)
		wrong += *at != WORD;
	return (void *)wrong;
}

static int resettable(void)
{
	int fd = dev_open_with(O_RDWR, 1);

	if (!device_is_resettable(dev_info(fd).bus_id))
		SKIP("%s cannot be reset alone", dev_path());
	return fd;
}

static void reset(int fd)
{
	ASSERT_OK(device_reset(dev_info(fd).bus_id));
}

/* Resets the device of which @fd is a file again and again, then sets @over. */
static void *reset_often(void *fd)
{
	for (int i = 0; i < RESETS; i++)
		reset(*(int *)fd);
	over = true;
	return NULL;
}

TEST(the_memory_is_never_seen_wrong)
{
	int fd = resettable();
	volatile uint32_t *word = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
					   PROT_READ | PROT_WRITE);
	pthread_t threads[2];
	void *wrong;

	*word = WORD;
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, look, (void *)word));
	for (int i = 0; i < RESETS; i++)
		reset(fd);
	over = true;
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &wrong));
		EXPECT_EQ(0, (long)wrong);
	}
	EXPECT_EQ(WORD, *word);
}

TEST(it_counts_as_a_resume_and_wakes_everybody)
{
	int fd = resettable(), event = ASSERT_OK(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	struct ivshmem_eventfd binding = { .fd = event };
	uint32_t before = dev_info(fd).generation;
	struct ivshmem_event record;
	struct sleeper sleeper = { .call = sleeper_read, .fd = fd, .argument = &record };
	uint64_t count;

	ASSERT_OK(ioctl(fd, IVSHMEM_SET_EVENTFD, &binding));
	sleeper_start(&sleeper, SYS_read);
	reset(fd);
	sleeper_join(&sleeper);
	EXPECT_EQ(before + 1, dev_info(fd).generation);
	EXPECT_EQ(before + 1, page->generation);
	EXPECT_EQ((long)sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_EQ(1, count);
}

TEST(doorbells_and_vectors_work_afterwards)
{
	int fd = resettable();

	reset(fd);
	for (unsigned int vector = 0; vector < dev_vectors(fd); vector++)
		ring_arrives(vector);
}

static void ignore(int signal)
{
	(void)signal;
}

/* Sends SIGUSR1 to @thread all the time, whose handler is not one that restarts calls. */
static void *disturb(void *thread)
{
	struct sigaction action = { .sa_handler = ignore };

	ASSERT_OK(sigaction(SIGUSR1, &action, NULL));
	while (!over) {
		ASSERT_EQ(0, pthread_kill(*(pthread_t *)thread, SIGUSR1));
		usleep(5000);
	}
	return NULL;
}

/* Another device hears of each, one by one, which is not reset. Signals make none fail. */
TEST(no_doorbell_is_lost)
{
	const char *path = getenv("IVSHMEM_DEV2");
	const volatile struct ivshmem_event_page *page;
	int fd = resettable(), other;
	pthread_t threads[2], self = pthread_self();
	uint32_t peer;

	if (!path)
		SKIP("needs IVSHMEM_DEV2, a peer of %s", dev_path());
	other = (int)ASSERT_OK(open(path, O_RDWR | O_CLOEXEC));
	page = map_event_page(other);
	peer = dev_info(other).peer_id;
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, reset_often, &fd));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, disturb, &self));
	while (!over) {
		uint64_t before = page->seq[0];

		ASSERT_OK(ring(fd, peer, 0));
		test_waits_for("doorbell %llu", (unsigned long long)before);
		while (page->seq[0] == before)
			usleep(100);
	}
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, pthread_join(threads[i], NULL));
}

/* WAIT_WORD must not take what a device in reset reads as for another value. */
TEST(a_word_that_is_waited_for_is_not_seen_wrong)
{
	int fd = resettable();
	volatile uint32_t *word = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
					   PROT_READ | PROT_WRITE);
	struct ivshmem_wait wait = {
		.timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD, .value = WORD,
	};
	struct sleeper sleeper = { .call = sleeper_wait, .fd = fd, .argument = &wait };

	*word = WORD;
	sleeper_start(&sleeper, SYS_ioctl);
	for (int i = 0; i < RESETS; i++) {
		reset(fd);
		sleeper_wait_asleep(&sleeper, SYS_ioctl);
	}
	*word = WORD + 1;
	ring_self(fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(0, sleeper.result);
}

/* How many open files and mappings keep the module loaded. */
static unsigned long module_uses(void)
{
	int fd = open("/sys/module/ivshmem_rs/refcnt", O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t bytes;

	if (fd < 0)
		SKIP("the driver is no module: %s", strerror(errno));
	bytes = ASSERT_OK(read(fd, text, sizeof(text) - 1));
	close(fd);
	text[bytes] = '\0';
	return strtoul(text, NULL, 10);
}

static long look_until_over(struct sleeper *self)
{
	return (long)look(self->argument);
}

static void *reset_once(void *bus_id)
{
	ASSERT_OK(device_reset(bus_id));
	over = true;
	return NULL;
}

/*
 * A page fault that waits for the end of a reset runs code of the module, which has to stay: also
 * when the mapping goes meanwhile, and the last open file.
 */
TEST(a_page_fault_that_waits_keeps_the_module)
{
	unsigned long before = module_uses();
	int fd = resettable();
	struct ivshmem_info info = dev_info(fd);
	void *page = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
	struct sleeper sleeper = { .call = look_until_over, .argument = page };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&sleeper.thread, NULL, sleeper_main, &sleeper));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reset_once, info.bus_id));
	/* What is no system call has this number in /proc. */
	sleeper_wait_asleep(&sleeper, -1);
	ASSERT_TRUE(mmap(page, PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0) == page);
	close(fd);
	EXPECT_EQ(before + 1, module_uses());
	/* That was while it waited. */
	ASSERT_TRUE(sleeper_sleeps(&sleeper, -1));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	sleeper_join(&sleeper);
	test_waits_for("the module to be unused");
	while (module_uses() != before)
		usleep(1000);
}

static void watch_error(void)
{
	int fd = dev_open_with(O_RDWR, 1);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	volatile uint32_t *word = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
					   PROT_READ | PROT_WRITE);
	uint32_t before = page->generation;
	pthread_t thread;
	void *wrong;

	*word = WORD;
	ASSERT_EQ(0, pthread_create(&thread, NULL, look, (void *)word));
	puts("ready");
	fflush(stdout);
	test_waits_for("generation %u to end", before);
	while (page->generation == before)
		usleep(1000);
	over = true;
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	EXPECT_EQ(0, (long)wrong);
	EXPECT_EQ(WORD, *word);
	EXPECT_EQ(before + 1, dev_info(fd).generation);
	for (unsigned int vector = 0; vector < dev_vectors(fd); vector++)
		ring_arrives(vector);
}

/* To be called before there are threads, for wait_until_told(). */
static sigset_t block_signal(void)
{
	sigset_t set;

	ASSERT_OK(sigemptyset(&set));
	ASSERT_OK(sigaddset(&set, SIGUSR1));
	ASSERT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
	return set;
}

static void wait_until_told(const sigset_t *set)
{
	int signal;

	test_waits_for("SIGUSR1");
	ASSERT_EQ(0, sigwait(set, &signal));
}

/* During the recovery from an error it may fail. */
static void *reset_until_over(void *fd)
{
	struct ivshmem_info info = dev_info(*(int *)fd);

	while (!over)
		device_reset(info.bus_id);
	return NULL;
}

static void reset_until_told(void)
{
	int fd = dev_open_with(O_RDWR, 1);
	volatile uint32_t *word = must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES,
					   PROT_READ | PROT_WRITE);
	sigset_t set = block_signal();
	pthread_t threads[3];
	void *wrong;

	*word = WORD;
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, look, (void *)word));
	for (int i = 1; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, reset_until_over, &fd));
	puts("ready");
	fflush(stdout);
	wait_until_told(&set);
	over = true;
	for (int i = 1; i < 3; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	ASSERT_EQ(0, pthread_join(threads[0], &wrong));
	EXPECT_EQ(0, (long)wrong);
	EXPECT_EQ(WORD, *word);
	for (unsigned int vector = 0; vector < dev_vectors(fd); vector++)
		ring_arrives(vector);
}

/* A ring waits for the end of a reset: also for one that the device does not survive. */
static void ring_to_the_end(void)
{
	int fd = dev_open_with(O_RDWR, 1), result;
	uint32_t peer = dev_info(fd).peer_id;

	puts("ready");
	fflush(stdout);
	test_waits_for("the end of the device");
	do
		result = ring(fd, peer, 0);
	while (result == 0);
	EXPECT_ERRNO(ENODEV, result);
}

/* A device that was given up is gone for good, whatever it does. */
static void look_past_the_end(void)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	uint32_t generation = page->generation;
	uint64_t seq = page->seq[0];
	struct ivshmem_event event;
	sigset_t set = block_signal();

	printf("ready %u\n", dev_info(fd).peer_id);
	fflush(stdout);
	test_waits_for("the end of the device");
	while (!page->dead)
		usleep(1000);
	puts("gone");
	fflush(stdout);
	wait_until_told(&set);
	EXPECT_EQ(generation, page->generation);
	EXPECT_EQ(seq, page->seq[0]);
	EXPECT_ERRNO(ENODEV, read(fd, &event, sizeof(event)));
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], ERROR_OPTION))
		return test_alone(watch_error);
	if (argc == 2 && !strcmp(argv[1], UNTIL_OPTION))
		return test_alone(reset_until_told);
	if (argc == 2 && !strcmp(argv[1], END_OPTION))
		return test_alone(ring_to_the_end);
	if (argc == 2 && !strcmp(argv[1], PAST_OPTION))
		return test_alone(look_past_the_end);
	return test_main(argv, dev_path());
}
