// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * An eventfd for one vector: for event loops and libraries that take any eventfd, and for processes
 * that should learn of one vector without access to the device.
 *
 *	wait_eventfd		rings this guest itself first, to be tried alone
 *	wait_eventfd -w		waits for another guest to ring vector 0
 *
 * Each interrupt adds 1. The binding lasts as long as the open file. When the device goes away the
 * eventfd is signalled a last time, so look at the device after a wake-up that brings no data.
 */
#include "sample.h"

#include <sys/eventfd.h>

#define VECTOR	0

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "wait_eventfd [-d DEVICE] [-w]");
	struct ivshmem_eventfd binding = { .vector = VECTOR };
	struct ivshmem_info info;
	uint64_t count;

	sample_need_vectors(&sample, VECTOR + 1);
	binding.fd = eventfd(0, EFD_CLOEXEC);
	if (binding.fd < 0)
		err(1, "eventfd");
	if (ioctl(sample.fd, IVSHMEM_SET_EVENTFD, &binding) != 0)
		sample_fail("IVSHMEM_SET_EVENTFD");

	if (sample.wait)
		printf("this is peer %u, waiting for vector %d\n", sample.info.peer_id, VECTOR);
	else
		sample_ring(&sample, sample.info.peer_id, VECTOR);

	if (read(binding.fd, &count, sizeof(count)) < 0)
		err(1, "read");
	if (ioctl(sample.fd, IVSHMEM_GET_INFO, &info) != 0)
		sample_fail("IVSHMEM_GET_INFO");
	printf("vector %d: %llu interrupts\n", VECTOR, (unsigned long long)count);
	return 0;
}
