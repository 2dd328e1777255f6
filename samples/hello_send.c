// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two guests greet each other. This one writes a message into the shared memory, rings the other
 * one's vector 3, and waits for the answer with an eventfd.
 *
 *	hello_send [MESSAGE]	in one guest
 *	hello_receive		in the other one; the order does not matter
 */
#include "hello.h"

#include <poll.h>
#include <sys/eventfd.h>

static int bind_eventfd(const struct sample *sample)
{
	struct ivshmem_eventfd binding = { .vector = HELLO_VECTOR };

	binding.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (binding.fd < 0)
		err(1, "eventfd");
	if (ioctl(sample->fd, IVSHMEM_SET_EVENTFD, &binding) != 0)
		sample_fail("IVSHMEM_SET_EVENTFD");
	return binding.fd;
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "hello_send [-d DEVICE] [MESSAGE]");
	const char *message = sample.argc ? sample.argv[0] : "Hello, neighbour!";
	char answer[sizeof(((struct message *)0)->text) + 1];
	uint32_t session, peers[RENDEZVOUS_SLOTS];
	struct pollfd rung = { .events = POLLIN };
	uint64_t count;
	void *memory;

	sample_need_vectors(&sample, HELLO_VECTOR + 1);
	memory = sample_map(&sample, HELLO_BYTES);
	rung.fd = bind_eventfd(&sample);
	session = rendezvous(memory, HELLO_SENDER, 2, sample.info.peer_id, peers, HELLO_SECONDS);
	if (!session)
		errx(1, "nobody ran hello_receive within %d s", HELLO_SECONDS);

	write_message(message_from(memory, HELLO_SENDER), session, message);
	sample_ring(&sample, peers[HELLO_RECEIVER], HELLO_VECTOR);
	printf("to peer %u: %s\n", peers[HELLO_RECEIVER], message);

	/* The doorbell is only a hint: look at the memory before each sleep. */
	while (!read_message(message_from(memory, HELLO_RECEIVER), session, answer)) {
		if (poll(&rung, 1, HELLO_SECONDS * 1000) == 0)
			errx(1, "no answer within %d s", HELLO_SECONDS);
		if (read(rung.fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			err(1, "read");
	}
	printf("from peer %u: %s\n", peers[HELLO_RECEIVER], answer);
	return 0;
}
