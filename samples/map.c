// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Shared memory is memory: map it, write to it in one guest, read it in another.
 *
 *	map "hello from A"	in guest A
 *	map			in guest B prints: hello from A
 *
 * The text stands at byte 4096, where it does not disturb the other samples.
 */
#include "sample.h"

#define TEXT_AT		4096
#define TEXT_BYTES	4096

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "map [-d DEVICE] [TEXT]");
	char text[TEXT_BYTES] = "";
	volatile char *shared;
	void *memory;

	/* A part begins at the file's offset, a multiple of the page size, which is 4096 on x86 only: so all up to the text. */
	memory = mmap(NULL, TEXT_AT + TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, sample.fd, 0);
	if (memory == MAP_FAILED)
		sample_fail("cannot map the shared memory");
	shared = (volatile char *)memory + TEXT_AT;
	if (sample.argc == 1) {
		snprintf(text, sizeof(text), "%s", sample.argv[0]);
		for (size_t i = 0; i < sizeof(text); i++)
			shared[i] = text[i];
		return 0;
	}
	/* Others may write at any time: copy first, and end the copy ourselves. */
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = shared[i];
	printf("%s\n", text);
	return 0;
}
