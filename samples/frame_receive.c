// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Receives the pictures of frame_send and writes each as a PNG file: frame-0.png, frame-1.png, ...
 *
 *	frame_receive [DIRECTORY]	in one guest; the present directory if not given
 *	frame_send [FRAMES]		in the other one; the order does not matter
 */
#include "frame.h"
#include "png.h"

#include <limits.h>

/* Whether the header describes a picture that lies in a slot. Another guest wrote it. */
static bool fits(const struct frame_header *header)
{
	return header->width >= 1 && header->height >= 1 &&
	       header->width <= FRAME_WIDTH && header->height <= FRAME_HEIGHT &&
	       header->stride >= header->width * FRAME_PIXEL &&
	       (uint64_t)header->stride * header->height <= FRAME_SLOT_BYTES;
}

/* Waits for frame @n; at most FRAME_SLOTS can be on their way. Anything else there is stale. */
static void wait_for_frame(const struct sample *sample, char *memory, uint32_t session, uint32_t n)
{
	for (;;) {
		uint32_t sent = ivshmem_load(memory + FRAME_SENT_AT);
		uint32_t waiting = sent - session - n;

		if (waiting >= 1 && waiting <= FRAME_SLOTS)
			return;
		frame_sleep(sample, FRAME_SENT_AT, sent);
	}
}

/* Copies frame @n out of the shared memory, so that it holds still, and returns its header. */
static struct frame_header take_frame(char *memory, uint32_t n, unsigned char *pixels)
{
	struct frame_header header;

	ivshmem_copy_from(&header, frame_header_at(memory, n), sizeof(header));
	if (!fits(&header))
		errx(1, "frame %u claims to have %u x %u pixels in lines of %u bytes, which is no picture "
		     "of frame_send", n, header.width, header.height, header.stride);
	ivshmem_copy_from(pixels, frame_slot_at(memory, n), (size_t)header.stride * header.height);
	return header;
}

static void write_png(const char *directory, uint32_t n, const struct frame_header *header,
		      const unsigned char *pixels)
{
	char path[PATH_MAX];
	FILE *file;

	if (snprintf(path, sizeof(path), "%s/frame-%u.png", directory, n) >= (int)sizeof(path))
		errx(SAMPLE_USAGE, "the name of the directory is too long");
	file = fopen(path, "wb");
	if (!file)
		err(1, "cannot write %s", path);
	png_write(file, pixels, header->width, header->height, header->stride);
	if (ferror(file) || fclose(file) != 0)
		err(1, "cannot write all of %s", path);
	printf("frame %u: %u x %u pixels, written to %s\n", n, header->width, header->height, path);
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "frame_receive [-d DEVICE] [DIRECTORY]");
	const char *directory = sample.argc ? sample.argv[0] : ".";
	unsigned char *pixels = malloc(FRAME_SLOT_BYTES);
	uint32_t session, peers[RENDEZVOUS_SLOTS];
	struct frame_header header;
	char *memory;

	if (!pixels)
		err(1, "no memory for a picture");
	sample_need_vectors(&sample, FRAME_VECTOR + 1);
	memory = sample_map(&sample, FRAME_BYTES);
	session = rendezvous(memory, FRAME_RECEIVER, 2, sample.info.peer_id, peers, FRAME_SECONDS);
	if (!session)
		errx(1, "nobody ran frame_send within %d s", FRAME_SECONDS);

	for (uint32_t n = 0; n == 0 || !header.last; n++) {
		wait_for_frame(&sample, memory, session, n);
		header = take_frame(memory, n, pixels);
		/* The slot is free as soon as it is copied: the sender draws while this one writes. */
		ivshmem_store(memory + FRAME_TAKEN_AT, session + n + 1);
		sample_ring(&sample, peers[FRAME_SENDER], FRAME_VECTOR);
		write_png(directory, n, &header, pixels);
	}
	free(pixels);
	return 0;
}
