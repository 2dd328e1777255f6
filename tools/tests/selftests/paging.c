// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Page tables of mappings of any size: what is shown where, whatever is done to the mapping, and by
 * several threads at once.
 */
#include "device.h"

#include <pthread.h>
#include <sys/prctl.h>

#define MEMORY		IVSHMEM_REGION_MEMORY
#define READ_WRITE	(PROT_READ | PROT_WRITE)
#define LARGE_PAGE	(2ul << 20)

static size_t memory_size;

/* Each page of the memory begins with its number. */
static void number_pages(int fd)
{
	memory_size = dev_info(fd).shm_size;
	volatile uint32_t *words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);

	for (size_t at = 0; at < memory_size; at += PAGE_BYTES)
		words[at / 4] = at / PAGE_BYTES;
	ASSERT_OK(munmap((void *)words, memory_size));
}

static int open_numbered(void)
{
	int fd = dev_open(O_RDWR);

	number_pages(fd);
	return fd;
}

/* The @bytes at @at show the memory from @offset on. */
static void expect_numbers(volatile uint32_t *at, size_t offset, size_t bytes)
{
	for (size_t within = 0; within < bytes; within += PAGE_BYTES)
		ASSERT_EQ((offset + within) / PAGE_BYTES, at[within / 4]);
}

/* Maps all from @offset on, at an address that is @apart bytes behind a multiple of a large page. */
static volatile uint32_t *map_at(int fd, size_t offset, size_t apart)
{
	size_t bytes = memory_size - offset;
	char *room = mmap(NULL, bytes + 2 * LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t even = ((uintptr_t)room + LARGE_PAGE) & ~(LARGE_PAGE - 1);
	void *at = mmap((void *)(even + apart), bytes, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, offset);

	ASSERT_TRUE((void *)room != MAP_FAILED);
	ASSERT_TRUE(at == (void *)(even + apart));
	return at;
}

TEST(every_page_is_in_its_place_at_any_address)
{
	int fd = open_numbered();
	const size_t places[] = { 0, PAGE_BYTES, LARGE_PAGE / 2, LARGE_PAGE - PAGE_BYTES };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		expect_numbers(map_at(fd, 0, places[i]), 0, memory_size);
		expect_numbers(map_at(fd, PAGE_BYTES, places[i]), PAGE_BYTES,
			       memory_size - PAGE_BYTES);
	}
}

TEST(the_first_touch_may_be_anywhere)
{
	int fd = open_numbered();

	for (size_t at = 0; at < memory_size; at += memory_size / 64) {
		volatile uint32_t *words = must_map(fd, MEMORY, 0, memory_size, PROT_READ);

		EXPECT_EQ(at / PAGE_BYTES, words[at / 4]);
		EXPECT_EQ(0, words[0]);
		EXPECT_EQ(memory_size / PAGE_BYTES - 1, words[(memory_size - PAGE_BYTES) / 4]);
		ASSERT_OK(munmap((void *)words, memory_size));
	}
}

TEST(parts_that_are_cut_off_and_out_show_the_same)
{
	int fd = open_numbered();
	volatile uint32_t *words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	size_t third = memory_size / 4 + PAGE_BYTES;

	expect_numbers(words, 0, memory_size);
	ASSERT_OK(mprotect((void *)&words[third / 4], PAGE_BYTES, PROT_READ));
	expect_numbers(words, 0, memory_size);
	ASSERT_OK(munmap((void *)&words[third / 4], PAGE_BYTES));
	expect_numbers(words, 0, third);
	third += PAGE_BYTES;
	expect_numbers(&words[third / 4], third, memory_size - third);
}

TEST(a_mapping_shows_the_same_without_large_pages)
{
	int fd = open_numbered();
	volatile uint32_t *words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);

	if (madvise((void *)words, memory_size, MADV_NOHUGEPAGE) != 0)
		EXPECT_EQ(EINVAL, errno);
	expect_numbers(words, 0, memory_size);
	ASSERT_OK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	expect_numbers(words, 0, memory_size);
}

/* What checkpoints are made with: the kernel takes the right to write away to see who writes. */
TEST(writes_get_through_while_the_kernel_looks_who_writes)
{
	int fd = open_numbered();
	int clear = (int)ASSERT_OK(open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
	volatile uint32_t *touched = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	volatile uint32_t *fresh = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	volatile uint32_t *read_first = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);

	expect_numbers(touched, 0, memory_size);
	if (write(clear, "4", 1) != 1)
		SKIP("the kernel does not track who writes: %s", strerror(errno));
	expect_numbers(read_first, 0, memory_size);
	for (size_t at = 0; at < memory_size; at += PAGE_BYTES) {
		fresh[at / 4 + 1] = at;
		touched[at / 4 + 2] = at;
		read_first[at / 4 + 3] = at;
	}
	for (size_t at = 0; at < memory_size; at += PAGE_BYTES) {
		ASSERT_EQ((uint32_t)at, touched[at / 4 + 1]);
		ASSERT_EQ((uint32_t)at, read_first[at / 4 + 2]);
		ASSERT_EQ((uint32_t)at, fresh[at / 4 + 3]);
	}
}

TEST(a_debugger_reads_and_writes_what_was_touched)
{
	int fd = open_numbered();
	volatile uint32_t *words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	volatile uint32_t *shown = must_map(dev_open(O_RDONLY), MEMORY, 0, PAGE_BYTES, PROT_READ);
	int memory = (int)ASSERT_OK(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	size_t last = memory_size - PAGE_BYTES;
	uint32_t word;

	(void)words[last / 4];
	ASSERT_EQ(4, pread(memory, &word, 4, (uintptr_t)&words[last / 4]));
	EXPECT_EQ(last / PAGE_BYTES, word);
	word = 0x600d;
	ASSERT_EQ(4, pwrite(memory, &word, 4, (uintptr_t)&words[last / 4 + 1]));
	EXPECT_EQ(0x600d, words[last / 4 + 1]);
	/* Where the program cannot write, its debugger cannot either. */
	(void)*shown;
	EXPECT_ERRNO(EIO, pwrite(memory, &word, 4, (uintptr_t)shown));
	EXPECT_EQ(0, *shown);
}

/*
 * A large page that mremap() moves could be missed by who takes the memory away meanwhile: so none is moved, and
 * a mapping has its pages anew. What is not touched a debugger cannot read.
 */
TEST(a_moved_mapping_begins_without_pages)
{
	int fd = open_numbered();
	volatile uint32_t *words = map_at(fd, 0, 0), *room = map_at(fd, 0, 0);
	int memory = (int)ASSERT_OK(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
	uint32_t word;

	expect_numbers(words, 0, memory_size);
	ASSERT_EQ(4, pread(memory, &word, 4, (uintptr_t)words));
	words = mremap((void *)words, memory_size, memory_size, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_TRUE(words == room);
	EXPECT_ERRNO(EIO, pread(memory, &word, 4, (uintptr_t)words));
	expect_numbers(words, 0, memory_size);
	EXPECT_EQ(4, pread(memory, &word, 4, (uintptr_t)words));
}

/* How often each thread below looks at a page. */
#define LOOKS	20000

struct race {
	volatile uint32_t *words;
	volatile int looking;
};

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void *look_everywhere(void *argument)
{
	struct race *race = argument;
	uint32_t random = (uint32_t)pthread_self() | 1;

	for (int i = 0; i < LOOKS; i++) {
		size_t page = next_random(&random) % (memory_size / PAGE_BYTES);

		ASSERT_EQ(page, race->words[page * (PAGE_BYTES / 4)]);
	}
	__atomic_fetch_sub(&race->looking, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Maps the same pages over those that are there, with large pages and without, while others fault. */
static void disturb(struct race *race, int fd)
{
	uint32_t random = 1;

	for (int round = 0; race->looking; round++) {
		size_t from = next_random(&random) % (memory_size / PAGE_BYTES) * PAGE_BYTES;
		size_t bytes = round % 2 ? memory_size - from : PAGE_BYTES;
		void *at = (void *)&race->words[from / 4];

		if (round % 64 == 0)
			ASSERT_OK(prctl(PR_SET_THP_DISABLE, round / 64 % 2, 0, 0, 0));
		if (round % 16 == 0) {
			from = 0;
			bytes = memory_size;
			at = (void *)race->words;
		}
		ASSERT_TRUE(mmap(at, bytes, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, from) == at);
	}
}

TEST(threads_see_the_right_pages_while_pages_come_and_go)
{
	pthread_t threads[4];
	struct race race = { .looking = 4 };
	int fd = open_numbered();

	race.words = must_map(fd, MEMORY, 0, memory_size, READ_WRITE);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, look_everywhere, &race));
	disturb(&race, fd);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
