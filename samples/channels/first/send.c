// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The program `send` in C: send LINK TEXT, with the same `receive` at the other end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libivshmem_channel.h>

#define SENDER		0u
#define RECEIVER	1u
#define FOREVER		(-1)

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
	struct ivshmem_channel_member *me;
	struct ivshmem_channel_sender *to;
	struct ivshmem_channel_link *link;
	uint32_t slot = SENDER;

	if (argc != 3) {
		fprintf(stderr, "usage: send LINK TEXT\n");
		return 2;
	}
	/* Two slots, and a ring buffer of 64 KiB from the sender to the receiver. */
	layout = ivshmem_channel_layout_new(2);
	ivshmem_channel_layout_ring(layout, SENDER, RECEIVER, 64 << 10);

	/* Whichever program comes first makes the channel, at byte 0 of the memory. This one is rung on its vector 0. */
	check(ivshmem_channel_link_open(argv[1], &link), argv[1]);
	check(ivshmem_channel_create_or_join(link, 0, layout, &slot, 1, 0, FOREVER, NULL, &me), "joining");

	check(ivshmem_channel_sender_open(me, RECEIVER, &to), "sender");
	check(ivshmem_channel_sender_send(to, argv[2], strlen(argv[2]), FOREVER), "sending");

	ivshmem_channel_sender_close(to);
	ivshmem_channel_member_close(me);
	ivshmem_channel_layout_free(layout);
	ivshmem_channel_link_close(link);
	return 0;
}
