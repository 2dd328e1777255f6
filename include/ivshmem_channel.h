/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The two ends of a ring of a channel, for C, and the sending end of a lane of a ring with several senders:
 * header-only, no system calls, no allocation. The layout and the rules are in Documentation/channel.rst. Joining a slot, heartbeats and doorbells are the program's.
 *
 * For GCC and Clang, on little-endian machines whose mapping of the memory is write-back.
 */
#ifndef IVSHMEM_CHANNEL_H
#define IVSHMEM_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the layout is little-endian, and this header does not swap bytes"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define IVSHMEM_CHANNEL_BLOCK	128u	/* bytes of control words before a ring's data */
#define IVSHMEM_CHANNEL_PADDING	UINT32_MAX

/* Control words of a ring, as indices of 32-bit words of its block. */
enum {
	IVSHMEM_CHANNEL_TAIL = 0,
	IVSHMEM_CHANNEL_TAIL_GENERATION = 1,
	IVSHMEM_CHANNEL_SPACE_WAKE = 2,
	IVSHMEM_CHANNEL_HEAD = 16,
	IVSHMEM_CHANNEL_HEAD_GENERATION = 17,
	IVSHMEM_CHANNEL_DATA_WAKE = 18,
};

/* What the functions return beside numbers that are not negative. */
#define IVSHMEM_CHANNEL_EMPTY	(-1)	/* no message has arrived, or there is no room: not an error */
#define IVSHMEM_CHANNEL_CORRUPT	(-2)	/* the other end wrote what it never writes: make the channel anew */
#define IVSHMEM_CHANNEL_TOO_LONG (-3)	/* the message can never fit, or the buffer is too small */

/**
 * struct ivshmem_channel_end - one end of a ring, in private memory
 * @block: the ring's block in the shared memory
 * @size: bytes of data, from the table of rings, checked by the caller: a power of two, 64 to 2^30
 * @generation: the channel's
 * @mine: own count: the tail of the sender, the head of the receiver
 * @theirs: the other's count as it was believed last
 * @met: the other end has come in this generation
 * @corrupt: the other end wrote what it never writes
 */
struct ivshmem_channel_end {
	uint32_t *block;
	uint32_t size;
	uint32_t generation;
	uint32_t mine;
	uint32_t theirs;
	bool met;
	bool corrupt;
};

static inline uint32_t ivshmem_channel_record(uint32_t len)
{
	return 8 + ((len + 7) & ~7u);
}

static inline unsigned char *ivshmem_channel_data(const struct ivshmem_channel_end *end, uint32_t count)
{
	return (unsigned char *)end->block + IVSHMEM_CHANNEL_BLOCK + (count & (end->size - 1));
}

/* Whether a count that went from @from to @to passed @wake. */
static inline bool ivshmem_channel_passed(uint32_t wake, uint32_t from, uint32_t to)
{
	return to - wake - 1 < to - from;
}

static inline void ivshmem_channel_attach(struct ivshmem_channel_end *end, uint32_t *block, uint32_t size,
					  uint32_t generation, unsigned int count, unsigned int wake)
{
	memset(end, 0, sizeof(*end));
	end->block = block;
	end->size = size;
	end->generation = generation;
	if (__atomic_load_n(&block[count + 1], __ATOMIC_ACQUIRE) == generation) {
		end->mine = __atomic_load_n(&block[count], __ATOMIC_RELAXED);
		end->corrupt = end->mine % 8 != 0;
		return;
	}
	__atomic_store_n(&block[count], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&block[wake], UINT32_MAX, __ATOMIC_RELAXED);
	__atomic_store_n(&block[count + 1], generation, __ATOMIC_RELEASE);
}

/* The other end's count at @count; 0 until it has come in this generation. */
static inline uint32_t ivshmem_channel_look(struct ivshmem_channel_end *end, unsigned int count)
{
	if (!end->met) {
		if (__atomic_load_n(&end->block[count + 1], __ATOMIC_ACQUIRE) != end->generation)
			return 0;
		end->met = true;
	}
	return __atomic_load_n(&end->block[count], __ATOMIC_ACQUIRE);
}

/* Becomes the sender: goes on where the last one was, or begins. */
static inline void ivshmem_channel_sender(struct ivshmem_channel_end *end, uint32_t *block, uint32_t size,
					  uint32_t generation)
{
	ivshmem_channel_attach(end, block, size, generation, IVSHMEM_CHANNEL_TAIL, IVSHMEM_CHANNEL_SPACE_WAKE);
	end->theirs = end->mine - size;
}

/* Becomes the receiver: goes on after the last message that was released, or begins. */
static inline void ivshmem_channel_receiver(struct ivshmem_channel_end *end, uint32_t *block, uint32_t size,
					    uint32_t generation)
{
	ivshmem_channel_attach(end, block, size, generation, IVSHMEM_CHANNEL_HEAD, IVSHMEM_CHANNEL_DATA_WAKE);
	end->theirs = end->mine;
}

static inline int ivshmem_channel_broken(struct ivshmem_channel_end *end)
{
	end->corrupt = true;
	return IVSHMEM_CHANNEL_CORRUPT;
}

static inline void ivshmem_channel_put(const struct ivshmem_channel_end *end, uint32_t count, uint32_t len)
{
	uint32_t words[2] = { len, count ^ end->generation };

	memcpy(ivshmem_channel_data(end, count), words, sizeof(words));
}

/**
 * ivshmem_channel_send - sends a message
 * @end: the sender
 * @message: its bytes
 * @len: their number, at most half of the ring less 8
 *
 * Returns 1 if the receiver has to be rung, 0 if not, or IVSHMEM_CHANNEL_EMPTY if there is no room now,
 * _CORRUPT, _TOO_LONG.
 */
static inline int ivshmem_channel_send(struct ivshmem_channel_end *end, const void *message, uint32_t len)
{
	uint32_t start = end->mine, rest = end->size - (start & (end->size - 1)), record, need, head, next;

	if (end->corrupt)
		return IVSHMEM_CHANNEL_CORRUPT;
	if (len > end->size / 2 - 8)
		return IVSHMEM_CHANNEL_TOO_LONG;
	record = ivshmem_channel_record(len);
	need = rest < record ? rest + record : record;
	head = ivshmem_channel_look(end, IVSHMEM_CHANNEL_HEAD);
	if (start - head > start - end->theirs || head % 8)
		return ivshmem_channel_broken(end);
	end->theirs = head;
	if (end->size - (start - head) < need)
		return IVSHMEM_CHANNEL_EMPTY;
	if (rest < record) {
		ivshmem_channel_put(end, start, IVSHMEM_CHANNEL_PADDING);
		start += rest;
	}
	ivshmem_channel_put(end, start, len);
	memcpy(ivshmem_channel_data(end, start) + 8, message, len);
	next = start + record;
	__atomic_store_n(&end->block[IVSHMEM_CHANNEL_TAIL], next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	start = end->mine;
	end->mine = next;
	return ivshmem_channel_passed(__atomic_load_n(&end->block[IVSHMEM_CHANNEL_DATA_WAKE], __ATOMIC_RELAXED),
				      start, next);
}

/**
 * ivshmem_channel_wake - in a lane of a ring with several senders: what to do before ringing
 * @doze: the first word of the ring's block, which all its senders and the receiver share
 *
 * Call it when ivshmem_channel_send() returned 1, then ring.
 */
static inline void ivshmem_channel_wake(uint32_t *doze)
{
	__atomic_store_n(doze, 0, __ATOMIC_RELEASE);
}

/* The length of the record at @count, or IVSHMEM_CHANNEL_PADDING; false if there is none. */
static inline bool ivshmem_channel_get(const struct ivshmem_channel_end *end, uint32_t count, uint32_t *len)
{
	const uint32_t *words = (const uint32_t *)ivshmem_channel_data(end, count);

	*len = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
	return __atomic_load_n(&words[1], __ATOMIC_RELAXED) == (count ^ end->generation);
}

/**
 * ivshmem_channel_receive - takes a message and releases its room
 * @end: the receiver
 * @buffer: where to copy it
 * @room: bytes there; a message that is longer stays
 * @ring: set to whether the sender has to be rung
 *
 * Returns the length of the message, or IVSHMEM_CHANNEL_EMPTY if none has arrived, _CORRUPT, _TOO_LONG.
 */
static inline int32_t ivshmem_channel_receive(struct ivshmem_channel_end *end, void *buffer, uint32_t room,
					      bool *ring)
{
	uint32_t start = end->mine, rest = end->size - (start & (end->size - 1)), tail, used, len, next;

	if (end->corrupt)
		return IVSHMEM_CHANNEL_CORRUPT;
	tail = ivshmem_channel_look(end, IVSHMEM_CHANNEL_TAIL);
	if (!end->met)
		return IVSHMEM_CHANNEL_EMPTY;
	used = tail - start;
	if (used > end->size || used < end->theirs - start || tail % 8)
		return ivshmem_channel_broken(end);
	end->theirs = tail;
	if (used == 0)
		return IVSHMEM_CHANNEL_EMPTY;
	if (!ivshmem_channel_get(end, start, &len))
		return ivshmem_channel_broken(end);
	if (len == IVSHMEM_CHANNEL_PADDING) {
		/* Padding comes with a record after it, and not at the start of the data. */
		if (rest == end->size || used <= rest || !ivshmem_channel_get(end, start + rest, &len))
			return ivshmem_channel_broken(end);
		start += rest;
		used -= rest;
		rest = end->size;
	}
	if (len > end->size / 2 - 8 || ivshmem_channel_record(len) > rest || ivshmem_channel_record(len) > used)
		return ivshmem_channel_broken(end);
	if (len > room)
		return IVSHMEM_CHANNEL_TOO_LONG;
	memcpy(buffer, ivshmem_channel_data(end, start) + 8, len);
	next = start + ivshmem_channel_record(len);
	__atomic_store_n(&end->block[IVSHMEM_CHANNEL_HEAD], next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*ring = ivshmem_channel_passed(__atomic_load_n(&end->block[IVSHMEM_CHANNEL_SPACE_WAKE], __ATOMIC_RELAXED),
				       end->mine, next);
	end->mine = next;
	return (int32_t)len;
}

#ifdef __cplusplus
}
#endif

#endif /* IVSHMEM_CHANNEL_H */
