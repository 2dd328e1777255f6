// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Says hello to another guest: the program of README.md, without the help of the other samples' headers.
 *
 *	hello			waits to be rung, and prints what was written
 *	hello PEER		writes a line, and rings the guest that waits as PEER
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem_rs.h>

int main(int argc, char **argv)
{
	struct ivshmem_info info;
	struct ivshmem_event event;
	volatile char *shm;
	char line[64] = "";
	int fd = open("/dev/ivshmem0", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, IVSHMEM_GET_INFO, &info) != 0)
		err(1, "/dev/ivshmem0");
	shm = mmap(NULL, sizeof(line), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shm == MAP_FAILED)
		err(1, "mmap");
	if (argc > 1) {
		struct ivshmem_ring ring = { .peer = strtoul(argv[1], NULL, 10), .vector = 0 };

		snprintf(line, sizeof(line), "hello from peer %u", info.peer_id);
		for (size_t i = 0; i < sizeof(line); i++)
			shm[i] = line[i];
		if (ioctl(fd, IVSHMEM_RING, &ring) != 0)	/* what was written before is visible to who wakes */
			err(1, "ring");
		return 0;
	}
	printf("waiting: run \"hello %u\" in another guest\n", info.peer_id);
	fflush(stdout);
	if (read(fd, &event, sizeof(event)) < 0)		/* sleeps until somebody rings */
		err(1, "read");
	for (size_t i = 0; i < sizeof(line) - 1; i++)		/* a copy: others can write at any time */
		line[i] = shm[i];
	printf("vector %u: %s\n", event.vector, line);
	return 0;
}
