// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Uses a ring buffer with several senders while somebody writes to one word before each access. Ends with 0 if nothing of it
 * went on for ever, and with the line that failed otherwise.
 */
#include <stdint.h>
#include <string.h>

/* Writes of the peer, so that this ends if it fails. */
#define MOST	100000u
/* Bits that are clear: the word is 0 whenever it is looked at, and another number whenever it is to be replaced. */
#define ALL	UINT64_MAX

static unsigned char *attacked;
static uint64_t constant;
static unsigned writes = MOST;

static void before_access(uint64_t clear)
{
	uint64_t word;

	if (writes == MOST)
		return;
	writes++;
	word = ((uint64_t)writes << 33 | writes << 3 | 4) & ~clear;
	memcpy(attacked, &word, sizeof(word));
}

/* All accesses of the header, which has no others. */
#define __atomic_load_n(at, order) (before_access(constant), __atomic_load_n(at, order))
#define __atomic_store_n(at, value, order) (before_access(constant), __atomic_store_n(at, value, order))
#define __atomic_compare_exchange_n(at, old, value, weak, order, other) \
	(before_access(constant == ALL ? 0 : constant), \
	 __atomic_compare_exchange_n(at, old, value, weak, order, other))
#include <ivshmem_channel.h>

#define SIZE		1024u
#define GENERATION	7u
#define LANE		(IVSHMEM_CHANNEL_CONTROL + SIZE)

static uint64_t memory[(IVSHMEM_CHANNEL_SHARED + 2 * LANE) / 8];

static unsigned char *lane(unsigned number)
{
	return (unsigned char *)memory + IVSHMEM_CHANNEL_SHARED + number * LANE;
}

/* Begins to write to @at, always with the bits of @clear clear. */
static void attack(unsigned char *at, uint64_t clear)
{
	attacked = at;
	constant = clear;
	writes = 0;
}

/* Ends it; whether there was time. */
static int was_in_time(void)
{
	int in_time = writes > 0 && writes < MOST;

	writes = MOST;
	return in_time;
}

static int sends(struct ivshmem_channel_end *sender, unsigned number)
{
	int error = ivshmem_channel_sender(sender, lane(number), SIZE, GENERATION, NULL, false);

	sender->shared = (unsigned char *)memory;
	sender->lane = number;
	return error;
}

#define CHECK(what)		\
	do {			\
		if (!(what))	\
			return __LINE__;	\
	} while (0)

static int coming(unsigned word)
{
	struct ivshmem_channel_end sender, lanes[2];
	struct ivshmem_channel_multi multi;
	uint32_t from;

	memset(memory, 0, sizeof(memory));
	CHECK(!sends(&sender, 1) && ivshmem_channel_send(&sender, "hello", 5) >= 0);
	attack(lane(0) + word, 0);
	CHECK(!ivshmem_channel_multi_receiver(&multi, lanes, 2, memory, SIZE, GENERATION, NULL));
	CHECK(was_in_time());
	/* One lane is spoilt, and the other is heard. */
	CHECK(ivshmem_channel_multi_peek(&multi, &from) < IVSHMEM_CHANNEL_EMPTY && from == 0);
	CHECK(ivshmem_channel_multi_peek(&multi, &from) == 5 && from == 1);
	return 0;
}

static int in_use(void)
{
	struct ivshmem_channel_end sender, lanes[2];
	struct ivshmem_channel_multi multi;
	uint32_t from;

	memset(memory, 0, sizeof(memory));
	attack(lane(1) + IVSHMEM_CHANNEL_REACH, 0);
	CHECK(sends(&sender, 1) == IVSHMEM_CHANNEL_CORRUPT && was_in_time());
	attack(lane(1) + IVSHMEM_CHANNEL_QUARANTINE, 0);
	CHECK(sends(&sender, 1) == IVSHMEM_CHANNEL_CORRUPT && was_in_time());
	CHECK(!sends(&sender, 0));
	CHECK(!ivshmem_channel_multi_receiver(&multi, lanes, 2, memory, SIZE, GENERATION, NULL));
	CHECK(ivshmem_channel_multi_peek(&multi, &from) == IVSHMEM_CHANNEL_EMPTY);
	attack((unsigned char *)memory + IVSHMEM_CHANNEL_READY, 1);
	CHECK(ivshmem_channel_send(&sender, "hello", 5) == 1 && was_in_time());
	attack((unsigned char *)memory + IVSHMEM_CHANNEL_READY, 1);
	CHECK(ivshmem_channel_multi_peek(&multi, &from) == 5 && from == 0 && was_in_time());
	return 0;
}

/* Takes over from a program that may go on, and looks again whether that has published something. */
static int succession(void)
{
	struct ivshmem_channel_end sender;

	memset(memory, 0, sizeof(memory));
	CHECK(!sends(&sender, 0) && !ivshmem_channel_queue(&sender, "hello", 5));
	attack(lane(0) + IVSHMEM_CHANNEL_CONTROL, ALL);
	CHECK(ivshmem_channel_sender(&sender, lane(0), SIZE, GENERATION, NULL, true) == IVSHMEM_CHANNEL_CORRUPT);
	CHECK(was_in_time());
	return 0;
}

int main(void)
{
	int line = in_use();

	if (!line)
		line = succession();
	if (!line)
		line = coming(IVSHMEM_CHANNEL_HEAD);
	if (!line)
		line = coming(IVSHMEM_CHANNEL_HEAD_GENERATION);
	return line;
}
