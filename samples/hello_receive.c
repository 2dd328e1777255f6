// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two guests greet each other. This one sleeps in poll() until its doorbell is rung, reads the
 * message in the shared memory, writes an answer, and rings back.
 *
 *	hello_receive		in one guest
 *	hello_send [MESSAGE]	in the other one; the order does not matter
 */
#include "hello.h"

#include <poll.h>

/* Sleeps until the doorbell is rung and takes the event. */
static void sleep_until_rung(const struct sample *sample)
{
	struct pollfd rung = { .fd = sample->fd, .events = POLLIN };
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];

	switch (poll(&rung, 1, HELLO_SECONDS * 1000)) {
	case -1:
		err(1, "poll");
	case 0:
		errx(1, "no doorbell within %d s", HELLO_SECONDS);
	}
	if (read(sample->fd, events, sizeof(events)) < 0)
		sample_fail("read");
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 0, "hello_receive [-d DEVICE]");
	char message[sizeof(((struct message *)0)->text) + 1], answer[sizeof(message) + 64];
	uint32_t session, peers[RENDEZVOUS_SLOTS];
	void *memory;

	sample_need_vectors(&sample, HELLO_VECTOR + 1);
	memory = sample_map(&sample, HELLO_BYTES);
	session = rendezvous(memory, HELLO_RECEIVER, 2, sample.info.peer_id, peers, HELLO_SECONDS);
	if (!session)
		errx(1, "nobody ran hello_send within %d s", HELLO_SECONDS);

	/* The doorbell is only a hint: look at the memory before each sleep. */
	while (!read_message(message_from(memory, HELLO_SENDER), session, message))
		sleep_until_rung(&sample);
	printf("from peer %u: %s\n", peers[HELLO_SENDER], message);

	snprintf(answer, sizeof(answer), "Peer %u got: %s", sample.info.peer_id, message);
	write_message(message_from(memory, HELLO_RECEIVER), session, answer);
	sample_ring(&sample, peers[HELLO_SENDER], HELLO_VECTOR);
	printf("to peer %u: %s\n", peers[HELLO_SENDER], answer);
	return 0;
}
