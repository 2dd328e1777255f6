// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Shared memory is memory: map it, write to it in one machine, read it in another.
 *
 *	map "hello from A"	in machine A
 *	map			in machine B prints: hello from A
 *
 * The text stands at byte 4096, where it does not disturb the other samples.
 */
#include "sample.h"

#define TEXT_AT		4096
#define TEXT_BYTES	4096

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, "map [-d DEVICE] [TEXT]");
	char text[TEXT_BYTES] = "";
	volatile char *shared;

	if (sample.argc > 1)
		sample_help("map [-d DEVICE] [TEXT]", SAMPLE_USAGE);
	if (sample.info.shm_size < TEXT_AT + TEXT_BYTES)
		errx(1, "the shared memory has only %llu bytes",
		     (unsigned long long)sample.info.shm_size);
	shared = (char *)sample_map(&sample, TEXT_AT + TEXT_BYTES) + TEXT_AT;
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
