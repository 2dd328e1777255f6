// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two devices in one event loop: epoll watches both, and says which of them was rung.
 *
 *	two_devices [OTHER]		rings this guest itself on both, to be tried alone
 *	two_devices -w [OTHER]		waits until each was rung by another guest, or is gone
 *
 * OTHER is the second device, /dev/ivshmem1 if not given. Both files are non-blocking: whoever shares one by fork() may
 * have taken its events meanwhile, and the other device is not to wait for that. A device that goes away is always ready,
 * with EPOLLHUP; it has to be taken out, and the loop goes on with the other one.
 */
#include "sample.h"

#include <sys/epoll.h>

#define DEVICES	2

/* How long this guest's own rings may take. */
#define OWN_RING_MS	10000

static void watch(int epoll, int fd, uint32_t number)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = number };

	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		err(1, "fcntl");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		err(1, "epoll_ctl");
}

/* Takes what is pending on a device. Returns how many vectors were rung, or -1 if it is gone. */
static int take(const struct sample *device)
{
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	int n = ivshmem_read_events(device->fd, events, IVSHMEM_MAX_VECTORS);

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && errno == ENODEV) {
		printf("%s is gone\n", device->info.bus_id);
		return -1;
	}
	if (n < 0)
		sample_fail("read");
	for (int i = 0; i < n; i++)
		printf("%s: vector %u was rung\n", device->info.bus_id, events[i].vector);
	return n;
}

int main(int argc, char **argv)
{
	struct sample first = sample_start(argc, argv, 1, "two_devices [-d DEVICE] [-w] [OTHER]");
	struct sample devices[DEVICES] = { first, first };
	const char *other = first.argc ? first.argv[0] : "/dev/ivshmem1";
	bool heard[DEVICES] = { false };
	struct epoll_event events[DEVICES];
	int epoll = epoll_create1(EPOLL_CLOEXEC), left = DEVICES;

	if (epoll < 0)
		err(1, "epoll_create1");
	devices[1].fd = ivshmem_open(other, O_RDWR | O_CLOEXEC, &devices[1].info);
	if (devices[1].fd < 0)
		sample_fail(other);
	for (uint32_t i = 0; i < DEVICES; i++) {
		sample_need_vectors(&devices[i], 1);
		watch(epoll, devices[i].fd, i);
		if (first.wait)
			printf("this is peer %u of %s, waiting\n", devices[i].info.peer_id, devices[i].info.bus_id);
		else
			sample_ring(&devices[i], devices[i].info.peer_id, 0);
	}
	while (left > 0) {
		int n = epoll_wait(epoll, events, DEVICES, first.wait ? -1 : OWN_RING_MS);

		if (n == 0)
			errx(1, "no doorbell within %d s", OWN_RING_MS / 1000);
		if (n < 0 && errno != EINTR)
			err(1, "epoll_wait");
		for (int i = 0; i < n; i++) {
			uint32_t number = events[i].data.u32;
			int taken = take(&devices[number]);

			if (taken < 0)
				epoll_ctl(epoll, EPOLL_CTL_DEL, devices[number].fd, NULL);
			if (taken == 0)
				continue;
			left -= !heard[number];
			heard[number] = true;
		}
	}
	return 0;
}
