// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Ring another guest's doorbell.
 *
 *	ring_doorbell PEER [VECTOR]	ring vector VECTOR (0) of the guest with that peer ID
 *	ring_doorbell			ring this guest itself, which is allowed
 *
 * A guest's own peer ID is printed; nobody can list the others, they tell it through the shared
 * memory (see rendezvous.h). Ringing somebody who is not there is no error.
 */
#include "sample.h"

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 2, "ring_doorbell [-d DEVICE] [PEER [VECTOR]]");
	struct ivshmem_ring ring = {
		.peer = sample_number(&sample, 0, sample.info.peer_id, IVSHMEM_MAX_PEER),
		.vector = sample_number(&sample, 1, 0, IVSHMEM_MAX_RING_VECTOR),
	};

	if (ioctl(sample.fd, IVSHMEM_RING, &ring) != 0)
		sample_fail("IVSHMEM_RING");
	printf("this is peer %u; rang vector %u of peer %u\n", sample.info.peer_id, ring.vector,
	       ring.peer);
	return 0;
}
