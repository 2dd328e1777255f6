// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * One end of a channel as firmware or a task of an RTOS has it: a polling loop, all memory fixed, no system calls. It sends back
 * each message to whom it came from, from ring to ring without a buffer, up to an empty one.
 *
 * It takes slot 1 of a channel with a ring each way between slots 0 and 1, which the other program makes: in Rust
 * Layout::duplex(), whatever the size. board.h is what it needs of its machine; board_linux.c stands in for one.
 */
#include "board.h"
#include "member.h"

#define OTHER	0u
#define SLOT	1u

static struct member me;
static struct ivshmem_channel_end from, to;

static void ring(void)
{
	uint32_t peer, vector;

	if (member_peer(&me, OTHER, &peer, &vector))
		board_ring(peer, vector);
}

/* Copies a message between two places in the shared memory, each of which can have two parts. */
static void copy(const struct ivshmem_channel_span *out, const struct ivshmem_channel_span *in)
{
	uint32_t at, len = in[0].len + in[1].len;

	for (at = 0; at < len; at++) {
		const struct ivshmem_channel_span *i = &in[at >= in[0].len], *o = &out[at >= out[0].len];

		o->at[at - (o == out ? 0 : out[0].len)] = i->at[at - (i == in ? 0 : in[0].len)];
	}
}

/*
 * Sends back the next message, if there is one and room for it. One that is longer than those that can be sent, which become shorter
 * where a sender was replaced, is dropped. Returns 1 after an empty one, 0, or an error.
 */
static int echo_one(void)
{
	struct ivshmem_channel_span in[2], out[2];
	int32_t len = ivshmem_channel_borrow(&from, in);
	int status, fits;

	if (len >= 0) {
		fits = ivshmem_channel_reserve(&to, (uint32_t)len, out);
		if (fits && fits != IVSHMEM_CHANNEL_TOO_LONG)
			return fits == IVSHMEM_CHANNEL_EMPTY ? 0 : fits;
		if (!fits)
			copy(out, in);
		/* Only a message that was one is sent. */
		status = ivshmem_channel_done(&from);
		if (status)
			return status;
		if (!fits)
			ivshmem_channel_commit(&to, (uint32_t)len);
		status = ivshmem_channel_flush(&to);
		if (status < 0)
			return status;
		if (status)
			ring();
	} else if (len != IVSHMEM_CHANNEL_EMPTY) {
		return len;
	}
	status = ivshmem_channel_release(&from);
	if (status < 0)
		return status;
	if (status)
		ring();
	return len == 0;
}

/* Joins, and echoes until there is an error or an empty message. */
static int serve(void)
{
	int status;

	do {
		status = member_join(&me, SLOT, board_random() | 1, board_peer_id(), board_ms());
	} while (status == 0);
	if (status > 0)
		status = member_receiver(&me, OTHER, &from);
	if (status == 0)
		status = member_sender(&me, OTHER, &to);
	while (status == 0) {
		status = member_beat(&me, board_ms());
		if (status == 0)
			status = echo_one();
	}
	if (status > 0)
		member_leave(&me);
	/* What programs of a new channel write looks wrong to who has not noticed it. */
	return status < 0 && status != MEMBER_RESET ? member_found(&me, status) : status;
}

/* Returns 0 after an empty message, or what went wrong for good. */
int echo(void)
{
	uint64_t size;
	void *memory = board_memory(&size);
	int status;

	do {
		status = member_find(&me, memory, size);
		if (status == 0)
			status = serve();
		/* Nobody has made it yet, or somebody has recreated it. */
	} while (status == IVSHMEM_CHANNEL_EMPTY || status == MEMBER_RESET);
	return status > 0 ? 0 : status;
}
