/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Both ends of the ring buffers of a channel, with one sender or several, for C and C++: header-only, no system calls, no
 * allocation. The layout and the rules are in Documentation/channel.rst. Joining a
 * slot, heartbeats and doorbells are the program's.
 *
 * For GCC and Clang, on machines of either byte order that replace words of 64 bits in one step, and whose mapping of
 * the memory is write-back (on x86 also uncached, but not write-combining, which takes other barriers).
 */
#ifndef IVSHMEM_CHANNEL_H
#define IVSHMEM_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Numbers of the layout -------------------------------------------------------------------- */

#define IVSHMEM_CHANNEL_CONTROL		256u	/* bytes of control words before a ring buffer's data */
#define IVSHMEM_CHANNEL_QUARANTINES	8u	/* places of a ring buffer that are left out */

/* How often to try to replace a word that others replace too: who keeps to the rules does so a few times at most. */
#define IVSHMEM_CHANNEL_TRIES		1000u

/* Byte offsets in a ring buffer's block. */
#define IVSHMEM_CHANNEL_ORIGIN		0u
#define IVSHMEM_CHANNEL_REACH		8u
#define IVSHMEM_CHANNEL_SPACE_WAKE	16u
#define IVSHMEM_CHANNEL_QUARANTINE	64u
#define IVSHMEM_CHANNEL_HEAD_GENERATION	128u
#define IVSHMEM_CHANNEL_HEAD		136u
#define IVSHMEM_CHANNEL_DATA_WAKE	192u

/* Byte offsets in what the lanes of a ring buffer share. */
#define IVSHMEM_CHANNEL_DOZE		0u
#define IVSHMEM_CHANNEL_READY		8u

/* What the functions return beside numbers that are not negative. */
#define IVSHMEM_CHANNEL_EMPTY	 (-1)	/* no message has arrived, or there is no room: not an error */
#define IVSHMEM_CHANNEL_CORRUPT	 (-2)	/* somebody wrote what nobody may write: recreate the channel */
#define IVSHMEM_CHANNEL_TOO_LONG (-3)	/* the message can never fit, or the buffer is too small */
#define IVSHMEM_CHANNEL_REPLACED (-4)	/* another program has taken this end over: stop */

/* --- Words ------------------------------------------------------------------------------------ */

typedef uint32_t __attribute__((__may_alias__)) ivshmem_channel_word;
typedef uint64_t __attribute__((__may_alias__)) ivshmem_channel_long;

/* Between the layout's byte order, which is little-endian, and the machine's. */
static inline uint32_t ivshmem_channel_le32(uint32_t value)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap32(value);
#else
	return value;
#endif
}

static inline uint64_t ivshmem_channel_le64(uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(value);
#else
	return value;
#endif
}

static inline uint32_t ivshmem_channel_load32(const unsigned char *at)
{
	return ivshmem_channel_le32(__atomic_load_n((const ivshmem_channel_word *)at, __ATOMIC_ACQUIRE));
}

static inline void ivshmem_channel_store32(unsigned char *at, uint32_t value)
{
	__atomic_store_n((ivshmem_channel_word *)at, ivshmem_channel_le32(value), __ATOMIC_RELEASE);
}

static inline uint64_t ivshmem_channel_load64(const unsigned char *at)
{
	return ivshmem_channel_le64(__atomic_load_n((const ivshmem_channel_long *)at, __ATOMIC_ACQUIRE));
}

static inline void ivshmem_channel_store64(unsigned char *at, uint64_t value)
{
	__atomic_store_n((ivshmem_channel_long *)at, ivshmem_channel_le64(value), __ATOMIC_RELEASE);
}

/* Replaces a word if it is @old. */
static inline bool ivshmem_channel_swap32(unsigned char *at, uint32_t old, uint32_t value)
{
	old = ivshmem_channel_le32(old);
	return __atomic_compare_exchange_n((ivshmem_channel_word *)at, &old, ivshmem_channel_le32(value), false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline bool ivshmem_channel_swap64(unsigned char *at, uint64_t old, uint64_t value)
{
	old = ivshmem_channel_le64(old);
	return __atomic_compare_exchange_n((ivshmem_channel_long *)at, &old, ivshmem_channel_le64(value), false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t ivshmem_channel_pair(uint32_t low, uint32_t high)
{
	return low | (uint64_t)high << 32;
}

/* A full barrier right after a word was replaced: on x86 that is one already. */
static inline void ivshmem_channel_fence(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* --- Ends ------------------------------------------------------------------------------------- */

/**
 * struct ivshmem_channel_end - one end of a ring buffer, in private memory
 * @block: the ring buffer's block in the shared memory
 * @shared: of a lane: what the ring buffer's lanes share; NULL otherwise
 * @size: bytes of data
 * @counts: counts begin again at this
 * @generation: the channel's
 * @lane: the lane's number
 * @next: count at which the next record begins
 * @first: the sender's: count of the first record that was not published; the receiver's: what it has released
 * @told: the sender's: the receiver was told of messages up to this count
 * @theirs: the sender's: what the receiver has released, as it was believed last
 * @reach: the sender's: up to this count it may write
 * @epoch: what shows that this end was not taken over
 * @header: the sender's: header of @first, which publishes it
 * @places: the sender's: places that are left out, and how many bytes
 * @longest: the sender's: bytes of the longest message
 * @held: bytes of the message that is reserved or borrowed, and 1 more; 0: none is
 * @met: the other end has come in this generation
 * @failed: 0, or what all calls return from now on
 */
struct ivshmem_channel_end {
	unsigned char *block;
	unsigned char *shared;
	uint32_t size, counts, generation, lane;
	uint32_t next, first, told, theirs, reach, epoch;
	uint64_t header;
	struct {
		uint32_t at, len;
	} places[IVSHMEM_CHANNEL_QUARANTINES];
	uint32_t longest, held;
	bool met;
	int failed;
};

static inline int ivshmem_channel_fail(struct ivshmem_channel_end *end, int reason)
{
	end->failed = reason;
	return reason;
}

static inline uint32_t ivshmem_channel_add(const struct ivshmem_channel_end *end, uint32_t count, uint32_t bytes)
{
	uint32_t left = end->counts - count;

	return bytes < left ? count + bytes : bytes - left;
}

/* How far it is from @from forward to @to. */
static inline uint32_t ivshmem_channel_distance(const struct ivshmem_channel_end *end, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : end->counts - from + to;
}

/* Whether a count that went from @from to @to passed @wake. */
static inline bool ivshmem_channel_passed(const struct ivshmem_channel_end *end, uint32_t wake, uint32_t from,
					  uint32_t to)
{
	return wake < end->counts &&
	       ivshmem_channel_distance(end, wake, to) - 1 < ivshmem_channel_distance(end, from, to);
}

static inline bool ivshmem_channel_is_count(const struct ivshmem_channel_end *end, uint32_t count)
{
	return count < end->counts && count % 8 == 0;
}

static inline unsigned char *ivshmem_channel_at(const struct ivshmem_channel_end *end, uint32_t count)
{
	return end->block + IVSHMEM_CHANNEL_CONTROL + count % end->size;
}

/**
 * struct ivshmem_channel_span - bytes of a message in the shared memory
 * @at: where; NULL if there are none
 * @len: how many
 *
 * A message that goes over the end of the ring's data has two of them, and any other message one.
 */
struct ivshmem_channel_span {
	unsigned char *at;
	uint32_t len;
};

/* The @len bytes of data from @count on. */
static inline void ivshmem_channel_spans(const struct ivshmem_channel_end *end, uint32_t count, uint32_t len,
					 struct ivshmem_channel_span *spans)
{
	uint32_t first = end->size - count % end->size;

	if (first > len)
		first = len;
	spans[0].at = first ? ivshmem_channel_at(end, count) : NULL;
	spans[0].len = first;
	spans[1].at = len > first ? end->block + IVSHMEM_CHANNEL_CONTROL : NULL;
	spans[1].len = len - first;
}

/* Bytes of the record of a message of @len bytes. */
static inline uint32_t ivshmem_channel_record(uint32_t len)
{
	return 8 + ((len + 7) & ~7u);
}

/* The word by which this end shows that it was not taken over. */
static inline uint64_t ivshmem_channel_own(const struct ivshmem_channel_end *end, bool sender)
{
	return ivshmem_channel_pair(sender ? end->reach : end->first, end->epoch);
}

/**
 * struct ivshmem_channel_slot - the slot that the program has joined
 * @owner: its first word of 64 bits in the shared memory, which says whose it is
 * @incarnation: the program's
 */
struct ivshmem_channel_slot {
	const void *owner;
	uint32_t incarnation;
};

/* Whether the slot is this program's; always if there is none. */
static inline bool ivshmem_channel_has_slot(const struct ivshmem_channel_slot *slot, uint32_t generation)
{
	uint64_t mine;

	if (!slot)
		return true;
	mine = ivshmem_channel_pair(generation, slot->incarnation);
	return ivshmem_channel_load64((const unsigned char *)slot->owner) == mine;
}

/*
 * Takes an end over; whoever had it before fails from now on. Sets its count. The slot is looked at between the look at the
 * word and the step: who was replaced meanwhile does not take over what its successor has.
 */
static inline int ivshmem_channel_take_over(struct ivshmem_channel_end *end, uint32_t word,
					    const struct ivshmem_channel_slot *slot, uint32_t *count)
{
	uint32_t tries = 0;
	uint64_t old;

	do {
		if (tries++ == IVSHMEM_CHANNEL_TRIES)
			return IVSHMEM_CHANNEL_CORRUPT;
		old = ivshmem_channel_load64(end->block + word);
		if (!ivshmem_channel_has_slot(slot, end->generation))
			return IVSHMEM_CHANNEL_REPLACED;
		end->epoch = (uint32_t)(old >> 32) + 1;
	} while (!ivshmem_channel_swap64(end->block + word, old, ivshmem_channel_pair((uint32_t)old, end->epoch)));
	*count = (uint32_t)old;
	return 0;
}

static inline void ivshmem_channel_init(struct ivshmem_channel_end *end, void *block, uint32_t size,
					uint32_t generation)
{
	memset(end, 0, sizeof(*end));
	end->block = (unsigned char *)block;
	end->size = size;
	end->counts = UINT32_MAX - UINT32_MAX % size;
	end->longest = size - 24;
	end->generation = generation;
}

/* Bytes of the record with this header at @count; 0 if there can be none. @message: whether it has a message. */
static inline uint32_t ivshmem_channel_parse(const struct ivshmem_channel_end *end, uint64_t header, uint32_t count,
					     bool *message)
{
	uint32_t low = (uint32_t)header, len = low >> 2;

	if ((uint32_t)(header >> 32) != (count ^ end->generation))
		return 0;
	*message = (low & 3) == 1;
	if (*message)
		return len <= end->size - 24 ? ivshmem_channel_record(len) : 0;
	return (low & 3) == 2 && len < end->size && len % 8 == 0 ? len : 0;
}

/* --- The sender ------------------------------------------------------------------------------- */

static inline uint64_t ivshmem_channel_header(const struct ivshmem_channel_end *end, uint32_t count, uint32_t low)
{
	return ivshmem_channel_pair(low, count ^ end->generation);
}

/* Whether this sender was not taken over yet. */
static inline bool ivshmem_channel_is_ours(const struct ivshmem_channel_end *end)
{
	return ivshmem_channel_load64(end->block + IVSHMEM_CHANNEL_REACH) == ivshmem_channel_own(end, true);
}

/* Sets a word that a successor may be setting too: only if this end was not taken over. */
static inline bool ivshmem_channel_set(struct ivshmem_channel_end *end, unsigned char *at, uint64_t value)
{
	uint32_t tries = 0;
	uint64_t old;

	do {
		old = ivshmem_channel_load64(at);
		if (!ivshmem_channel_is_ours(end) || tries++ == IVSHMEM_CHANNEL_TRIES)
			return false;
	} while (!ivshmem_channel_swap64(at, old, value));
	return true;
}

/* Why a word could not be set: this end was taken over, or somebody replaces the word again and again. */
static inline int ivshmem_channel_unset(const struct ivshmem_channel_end *end)
{
	return ivshmem_channel_is_ours(end) ? IVSHMEM_CHANNEL_CORRUPT : IVSHMEM_CHANNEL_REPLACED;
}

static inline bool ivshmem_channel_raise_to(struct ivshmem_channel_end *end, uint32_t reach)
{
	if (!ivshmem_channel_swap64(end->block + IVSHMEM_CHANNEL_REACH, ivshmem_channel_own(end, true),
				    ivshmem_channel_pair(reach, end->epoch)))
		return false;
	end->reach = reach;
	return true;
}

/* Looks what the receiver has released. */
static inline bool ivshmem_channel_look(struct ivshmem_channel_end *end)
{
	uint32_t head = 0;

	if (!end->met)
		end->met = ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_HEAD_GENERATION) == end->generation;
	if (end->met)
		head = (uint32_t)ivshmem_channel_load64(end->block + IVSHMEM_CHANNEL_HEAD);
	if (!ivshmem_channel_is_count(end, head) ||
	    ivshmem_channel_distance(end, head, end->next) > ivshmem_channel_distance(end, end->theirs, end->next))
		return false;
	end->theirs = head;
	return true;
}

/* Bytes forward from place @from of the data to place @to. */
static inline uint32_t ivshmem_channel_forward(const struct ivshmem_channel_end *end, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : end->size - from + to;
}

/* Whether all of @len bytes from place @at are among the @outer_len ones from place @outer. */
static inline bool ivshmem_channel_covers(const struct ivshmem_channel_end *end, uint32_t outer, uint32_t outer_len,
					  uint32_t at, uint32_t len)
{
	uint32_t ahead = ivshmem_channel_forward(end, outer, at);

	return ahead <= outer_len && len <= outer_len - ahead;
}

/* Bytes from @at, which is not left out, to the next place that is, and how many are left out there. */
static inline uint32_t ivshmem_channel_ahead(const struct ivshmem_channel_end *end, uint32_t at, uint32_t *out)
{
	uint32_t least = end->size, ahead, i;

	*out = 0;
	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		if (!end->places[i].len)
			continue;
		ahead = ivshmem_channel_forward(end, at, end->places[i].at);
		if (ahead < least) {
			least = ahead;
			*out = end->places[i].len;
		}
	}
	return least;
}

/*
 * Where places are left out, the longest message is half of the longest stretch between them: to get around a place takes a
 * record of its own, and both have to fit into an empty ring.
 */
static inline void ivshmem_channel_limit(struct ivshmem_channel_end *end)
{
	uint32_t run = 0, at, ahead, out, i, j;
	bool any = false;

	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		if (!end->places[i].len)
			continue;
		any = true;
		at = (end->places[i].at + end->places[i].len) % end->size;
		for (j = 0; j < IVSHMEM_CHANNEL_QUARANTINES; j++)
			if (ivshmem_channel_forward(end, end->places[j].at, at) < end->places[j].len)
				break;
		ahead = j < IVSHMEM_CHANNEL_QUARANTINES ? 0 : ivshmem_channel_ahead(end, at, &out);
		if (ahead > run)
			run = ahead;
	}
	if (any)
		end->longest = run / 2 > 24 ? run / 2 - 24 : 0;
}

/*
 * The word of @len bytes from place @at of the data, which are left out; 0 bytes: none. Words are of one generation: one that
 * stood there in an earlier one does not come again, so that who still replaces it is too late.
 */
static inline uint64_t ivshmem_channel_place(const struct ivshmem_channel_end *end, uint32_t at, uint32_t len)
{
	return ivshmem_channel_pair(at ^ end->generation, len ^ end->generation);
}

static inline unsigned char *ivshmem_channel_place_at(const struct ivshmem_channel_end *end, uint32_t i)
{
	return end->block + IVSHMEM_CHANNEL_QUARANTINE + 8 * i;
}

/* Leaves out what a predecessor may still write to, from @count up to the reach. */
static inline int ivshmem_channel_leave_out(struct ivshmem_channel_end *end, uint32_t count)
{
	uint32_t at = count % end->size, len = ivshmem_channel_distance(end, count, end->reach), i;
	uint32_t word = IVSHMEM_CHANNEL_QUARANTINES;

	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		if (!end->places[i].len) {
			if (word == IVSHMEM_CHANNEL_QUARANTINES)
				word = i;
			continue;
		}
		if (ivshmem_channel_covers(end, end->places[i].at, end->places[i].len, at, len))
			return 0;
	}
	/* What it covers is one place with it. */
	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		if (end->places[i].len &&
		    ivshmem_channel_covers(end, at, len, end->places[i].at, end->places[i].len)) {
			end->places[i].len = 0;
			word = i;
		}
	}
	if (word == IVSHMEM_CHANNEL_QUARANTINES)
		return IVSHMEM_CHANNEL_CORRUPT;
	if (!ivshmem_channel_set(end, ivshmem_channel_place_at(end, word), ivshmem_channel_place(end, at, len)))
		return ivshmem_channel_unset(end);
	end->places[word].at = at;
	end->places[word].len = len;
	return 0;
}

/* Finds the end of what was published, and a place after it that nobody else writes to. */
static inline int ivshmem_channel_go_on(struct ivshmem_channel_end *end, bool may_run)
{
	uint32_t count, bytes, i, tries = 0;
	uint64_t header;
	bool message;
	int error;

	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		header = ivshmem_channel_load64(ivshmem_channel_place_at(end, i));
		end->places[i].at = (uint32_t)header ^ end->generation;
		end->places[i].len = (uint32_t)(header >> 32) ^ end->generation;
		if (end->places[i].len && (end->places[i].at >= end->size || end->places[i].len >= end->size ||
					   (end->places[i].at | end->places[i].len) % 8))
			return IVSHMEM_CHANNEL_CORRUPT;
	}
	end->met = ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_HEAD_GENERATION) == end->generation;
	count = end->met ? (uint32_t)ivshmem_channel_load64(end->block + IVSHMEM_CHANNEL_HEAD) : 0;
	if (!ivshmem_channel_is_count(end, count))
		return IVSHMEM_CHANNEL_CORRUPT;
	end->theirs = end->told = count;
again:
	while ((header = ivshmem_channel_load64(ivshmem_channel_at(end, count))) != 0) {
		bytes = ivshmem_channel_parse(end, header, count, &message);
		if (!bytes || ivshmem_channel_distance(end, end->theirs, count) + bytes > end->size - 8)
			return IVSHMEM_CHANNEL_CORRUPT;
		count = ivshmem_channel_add(end, count, bytes);
	}
	end->first = end->next = count;
	ivshmem_channel_limit(end);
	if (!may_run)
		return ivshmem_channel_raise_to(end, count) ? 0 : IVSHMEM_CHANNEL_REPLACED;
	bytes = ivshmem_channel_distance(end, count, end->reach);
	if (!bytes)
		return 0;
	if (!ivshmem_channel_is_count(end, end->reach) ||
	    bytes > end->size - 8 - ivshmem_channel_distance(end, end->theirs, count))
		return IVSHMEM_CHANNEL_CORRUPT;
	error = ivshmem_channel_leave_out(end, count);
	if (error)
		return error;
	if (!ivshmem_channel_set(end, ivshmem_channel_at(end, end->reach), 0))
		return ivshmem_channel_unset(end);
	if (!ivshmem_channel_swap64(ivshmem_channel_at(end, count), 0,
				    ivshmem_channel_header(end, count, bytes << 2 | 2))) {
		if (tries++ == IVSHMEM_CHANNEL_TRIES)
			return IVSHMEM_CHANNEL_CORRUPT;
		goto again;
	}
	end->first = end->next = end->reach;
	ivshmem_channel_limit(end);
	return 0;
}

/*
 * Forgets the places of another generation. Whom we replace may have come as far, and clear the first header at any time if
 * that is as it was seen. So a record begins there each time, whose header is not like any of before: what is left out is in
 * front of it.
 */
static inline bool ivshmem_channel_begin(struct ivshmem_channel_end *end, bool may_run)
{
	uint64_t last = ivshmem_channel_load64(ivshmem_channel_place_at(end, IVSHMEM_CHANNEL_QUARANTINES - 1)), word;
	uint32_t i;

	if (may_run && last == ivshmem_channel_place(end, 0, 0)) {
		end->places[0].at = end->size - 8;
		end->places[0].len = 8;
		ivshmem_channel_limit(end);
	}
	for (i = 0; i < IVSHMEM_CHANNEL_QUARANTINES; i++) {
		word = ivshmem_channel_place(end, end->places[i].at, end->places[i].len);
		if (ivshmem_channel_load64(ivshmem_channel_place_at(end, i)) != word &&
		    !ivshmem_channel_set(end, ivshmem_channel_place_at(end, i), word))
			return false;
	}
	return true;
}

/**
 * ivshmem_channel_sender - becomes the sender: goes on where the last one was, or begins
 * @end: filled
 * @block: the ring buffer's block, or the lane's
 * @size: bytes of data, from the table of ring buffers, checked by the caller: a multiple of 64, up to 2^30
 * @generation: the channel's
 * @slot: the sender's slot, which the program has joined; NULL if nobody ever takes it from this program
 * @may_run: whether the program that was the sender before may still run, and not know that it was replaced; it is then
 *	left alone with what it may still write to
 *
 * For a lane, set @end->shared and @end->lane afterwards.
 *
 * Returns 0, or IVSHMEM_CHANNEL_CORRUPT, _REPLACED.
 */
static inline int ivshmem_channel_sender(struct ivshmem_channel_end *end, void *block, uint32_t size,
					 uint32_t generation, const struct ivshmem_channel_slot *slot, bool may_run)
{
	uint32_t before;
	int error;

	ivshmem_channel_init(end, block, size, generation);
	error = ivshmem_channel_take_over(end, IVSHMEM_CHANNEL_REACH, slot, &end->reach);
	if (error)
		return ivshmem_channel_fail(end, error);
	before = ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_ORIGIN);
	if (before == generation) {
		error = ivshmem_channel_go_on(end, may_run);
		return error ? ivshmem_channel_fail(end, error) : 0;
	}
	if (!ivshmem_channel_raise_to(end, 0))
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	if (!ivshmem_channel_begin(end, may_run) || !ivshmem_channel_set(end, ivshmem_channel_at(end, 0), 0))
		return ivshmem_channel_fail(end, ivshmem_channel_unset(end));
	ivshmem_channel_store32(end->block + IVSHMEM_CHANNEL_SPACE_WAKE, UINT32_MAX);
	if (!ivshmem_channel_swap32(end->block + IVSHMEM_CHANNEL_ORIGIN, before, generation) &&
	    ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_ORIGIN) != generation)
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	return 0;
}

/* Bytes to leave out before a record of @record bytes; as many as the ring has, or more, if it can never fit. */
static inline uint32_t ivshmem_channel_gap(const struct ivshmem_channel_end *end, uint32_t record)
{
	uint32_t at = end->next % end->size, gap = 0, ahead, out;

	while (gap < end->size) {
		ahead = ivshmem_channel_ahead(end, at, &out);
		if (record + 16 <= ahead)
			break;
		gap += ahead + out;
		at = (at + ahead + out) % end->size;
	}
	return gap;
}

static inline bool ivshmem_channel_has_room(struct ivshmem_channel_end *end, uint32_t bytes)
{
	if (end->size - ivshmem_channel_distance(end, end->theirs, end->next) >= bytes + 16)
		return true;
	if (!ivshmem_channel_look(end)) {
		end->failed = IVSHMEM_CHANNEL_CORRUPT;
		return false;
	}
	return end->size - ivshmem_channel_distance(end, end->theirs, end->next) >= bytes + 16;
}

/* Says that a record of @bytes and an empty header may be written to, and some more. */
static inline bool ivshmem_channel_raise(struct ivshmem_channel_end *end, uint32_t bytes)
{
	uint32_t last, room, more, ahead, out;

	if (bytes + 8 <= ivshmem_channel_distance(end, end->next, end->reach))
		return true;
	last = ivshmem_channel_add(end, end->next, bytes);
	room = end->size - ivshmem_channel_distance(end, end->theirs, last);
	ahead = ivshmem_channel_ahead(end, last % end->size, &out);
	more = (end->size / 8 + 7) & ~7u;
	if (more > room - 8)
		more = room - 8;
	if (more > ahead - 8)
		more = ahead - 8;
	return ivshmem_channel_raise_to(end, ivshmem_channel_add(end, last, more));
}

static inline void ivshmem_channel_append(struct ivshmem_channel_end *end, uint32_t low, uint32_t bytes)
{
	uint64_t header = ivshmem_channel_header(end, end->next, low);

	if (end->next == end->first)
		end->header = header;
	else
		ivshmem_channel_store64(ivshmem_channel_at(end, end->next), header);
	end->next = ivshmem_channel_add(end, end->next, bytes);
}

/* What a message of @len bytes takes: the bytes to leave out before it, and its record. Or an error. */
static inline int ivshmem_channel_need(const struct ivshmem_channel_end *end, uint32_t len, uint32_t *gap,
				       uint32_t *record)
{
	if (end->failed)
		return end->failed;
	if (len > end->longest)
		return IVSHMEM_CHANNEL_TOO_LONG;
	*record = ivshmem_channel_record(len);
	*gap = ivshmem_channel_gap(end, *record);
	return *gap >= end->size || *gap + *record + 16 > end->size ? IVSHMEM_CHANNEL_TOO_LONG : 0;
}

/**
 * ivshmem_channel_reserve - makes room for a message, to write it where it will be
 * @end: the sender
 * @len: bytes of the message, at most; up to @end->longest
 * @spans: two of them, set to where the message has to be written; the second one has no bytes in most cases
 *
 * What is reserved and not committed was never there. The first span begins at a multiple of 8 bytes of the ring.
 *
 * Returns 0, or IVSHMEM_CHANNEL_EMPTY if there is no room now (flush, so that the receiver can make some), _TOO_LONG,
 * _CORRUPT, _REPLACED.
 */
static inline int ivshmem_channel_reserve(struct ivshmem_channel_end *end, uint32_t len,
					  struct ivshmem_channel_span *spans)
{
	uint32_t gap = 0, record = 0;
	int error = ivshmem_channel_need(end, len, &gap, &record);

	end->held = 0;
	if (error)
		return error;
	/* For both at once, so that nothing is queued where this fails. */
	if (!ivshmem_channel_has_room(end, gap + record))
		return end->failed ? end->failed : IVSHMEM_CHANNEL_EMPTY;
	if (!ivshmem_channel_raise(end, gap + record))
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	if (gap)
		ivshmem_channel_append(end, gap << 2 | 2, gap);
	ivshmem_channel_spans(end, ivshmem_channel_add(end, end->next, 8), len, spans);
	end->held = len + 1;
	return 0;
}

/**
 * ivshmem_channel_commit - ends the message that was reserved, which the receiver sees after ivshmem_channel_flush()
 * @end: the sender
 * @len: its bytes, no more than were reserved
 *
 * Returns 0, or IVSHMEM_CHANNEL_TOO_LONG if so much was not reserved.
 */
static inline int ivshmem_channel_commit(struct ivshmem_channel_end *end, uint32_t len)
{
	if (end->failed)
		return end->failed;
	if (len >= end->held)
		return IVSHMEM_CHANNEL_TOO_LONG;
	end->held = 0;
	ivshmem_channel_append(end, len << 2 | 1, ivshmem_channel_record(len));
	return 0;
}

/**
 * ivshmem_channel_queue - writes a message, which the receiver sees after ivshmem_channel_flush()
 * @end: the sender
 * @message: its bytes; may be NULL if there are none
 * @len: their number, at most @end->longest
 *
 * Returns what ivshmem_channel_reserve() does.
 */
static inline int ivshmem_channel_queue(struct ivshmem_channel_end *end, const void *message, uint32_t len)
{
	const unsigned char *from = (const unsigned char *)message;
	struct ivshmem_channel_span spans[2];
	int error = ivshmem_channel_reserve(end, len, spans);

	if (error)
		return error;
	if (spans[0].len)
		memcpy(spans[0].at, from, spans[0].len);
	if (spans[1].len)
		memcpy(spans[1].at, from + spans[0].len, spans[1].len);
	return ivshmem_channel_commit(end, len);
}

/* Tells the receiver of several senders that this lane has messages. Returns whether to ring it. */
static inline int ivshmem_channel_announce(const struct ivshmem_channel_end *end)
{
	unsigned char *at = end->shared + IVSHMEM_CHANNEL_READY;
	uint64_t bit = (uint64_t)1 << end->lane, ready;
	uint32_t tries = 0;

	do {
		ready = ivshmem_channel_load64(at);
		if (ready & bit)
			return 0;
		/* Another sender does not keep to the rules, and is no reason to stay here. */
		if (tries++ == IVSHMEM_CHANNEL_TRIES)
			return 1;
	} while (!ivshmem_channel_swap64(at, ready, ready | bit));
	ivshmem_channel_fence();
	at = end->shared + IVSHMEM_CHANNEL_DOZE;
	return ivshmem_channel_load32(at) == 1 && ivshmem_channel_swap32(at, 1, 0);
}

/**
 * ivshmem_channel_flush - shows the receiver all that was queued
 * @end: the sender
 *
 * Returns 1 if the receiver has to be rung, 0 if not, or IVSHMEM_CHANNEL_CORRUPT, _REPLACED.
 */
static inline int ivshmem_channel_flush(struct ivshmem_channel_end *end)
{
	uint32_t told = end->told;

	if (end->failed)
		return end->failed;
	if (end->first == end->next)
		return 0;
	ivshmem_channel_store64(ivshmem_channel_at(end, end->next), 0);
	if (!ivshmem_channel_swap64(ivshmem_channel_at(end, end->first), 0, end->header))
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	end->first = end->told = end->next;
	ivshmem_channel_fence();
	if (end->shared)
		return ivshmem_channel_announce(end);
	return ivshmem_channel_passed(end, ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_DATA_WAKE), told,
				      end->next);
}

/* Queues a message and flushes; see those two. */
static inline int ivshmem_channel_send(struct ivshmem_channel_end *end, const void *message, uint32_t len)
{
	int error = ivshmem_channel_queue(end, message, len);

	return error ? error : ivshmem_channel_flush(end);
}

/**
 * ivshmem_channel_arm_room - asks to be rung when there is room
 * @end: the sender; nothing may be queued
 * @len: bytes of the message
 * @word: set to the word of 32 bits to sleep on, e.g. by ivshmem_wait_word() with its offset
 * @value: set to the value to sleep on, as a plain load of *@word gives it
 *
 * Returns 1 to sleep while *@word is @value, 0 if there is room by now; or what ivshmem_channel_queue() returns. Sleep no
 * longer than a heartbeat at a time: a doorbell can get lost.
 */
static inline int ivshmem_channel_arm_room(struct ivshmem_channel_end *end, uint32_t len, const void **word,
					   uint32_t *value)
{
	uint32_t gap = 0, record = 0, back;
	int error = ivshmem_channel_need(end, len, &gap, &record);

	if (error)
		return error;
	back = end->size - (gap + record + 16) + 1;
	ivshmem_channel_store32(end->block + IVSHMEM_CHANNEL_SPACE_WAKE,
				end->next >= back ? end->next - back : end->counts - (back - end->next));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ivshmem_channel_has_room(end, gap + record))
		return 0;
	if (end->failed)
		return end->failed;
	*word = end->block + (end->met ? IVSHMEM_CHANNEL_HEAD : IVSHMEM_CHANNEL_HEAD_GENERATION);
	*value = ivshmem_channel_le32(end->met ? end->theirs : ivshmem_channel_load32((const unsigned char *)*word));
	return end->met || *value != ivshmem_channel_le32(end->generation);
}

/* --- The receiver ----------------------------------------------------------------------------- */

/**
 * ivshmem_channel_receiver - becomes the receiver: goes on after the last message that was released, or begins
 * @end: filled
 * @block: the ring buffer's block
 * @size: bytes of data, from the table of ring buffers, checked by the caller: a multiple of 64, up to 2^30
 * @generation: the channel's
 * @slot: the receiver's slot, which the program has joined; NULL if nobody ever takes it from this program
 *
 * Returns 0, or IVSHMEM_CHANNEL_CORRUPT, _REPLACED.
 */
static inline int ivshmem_channel_receiver(struct ivshmem_channel_end *end, void *block, uint32_t size,
					   uint32_t generation, const struct ivshmem_channel_slot *slot)
{
	unsigned char *word;
	uint32_t before;
	int error;

	ivshmem_channel_init(end, block, size, generation);
	error = ivshmem_channel_take_over(end, IVSHMEM_CHANNEL_HEAD, slot, &end->first);
	if (error)
		return ivshmem_channel_fail(end, error);
	word = end->block + IVSHMEM_CHANNEL_HEAD_GENERATION;
	before = ivshmem_channel_load32(word);
	if (before != generation) {
		ivshmem_channel_store32(end->block + IVSHMEM_CHANNEL_DATA_WAKE, UINT32_MAX);
		if (!ivshmem_channel_swap64(end->block + IVSHMEM_CHANNEL_HEAD, ivshmem_channel_own(end, false),
					    ivshmem_channel_pair(0, end->epoch)))
			return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
		end->first = 0;
		if (!ivshmem_channel_swap32(word, before, generation) && ivshmem_channel_load32(word) != generation)
			return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	}
	end->next = end->first;
	return ivshmem_channel_is_count(end, end->next) ? 0 : ivshmem_channel_fail(end, IVSHMEM_CHANNEL_CORRUPT);
}

/**
 * ivshmem_channel_peek - looks for the next message
 * @end: the receiver
 *
 * Returns its length, or IVSHMEM_CHANNEL_EMPTY if none has arrived, _CORRUPT, _REPLACED.
 */
static inline int32_t ivshmem_channel_peek(struct ivshmem_channel_end *end)
{
	uint32_t bytes, skips;
	uint64_t header;
	bool message;

	if (end->failed)
		return end->failed;
	if (!end->met)
		end->met = ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_ORIGIN) == end->generation;
	/* Records that leave places out are few: no sender keeps a receiver busy with them. */
	for (skips = 0; end->met && skips < 16; skips++) {
		header = ivshmem_channel_load64(ivshmem_channel_at(end, end->next));
		if (header == 0)
			break;
		bytes = ivshmem_channel_parse(end, header, end->next, &message);
		if (!bytes || bytes > end->size - 8 - ivshmem_channel_distance(end, end->first, end->next))
			return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_CORRUPT);
		if (message)
			return (int32_t)((uint32_t)header >> 2);
		/* A message that was borrowed is not there any more. */
		end->held = 0;
		end->next = ivshmem_channel_add(end, end->next, bytes);
	}
	return IVSHMEM_CHANNEL_EMPTY;
}

/**
 * ivshmem_channel_borrow - looks for the next message, to read it where it is
 * @end: the receiver
 * @spans: two of them, set to where its bytes are; the second one has none in most cases
 *
 * Until ivshmem_channel_done() it stays the next one, and its sender does not write to it if that keeps to the rules. One
 * that does not can change the bytes at any time: read once what decides. The first span begins at a multiple of 8 bytes
 * of the ring.
 *
 * Returns its length, or what ivshmem_channel_peek() does.
 */
static inline int32_t ivshmem_channel_borrow(struct ivshmem_channel_end *end, struct ivshmem_channel_span *spans)
{
	int32_t len = ivshmem_channel_peek(end);

	end->held = 0;
	if (len < 0)
		return len;
	ivshmem_channel_spans(end, ivshmem_channel_add(end, end->next, 8), (uint32_t)len, spans);
	end->held = (uint32_t)len + 1;
	return len;
}

/**
 * ivshmem_channel_done - goes on after the message that was borrowed, without giving back its room yet
 * @end: the receiver
 *
 * Returns 0, IVSHMEM_CHANNEL_EMPTY if none is borrowed, or IVSHMEM_CHANNEL_REPLACED: then a successor may have given the
 * room back, and what was read was no message.
 */
static inline int ivshmem_channel_done(struct ivshmem_channel_end *end)
{
	uint32_t held = end->held;

	if (end->failed)
		return end->failed;
	if (!held)
		return IVSHMEM_CHANNEL_EMPTY;
	end->held = 0;
	/* What was read before comes before the look. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (ivshmem_channel_load64(end->block + IVSHMEM_CHANNEL_HEAD) != ivshmem_channel_own(end, false))
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	end->next = ivshmem_channel_add(end, end->next, ivshmem_channel_record(held - 1));
	return 0;
}

/**
 * ivshmem_channel_take - takes the next message, without giving back its room yet
 * @end: the receiver
 * @buffer: where to copy it; may be NULL if @room is 0
 * @room: bytes there; a message that is longer stays, and ivshmem_channel_peek() tells its length
 *
 * Returns its length, or IVSHMEM_CHANNEL_EMPTY, _TOO_LONG, _CORRUPT, _REPLACED.
 */
static inline int32_t ivshmem_channel_take(struct ivshmem_channel_end *end, void *buffer, uint32_t room)
{
	unsigned char *to = (unsigned char *)buffer;
	struct ivshmem_channel_span spans[2];
	int32_t len = ivshmem_channel_borrow(end, spans);
	int error;

	if (len < 0)
		return len;
	if ((uint32_t)len > room)
		return IVSHMEM_CHANNEL_TOO_LONG;
	if (spans[0].len)
		memcpy(to, spans[0].at, spans[0].len);
	if (spans[1].len)
		memcpy(to + spans[0].len, spans[1].at, spans[1].len);
	error = ivshmem_channel_done(end);
	return error ? error : len;
}

/**
 * ivshmem_channel_release - gives the sender the room of all messages that were taken
 * @end: the receiver
 *
 * To be called also when none has arrived: a sender may wait for the room of a place that it had to leave out, which is
 * passed over by looking.
 *
 * Returns 1 if the sender has to be rung, 0 if not, or IVSHMEM_CHANNEL_CORRUPT, _REPLACED.
 */
static inline int ivshmem_channel_release(struct ivshmem_channel_end *end)
{
	uint32_t old = end->first;

	if (end->failed)
		return end->failed;
	if (old == end->next)
		return 0;
	if (!ivshmem_channel_swap64(end->block + IVSHMEM_CHANNEL_HEAD, ivshmem_channel_own(end, false),
				    ivshmem_channel_pair(end->next, end->epoch)))
		return ivshmem_channel_fail(end, IVSHMEM_CHANNEL_REPLACED);
	end->first = end->next;
	ivshmem_channel_fence();
	return ivshmem_channel_passed(end, ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_SPACE_WAKE), old,
				      end->next);
}

/**
 * ivshmem_channel_receive - takes a message and releases its room
 * @end: the receiver
 * @buffer: where to copy it
 * @room: bytes there
 * @ring: set to whether the sender has to be rung, which can be so for IVSHMEM_CHANNEL_EMPTY too
 *
 * Returns what ivshmem_channel_take() does.
 */
static inline int32_t ivshmem_channel_receive(struct ivshmem_channel_end *end, void *buffer, uint32_t room,
					      bool *ring)
{
	int32_t len = ivshmem_channel_take(end, buffer, room);
	int wake = len < IVSHMEM_CHANNEL_EMPTY ? 0 : ivshmem_channel_release(end);

	*ring = wake > 0;
	return wake < 0 ? wake : len;
}

/**
 * ivshmem_channel_arm - asks to be rung when there is a message
 * @end: the receiver; everything is released
 * @word: set to the word of 32 bits to sleep on, e.g. by ivshmem_wait_word() with its offset
 * @value: set to the value to sleep on, as a plain load of *@word gives it
 *
 * Returns 1 to sleep while *@word is @value, 0 if it is time to look again; or IVSHMEM_CHANNEL_CORRUPT, _REPLACED. Sleep no
 * longer than a heartbeat at a time: a doorbell can get lost.
 */
static inline int ivshmem_channel_arm(struct ivshmem_channel_end *end, const void **word, uint32_t *value)
{
	uint32_t next = end->next;
	int32_t len;

	ivshmem_channel_store32(end->block + IVSHMEM_CHANNEL_DATA_WAKE, next);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	len = ivshmem_channel_peek(end);
	if (len >= 0 || next != end->next)
		return 0;
	if (len != IVSHMEM_CHANNEL_EMPTY)
		return len;
	*word = end->met ? ivshmem_channel_at(end, next) : end->block + IVSHMEM_CHANNEL_ORIGIN;
	*value = end->met ? 0 : ivshmem_channel_le32(ivshmem_channel_load32(end->block + IVSHMEM_CHANNEL_ORIGIN));
	return end->met || *value != ivshmem_channel_le32(end->generation);
}

/* --- The receiver of several senders ---------------------------------------------------------- */

#define IVSHMEM_CHANNEL_SHARED	128u	/* bytes that the lanes of a ring buffer share, before the first lane */

/**
 * struct ivshmem_channel_multi - the receiving end of a ring buffer with several senders, in private memory
 * @lanes: one receiver for each sender
 * @shared: what the lanes share
 * @count: number of lanes, 1 to 63
 * @turn: index of the lane whose turn it is
 * @since: count at which that began
 * @found: count at which a message was found last in that lane
 * @hot: a bit for each lane that may have messages
 * @untold: a bit for each lane that was found to be corrupt when this became the receiver, and was not reported yet
 * @told: a bit for each lane that was found to be corrupt, and was reported
 * @owed: a bit for each lane without messages whose sender is owed the room of a place that it had to leave out
 */
struct ivshmem_channel_multi {
	struct ivshmem_channel_end *lanes;
	unsigned char *shared;
	uint32_t count, turn, since, found;
	uint64_t hot, untold, told, owed;
};

/* A bit for each lane. */
static inline uint64_t ivshmem_channel_multi_all(const struct ivshmem_channel_multi *multi)
{
	return ((uint64_t)1 << multi->count) - 1;
}

/* Looks at all lanes once more: a sender that dies after it has published has not said that it did. */
static inline void ivshmem_channel_multi_look(struct ivshmem_channel_multi *multi)
{
	multi->hot = ivshmem_channel_multi_all(multi);
}

/**
 * ivshmem_channel_multi_receiver - becomes the receiver of several senders
 * @multi: filled
 * @lanes: room for @count ends, filled and kept in use
 * @count: number of lanes: one less than the channel has slots
 * @block: the ring buffer's block
 * @size: bytes of data of each lane, from the table of ring buffers, checked by the caller
 * @generation: the channel's
 * @slot: as for ivshmem_channel_receiver()
 *
 * Lane n is that of the nth slot that is not the receiver's, from 0. A lane that is corrupt is reported by
 * ivshmem_channel_multi_peek().
 *
 * Returns 0, or IVSHMEM_CHANNEL_REPLACED.
 */
static inline int ivshmem_channel_multi_receiver(struct ivshmem_channel_multi *multi,
						 struct ivshmem_channel_end *lanes, uint32_t count, void *block,
						 uint32_t size, uint32_t generation,
						 const struct ivshmem_channel_slot *slot)
{
	unsigned char *at = (unsigned char *)block;
	uint32_t i;
	int error;

	memset(multi, 0, sizeof(*multi));
	multi->lanes = lanes;
	multi->shared = at;
	multi->count = count;
	at += IVSHMEM_CHANNEL_SHARED;
	for (i = 0; i < count; i++, at += IVSHMEM_CHANNEL_CONTROL + (size_t)size) {
		error = ivshmem_channel_receiver(&lanes[i], at, size, generation, slot);
		/* Whoever takes this end over by the rules has the slot first. If not, it is the lane's sender. */
		if (error == IVSHMEM_CHANNEL_REPLACED && !ivshmem_channel_has_slot(slot, generation))
			return error;
		lanes[i].failed = error;
		multi->untold |= (uint64_t)(error != 0) << i;
	}
	multi->since = multi->found = lanes[0].next;
	ivshmem_channel_multi_look(multi);
	return 0;
}

/* Looks for a message in lane @lane, which is not hot any more if there is none. */
static inline int32_t ivshmem_channel_multi_peek_at(struct ivshmem_channel_multi *multi, uint32_t lane)
{
	struct ivshmem_channel_end *end = &multi->lanes[lane];
	uint64_t bit = (uint64_t)1 << lane;
	/* A lane that has failed, and was reported, is left out. */
	int32_t len = end->failed && !(multi->untold & bit) ? IVSHMEM_CHANNEL_EMPTY : ivshmem_channel_peek(end);

	multi->untold &= ~bit;
	if (end->failed)
		multi->told |= bit;
	if (len < 0)
		multi->hot &= ~bit;
	if (len == IVSHMEM_CHANNEL_EMPTY && !end->failed && end->first != end->next)
		multi->owed |= bit;
	return len;
}

/**
 * ivshmem_channel_multi_peek - looks for the next message of anybody
 * @multi: the receiver
 * @lane: set to the lane that has it
 *
 * Returns its length: take it by ivshmem_channel_take() from @multi->lanes[*@lane]; it is the same until then.
 * IVSHMEM_CHANNEL_EMPTY if none has arrived. IVSHMEM_CHANNEL_CORRUPT or _REPLACED, once for each lane, which is left out then:
 * call again for the others. Once all lanes are, always what the lane failed with whose turn it was.
 */
static inline int32_t ivshmem_channel_multi_peek(struct ivshmem_channel_multi *multi, uint32_t *lane)
{
	unsigned char *at = multi->shared + IVSHMEM_CHANNEL_READY;
	struct ivshmem_channel_end *end = &multi->lanes[multi->turn];
	uint32_t tries = 0, i;
	uint64_t ready;
	int32_t len;

	*lane = multi->turn;
	if (multi->told == ivshmem_channel_multi_all(multi))
		return end->failed;
	/* A turn ends when a quarter of the lane was received, but not before a message that was found is taken. */
	if (multi->hot >> multi->turn & 1 &&
	    (end->next == multi->found ||
	     ivshmem_channel_distance(end, multi->since, end->next) < end->size / 4)) {
		len = ivshmem_channel_multi_peek_at(multi, multi->turn);
		if (len >= 0)
			multi->found = end->next;
		if (len != IVSHMEM_CHANNEL_EMPTY)
			return len;
	}
	do {
		/* As for a sender: look at all lanes then. */
		ready = tries++ < IVSHMEM_CHANNEL_TRIES ? ivshmem_channel_load64(at) : UINT64_MAX;
	} while (tries <= IVSHMEM_CHANNEL_TRIES && ready && !ivshmem_channel_swap64(at, ready, 0));
	if (ready)
		ivshmem_channel_fence();
	multi->hot |= ready & ivshmem_channel_multi_all(multi);
	for (i = 1; i <= multi->count; i++) {
		*lane = (multi->turn + i) % multi->count;
		if (!(multi->hot >> *lane & 1))
			continue;
		len = ivshmem_channel_multi_peek_at(multi, *lane);
		if (len == IVSHMEM_CHANNEL_EMPTY)
			continue;
		if (len >= 0) {
			multi->turn = *lane;
			multi->since = multi->found = multi->lanes[*lane].next;
		}
		return len;
	}
	return IVSHMEM_CHANNEL_EMPTY;
}

/**
 * ivshmem_channel_multi_give_back - gives senders the room of places that they had to leave out
 * @multi: the receiver
 * @lane: set to a lane
 *
 * Needed by programs that use ivshmem_channel_multi_peek(), when that has found nothing: ivshmem_channel_multi_receive()
 * does it.
 *
 * Returns 1 if the sender of @lane has to be rung: call it again after that. 0 if all is given back, or
 * IVSHMEM_CHANNEL_REPLACED.
 */
static inline int ivshmem_channel_multi_give_back(struct ivshmem_channel_multi *multi, uint32_t *lane)
{
	uint32_t i;
	int ring;

	for (i = 0; multi->owed; i++) {
		if (!(multi->owed >> i & 1))
			continue;
		multi->owed &= ~((uint64_t)1 << i);
		*lane = i;
		ring = ivshmem_channel_release(&multi->lanes[i]);
		if (ring)
			return ring;
	}
	return 0;
}

/**
 * ivshmem_channel_multi_receive - takes a message of anybody and releases its room
 * @multi: the receiver
 * @buffer: where to copy it
 * @room: bytes there; a message that is longer stays
 * @lane: set to the lane of its sender
 * @ring: set to whether that sender has to be rung, which can be so for IVSHMEM_CHANNEL_EMPTY too
 *
 * Returns its length, IVSHMEM_CHANNEL_TOO_LONG, or what ivshmem_channel_multi_peek() does.
 */
static inline int32_t ivshmem_channel_multi_receive(struct ivshmem_channel_multi *multi, void *buffer, uint32_t room,
						    uint32_t *lane, bool *ring)
{
	int32_t len = ivshmem_channel_multi_peek(multi, lane);
	int wake;

	*ring = false;
	if (len >= 0)
		return ivshmem_channel_receive(&multi->lanes[*lane], buffer, room, ring);
	if (len != IVSHMEM_CHANNEL_EMPTY)
		return len;
	wake = ivshmem_channel_multi_give_back(multi, lane);
	*ring = wake > 0;
	return wake < 0 ? wake : len;
}

/**
 * ivshmem_channel_multi_arm - asks all senders to ring
 * @multi: the receiver; everything is released
 * @word: set to the word of 32 bits to sleep on, e.g. by ivshmem_wait_word() with its offset
 * @value: set to the value to sleep on, as a plain load of *@word gives it
 *
 * Returns 1 to sleep while *@word is @value, or 0 if it is time to look again. Sleep no longer than a heartbeat at a time,
 * and call ivshmem_channel_multi_look() after a sleep that ended for no reason.
 */
static inline int ivshmem_channel_multi_arm(struct ivshmem_channel_multi *multi, const void **word, uint32_t *value)
{
	unsigned char *doze = multi->shared + IVSHMEM_CHANNEL_DOZE;

	ivshmem_channel_store32(doze, 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* A sender whose bit is not seen here finds that we sleep. */
	if (multi->hot || multi->owed || ivshmem_channel_load64(multi->shared + IVSHMEM_CHANNEL_READY)) {
		ivshmem_channel_store32(doze, 0);
		return 0;
	}
	*word = doze;
	*value = ivshmem_channel_le32(1);
	return 1;
}

#ifdef __cplusplus
}
#endif

#endif /* IVSHMEM_CHANNEL_H */
