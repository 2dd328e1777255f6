// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Ring another machine's doorbell.
 *
 *	ring_doorbell PEER [VECTOR]	ring vector VECTOR (0) of the machine with that peer ID
 *	ring_doorbell			ring this machine itself, which is allowed
 *
 * A machine's own peer ID is printed; nobody can list the others, they tell it through the shared
 * memory (see rendezvous.h). Ringing somebody who is not there is no error.
 */
#include "sample.h"

static uint32_t number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value > UINT32_MAX)
		errx(SAMPLE_USAGE, "'%s' is not a number", text);
	return value;
}

int main(int argc, char **argv)
{
	static const char help[] = "ring_doorbell [-d DEVICE] [PEER [VECTOR]]";
	struct sample sample = sample_start(argc, argv, help);
	struct ivshmem_ring ring = { .peer = sample.info.peer_id, .vector = 0 };

	if (sample.argc > 2)
		sample_help(help, SAMPLE_USAGE);
	sample_need_vectors(&sample, 1);
	if (sample.argc > 0)
		ring.peer = number(sample.argv[0]);
	if (sample.argc > 1)
		ring.vector = number(sample.argv[1]);
	if (ioctl(sample.fd, IVSHMEM_RING, &ring) != 0)
		err(1, "cannot ring vector %u of peer %u", ring.vector, ring.peer);
	printf("this is peer %u; rang vector %u of peer %u\n", sample.info.peer_id, ring.vector,
	       ring.peer);
	return 0;
}
