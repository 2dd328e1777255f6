// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_WAIT: for vectors, with time limits, and around a word of the shared memory.
 */
#include "sleeper.h"

#define MS		1000000ll	/* nanoseconds */
#define FOR_EVER	(-1ll)
/* Rounds of the cases about lost wake-ups; each is a ring and a sleep. */
#define WORD_ROUNDS	2000
#define QUICK_ROUNDS	30000
#define MOST_SPINS	16000

static int wait_for(int fd, struct ivshmem_wait *wait)
{
	return ioctl(fd, IVSHMEM_WAIT, wait);
}

static volatile uint32_t *map_words(int fd)
{
	return must_map(fd, IVSHMEM_REGION_MEMORY, 0, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

TEST(pending_is_returned_and_marked_seen)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_wait wait = { .vectors = 1 | 1 << 1, .timeout_ns = FOR_EVER };

	ring_arrives(1);
	ASSERT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(1 << 1, wait.vectors);
	EXPECT_EQ(0, take_pending(fd));
}

TEST(vectors_outside_the_mask_stay_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = FOR_EVER };

	ring_arrives(1);
	ring_arrives(0);
	ASSERT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(1, wait.vectors);
	EXPECT_EQ(1 << 1, take_pending(fd));
}

TEST(mask_0_is_the_subscription)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 2);
	struct ivshmem_wait wait = { .timeout_ns = 0 };

	ASSERT_OK(subscribe(fd, 1 << 1));
	ring_arrives(0);
	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
	ring_arrives(1);
	wait.vectors = 0;
	ASSERT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(1 << 1, wait.vectors);
}

TEST(timeout_0_only_looks)
{
	int fd = dev_open_with(O_RDWR, 1);
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = 0 };

	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
	ring_arrives(0);
	wait.vectors = 1;
	EXPECT_EQ(0, wait_for(fd, &wait));
}

TEST(time_out_is_ETIMEDOUT_and_not_early)
{
	int fd = dev_open_with(O_RDWR, 1);
	static const int64_t timeouts[] = { 1, 1 * MS, 50 * MS, 1100 * MS };

	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		struct ivshmem_wait wait = { .timeout_ns = timeouts[i] };
		int64_t start = now_ns();

		EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
		EXPECT_TRUE(now_ns() - start >= timeouts[i]);
	}
}

TEST(O_NONBLOCK_does_not_shorten_the_time)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_wait wait = { .timeout_ns = 50 * MS };
	int64_t start = now_ns();

	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
	EXPECT_TRUE(now_ns() - start >= 50 * MS);
}

TEST(a_ring_wakes_an_endless_wait)
{
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = FOR_EVER };
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 1), .argument = &wait,
	};

	sleeper_start(&sleeper, SYS_ioctl);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(0, sleeper.result);
	EXPECT_EQ(1, wait.vectors);
}

TEST(the_longest_timeout_is_endless_enough)
{
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = INT64_MAX };
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 1), .argument = &wait,
	};

	sleeper_start(&sleeper, SYS_ioctl);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(0, sleeper.result);
}

TEST(a_ring_outside_the_mask_does_not_wake)
{
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = FOR_EVER };
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 2), .argument = &wait,
	};

	sleeper_start(&sleeper, SYS_ioctl);
	ring_arrives(1);
	sleeper_wait_asleep(&sleeper, SYS_ioctl);
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(1, wait.vectors);
}

TEST(a_signal_is_EINTR_even_with_SA_RESTART)
{
	static const int flags[] = { 0, SA_RESTART };

	for (int i = 0; i < 2; i++) {
		struct ivshmem_wait wait = {
			.vectors = 1, .timeout_ns = i ? 3600000 * MS : FOR_EVER,
		};
		struct sleeper sleeper = {
			.call = sleeper_wait, .fd = dev_open_with(O_RDWR, 1), .argument = &wait,
		};

		catch_signal(flags[i]);
		sleeper_start(&sleeper, SYS_ioctl);
		sleeper_interrupt(&sleeper);
		sleeper_join(&sleeper);
		EXPECT_EQ(-1, sleeper.result);
		EXPECT_EQ(EINTR, sleeper.error);
	}
}

TEST(an_unknown_flag_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	ring_arrives(0);
	for (int bit = 1; bit < 32; bit++) {
		struct ivshmem_wait wait = { .vectors = 1, .flags = 1u << bit };

		EXPECT_ERRNO(EINVAL, wait_for(fd, &wait));
	}
	EXPECT_EQ(1, take_pending(fd));
}

TEST(a_vector_that_is_not_armed_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_wait above = { .vectors = 1 | 1ull << dev_vectors(fd) };
	struct ivshmem_wait highest = { .vectors = 1 | 1ull << 63 };

	ring_arrives(0);
	EXPECT_ERRNO(EINVAL, wait_for(fd, &above));
	EXPECT_ERRNO(EINVAL, wait_for(fd, &highest));
	EXPECT_EQ(1, take_pending(fd));
}

TEST(bad_pointer_is_EFAULT)
{
	EXPECT_ERRNO(EFAULT, ioctl(dev_open_with(O_RDWR, 1), IVSHMEM_WAIT, bad_pointer()));
}

TEST(an_answer_that_cannot_be_written_loses_nothing)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_wait *wait = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(wait != MAP_FAILED);
	wait->timeout_ns = FOR_EVER;
	ASSERT_OK(mprotect(wait, PAGE_BYTES, PROT_READ));
	ring_arrives(0);
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_WAIT, wait));
	EXPECT_EQ(1, take_pending(fd));
}

TEST(a_read_only_file_may_wait)
{
	int fd = dev_open_with(O_RDONLY, 1);
	struct ivshmem_wait wait = { .vectors = 1, .timeout_ns = FOR_EVER };

	ring_arrives(0);
	EXPECT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(1, wait.vectors);
}

TEST(word_that_differs_returns_at_once)
{
	int fd = dev_open_with(O_RDWR, 1);
	volatile uint32_t *words = map_words(fd);
	struct ivshmem_wait wait = {
		.timeout_ns = FOR_EVER, .offset = 8, .value = 41, .flags = IVSHMEM_WAIT_WORD,
	};

	words[2] = 42;
	EXPECT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(0, wait.vectors);
}

TEST(word_that_differs_returns_and_marks_what_is_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	volatile uint32_t *words = map_words(fd);
	struct ivshmem_wait wait = {
		.timeout_ns = FOR_EVER, .offset = 0, .value = 0, .flags = IVSHMEM_WAIT_WORD,
	};

	ring_arrives(0);
	words[0] = 1;
	EXPECT_EQ(0, wait_for(fd, &wait));
	EXPECT_EQ(1, wait.vectors);
	EXPECT_EQ(0, take_pending(fd));
}

TEST(word_that_stays_times_out)
{
	int fd = dev_open_with(O_RDWR, 1);
	volatile uint32_t *words = map_words(fd);
	struct ivshmem_wait wait = {
		.timeout_ns = 50 * MS, .offset = 0, .value = 7, .flags = IVSHMEM_WAIT_WORD,
	};
	int64_t start = now_ns();

	words[0] = 7;
	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
	EXPECT_TRUE(now_ns() - start >= 50 * MS);
	wait.timeout_ns = 0;
	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
}

TEST(a_ring_without_a_change_goes_on_sleeping)
{
	struct ivshmem_wait wait = {
		.vectors = 1, .timeout_ns = FOR_EVER, .value = 7, .flags = IVSHMEM_WAIT_WORD,
	};
	struct sleeper sleeper = {
		.call = sleeper_wait, .fd = dev_open_with(O_RDWR | O_NONBLOCK, 1),
		.argument = &wait,
	};
	volatile uint32_t *words = map_words(sleeper.fd);

	words[0] = 7;
	sleeper_start(&sleeper, SYS_ioctl);
	for (int i = 0; i < 3; i++) {
		ring_arrives(0);
		sleeper_wait_asleep(&sleeper, SYS_ioctl);
	}
	/* The look that sees this can be one for the ring before: the last one stays pending. */
	words[0] = 8;
	ring_self(sleeper.fd, 0);
	sleeper_join(&sleeper);
	EXPECT_EQ(0, sleeper.result);
	EXPECT_EQ(1, wait.vectors);
}

TEST(offset_not_aligned_or_out_of_range_is_EINVAL)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	uint64_t size = dev_info(fd).shm_size;
	const uint64_t bad[] = { 1, 2, 3, size - 3, size - 1, size, size + 4, UINT64_MAX - 3,
				 UINT64_MAX, 1ull << 63 };

	ring_arrives(0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ivshmem_wait wait = { .offset = bad[i], .flags = IVSHMEM_WAIT_WORD };

		EXPECT_ERRNO(EINVAL, wait_for(fd, &wait));
	}
	EXPECT_EQ(1, take_pending(fd));
}

/* Whether a word has a value tells what it is, after enough questions. */
TEST(a_write_only_file_learns_nothing_of_the_memory)
{
	int fd = dev_open_with(O_WRONLY, 1);
	struct ivshmem_wait wait = { .flags = IVSHMEM_WAIT_WORD };

	EXPECT_ERRNO(EACCES, wait_for(fd, &wait));
	wait.value = 1;
	EXPECT_ERRNO(EACCES, wait_for(fd, &wait));
	wait.flags = 0;
	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
}

TEST(the_last_word_can_be_waited_for)
{
	int fd = dev_open_with(O_RDWR, 1);
	uint64_t size = dev_info(fd).shm_size;
	volatile uint32_t *page = must_map(fd, IVSHMEM_REGION_MEMORY, size - PAGE_BYTES, PAGE_BYTES,
					   PROT_READ | PROT_WRITE);
	struct ivshmem_wait wait = { .offset = size - 4, .value = 5, .flags = IVSHMEM_WAIT_WORD };

	page[PAGE_BYTES / 4 - 1] = 5;
	EXPECT_ERRNO(ETIMEDOUT, wait_for(fd, &wait));
	page[PAGE_BYTES / 4 - 1] = 6;
	EXPECT_EQ(0, wait_for(fd, &wait));
}

struct changer {
	int fd;
	volatile uint32_t *words;
	/*
	 * Wakes by a new subscription, which no interrupt delays, at any time after the answer. The
	 * waiter waits for what the file is subscribed to then.
	 */
	bool quick;
	uint32_t rounds;
};

/* Changes word 0, rings, and waits until the waiter has answered in word 1. */
static void *change_words(void *argument)
{
	struct changer *changer = argument;

	for (uint32_t round = 1; round <= changer->rounds; round++) {
		for (volatile uint32_t i = 0; changer->quick && i < round * 7919 % MOST_SPINS; i++)
			;
		__atomic_store_n(&changer->words[0], round, __ATOMIC_RELEASE);
		if (changer->quick)
			ASSERT_OK(subscribe(changer->fd, 1));
		else
			ring_self(changer->fd, 0);
		while (__atomic_load_n(&changer->words[1], __ATOMIC_ACQUIRE) != round)
			sched_yield();
	}
	return NULL;
}

/* A wake-up that falls between test and sleep would leave the waiter asleep for ever. */
static void wait_for_changes(bool quick)
{
	struct changer changer = {
		.fd = dev_open_with(O_RDWR, 1), .quick = quick,
		.rounds = quick ? QUICK_ROUNDS : WORD_ROUNDS,
	};
	pthread_t thread;

	changer.words = map_words(changer.fd);
	changer.words[0] = 0;
	changer.words[1] = 0;
	test_waits_for("a wake-up after a word was changed");
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_words, &changer));
	for (uint32_t round = 1; round <= changer.rounds; round++) {
		struct ivshmem_wait wait = {
			.vectors = quick ? 0 : 1, .timeout_ns = FOR_EVER, .value = round - 1,
			.flags = IVSHMEM_WAIT_WORD,
		};

		ASSERT_EQ(0, wait_for(changer.fd, &wait));
		ASSERT_EQ(round, changer.words[0]);
		__atomic_store_n(&changer.words[1], round, __ATOMIC_RELEASE);
		test_progress();
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST(no_wake_up_falls_between_test_and_sleep)
{
	wait_for_changes(false);
}

TEST(nor_does_one_that_comes_at_once)
{
	wait_for_changes(true);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
