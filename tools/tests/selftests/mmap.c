// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * mmap(): the shared memory, the event page and the register page.
 */
#include "device.h"

#include <stddef.h>

#define MEMORY		IVSHMEM_REGION_MEMORY
#define EVENTS		IVSHMEM_REGION_EVENTS
#define REGISTERS	IVSHMEM_REGION_REGISTERS
#define READ_WRITE	(PROT_READ | PROT_WRITE)

/* Whether the mapping that starts at @at has the two-letter flag in smaps. */
static bool has_vm_flag(const void *at, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool inside = false, found = false;
	unsigned long start, end;
	char line[512], word[8];

	ASSERT_TRUE(smaps);
	snprintf(word, sizeof(word), " %s ", flag);
	while (!found && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start == (uintptr_t)at;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = !!strstr(line, word);
	}
	fclose(smaps);
	return found;
}

/* Exec permission is the memory manager's EACCES in mprotect and the driver's choice in mmap. */
static void expect_no_exec(int fd, unsigned int region, int prot)
{
	void *at = map_region(fd, region, 0, PAGE_BYTES, prot | PROT_EXEC);

	EXPECT_TRUE(at == MAP_FAILED);
	EXPECT_TRUE(errno == EACCES || errno == EPERM);
	at = must_map(fd, region, 0, PAGE_BYTES, prot);
	EXPECT_ERRNO(EACCES, mprotect(at, PAGE_BYTES, prot | PROT_EXEC));
}

TEST(memory_maps_whole_and_first_and_last_words_hold_data)
{
	int fd = dev_open(O_RDWR);
	size_t size = dev_info(fd).shm_size;
	volatile uint64_t *words = must_map(fd, MEMORY, 0, size, READ_WRITE);

	words[0] = 0x0123456789abcdef;
	words[size / 8 - 1] = 0xfedcba9876543210;
	EXPECT_EQ(0x0123456789abcdef, words[0]);
	EXPECT_EQ(0xfedcba9876543210, words[size / 8 - 1]);
}

TEST(data_stays_after_unmap_and_close)
{
	int fd = dev_open(O_RDWR);
	volatile uint32_t *words = must_map(fd, MEMORY, 0, PAGE_BYTES, READ_WRITE);

	for (uint32_t i = 0; i < PAGE_BYTES / 4; i++)
		words[i] = i * 2654435761u;
	ASSERT_OK(munmap((void *)words, PAGE_BYTES));
	close(fd);
	words = must_map(dev_open(O_RDONLY), MEMORY, 0, PAGE_BYTES, PROT_READ);
	for (uint32_t i = 0; i < PAGE_BYTES / 4; i++)
		ASSERT_EQ(i * 2654435761u, words[i]);
}

TEST(parts_show_the_same_bytes_as_the_whole)
{
	int fd = dev_open(O_RDWR);
	size_t size = dev_info(fd).shm_size;
	volatile uint32_t *whole = must_map(fd, MEMORY, 0, size, READ_WRITE);
	const size_t offsets[] = { 0, PAGE_BYTES, size / 2, size - PAGE_BYTES };

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		volatile uint32_t *part = must_map(fd, MEMORY, offsets[i], PAGE_BYTES, READ_WRITE);

		whole[offsets[i] / 4] = 0x1000 + i;
		EXPECT_EQ(0x1000 + i, part[0]);
		part[0] = 0x2000 + i;
		EXPECT_EQ(0x2000 + i, whole[offsets[i] / 4]);
	}
}

TEST(each_page_is_a_page_of_its_own)
{
	int fd = dev_open(O_RDWR);
	size_t size = dev_info(fd).shm_size;
	volatile uint32_t *words = must_map(fd, MEMORY, 0, size, READ_WRITE);

	for (size_t page = 0; page < size / PAGE_BYTES; page++)
		words[page * (PAGE_BYTES / 4)] = page ^ 0x5a5a5a5a;
	for (size_t page = 0; page < size / PAGE_BYTES; page++)
		ASSERT_EQ(page ^ 0x5a5a5a5a, words[page * (PAGE_BYTES / 4)]);
}

/* On arm64, the same accesses to a mapping of the type that registers have end in SIGBUS. */
TEST(words_need_no_alignment)
{
	struct unaligned {
		uint64_t value;
	} __attribute__((packed));
	char *page = must_map(dev_open(O_RDWR), MEMORY, 0, PAGE_BYTES, READ_WRITE);

	for (size_t at = 0; at < 16; at++) {
		volatile struct unaligned *word = (volatile struct unaligned *)(page + at);

		word->value = 0x0123456789abcdef + at;
		EXPECT_EQ(0x0123456789abcdef + at, word->value);
	}
}

TEST(past_the_end_is_EINVAL)
{
	int fd = dev_open(O_RDWR);
	uint64_t size = dev_info(fd).shm_size;

	EXPECT_ERRNO(EINVAL, (long)map_region(fd, MEMORY, size, PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, MEMORY, size - PAGE_BYTES, 2 * PAGE_BYTES,
					      PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, MEMORY, 0, size + 1, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, MEMORY, 1ull << 39, PAGE_BYTES, PROT_READ));
}

TEST(a_stretch_across_two_regions_is_EINVAL)
{
	int fd = dev_open(O_RDWR);
	uint64_t end = 1ull << IVSHMEM_REGION_SHIFT;

	EXPECT_ERRNO(EINVAL, (long)map_region(fd, MEMORY, end - PAGE_BYTES, 2 * PAGE_BYTES,
					      PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, EVENTS, end - PAGE_BYTES, 2 * PAGE_BYTES,
					      PROT_READ));
}

TEST(region_3_and_above_are_EINVAL)
{
	int fd = dev_open(O_RDWR);

	EXPECT_ERRNO(EINVAL, (long)map_region(fd, 3, 0, PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, 15, 0, PAGE_BYTES, PROT_READ));
#if UINTPTR_MAX > UINT32_MAX
	/* Offsets that the C library of a 32-bit program refuses by itself. */
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, 1u << 22, 0, PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, -8192));
#endif
}

TEST(a_private_mapping_is_EINVAL)
{
	int fd = dev_open(O_RDWR);

	EXPECT_ERRNO(EINVAL, (long)mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0));
	EXPECT_ERRNO(EINVAL, (long)mmap(NULL, PAGE_BYTES, READ_WRITE, MAP_PRIVATE, fd, 0));
}

TEST(memory_is_not_executable)
{
	expect_no_exec(dev_open(O_RDWR), MEMORY, READ_WRITE);
}

TEST(mremap_cannot_grow_a_mapping)
{
	int fd = dev_open(O_RDWR);
	void *at = must_map(fd, MEMORY, 0, PAGE_BYTES, READ_WRITE);

	EXPECT_TRUE(mremap(at, PAGE_BYTES, 2 * PAGE_BYTES, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_TRUE(mremap(at, PAGE_BYTES, 2 * PAGE_BYTES, 0) == MAP_FAILED);
}

TEST(mremap_can_move_a_mapping)
{
	int fd = dev_open(O_RDWR);
	volatile uint32_t *at = must_map(fd, MEMORY, 0, PAGE_BYTES, READ_WRITE);
	void *room = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	at[0] = 0x600d;
	at = mremap((void *)at, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_TRUE((void *)at == room);
	EXPECT_EQ(0x600d, at[0]);
}

TEST(a_read_only_file_maps_read_only)
{
	int fd = dev_open(O_RDONLY);
	void *at = must_map(fd, MEMORY, 0, PAGE_BYTES, PROT_READ);

	EXPECT_ERRNO(EACCES, (long)map_region(fd, MEMORY, 0, PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EACCES, mprotect(at, PAGE_BYTES, READ_WRITE));
}

TEST(a_read_only_mapping_sees_what_others_write)
{
	volatile uint32_t *writer = must_map(dev_open(O_RDWR), MEMORY, 0, PAGE_BYTES, READ_WRITE);
	volatile uint32_t *reader = must_map(dev_open(O_RDONLY), MEMORY, 0, PAGE_BYTES, PROT_READ);

	for (uint32_t i = 1; i < 100; i++) {
		writer[7] = i;
		EXPECT_EQ(i, reader[7]);
	}
}

TEST(a_child_shares_the_mapping)
{
	volatile uint32_t *words = must_map(dev_open(O_RDWR), MEMORY, 0, PAGE_BYTES, READ_WRITE);
	pid_t child;

	words[0] = 1;
	words[PAGE_BYTES / 4 - 1] = 0;
	child = ASSERT_OK(fork());
	if (child == 0) {
		EXPECT_EQ(1, words[0]);
		words[PAGE_BYTES / 4 - 1] = 2;
		_exit(0);
	}
	test_join_child(child);
	EXPECT_EQ(2, words[PAGE_BYTES / 4 - 1]);
}

TEST(a_mapping_outlives_its_descriptor)
{
	int fd = dev_open(O_RDWR);
	volatile uint32_t *words = must_map(fd, MEMORY, 0, PAGE_BYTES, READ_WRITE);

	close(fd);
	words[0] = 0xa11ce;
	EXPECT_EQ(0xa11ce, words[0]);
}

/*
 * Some kernels, such as 7.2, would go on to what lies behind a page in the machine: at the end,
 * another device.
 */
TEST(a_debugger_gets_no_further_than_the_mapping)
{
	int memory = (int)ASSERT_OK(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
	int fd = dev_open(O_RDWR);
	size_t half = PAGE_BYTES / 2, last = dev_info(fd).shm_size - PAGE_BYTES;
	volatile char *room = must_map(fd, MEMORY, 0, 2 * PAGE_BYTES, READ_WRITE), *page;
	char bytes[PAGE_BYTES];

	page = mmap((void *)room, PAGE_BYTES, READ_WRITE, MAP_SHARED | MAP_FIXED, fd, last);
	ASSERT_TRUE(page == room);
	/* Nothing else of the program lies behind it. */
	ASSERT_OK(munmap((void *)(page + PAGE_BYTES), PAGE_BYTES));
	page[PAGE_BYTES - 1] = 1;
	EXPECT_EQ(half, pread(memory, bytes, PAGE_BYTES, (uintptr_t)page + half));
	EXPECT_EQ(1, bytes[half - 1]);
}

TEST(memory_is_not_in_core_dumps_and_does_not_expand)
{
	void *at = must_map(dev_open(O_RDWR), MEMORY, 0, PAGE_BYTES, READ_WRITE);

	EXPECT_TRUE(has_vm_flag(at, "dd"));
	EXPECT_TRUE(has_vm_flag(at, "de"));
	EXPECT_TRUE(has_vm_flag(at, "sh"));
}

TEST(event_page_counts_interrupts)
{
	int fd = dev_open_with(O_RDWR, 1);
	const volatile struct ivshmem_event_page *page = map_event_page(fd);
	unsigned int vectors = dev_vectors(fd);

	for (unsigned int vector = 0; vector < vectors; vector++) {
		uint64_t before[IVSHMEM_MAX_VECTORS];

		for (int i = 0; i < IVSHMEM_MAX_VECTORS; i++)
			before[i] = page->seq[i];
		ring_arrives(vector);
		for (unsigned int i = 0; i < IVSHMEM_MAX_VECTORS; i++)
			EXPECT_EQ(before[i] + (i == vector), page->seq[i]);
	}
}

TEST(event_page_is_laid_out_as_documented)
{
	const volatile struct ivshmem_event_page *page = map_event_page(dev_open(O_RDONLY));

	const volatile uint8_t *bytes = (const volatile uint8_t *)page;

	EXPECT_EQ(0, offsetof(struct ivshmem_event_page, dead));
	EXPECT_EQ(4, offsetof(struct ivshmem_event_page, generation));
	EXPECT_EQ(64, offsetof(struct ivshmem_event_page, seq));
	EXPECT_EQ(64 + 64 * 8, sizeof(*page));
	EXPECT_EQ(0, page->dead);
	for (size_t i = 0; i < sizeof(page->reserved); i++)
		ASSERT_EQ(0, page->reserved[i]);
	for (size_t i = sizeof(*page); i < PAGE_BYTES; i++)
		ASSERT_EQ(0, bytes[i]);
}

TEST(event_page_is_read_only)
{
	int fd = dev_open(O_RDWR);
	void *at = must_map(fd, EVENTS, 0, PAGE_BYTES, PROT_READ);

	EXPECT_ERRNO(EACCES, (long)map_region(fd, EVENTS, 0, PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EACCES, (long)map_region(fd, EVENTS, 0, PAGE_BYTES, PROT_WRITE));
	EXPECT_ERRNO(EACCES, mprotect(at, PAGE_BYTES, READ_WRITE));
	expect_no_exec(fd, EVENTS, PROT_READ);
}

TEST(event_page_is_one_page_and_shared_only)
{
	int fd = dev_open(O_RDWR);

	EXPECT_ERRNO(EINVAL, (long)map_region(fd, EVENTS, PAGE_BYTES, PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)map_region(fd, EVENTS, 0, 2 * PAGE_BYTES, PROT_READ));
	EXPECT_ERRNO(EINVAL, (long)mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, fd,
					(off_t)1 << IVSHMEM_REGION_SHIFT));
}

TEST(event_page_comes_back_after_madvise)
{
	int fd = dev_open_with(O_RDWR, 1);
	volatile struct ivshmem_event_page *page =
		map_region(fd, EVENTS, 0, PAGE_BYTES, PROT_READ);
	uint64_t seq;

	ASSERT_TRUE(page != MAP_FAILED);
	seq = page->seq[0];
	ASSERT_OK(madvise((void *)page, PAGE_BYTES, MADV_DONTNEED));
	EXPECT_EQ(seq, page->seq[0]);
}

TEST(registers_are_EACCES_unless_allowed)
{
	int fd = dev_open(O_RDWR);

	if (dev_info(fd).flags & IVSHMEM_INFO_REGISTERS_MAPPABLE)
		SKIP("the administrator allowed the register page");
	EXPECT_ERRNO(EACCES, (long)map_region(fd, REGISTERS, 0, PAGE_BYTES, READ_WRITE));
	EXPECT_ERRNO(EACCES, (long)map_region(fd, REGISTERS, 0, PAGE_BYTES, PROT_READ));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
