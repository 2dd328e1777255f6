/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What frame_send and frame_receive agree on: a ring buffer of two slots for pictures. The sender draws into
 * one while the receiver copies the other. Each side has one counter, which only it writes.
 */
#ifndef FRAME_H
#define FRAME_H

#include "sample.h"
#include "rendezvous.h"

#define FRAME_SENDER	0	/* places in the rendezvous */
#define FRAME_RECEIVER	1
#define FRAME_VECTOR	0	/* of both: the other one's counter has changed */
#define FRAME_SECONDS	120	/* how long to wait for the other guest */
#define FRAME_SILENCE_NS	60000000000ll

#define FRAME_WIDTH	1920
#define FRAME_HEIGHT	1080
#define FRAME_PIXEL	4	/* bytes: blue, green, red, unused, as DRM_FORMAT_XRGB8888 */
#define FRAME_SLOTS	2
#define FRAME_SLOT_BYTES	(FRAME_WIDTH * FRAME_HEIGHT * FRAME_PIXEL)

/* Byte offsets in the shared memory. The counters have cache lines of their own. */
#define FRAME_SENT_AT	RENDEZVOUS_BYTES
#define FRAME_TAKEN_AT	(RENDEZVOUS_BYTES + 64)
#define FRAME_HEADERS_AT	(RENDEZVOUS_BYTES + 128)
#define FRAME_SLOTS_AT	4096
#define FRAME_BYTES	(FRAME_SLOTS_AT + FRAME_SLOTS * FRAME_SLOT_BYTES)

/* What a slot holds. Written before the counter, so it is whole when the counter says so. */
struct frame_header {
	uint32_t width, height;		/* pixels */
	uint32_t stride;		/* bytes from a line to the next */
	uint32_t last;			/* 1: no frame comes after this one */
};

static inline struct frame_header *frame_header_at(char *memory, uint32_t n)
{
	return (struct frame_header *)(memory + FRAME_HEADERS_AT) + n % FRAME_SLOTS;
}

static inline char *frame_slot_at(char *memory, uint32_t n)
{
	return memory + FRAME_SLOTS_AT + n % FRAME_SLOTS * (size_t)FRAME_SLOT_BYTES;
}

/* Sleeps while the counter is what it is now known to be. */
static inline void frame_sleep(const struct sample *sample, size_t counter_at, uint32_t known)
{
	if (ivshmem_wait_word(sample->fd, counter_at, known, FRAME_SILENCE_NS) != 0 && errno != EINTR)
		sample_fail("no sign of the other guest");
}

#endif /* FRAME_H */
