// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Sends or receives numbered messages until another program has the end. It stops before one of its accesses to the shared
 * memory, is replaced, and goes on. The memory is the standard input.
 *
 *	stopped send BYTES GENERATION AT SIZE STOP	with the byte offset of the ring's block, its size, and the number
 *							of the access, from 0 on
 *	stopped place BYTES GENERATION AT SIZE STOP	the same, but writes messages where they will be
 *	stopped lane BYTES GENERATION AT SIZE STOP	the same as send, in lane 2, whose shared words are 192 bytes before
 *							the memory's end
 *	stopped receive BYTES GENERATION AT SIZE STOP
 *
 * The last 8 bytes of the memory say whose the slot is; this program's incarnation is 1.
 *
 * Ends with 0 if it was replaced, and with 7 if a message is torn.
 */
#include <err.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static long accesses_left;

static void before_access(void)
{
	if (accesses_left-- == 0)
		raise(SIGSTOP);
}

/* Also between the two halves of a copy. */
static void *copy_in_halves(void *to, const void *from, size_t len)
{
	before_access();
	memcpy(to, from, len / 2);
	before_access();
	memcpy((char *)to + len / 2, (const char *)from + len / 2, len - len / 2);
	return to;
}

/* All accesses of the header, which has no others. */
#define __atomic_load_n(at, order) (before_access(), __atomic_load_n(at, order))
#define __atomic_store_n(at, value, order) (before_access(), __atomic_store_n(at, value, order))
#define __atomic_compare_exchange_n(at, old, value, weak, order, other) \
	(before_access(), __atomic_compare_exchange_n(at, old, value, weak, order, other))
#define memcpy copy_in_halves
#include <ivshmem_channel.h>
#undef memcpy

#define LONGEST	200u

/* Message @number of the sender @tag. */
static uint32_t message_of(unsigned char tag, uint32_t number, unsigned char *message)
{
	uint32_t len = 9 + number * 2654435761u % (LONGEST - 8), at;

	message[0] = tag;
	for (at = 0; at < 4; at++)
		message[1 + at] = (unsigned char)(number >> 8 * at);
	for (at = 5; at < len; at++)
		message[at] = (unsigned char)(tag + number + at);
	return len;
}

static int replaced(int32_t status)
{
	/* What a successor does can look wrong to who was replaced. */
	return status == IVSHMEM_CHANNEL_REPLACED || status == IVSHMEM_CHANNEL_CORRUPT;
}

/* As ivshmem_channel_queue(), but in place. */
static int queue_in_place(struct ivshmem_channel_end *end, const unsigned char *message, uint32_t len)
{
	struct ivshmem_channel_span spans[2];
	/* More than is needed, as by who does not know the length yet. */
	int status = ivshmem_channel_reserve(end, LONGEST, spans);
	uint32_t first = len < spans[0].len ? len : spans[0].len;

	if (status)
		return status;
	copy_in_halves(spans[0].at, message, first);
	if (len > first)
		copy_in_halves(spans[1].at, message + first, len - first);
	return ivshmem_channel_commit(end, len);
}

static int32_t send_all(struct ivshmem_channel_end *end, bool in_place)
{
	unsigned char message[LONGEST];
	uint32_t number, len;
	int status;

	for (number = 0;; number++) {
		len = message_of('c', number, message);
		for (;;) {
			status = in_place ? queue_in_place(end, message, len) : ivshmem_channel_queue(end, message, len);
			if (status != IVSHMEM_CHANNEL_EMPTY)
				break;
			status = ivshmem_channel_flush(end);
			if (status < 0)
				break;
			sched_yield();
		}
		if (status == 0 && number % 3 == 0)
			status = ivshmem_channel_flush(end);
		if (status < 0)
			return status;
	}
}

static int32_t receive_all(struct ivshmem_channel_end *end)
{
	unsigned char message[LONGEST], wanted[LONGEST];
	uint32_t number, taken = 0;
	int32_t len;
	int status;

	for (;;) {
		len = ivshmem_channel_take(end, message, sizeof(message));
		if (len >= 0) {
			number = message[1] | message[2] << 8 | message[3] << 16 | (uint32_t)message[4] << 24;
			if ((uint32_t)len != message_of('r', number, wanted) || memcmp(message, wanted, len) != 0)
				errx(7, "message %u is torn", number);
			taken++;
		} else if (len == IVSHMEM_CHANNEL_EMPTY) {
			sched_yield();
		} else {
			return len;
		}
		if (len == IVSHMEM_CHANNEL_EMPTY || taken % 3 == 0) {
			status = ivshmem_channel_release(end);
			if (status < 0)
				return status;
		}
	}
}

int main(int argc, char **argv)
{
	struct ivshmem_channel_slot slot = { NULL, 1 };
	struct ivshmem_channel_end end;
	uint32_t generation, size;
	int32_t status;
	char *block, *shared;
	int sends;

	if (argc != 7)
		errx(2, "usage: stopped send|place|lane|receive BYTES GENERATION AT SIZE STOP");
	sends = strcmp(argv[1], "receive") != 0;
	block = mmap(NULL, strtoul(argv[2], NULL, 10), PROT_READ | PROT_WRITE, MAP_SHARED, STDIN_FILENO, 0);
	if (block == MAP_FAILED)
		err(1, "mmap");
	slot.owner = block + strtoul(argv[2], NULL, 10) - 8;
	shared = block + strtoul(argv[2], NULL, 10) - 192;
	block += strtoul(argv[4], NULL, 10);
	generation = strtoul(argv[3], NULL, 10);
	size = strtoul(argv[5], NULL, 10);
	accesses_left = strtol(argv[6], NULL, 10);
	status = sends ? ivshmem_channel_sender(&end, block, size, generation, &slot, false) :
			 ivshmem_channel_receiver(&end, block, size, generation, &slot);
	if (strcmp(argv[1], "lane") == 0) {
		end.shared = (unsigned char *)shared;
		end.lane = 2;
	}
	if (status == 0)
		status = sends ? send_all(&end, strcmp(argv[1], "place") == 0) : receive_all(&end);
	if (!replaced(status))
		errx(3, "%s ended with %d", argv[1], (int)status);
	return 0;
}
