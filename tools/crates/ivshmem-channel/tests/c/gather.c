// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Echoes the messages of a ring with several senders into another ring, each behind the number of its lane, until an
 * empty one comes from each lane that is not corrupt. Sleeps if told so. The memory is the standard input.
 *
 *	gather BYTES GENERATION LANES FROM TO SIZE	with the byte offsets of the rings' blocks, and their size
 */
#include <err.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ivshmem_channel.h>

int main(int argc, char **argv)
{
	static struct ivshmem_channel_end lanes[63], to;
	static unsigned char message[1 << 16];
	struct ivshmem_channel_multi from;
	uint32_t lane, generation, size, open, value;
	const void *word;
	char *memory;
	int32_t len;
	int status;
	bool ring;

	if (argc != 7)
		errx(2, "usage: gather BYTES GENERATION LANES FROM TO SIZE");
	memory = mmap(NULL, strtoul(argv[1], NULL, 10), PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	generation = strtoul(argv[2], NULL, 10);
	open = strtoul(argv[3], NULL, 10);
	size = strtoul(argv[6], NULL, 10);
	if (ivshmem_channel_multi_receiver(&from, lanes, open, memory + strtoul(argv[4], NULL, 10), size, generation, NULL))
		errx(5, "receiver");
	if (ivshmem_channel_sender(&to, memory + strtoul(argv[5], NULL, 10), size, generation, NULL, false))
		errx(6, "sender");
	while (open) {
		len = ivshmem_channel_multi_receive(&from, message + 1, sizeof(message) - 1, &lane, &ring);
		if (len == IVSHMEM_CHANNEL_CORRUPT) {
			open--;
			continue;
		}
		if (len == IVSHMEM_CHANNEL_EMPTY) {
			/* As who is not rung before the word was changed. */
			if (ivshmem_channel_multi_arm(&from, &word, &value))
				while (__atomic_load_n((const ivshmem_channel_word *)word, __ATOMIC_ACQUIRE) == value)
					sched_yield();
			continue;
		}
		if (len < 0)
			errx(3, "receive: %d", len);
		open -= len == 0;
		message[0] = lane;
		while ((status = ivshmem_channel_send(&to, message, len + 1)) == IVSHMEM_CHANNEL_EMPTY)
			sched_yield();
		if (status < 0)
			errx(4, "send: %d", status);
	}
	return 0;
}
