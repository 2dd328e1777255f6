// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Echoes each message of one ring into another, until an empty one comes. The memory is the standard input.
 *
 *	echo BYTES GENERATION FROM TO SIZE [SHARED]	with the byte offsets of the rings' blocks, their size, and
 *							the byte offset of what the lanes share if TO is lane 0
 */
#include <err.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ivshmem_channel.h>

int main(int argc, char **argv)
{
	struct ivshmem_channel_end from, to;
	static unsigned char message[1 << 16];
	uint32_t generation, size;
	int32_t len;
	int status;
	char *memory;
	bool ring;

	if (argc != 6 && argc != 7)
		errx(2, "usage: echo BYTES GENERATION FROM TO SIZE [SHARED]");
	memory = mmap(NULL, strtoul(argv[1], NULL, 10), PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap");
	generation = strtoul(argv[2], NULL, 10);
	size = strtoul(argv[5], NULL, 10);
	if (ivshmem_channel_receiver(&from, memory + strtoul(argv[3], NULL, 10), size, generation, NULL) != 0)
		errx(5, "receiver");
	if (ivshmem_channel_sender(&to, memory + strtoul(argv[4], NULL, 10), size, generation, NULL, false) != 0)
		errx(6, "sender");
	if (argc == 7)
		to.shared = (unsigned char *)memory + strtoul(argv[6], NULL, 10);
	do {
		while ((len = ivshmem_channel_receive(&from, message, sizeof(message), &ring)) == IVSHMEM_CHANNEL_EMPTY)
			sched_yield();
		if (len < 0)
			errx(3, "receive: %d", len);
		while ((status = ivshmem_channel_send(&to, message, len)) == IVSHMEM_CHANNEL_EMPTY)
			sched_yield();
		if (status < 0)
			errx(4, "send: %d", status);
	} while (len > 0);
	return 0;
}
