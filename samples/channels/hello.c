// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two programs say hello to each other:
 *
 *	hello LINK 0
 *	hello LINK 1
 *
 * LINK is a device such as /dev/ivshmem0 in a guest, a server's socket on the host, or a file that is shared memory.
 */
#include <stdio.h>
#include <stdlib.h>

#include <libivshmem_channel.h>

#define RING	4096u	/* bytes */
#define LONGEST	(RING - 24)
#define FOREVER	(-1)

static void check(int64_t status, const char *what)
{
	if (status >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, ivshmem_channel_error());
	exit(1);
}

int main(int argc, char **argv)
{
	struct ivshmem_channel_layout *layout;
	struct ivshmem_channel_receiver *from;
	struct ivshmem_channel_member *me;
	struct ivshmem_channel_sender *to;
	struct ivshmem_channel_link *link;
	uint32_t slot, other;
	char message[LONGEST];
	int64_t len;

	if (argc != 3) {
		fprintf(stderr, "usage: hello LINK 0|1\n");
		return 2;
	}
	slot = (uint32_t)strtoul(argv[2], NULL, 10);
	other = !slot;
	check(ivshmem_channel_link_open(argv[1], &link), argv[1]);
	/* Both bring the same layout, and who comes first makes the channel. */
	layout = ivshmem_channel_layout_new(2);
	ivshmem_channel_layout_ring(layout, 0, 1, RING);
	ivshmem_channel_layout_ring(layout, 1, 0, RING);
	check(ivshmem_channel_create_or_join(link, 0, layout, &slot, 1, 0, FOREVER, NULL, &me), "joining");
	check(ivshmem_channel_sender_open(me, other, &to), "sender");
	check(ivshmem_channel_receiver_open(me, other, &from), "receiver");

	len = snprintf(message, sizeof(message), "hello from slot %u", slot);
	check(ivshmem_channel_sender_send(to, message, (size_t)len, FOREVER), "sending");
	len = ivshmem_channel_receiver_receive(from, message, sizeof(message), NULL, FOREVER);
	check(len, "receiving");
	printf("%.*s\n", (int)len, message);

	ivshmem_channel_receiver_close(from);
	ivshmem_channel_sender_close(to);
	ivshmem_channel_member_close(me);
	ivshmem_channel_layout_free(layout);
	ivshmem_channel_link_close(link);
	return 0;
}
