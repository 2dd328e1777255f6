// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A slot of a channel for programs without an operating system: what ivshmem_channel.h leaves to the program. Finds the
 * channel that others have made, joins, shows that it lives, leaves, and says whom to ring. Nothing here waits, allocates or
 * calls anything but memcpy() and memset(); time is a counter of milliseconds that the program passes in. Free to copy.
 *
 * Documentation/channel.rst has the layout and the rules. Not for slots that publish topics.
 */
#ifndef MEMBER_H
#define MEMBER_H

#include <ivshmem_channel.h>

/* The most entries of a channel's table: 16 bytes each, in private memory. */
#ifndef MEMBER_RINGS
#define MEMBER_RINGS	16u
#endif

/* Beside the numbers of ivshmem_channel.h: */
#define MEMBER_RESET	(-5)	/* the channel was recreated: find it again */
#define MEMBER_UNKNOWN	(-6)	/* it is of another version, or has more rings than fit here */
#define MEMBER_NONE	(-7)	/* it has no such slot or ring */

#define MEMBER_HEADER	128u	/* bytes of the area's header, and of a slot */
#define MEMBER_ENTRY	16u
#define MEMBER_ALL	UINT32_MAX

enum member_kind { MEMBER_SINGLE = 1, MEMBER_MULTI = 2, MEMBER_TOPIC = 3 };

/* A ring or topic, as the table has it, and where it begins in the area. */
struct member_ring {
	uint32_t kind, from, to, size;
	uint64_t at;
};

struct member {
	unsigned char *area;
	uint32_t generation, slots, heartbeat_ms, lost_ms, count;
	struct member_ring rings[MEMBER_RINGS];
	uint64_t first_slot;
	/* Our slot, and what is said in it. */
	uint32_t slot, incarnation, peer_id, beats, due_ms;
	/* What was seen of the program that has the slot: its owner and heartbeat, since when, and for how long. */
	uint64_t seen_owner;
	uint32_t seen_beat, seen_ms, silent_ms;
};

static inline uint32_t member_word(const unsigned char *bytes, uint32_t at)
{
	uint32_t word;

	memcpy(&word, bytes + at, sizeof(word));
	return ivshmem_channel_le32(word);
}

/* FNV-1a of the bytes of header and table, with the four at @field, the checksum's own, for 0. */
static inline uint32_t member_checksum(uint32_t sum, const unsigned char *bytes, uint32_t len, uint32_t field)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		sum = (sum ^ (i - field < 4 ? 0u : bytes[i])) * 0x01000193u;
	return sum;
}

static inline uint64_t member_round(uint64_t at)
{
	return (at + 127) & ~(uint64_t)127;
}

/* Takes an entry of the table. Returns the bytes of the area that it takes, 0 if it cannot be. */
static inline uint64_t member_take(const struct member *me, struct member_ring *ring, const unsigned char *entry)
{
	uint64_t block;

	ring->kind = member_word(entry, 0);
	ring->from = member_word(entry, 4);
	ring->to = member_word(entry, 8);
	ring->size = member_word(entry, 12);
	if (ring->size == 0 || ring->size % 64 || ring->size > 1u << 30)
		return 0;
	block = IVSHMEM_CHANNEL_CONTROL + (uint64_t)ring->size;
	switch (ring->kind) {
	case MEMBER_SINGLE:
		return ring->from < me->slots && ring->to < me->slots && ring->from != ring->to ? block : 0;
	case MEMBER_MULTI:
		return ring->from == MEMBER_ALL && ring->to < me->slots ?
			       IVSHMEM_CHANNEL_SHARED + (me->slots - 1) * block : 0;
	case MEMBER_TOPIC:
		return ring->from < me->slots && ring->to >= 3 && ring->to <= 64 ?
			       128 + ring->to * (64 + (uint64_t)ring->size) : 0;
	default:
		return 0;
	}
}

/* What was found, unless the channel was recreated meanwhile: whoever does that draws another generation first. */
static inline int member_found(const struct member *me, int what)
{
	/* What was copied comes before this look. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return ivshmem_channel_load32(me->area + 12) == me->generation ? what : IVSHMEM_CHANNEL_EMPTY;
}

/**
 * member_find - finds the channel that begins at @area
 * @me: filled
 * @area: the area, at a multiple of 4096 in memory of @size bytes that are mapped write-back
 * @size: bytes from there on
 *
 * Returns 0, IVSHMEM_CHANNEL_EMPTY if there is none yet, IVSHMEM_CHANNEL_CORRUPT, or MEMBER_UNKNOWN.
 */
static inline int member_find(struct member *me, void *area, uint64_t size)
{
	static const unsigned char magic[8] = { 'I', 'V', 'S', 'H', 'C', 'H', 'A', 'N' };
	unsigned char header[MEMBER_HEADER], entry[MEMBER_ENTRY];
	uint32_t sum, features, i;
	uint64_t at, bytes;

	memset(me, 0, sizeof(*me));
	me->area = (unsigned char *)area;
	if (size < MEMBER_HEADER)
		return IVSHMEM_CHANNEL_EMPTY;
	me->generation = ivshmem_channel_load32(me->area + 12);
	/* Everything is checked in a copy, and used from there. */
	memcpy(header, me->area, sizeof(header));
	for (i = 0; i < sizeof(magic); i++)
		if (header[i] != magic[i])
			return IVSHMEM_CHANNEL_EMPTY;
	if (!me->generation || member_word(header, 12) != me->generation)
		return IVSHMEM_CHANNEL_EMPTY;
	me->slots = member_word(header, 32);
	me->count = member_word(header, 36);
	me->heartbeat_ms = member_word(header, 40);
	me->lost_ms = member_word(header, 44);
	features = member_word(header, 16);
	if (member_word(header, 8) != 1 || features & ~3u || me->count > MEMBER_RINGS)
		return member_found(me, MEMBER_UNKNOWN);
	if (me->slots < 2 || me->slots > 64 || me->count == 0 || me->heartbeat_ms < 10 || me->heartbeat_ms > 60000 ||
	    me->lost_ms < 2 * me->heartbeat_ms || me->lost_ms > 3600000 || size < MEMBER_HEADER + me->count * MEMBER_ENTRY)
		return member_found(me, IVSHMEM_CHANNEL_CORRUPT);
	sum = member_checksum(0x811c9dc5u, header, sizeof(header), 48);
	me->first_slot = member_round(MEMBER_HEADER + me->count * MEMBER_ENTRY);
	at = me->first_slot + me->slots * MEMBER_HEADER;
	for (i = 0; i < me->count; i++) {
		memcpy(entry, me->area + MEMBER_HEADER + i * MEMBER_ENTRY, sizeof(entry));
		sum = member_checksum(sum, entry, sizeof(entry), sizeof(entry));
		me->rings[i].at = at;
		bytes = member_take(me, &me->rings[i], entry);
		if (!bytes)
			return member_found(me, IVSHMEM_CHANNEL_CORRUPT);
		at += bytes;
	}
	if (sum != member_word(header, 48) || at > size ||
	    at != (member_word(header, 24) | (uint64_t)member_word(header, 28) << 32))
		return member_found(me, IVSHMEM_CHANNEL_CORRUPT);
	return member_found(me, 0);
}

static inline unsigned char *member_slot(const struct member *me, uint32_t slot)
{
	return me->area + me->first_slot + slot * MEMBER_HEADER;
}

static inline uint64_t member_owner(const struct member *me)
{
	return ivshmem_channel_pair(me->generation, me->incarnation);
}

/* The block of the ring between two slots; NULL if there is none. @lane: of a ring with several senders, that of @from. */
static inline unsigned char *member_block(const struct member *me, uint32_t from, uint32_t to,
					  const struct member_ring **ring, uint32_t *lane)
{
	const struct member_ring *it;
	uint32_t i;

	for (i = 0; i < me->count; i++) {
		it = &me->rings[i];
		if (it->kind == MEMBER_TOPIC || it->to != to || from == to)
			continue;
		*ring = it;
		if (it->kind == MEMBER_SINGLE && it->from == from)
			return me->area + it->at;
		*lane = from - (from > to);
		if (it->kind == MEMBER_MULTI && from < me->slots)
			return me->area + it->at + IVSHMEM_CHANNEL_SHARED +
			       *lane * (IVSHMEM_CHANNEL_CONTROL + (uint64_t)it->size);
	}
	return NULL;
}

static inline int member_become_sender(const struct member *me, uint32_t to, struct ivshmem_channel_end *end,
				       bool may_run)
{
	const struct member_ring *ring = NULL;
	struct ivshmem_channel_slot slot;
	uint32_t lane = 0;
	unsigned char *block = member_block(me, me->slot, to, &ring, &lane);
	int error;

	if (!block)
		return MEMBER_NONE;
	slot.owner = member_slot(me, me->slot);
	slot.incarnation = me->incarnation;
	error = ivshmem_channel_sender(end, block, ring->size, me->generation, &slot, may_run);
	if (ring->kind == MEMBER_MULTI) {
		end->shared = me->area + ring->at;
		end->lane = lane;
	}
	return error;
}

/* Says in our slot who we are. Incarnation and heartbeat come last, as one word, and say that the rest is ours. */
static inline void member_say(struct member *me)
{
	unsigned char *slot = member_slot(me, me->slot);

	ivshmem_channel_store32(slot + 16, me->peer_id);
	/* Nobody rings us: we look by ourselves. We have no lock. */
	ivshmem_channel_store32(slot + 20, UINT32_MAX);
	ivshmem_channel_store32(slot + 24, 0);
	ivshmem_channel_store32(slot + 28, 0);
	ivshmem_channel_store32(slot + 32, me->peer_id ^ me->incarnation);
	ivshmem_channel_store64(slot + 8, ivshmem_channel_pair(me->incarnation, me->beats));
}

/**
 * member_join - takes a slot, if it is free by now
 * @me: the channel that was found
 * @slot: which; the same one at each call
 * @incarnation: a random number, not 0
 * @peer_id: the ID of this guest's device
 * @now_ms: the time
 *
 * To be called again and again, once in a heartbeat at least: the slot of a program that crashed is free once that was seen to
 * be silent for as long as the channel says.
 *
 * Returns 1 if we have joined, 0 if somebody who may live has the slot; IVSHMEM_CHANNEL_CORRUPT, _REPLACED, MEMBER_RESET, or
 * MEMBER_NONE. After the first two the slot counts as taken until it was silent for long enough.
 */
static inline int member_join(struct member *me, uint32_t slot, uint32_t incarnation, uint32_t peer_id, uint32_t now_ms)
{
	struct ivshmem_channel_end end;
	unsigned char *at;
	uint64_t owner;
	uint32_t beat, to, i;
	bool may_run;
	int error;

	if (slot >= me->slots)
		return MEMBER_NONE;
	for (i = 0; i < me->count; i++)
		if (me->rings[i].kind == MEMBER_TOPIC && me->rings[i].from == slot)
			return MEMBER_NONE;
	if (ivshmem_channel_load32(me->area + 12) != me->generation)
		return MEMBER_RESET;
	at = member_slot(me, slot);
	owner = ivshmem_channel_load64(at);
	may_run = (uint32_t)owner == me->generation && owner >> 32 != 0;
	if (may_run) {
		beat = ivshmem_channel_load32(at + 12);
		if (owner != me->seen_owner || beat != me->seen_beat)
			me->silent_ms = 0;
		else
			me->silent_ms += now_ms - me->seen_ms < me->heartbeat_ms ? now_ms - me->seen_ms : me->heartbeat_ms;
		me->seen_owner = owner;
		me->seen_beat = beat;
		me->seen_ms = now_ms;
		if (me->silent_ms < me->lost_ms)
			return 0;
	}
	me->slot = slot;
	me->incarnation = incarnation;
	me->peer_id = peer_id;
	me->beats = 0;
	me->due_ms = now_ms + me->heartbeat_ms / 2;
	if (!ivshmem_channel_swap64(at, owner, member_owner(me)))
		return 0;
	/* It may go on at any time: it loses its rings before anybody believes that we have joined. */
	for (to = 0; may_run && to < me->slots; to++) {
		error = member_become_sender(me, to, &end, true);
		if (error && error != MEMBER_NONE)
			return error;
	}
	member_say(me);
	return 1;
}

/**
 * member_beat - shows that we live, if it is time to
 * @me: joined
 * @now_ms: the time
 *
 * To be called at least twice in a heartbeat.
 *
 * Returns 0, MEMBER_RESET, or IVSHMEM_CHANNEL_REPLACED if another program has the slot: end.
 */
static inline int member_beat(struct member *me, uint32_t now_ms)
{
	if (ivshmem_channel_load32(me->area + 12) != me->generation)
		return MEMBER_RESET;
	if ((int32_t)(now_ms - me->due_ms) < 0)
		return 0;
	if (ivshmem_channel_load64(member_slot(me, me->slot)) != member_owner(me))
		return IVSHMEM_CHANNEL_REPLACED;
	me->beats++;
	me->due_ms = now_ms + me->heartbeat_ms / 2;
	member_say(me);
	return 0;
}

/* Leaves the slot, so that the next program need not wait. */
static inline void member_leave(struct member *me)
{
	ivshmem_channel_swap64(member_slot(me, me->slot), member_owner(me), me->generation);
}

/* The sending end of the ring to slot @to, for a member that has joined. Returns what ivshmem_channel_sender() does, or MEMBER_NONE. */
static inline int member_sender(const struct member *me, uint32_t to, struct ivshmem_channel_end *end)
{
	/* Whoever may still run has lost this end when we joined. */
	return member_become_sender(me, to, end, false);
}

/* The receiving end of the ring with one sender from slot @from. Returns what ivshmem_channel_receiver() does, or MEMBER_NONE. */
static inline int member_receiver(const struct member *me, uint32_t from, struct ivshmem_channel_end *end)
{
	struct ivshmem_channel_slot slot = { member_slot(me, me->slot), me->incarnation };
	const struct member_ring *ring = NULL;
	uint32_t lane = 0;
	unsigned char *block = member_block(me, from, me->slot, &ring, &lane);

	if (!block || ring->kind != MEMBER_SINGLE)
		return MEMBER_NONE;
	return ivshmem_channel_receiver(end, block, ring->size, me->generation, &slot);
}

/* Whom to ring for slot @slot, from the slot at this moment. False if nobody is there, or cannot be rung. */
static inline bool member_peer(const struct member *me, uint32_t slot, uint32_t *peer, uint32_t *vector)
{
	const unsigned char *at = member_slot(me, slot);
	uint64_t owner = ivshmem_channel_load64(at);

	if ((uint32_t)owner != me->generation || owner >> 32 == 0 || ivshmem_channel_load32(at + 8) != owner >> 32)
		return false;
	*peer = ivshmem_channel_load32(at + 16);
	*vector = ivshmem_channel_load32(at + 20);
	return *peer <= 65535 && *vector <= 255;
}

#endif /* MEMBER_H */
