// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Wait where rings get lost. ACRN forgets a ring of a vector that is masked at that moment, or of a
 * machine whose driver is not loaded; QEMU keeps the first. So nobody may rely on a ring: check the
 * memory before each sleep, and look again after a while.
 *
 *	wait_value N	waits until the word is at least N; elsewhere, "wait_word PEER" adds 1 and rings
 *	wait_value 0	tells what the word is
 */
#include "../sample.h"

#define WORD_AT		8192		/* the word of wait_word.c */

/* The longest that a lost ring can delay us. */
#define LOOK_AGAIN_NS	1000000000ll

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "wait_value [-d DEVICE] N");
	uint32_t wanted = sample_number(&sample, 0, 0, UINT32_MAX), now, *word;

	if (sample.argc != 1)
		sample_help(sample.help, SAMPLE_USAGE);
	sample_need_vectors(&sample, 1);
	word = (uint32_t *)((char *)sample_map(&sample, WORD_AT + 4096) + WORD_AT);

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < wanted) {
		/* The driver looks at the word once more after it is ready to be woken. */
		struct ivshmem_wait wait = {
			.flags = IVSHMEM_WAIT_WORD, .offset = WORD_AT, .value = now,
			.timeout_ns = LOOK_AGAIN_NS,
		};

		if (ioctl(sample.fd, IVSHMEM_WAIT, &wait) != 0 && errno != ETIMEDOUT && errno != EINTR)
			sample_fail("IVSHMEM_WAIT");
	}
	printf("%u\n", now);
	return 0;
}
