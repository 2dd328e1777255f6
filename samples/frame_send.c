// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A frame pipe between guests: this one draws test pictures of 1920x1080 pixels into the shared
 * memory and rings for each. It waits only while both slots are full. Needs 16 MiB of memory.
 *
 *	frame_send [FRAMES]		in one guest; 3 frames if not given
 *	frame_receive [DIRECTORY]	in the other one; the order does not matter
 */
#include "frame.h"

/* White, yellow, cyan, green, magenta, red, blue, black. */
static const uint32_t bars[] = {
	0xffffff, 0xffff00, 0x00ffff, 0x00ff00, 0xff00ff, 0xff0000, 0x0000ff, 0x000000
};
#define BARS		(sizeof(bars) / sizeof(bars[0]))
#define RAMP_FROM	810	/* line: grey from black to white below */
#define BOX		120	/* pixels: a box that is further right in each frame */
#define BOX_Y		450

static uint32_t pixel(uint32_t x, uint32_t y, uint32_t number)
{
	uint32_t box_x = number * BOX % (FRAME_WIDTH - BOX);

	if (y >= BOX_Y && y < BOX_Y + BOX && x >= box_x && x < box_x + BOX)
		return 0xff8000;
	if (y >= RAMP_FROM)
		return x * 255 / (FRAME_WIDTH - 1) * 0x010101;
	return bars[x * BARS / FRAME_WIDTH];
}

static void draw(char *slot, uint32_t number)
{
	static uint32_t line[FRAME_WIDTH];

	for (uint32_t y = 0; y < FRAME_HEIGHT; y++) {
		for (uint32_t x = 0; x < FRAME_WIDTH; x++)
			line[x] = pixel(x, y, number);
		ivshmem_copy_to(slot + y * sizeof(line), line, sizeof(line));
	}
}

/* Waits until a slot is free. The counters begin at @session; anything else there is stale. */
static void wait_for_slot(const struct sample *sample, char *memory, uint32_t session, uint32_t sent)
{
	for (;;) {
		uint32_t taken = ivshmem_load(memory + FRAME_TAKEN_AT);

		/* Before the receiver has taken the first frame, its counter is from an earlier run. */
		if (sent < FRAME_SLOTS || (taken - session <= sent && sent - (taken - session) < FRAME_SLOTS))
			return;
		frame_sleep(sample, FRAME_TAKEN_AT, taken);
	}
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "frame_send [-d DEVICE] [FRAMES]");
	uint32_t frames = sample_number(&sample, 0, 3, 1000000);
	struct frame_header header = { FRAME_WIDTH, FRAME_HEIGHT, FRAME_WIDTH * FRAME_PIXEL, 0 };
	uint32_t session, peers[RENDEZVOUS_SLOTS];
	char *memory;

	if (frames == 0)
		sample_help(sample.help, SAMPLE_USAGE);
	sample_need_vectors(&sample, FRAME_VECTOR + 1);
	memory = sample_map(&sample, FRAME_BYTES);
	session = rendezvous(memory, FRAME_SENDER, 2, sample.info.peer_id, peers, FRAME_SECONDS);
	if (!session)
		errx(1, "nobody ran frame_receive within %d s", FRAME_SECONDS);

	for (uint32_t n = 0; n < frames; n++) {
		wait_for_slot(&sample, memory, session, n);
		draw(frame_slot_at(memory, n), n);
		header.last = n == frames - 1;
		ivshmem_copy_to(frame_header_at(memory, n), &header, sizeof(header));
		ivshmem_store(memory + FRAME_SENT_AT, session + n + 1);
		sample_ring(&sample, peers[FRAME_RECEIVER], FRAME_VECTOR);
		printf("frame %u sent to peer %u\n", n, peers[FRAME_RECEIVER]);
	}
	return 0;
}
