// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_WAIT_WORD sleeps until a word of the shared memory changes, like a futex between guests:
 * a change and its doorbell cannot fall between the look at the word and the sleep.
 *
 *	wait_word		a child process makes the change, to be tried alone
 *	wait_word -w		waits for another guest, where you run: wait_word PEER
 *	wait_word PEER		changes the word and rings that peer
 *
 * The one who changes the word writes first and rings afterwards.
 */
#include "sample.h"

#define WORD_AT		8192	/* byte offset in the shared memory */
#define VECTOR		0

/* How long to wait for the child. */
#define LIMIT_NS	10000000000ll

static void change_and_ring(const struct sample *sample, uint32_t *word, uint32_t peer)
{
	/* Not by an atomic addition, which is for write-back memory alone on arm64. */
	ivshmem_store(word, ivshmem_load(word) + 1);
	sample_ring(sample, peer, VECTOR);
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "wait_word [-d DEVICE] [-w] [PEER]");
	struct ivshmem_wait wait = { .offset = WORD_AT, .flags = IVSHMEM_WAIT_WORD };
	uint32_t *word;

	if (sample.wait && sample.argc)
		sample_help(sample.help, SAMPLE_USAGE);
	sample_need_vectors(&sample, VECTOR + 1);
	word = (uint32_t *)((char *)sample_map(&sample, WORD_AT + 4096) + WORD_AT);
	if (sample.argc == 1) {
		change_and_ring(&sample, word, sample_number(&sample, 0, 0, IVSHMEM_MAX_PEER));
		return 0;
	}

	/* What the word is now; sleep only while it stays like that. */
	wait.value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	wait.timeout_ns = sample.wait ? -1 : LIMIT_NS;
	if (sample.wait) {
		printf("this is peer %u, waiting while the word is %u\n", sample.info.peer_id,
		       wait.value);
	} else {
		pid_t child = fork();

		if (child < 0)
			err(1, "fork");
		if (child == 0) {
			change_and_ring(&sample, word, sample.info.peer_id);
			_exit(0);
		}
	}
	/* SIGCONT and debuggers interrupt it; it is never restarted by itself. */
	while (ioctl(sample.fd, IVSHMEM_WAIT, &wait) != 0)
		if (errno != EINTR)
			sample_fail("IVSHMEM_WAIT");
	printf("the word was %u and is %u now\n", wait.value,
	       __atomic_load_n(word, __ATOMIC_ACQUIRE));
	return 0;
}
