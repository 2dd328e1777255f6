// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What ivshmem_channel.h promises of one ring and of lanes, step by step in one process: C99 and C++.
 *
 * The memory's byte order need not be the machine's: compiled with the other order, the header's own conversions show.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ivshmem_channel.h>

#define RING	960u	/* no power of two */
#define BLOCK	(IVSHMEM_CHANNEL_CONTROL + RING)
#define LANES	3u
#define NOW	7u	/* the generation */
#define SEVERAL	100	/* steps that are more than enough */

#define CHECK(truth) check(!!(truth), #truth, __LINE__)

static unsigned char memory[IVSHMEM_CHANNEL_SHARED + LANES * BLOCK] __attribute__((__aligned__(64)));
static unsigned char message[RING], got[RING];

static void check(int truth, const char *what, int line)
{
	if (truth)
		return;
	fprintf(stderr, "line %d: not so: %s\n", line, what);
	exit(1);
}

static void fill(unsigned char *bytes, size_t len)
{
	size_t at;

	for (at = 0; at < len; at++)
		bytes[at] = (unsigned char)(at * 7 + 1);
}

static void begin(void)
{
	memset(memory, 0, sizeof(memory));
	fill(message, sizeof(message));
}

static void pair(struct ivshmem_channel_end *to, struct ivshmem_channel_end *from)
{
	begin();
	CHECK(ivshmem_channel_sender(to, memory, RING, NOW, NULL, false) == 0);
	CHECK(ivshmem_channel_receiver(from, memory, RING, NOW, NULL) == 0);
}

/* Sends and receives messages of @len bytes, each of which has to arrive within some steps. */
static void exchange(struct ivshmem_channel_end *to, struct ivshmem_channel_end *from, uint32_t len, int count)
{
	int32_t status, arrived = IVSHMEM_CHANNEL_EMPTY;
	bool ring;
	int step;

	while (count--) {
		for (step = 0; (status = ivshmem_channel_send(to, message, len)) == IVSHMEM_CHANNEL_EMPTY; step++) {
			CHECK(step < SEVERAL);
			CHECK(ivshmem_channel_receive(from, got, sizeof(got), &ring) == IVSHMEM_CHANNEL_EMPTY);
		}
		CHECK(status >= 0);
		for (step = 0; arrived == IVSHMEM_CHANNEL_EMPTY; step++) {
			CHECK(step < SEVERAL);
			arrived = ivshmem_channel_receive(from, got, sizeof(got), &ring);
		}
		CHECK(arrived == (int32_t)len && memcmp(got, message, len) == 0);
		arrived = IVSHMEM_CHANNEL_EMPTY;
	}
}

static void empty_messages_need_no_buffer(void)
{
	struct ivshmem_channel_end to, from;
	bool ring;

	pair(&to, &from);
	CHECK(ivshmem_channel_send(&to, NULL, 0) == 0);
	CHECK(ivshmem_channel_receive(&from, NULL, 0, &ring) == 0);
	CHECK(ivshmem_channel_receive(&from, NULL, 0, &ring) == IVSHMEM_CHANNEL_EMPTY);
}

/* A sender that was stopped while it wrote is replaced by one, which gets around what the first may still write to. */
static void what_is_left_out_is_got_around(void)
{
	struct ivshmem_channel_end stopped, to, from;
	uint32_t len;

	pair(&stopped, &from);
	CHECK(ivshmem_channel_queue(&stopped, message, 300) == 0);
	CHECK(ivshmem_channel_sender(&to, memory, RING, NOW, NULL, true) == 0);
	for (len = 1; len < RING; len += 9) {
		int32_t status = ivshmem_channel_send(&to, message, len);
		bool ring;

		if (status == IVSHMEM_CHANNEL_TOO_LONG)
			break;
		CHECK(status >= 0 && ivshmem_channel_receive(&from, got, sizeof(got), &ring) == (int32_t)len);
		exchange(&to, &from, len, 20);
	}
	CHECK(len > 200);
	/* The one that was stopped goes on. */
	CHECK(ivshmem_channel_flush(&stopped) == IVSHMEM_CHANNEL_REPLACED);
	exchange(&to, &from, 100, 20);
}

/* A record that leaves out @bytes, as senders of other programs write it by itself. */
static int leave_out(struct ivshmem_channel_end *to, uint32_t bytes)
{
	struct ivshmem_channel_span spans[2];

	CHECK(ivshmem_channel_reserve(to, bytes - 8, spans) == 0);
	ivshmem_channel_append(to, bytes << 2 | 2, bytes);
	return ivshmem_channel_flush(to);
}

/* Its sender waits for the room of that. */
static void what_was_passed_over_is_given_back(void)
{
	struct ivshmem_channel_end to, from;
	const void *word;
	uint32_t value;
	bool ring;

	pair(&to, &from);
	CHECK(leave_out(&to, 600) == 0);
	CHECK(ivshmem_channel_queue(&to, message, 400) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ivshmem_channel_arm_room(&to, 400, &word, &value) == 1);
	CHECK(ivshmem_channel_receive(&from, got, sizeof(got), &ring) == IVSHMEM_CHANNEL_EMPTY && ring);
	CHECK(ivshmem_channel_queue(&to, message, 400) == 0);
}

/* A program is replaced while it gets around what the one before may still write to. */
static void a_place_that_covers_another_is_one_with_it(void)
{
	struct ivshmem_channel_end first, second, third, from;
	int places = 0, n;

	pair(&first, &from);
	CHECK(ivshmem_channel_queue(&first, message, 8) == 0);
	CHECK(ivshmem_channel_sender(&second, memory, RING, NOW, NULL, true) == 0);
	/* Up to where the next message does not fit before the place, which begins at 0. */
	while (RING - second.next % RING >= 32)
		exchange(&second, &from, 8, 1);
	CHECK(ivshmem_channel_queue(&second, message, 8) == 0);
	CHECK(ivshmem_channel_sender(&third, memory, RING, NOW, NULL, true) == 0);
	for (n = 0; n < (int)IVSHMEM_CHANNEL_QUARANTINES; n++)
		places += third.places[n].len != 0;
	CHECK(places == 1);
	exchange(&third, &from, 8, 200);
}

/* It may clear the first header at any time, if that is as it was: so a record begins there each time. */
static void who_was_stopped_while_it_came_is_left_alone(void)
{
	struct ivshmem_channel_end stopped, to, from;
	int wraps = 0;

	begin();
	CHECK(ivshmem_channel_sender(&stopped, memory, RING, NOW, NULL, true) == 0);
	CHECK(stopped.longest == RING - 24);
	/* All but its last step. */
	ivshmem_channel_store32(memory + IVSHMEM_CHANNEL_ORIGIN, NOW + 1);
	CHECK(ivshmem_channel_sender(&to, memory, RING, NOW, NULL, true) == 0);
	CHECK(ivshmem_channel_receiver(&from, memory, RING, NOW, NULL) == 0);
	while (wraps < 20) {
		uint32_t before = to.next % RING;

		exchange(&to, &from, 100, 1);
		if (to.next % RING < before) {
			CHECK(to.next % RING == ivshmem_channel_record(100));
			wraps++;
		}
	}
	/* So do those who come later. */
	CHECK(ivshmem_channel_sender(&to, memory, RING, NOW, NULL, false) == 0);
	CHECK(to.places[0].at == RING - 8 && to.places[0].len == 8);
}

static uint32_t as_it_is(const void *word)
{
	return __atomic_load_n((const ivshmem_channel_word *)word, __ATOMIC_ACQUIRE);
}

static void words_to_sleep_on_are_told_as_they_are(void)
{
	struct ivshmem_channel_end to, from, lanes[LANES];
	struct ivshmem_channel_multi multi;
	const void *word;
	uint32_t value;
	bool ring;

	begin();
	/* Of another generation. */
	fill(memory, BLOCK);
	CHECK(ivshmem_channel_receiver(&from, memory, RING, NOW, NULL) == 0);
	CHECK(ivshmem_channel_arm(&from, &word, &value) == 1);
	CHECK(as_it_is(word) == value);
	CHECK(ivshmem_channel_sender(&to, memory, RING, NOW, NULL, false) == 0);
	CHECK(as_it_is(word) != value);
	CHECK(ivshmem_channel_arm(&from, &word, &value) == 1);
	CHECK(as_it_is(word) == value);
	CHECK(ivshmem_channel_send(&to, message, RING - 24) == 1);
	CHECK(as_it_is(word) != value);
	CHECK(ivshmem_channel_receive(&from, got, sizeof(got), &ring) == (int32_t)RING - 24 && !ring);
	CHECK(ivshmem_channel_send(&to, message, RING - 24) == 0);
	CHECK(ivshmem_channel_arm_room(&to, 8, &word, &value) == 1);
	/* The count is a half of a word, and lies in the other one where the order is not the machine's. */
	CHECK(as_it_is(word) == value || ivshmem_channel_le32(1) != 1);
	CHECK(ivshmem_channel_receive(&from, got, sizeof(got), &ring) == (int32_t)RING - 24 && ring);
	CHECK(as_it_is(word) != value);

	fill(memory + IVSHMEM_CHANNEL_SHARED, sizeof(memory) - IVSHMEM_CHANNEL_SHARED);
	CHECK(ivshmem_channel_sender(&to, memory + IVSHMEM_CHANNEL_SHARED, RING, NOW, NULL, false) == 0);
	to.shared = memory;
	CHECK(ivshmem_channel_send(&to, message, RING - 24) == 0);
	CHECK(ivshmem_channel_arm_room(&to, 8, &word, &value) == 1);
	CHECK(as_it_is(word) == value);
	CHECK(ivshmem_channel_multi_receiver(&multi, lanes, LANES, memory, RING, NOW, NULL) == 0);
	CHECK(as_it_is(word) != value);
	multi.hot = 0;
	CHECK(ivshmem_channel_multi_arm(&multi, &word, &value) == 0);
}

static void a_lane_s_room_is_given_back_without_a_message(void)
{
	struct ivshmem_channel_end to, lanes[LANES];
	struct ivshmem_channel_multi multi;
	uint32_t value, lane = LANES;
	const void *word;
	bool ring = false;

	begin();
	CHECK(ivshmem_channel_sender(&to, memory + IVSHMEM_CHANNEL_SHARED + BLOCK, RING, NOW, NULL, false) == 0);
	to.shared = memory;
	to.lane = 1;
	CHECK(ivshmem_channel_multi_receiver(&multi, lanes, LANES, memory, RING, NOW, NULL) == 0);
	CHECK(ivshmem_channel_multi_receive(&multi, got, sizeof(got), &lane, &ring) == IVSHMEM_CHANNEL_EMPTY && !ring);
	CHECK(ivshmem_channel_multi_arm(&multi, &word, &value) == 1);
	CHECK(as_it_is(word) == value);
	CHECK(leave_out(&to, 600) == 1 && as_it_is(word) != value);
	CHECK(ivshmem_channel_arm_room(&to, 400, &word, &value) == 1);
	CHECK(ivshmem_channel_multi_receive(&multi, got, sizeof(got), &lane, &ring) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ring && lane == 1);
	CHECK(ivshmem_channel_send(&to, message, 400) == 0);
	CHECK(ivshmem_channel_multi_receive(&multi, got, sizeof(got), &lane, &ring) == 400 && lane == 1);
	CHECK(ivshmem_channel_multi_give_back(&multi, &lane) == 0);
}

/* Each length, so that each way over the end of the data comes. */
static void messages_are_written_and_read_in_place(void)
{
	struct ivshmem_channel_span out[2], in[2];
	struct ivshmem_channel_end to, from;
	uint32_t len, at, n;
	bool two = false;

	pair(&to, &from);
	CHECK(ivshmem_channel_commit(&to, 0) == IVSHMEM_CHANNEL_TOO_LONG);
	CHECK(ivshmem_channel_done(&from) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ivshmem_channel_borrow(&from, in) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ivshmem_channel_reserve(&to, RING - 23, out) == IVSHMEM_CHANNEL_TOO_LONG);
	/* What is not committed was never there. */
	CHECK(ivshmem_channel_reserve(&to, RING - 24, out) == 0 && ivshmem_channel_flush(&to) == 0);
	for (len = 0; len <= RING - 24; len++) {
		CHECK(ivshmem_channel_reserve(&to, len, out) == 0);
		CHECK(out[0].len + out[1].len == len && (len == 0) == (out[0].len == 0));
		CHECK((uintptr_t)out[0].at % 8 == 0 && (out[0].at == NULL) == (out[0].len == 0));
		CHECK((out[1].at == NULL) == (out[1].len == 0));
		two |= out[1].len != 0;
		for (at = 0, n = 0; n < 2; n++)
			for (; at < len && at < out[0].len + n * out[1].len; at++)
				out[n].at[at - n * out[0].len] = (unsigned char)(len + at);
		CHECK(ivshmem_channel_commit(&to, len + 1) == IVSHMEM_CHANNEL_TOO_LONG);
		CHECK(ivshmem_channel_commit(&to, len) == 0);
		CHECK(ivshmem_channel_commit(&to, len) == IVSHMEM_CHANNEL_TOO_LONG);
		CHECK(ivshmem_channel_borrow(&from, in) == IVSHMEM_CHANNEL_EMPTY);
		CHECK(ivshmem_channel_flush(&to) == 0);
		CHECK(ivshmem_channel_borrow(&from, in) == (int32_t)len && ivshmem_channel_borrow(&from, in) == (int32_t)len);
		for (n = 0; n < 2; n++)
			CHECK(in[n].at == out[n].at && in[n].len == out[n].len);
		for (at = 0, n = 0; n < 2; n++)
			for (; at < len && at < in[0].len + n * in[1].len; at++)
				CHECK(in[n].at[at - n * in[0].len] == (unsigned char)(len + at));
		CHECK(ivshmem_channel_done(&from) == 0 && ivshmem_channel_done(&from) == IVSHMEM_CHANNEL_EMPTY);
		CHECK(ivshmem_channel_release(&from) == 0);
	}
	CHECK(two);
	/* Less than was reserved. */
	CHECK(ivshmem_channel_reserve(&to, 500, out) == 0 && ivshmem_channel_commit(&to, 3) == 0);
	CHECK(ivshmem_channel_flush(&to) == 0 && ivshmem_channel_take(&from, got, sizeof(got)) == 3);
}

/* A sender that puts something else in the place of a message while that is read. */
static void what_is_borrowed_is_not_passed_over_twice(void)
{
	struct ivshmem_channel_end to, from;
	struct ivshmem_channel_span in[2];
	unsigned char *header = memory + IVSHMEM_CHANNEL_CONTROL;

	pair(&to, &from);
	CHECK(ivshmem_channel_send(&to, message, 400) == 0 && ivshmem_channel_borrow(&from, in) == 400);
	ivshmem_channel_store64(header, ivshmem_channel_header(&to, 0, 600 << 2 | 2));
	ivshmem_channel_store64(header + 600, 0);
	CHECK(ivshmem_channel_peek(&from) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ivshmem_channel_done(&from) == IVSHMEM_CHANNEL_EMPTY);
	CHECK(ivshmem_channel_distance(&from, from.first, from.next) == 600);
}

/* What is left out counts as received, and does not end a turn before the message behind it is taken. */
static void the_next_message_of_several_senders_is_the_same_until_it_is_taken(void)
{
	struct ivshmem_channel_end to[2], lanes[LANES];
	struct ivshmem_channel_multi multi;
	uint32_t lane, n;

	begin();
	for (n = 0; n < 2; n++) {
		unsigned char *block = memory + IVSHMEM_CHANNEL_SHARED + n * BLOCK;

		CHECK(ivshmem_channel_sender(&to[n], block, RING, NOW, NULL, false) == 0);
		to[n].shared = memory;
		to[n].lane = n;
	}
	CHECK(leave_out(&to[0], 600) >= 0);
	CHECK(ivshmem_channel_send(&to[0], message, 8) >= 0 && ivshmem_channel_send(&to[1], message, 16) >= 0);
	CHECK(ivshmem_channel_multi_receiver(&multi, lanes, LANES, memory, RING, NOW, NULL) == 0);
	for (n = 0; n < 3; n++)
		CHECK(ivshmem_channel_multi_peek(&multi, &lane) == 8 && lane == 0);
	CHECK(ivshmem_channel_take(&lanes[0], got, sizeof(got)) == 8);
	CHECK(ivshmem_channel_multi_peek(&multi, &lane) == 16 && lane == 1);
}

/* Lanes that are all corrupt are not waited for. */
static void that_every_lane_is_corrupt_is_told(void)
{
	struct ivshmem_channel_end to, lanes[LANES];
	struct ivshmem_channel_multi multi;
	uint32_t lane, n;
	bool ring;

	begin();
	for (n = 0; n < LANES; n++) {
		unsigned char *block = memory + IVSHMEM_CHANNEL_SHARED + n * BLOCK;

		CHECK(ivshmem_channel_sender(&to, block, RING, NOW, NULL, false) == 0);
		ivshmem_channel_store64(block + IVSHMEM_CHANNEL_CONTROL, 3);
	}
	CHECK(ivshmem_channel_multi_receiver(&multi, lanes, LANES, memory, RING, NOW, NULL) == 0);
	for (n = 0; n < LANES + 2; n++) {
		CHECK(ivshmem_channel_multi_receive(&multi, got, sizeof(got), &lane, &ring) == IVSHMEM_CHANNEL_CORRUPT);
		CHECK(lane < LANES && !ring);
	}
}

static void who_was_replaced_has_read_nothing(void)
{
	struct ivshmem_channel_end to, from, successor;
	struct ivshmem_channel_span in[2];

	pair(&to, &from);
	CHECK(ivshmem_channel_send(&to, message, 8) == 0 && ivshmem_channel_borrow(&from, in) == 8);
	CHECK(ivshmem_channel_receiver(&successor, memory, RING, NOW, NULL) == 0);
	CHECK(ivshmem_channel_done(&from) == IVSHMEM_CHANNEL_REPLACED);
	CHECK(ivshmem_channel_borrow(&from, in) == IVSHMEM_CHANNEL_REPLACED);
	CHECK(ivshmem_channel_take(&successor, got, sizeof(got)) == 8);
}

/* Programs whose slot is another one's take nothing over. */
static void who_lost_the_slot_takes_nothing(void)
{
	struct ivshmem_channel_end to, from, lanes[LANES];
	struct ivshmem_channel_multi multi;
	uint64_t owner = ivshmem_channel_le64(ivshmem_channel_pair(NOW, 1));
	struct ivshmem_channel_slot one = { &owner, 1 }, two = { &owner, 2 };

	begin();
	CHECK(ivshmem_channel_sender(&to, memory, RING, NOW, &one, false) == 0);
	CHECK(ivshmem_channel_receiver(&from, memory, RING, NOW, &one) == 0);
	exchange(&to, &from, 8, 1);
	CHECK(ivshmem_channel_sender(&lanes[0], memory, RING, NOW, &two, false) == IVSHMEM_CHANNEL_REPLACED);
	CHECK(ivshmem_channel_receiver(&lanes[0], memory, RING, NOW, &two) == IVSHMEM_CHANNEL_REPLACED);
	CHECK(ivshmem_channel_send(&lanes[0], message, 8) == IVSHMEM_CHANNEL_REPLACED);
	exchange(&to, &from, 8, 1);
	begin();
	CHECK(ivshmem_channel_multi_receiver(&multi, lanes, LANES, memory, RING, NOW, &two) == IVSHMEM_CHANNEL_REPLACED);
}

int main(void)
{
	who_lost_the_slot_takes_nothing();
	empty_messages_need_no_buffer();
	what_is_left_out_is_got_around();
	what_was_passed_over_is_given_back();
	a_place_that_covers_another_is_one_with_it();
	who_was_stopped_while_it_came_is_left_alone();
	words_to_sleep_on_are_told_as_they_are();
	a_lane_s_room_is_given_back_without_a_message();
	messages_are_written_and_read_in_place();
	what_is_borrowed_is_not_passed_over_twice();
	the_next_message_of_several_senders_is_the_same_until_it_is_taken();
	that_every_lane_is_corrupt_is_told();
	who_was_replaced_has_read_nothing();
	return 0;
}
