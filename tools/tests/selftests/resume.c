// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The machine sleeps while its device is in use, and another one rings it meanwhile.
 *
 *	resume sleep		in the machine that is put to sleep after this has said "ready PEER"; once
 *				awake it says "awake" and waits to be poked again
 *	resume poke PEER N	in the other: writes N into the shared memory and rings PEER
 */
#include "guests.h"
#include "sleeper.h"

#include <sys/eventfd.h>

#define USAGE	"usage: resume sleep | resume poke PEER N\n"

static volatile uint32_t *map_word(int fd)
{
	return must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

/* Everything in use: sleepers of each kind, a mapping, the event page, an eventfd. */
struct use {
	int fd, eventfd;
	struct ivshmem_info before;
	volatile uint32_t *word;
	const volatile struct ivshmem_event_page *page;
	struct ivshmem_event event;
	struct ivshmem_wait wait, wait_word;
	struct sleeper sleepers[4];
};

static int open_again(void)
{
	return CHECK(open(dev_path(), O_RDWR | O_CLOEXEC));
}

static void start_use(struct use *use)
{
	struct ivshmem_eventfd binding = { .vector = 0 };

	use->fd = open_again();
	use->before = dev_info(use->fd);
	use->word = map_word(use->fd);
	*use->word = 0;
	use->page = map_event_page(use->fd);
	use->eventfd = binding.fd = CHECK(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	CHECK(ioctl(use->fd, IVSHMEM_SET_EVENTFD, &binding));
	use->wait = (struct ivshmem_wait){ .timeout_ns = -1 };
	use->wait_word = (struct ivshmem_wait){ .timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD };
	/* Each has a file of its own: one would take another's events. */
	use->sleepers[0] = (struct sleeper){
		.call = sleeper_read, .fd = open_again(), .argument = &use->event };
	use->sleepers[1] = (struct sleeper){ .call = sleeper_poll, .fd = open_again() };
	use->sleepers[2] = (struct sleeper){
		.call = sleeper_wait, .fd = open_again(), .argument = &use->wait };
	use->sleepers[3] = (struct sleeper){
		.call = sleeper_wait, .fd = open_again(), .argument = &use->wait_word };
	sleeper_start(&use->sleepers[0], SYS_read);
	sleeper_start(&use->sleepers[1], SYS_poll);
	sleeper_start(&use->sleepers[2], SYS_ioctl);
	sleeper_start(&use->sleepers[3], SYS_ioctl);
}

/* Every sleeper has looked again, and found what the other machine wrote meanwhile. */
static void check_woken(struct use *use)
{
	uint64_t all = (1ull << use->before.vectors) - 1, count = 0;

	for (int i = 0; i < 4; i++)
		sleeper_join(&use->sleepers[i]);
	EXPECT_EQ(sizeof(use->event), use->sleepers[0].result);
	EXPECT_EQ(POLLIN, use->sleepers[1].result);
	EXPECT_EQ(0, use->sleepers[2].result);
	EXPECT_TRUE(use->wait.vectors != 0 && !(use->wait.vectors & ~all));
	EXPECT_EQ(0, use->sleepers[3].result);
	EXPECT_EQ(1, *use->word);
	EXPECT_EQ(sizeof(count), read(use->eventfd, &count, sizeof(count)));
	EXPECT_EQ(use->before.generation + 1, dev_info(use->fd).generation);
	EXPECT_EQ(use->before.generation + 1, use->page->generation);
	EXPECT_EQ(0, use->page->dead);
}

/* Memory, doorbells and vectors work on the file that was open all the time. */
static void check_works(struct use *use)
{
	int flags = CHECK(fcntl(use->fd, F_GETFL));

	use->word[1] = 0x600d;
	EXPECT_EQ(0x600d, use->word[1]);
	CHECK(fcntl(use->fd, F_SETFL, flags | O_NONBLOCK));
	settle(use->fd);
	take_pending(use->fd);
	for (unsigned int vector = 0; vector < use->before.vectors; vector++) {
		ring_self(use->fd, vector);
		EXPECT_EQ(1ull << vector, wait_for_vectors(use->fd, 1ull << vector));
	}
}

static void be_put_to_sleep(void)
{
	struct use use;
	struct ivshmem_wait poked = {
		.timeout_ns = -1, .flags = IVSHMEM_WAIT_WORD, .value = 1,
	};

	start_use(&use);
	printf("ready %u\n", use.before.peer_id);
	check_woken(&use);
	check_works(&use);
	puts("awake");
	test_progress();
	test_waits_for("the other machine to poke again");
	CHECK(ioctl(use.fd, IVSHMEM_WAIT, &poked));
	EXPECT_EQ(2, *use.word);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "sleep"))
		return test_alone(be_put_to_sleep);
	if (argc == 4 && !strcmp(argv[1], "poke")) {
		int fd = open_again();

		test_share();
		*map_word(fd) = number_argument(argv[3], 1, UINT32_MAX);
		CHECK(ring(fd, number_argument(argv[2], 0, 65535), 0));
		return 0;
	}
	fprintf(stderr, USAGE);
	return TEST_EXIT_USAGE;
}
