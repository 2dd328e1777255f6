// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The receive loop of programs written for ACRN's patched uio_pci_generic: one eventfd for each
 * vector, bound with the command that they call UIO_IRQ_DATA, and epoll over all. They work with
 * this driver once they open /dev/ivshmemN instead of /dev/uioN; nothing else changes.
 *
 *	acrn_eventfd		rings each of this guest's own vectors, to be tried alone
 *	acrn_eventfd -w		waits for another guest, until it was rung 8 times
 *
 * New programs use IVSHMEM_SET_EVENTFD: see wait_eventfd.c.
 */
#include "sample.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

/* As in those programs, which bring their own definition. */
struct uio_irq_data {
	int fd;
	int vector;
};
#define UIO_IRQ_DATA	_IOW('u', 100, struct uio_irq_data)

#define RINGS_WHEN_WAITING	8

/* Binds a new eventfd to the vector and lets epoll watch it. */
static void watch_vector(int device, int epoll, int vector)
{
	struct uio_irq_data irq = { .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .vector = vector };
	struct epoll_event event = { .events = EPOLLIN };

	if (irq.fd < 0)
		err(1, "eventfd");
	/* Both numbers travel with the event. */
	event.data.u64 = (uint64_t)vector << 32 | (uint32_t)irq.fd;
	if (ioctl(device, UIO_IRQ_DATA, &irq) != 0)
		sample_fail("UIO_IRQ_DATA");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, irq.fd, &event) != 0)
		err(1, "epoll_ctl");
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "acrn_eventfd [-d DEVICE] [-w]");
	struct epoll_event events[IVSHMEM_MAX_VECTORS];
	uint32_t left = sample.wait ? RINGS_WHEN_WAITING : sample.info.vectors;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		err(1, "epoll_create1");
	sample_need_vectors(&sample, 1);
	for (uint32_t vector = 0; vector < sample.info.vectors; vector++)
		watch_vector(sample.fd, epoll, vector);

	if (sample.wait)
		printf("this is peer %u, waiting\n", sample.info.peer_id);
	for (uint32_t vector = 0; !sample.wait && vector < sample.info.vectors; vector++)
		sample_ring(&sample, sample.info.peer_id, vector);

	while (left) {
		int n = epoll_wait(epoll, events, IVSHMEM_MAX_VECTORS, -1);

		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n && left; i++, left--) {
			uint64_t count;

			/* Any of them is readable a last time when the device goes away. */
			if (ioctl(sample.fd, IVSHMEM_GET_INFO, &sample.info) != 0)
				sample_fail("the eventfd");
			if (read((int)(uint32_t)events[i].data.u64, &count, sizeof(count)) < 0)
				err(1, "read");
			printf("vector %u: %llu interrupts\n", (uint32_t)(events[i].data.u64 >> 32),
			       (unsigned long long)count);
		}
	}
	return 0;
}
