// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Copying into and out of the mapped memory, beside memory of the program's own. */
#include "devices.h"

#define SAMPLES	51
#define MOST	(1ul << 20)

/*
 * How far buffers are off each other: those that begin alike in their pages are a bad case of an emulator's
 * translation buffers, and of real caches.
 */
#define OFFSET	(37 * PAGE_BYTES)

static char *buffer(size_t offset)
{
	/* As much after it as before it: the kernel puts the next one right below. */
	char *at = MUST(mmap(NULL, MOST + 2 * offset, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	memset(at, 1, MOST + 2 * offset);
	return at + offset;
}

static void copy(const char *what, char *to, const char *from, size_t bytes)
{
	char name[64];

	snprintf(name, sizeof(name), "copies.%s_%zu", what, bytes);
	MEASURE(name, SAMPLES, memcpy(to, from, bytes));
}

int main(void)
{
	static const size_t sizes[] = { 4096, 65536, MOST };
	char *a = buffer(0), *b = buffer(OFFSET), *shared;

	pin_to_cpu(0);
	report_tick_rate();
	shared = ours_map(ours_open(0), IVSHMEM_REGION_MEMORY, 2 * MOST, PROT_READ | PROT_WRITE);
	memset(shared, 1, 2 * MOST);
	shared += 19 * PAGE_BYTES;
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		copy("own", b, a, sizes[i]);
		copy("into", shared, a, sizes[i]);
		copy("out_of", b, shared, sizes[i]);
	}
	return 0;
}
