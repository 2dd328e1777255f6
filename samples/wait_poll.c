// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * poll() waits for doorbells together with other descriptors, here the standard input.
 *
 *	wait_poll		rings this guest itself first, to be tried alone
 *	wait_poll -w		waits for another guest, or for Enter
 *
 * The file stays readable until read() has taken what is pending. POLLERR and POLLHUP mean that the
 * device is gone, for example because the host unplugged it.
 */
#include "sample.h"

#include <poll.h>

/* How long this guest's own ring may take. */
#define OWN_RING_MS	10000

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "wait_poll [-d DEVICE] [-w]");
	struct pollfd fds[2] = {
		{ .fd = sample.fd, .events = POLLIN },
		{ .fd = sample.wait ? STDIN_FILENO : -1, .events = POLLIN },
	};
	struct ivshmem_event event;

	sample_need_vectors(&sample, 1);
	if (sample.wait)
		printf("this is peer %u, waiting; press Enter to stop\n", sample.info.peer_id);
	else
		sample_ring(&sample, sample.info.peer_id, 0);

	switch (poll(fds, 2, sample.wait ? -1 : OWN_RING_MS)) {
	case -1:
		err(1, "poll");
	case 0:
		errx(1, "no doorbell within %d s", OWN_RING_MS / 1000);
	}
	if (fds[0].revents & (POLLERR | POLLHUP))
		errx(1, "%s", sample_remedy(ENODEV));
	if (!(fds[0].revents & POLLIN)) {
		printf("stopped\n");
		return 0;
	}
	if (read(sample.fd, &event, sizeof(event)) < 0)
		sample_fail("read");
	printf("vector %u was rung\n", event.vector);
	return 0;
}
