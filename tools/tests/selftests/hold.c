// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Maps a file, touches each page, says where, and spins until it is killed, so that somebody else can
 * look at its page table.
 *
 *	hold FILE BYTES [apart]
 *
 * prints "holds ADDRESS FAULTS": the address in hexadecimal, and the page faults that touching took.
 * With "apart", the address is one at which no large page fits.
 */
#include "expect.h"

#include <fcntl.h>
#include <sys/resource.h>

#define SMALL_PAGE	(4ul << 10)
#define LARGE_PAGE	(2ul << 20)

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Room for @bytes at an address that is a multiple of a small page, and of no larger one. */
static void *odd_place(size_t bytes)
{
	char *room = mmap(NULL, bytes + 2 * LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t even = ((uintptr_t)room + LARGE_PAGE) & ~(uintptr_t)(LARGE_PAGE - 1);

	return (void *)(even + SMALL_PAGE);
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	bool apart = argc > 3 && !strcmp(argv[3], "apart");
	volatile const uint32_t *words;
	long before;
	int fd;

	if (!bytes || argc > 3 + apart) {
		fprintf(stderr, "usage: hold FILE BYTES [apart]\n");
		return TEST_EXIT_USAGE;
	}
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	words = mmap(apart ? odd_place(bytes) : NULL, bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | (apart ? MAP_FIXED : 0), fd, 0);
	if (words == MAP_FAILED) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return TEST_EXIT_FAIL;
	}
	before = faults();
	for (size_t at = 0; at < bytes; at += SMALL_PAGE)
		(void)words[at / 4];
	printf("holds %lx %ld\n", (unsigned long)words, faults() - before);
	fflush(stdout);
	for (;;)
		(void)words[0];
}
