/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What libivshmem_channel.h promises of arguments, errors and waits: C99 with POSIX, and C++17. One argument: a file of
 * shared memory, or a server's socket.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libivshmem_channel.h>

#define RING	4096u
#define FOREVER	INT64_C(-1)
#define SHORT	INT64_C(1000000)	/* a millisecond */

#define CHECK(truth) check(!!(truth), #truth, __LINE__)

static void check(int truth, const char *what, int line)
{
	if (truth)
		return;
	fprintf(stderr, "line %d: not so: %s (last error: %s)\n", line, what, ivshmem_channel_error());
	exit(1);
}

/* Which programs the tests need: two members of one process. */
struct pair {
	struct ivshmem_channel_link *link;
	struct ivshmem_channel *channel;
	struct ivshmem_channel_member *one, *two;
};

static void set_up(struct pair *pair, const char *path)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new(3);
	uint32_t slots[2] = { 0, 1 };

	CHECK(ivshmem_channel_link_open(path, &pair->link) == 0);
	CHECK(ivshmem_channel_layout_ring(layout, 0, 1, RING) == 0);
	CHECK(ivshmem_channel_layout_multi_ring(layout, 2, RING) == 0);
	CHECK(ivshmem_channel_layout_topic(layout, 0, 4, 64) == 0);
	CHECK(ivshmem_channel_layout_heartbeat(layout, 10, 100) == 0);
	CHECK(ivshmem_channel_layout_size(layout) > 3 * RING);
	CHECK(ivshmem_channel_create(pair->link, 0, layout, &pair->channel) == 0);
	CHECK(ivshmem_channel_join(pair->channel, &slots[0], 1, 0, FOREVER, NULL, &pair->one) == 0);
	/* Another one is free, and the first one is taken by us. */
	CHECK(ivshmem_channel_join(pair->channel, slots, 2, 0, FOREVER, NULL, &pair->two) == 0);
	CHECK(ivshmem_channel_member_slot(pair->two) == 1);
	ivshmem_channel_layout_free(layout);
}

static void tear_down(struct pair *pair)
{
	ivshmem_channel_member_close(pair->one);
	ivshmem_channel_member_close(pair->two);
	ivshmem_channel_close(pair->channel);
	ivshmem_channel_link_close(pair->link);
}

static void null_pointers(struct pair *pair)
{
	struct ivshmem_channel_rpc_request *request;
	struct ivshmem_channel_rpc_server *server;
	struct ivshmem_channel_rpc_client *client;
	struct ivshmem_channel_changes *changes;
	struct ivshmem_channel_change change;
	struct ivshmem_channel_subscriber *subscriber;
	struct ivshmem_channel_publisher *publisher;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	struct ivshmem_channel_member *member;
	struct ivshmem_channel_presence presence;
	struct ivshmem_channel_message message;
	struct ivshmem_channel *channel;
	struct ivshmem_channel_link *link;
	uint32_t slot = 0;
	char buffer[64];

	CHECK(ivshmem_channel_link_open(NULL, &link) == -EINVAL && link == NULL);
	CHECK(strstr(ivshmem_channel_error(), "null") != NULL);
	CHECK(ivshmem_channel_link_open("/dev/null", NULL) == -EINVAL);
	CHECK(ivshmem_channel_link_open_with_interval(NULL, 0, &link) == -EINVAL && link == NULL);
	CHECK(ivshmem_channel_link_size(NULL) == 0 && ivshmem_channel_link_vectors(NULL) == 0);
	CHECK(ivshmem_channel_layout_ring(NULL, 0, 1, RING) == -EINVAL);
	CHECK(ivshmem_channel_layout_multi_ring(NULL, 0, RING) == -EINVAL);
	CHECK(ivshmem_channel_layout_topic(NULL, 0, 4, 64) == -EINVAL);
	CHECK(ivshmem_channel_layout_heartbeat(NULL, 10, 100) == -EINVAL);
	CHECK(ivshmem_channel_layout_size(NULL) == 0);
	CHECK(ivshmem_channel_open(NULL, 0, &channel) == -EINVAL && channel == NULL);
	CHECK(ivshmem_channel_open(pair->link, 0, NULL) == -EINVAL);
	CHECK(ivshmem_channel_create(pair->link, 0, NULL, &channel) == -EINVAL);
	CHECK(ivshmem_channel_open_or_create(NULL, 0, NULL, &channel) == -EINVAL);
	CHECK(ivshmem_channel_reset(NULL, &channel) == -EINVAL);
	CHECK(ivshmem_channel_join(NULL, &slot, 1, 0, 0, NULL, &member) == -EINVAL && member == NULL);
	CHECK(ivshmem_channel_join(pair->channel, NULL, 1, 0, 0, NULL, &member) == -EINVAL);
	CHECK(ivshmem_channel_join(pair->channel, &slot, 0, 0, 0, NULL, &member) == -EINVAL);
	CHECK(ivshmem_channel_join(pair->channel, &slot, SIZE_MAX, 0, 0, NULL, &member) == -EINVAL);
	CHECK(ivshmem_channel_create_or_join(NULL, 0, NULL, &slot, 1, 0, 0, NULL, &member) == -EINVAL);
	CHECK(ivshmem_channel_member_beat(NULL) == -EINVAL);
	CHECK(ivshmem_channel_member_presence(NULL, 0, &presence) == -EINVAL);
	CHECK(ivshmem_channel_member_presence(pair->one, 0, NULL) == -EINVAL);
	CHECK(ivshmem_channel_member_slot(NULL) == UINT32_MAX && ivshmem_channel_member_incarnation(NULL) == 0);
	CHECK(ivshmem_channel_sender_open(NULL, 1, &sender) == -EINVAL && sender == NULL);
	CHECK(ivshmem_channel_sender_send(NULL, "", 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_queue(NULL, "", 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_flush(NULL) == -EINVAL && ivshmem_channel_sender_longest(NULL) == -EINVAL);
	CHECK(ivshmem_channel_sender_fd(NULL) == -EINVAL && ivshmem_channel_sender_arm(NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_disarm(NULL) == -EINVAL);
	CHECK(ivshmem_channel_sender_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_receiver_open(NULL, 1, &receiver) == -EINVAL && receiver == NULL);
	CHECK(ivshmem_channel_receiver_receive(NULL, buffer, sizeof(buffer), NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_receiver_receive_many(NULL, &message, 1, buffer, sizeof(buffer), 0) == -EINVAL);
	CHECK(ivshmem_channel_receiver_peek(NULL, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_receiver_release(NULL) == -EINVAL && ivshmem_channel_receiver_fd(NULL) == -EINVAL);
	CHECK(ivshmem_channel_receiver_arm(NULL) == -EINVAL && ivshmem_channel_receiver_disarm(NULL) == -EINVAL);
	CHECK(ivshmem_channel_receiver_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_publisher_open(NULL, 0, &publisher) == -EINVAL && publisher == NULL);
	CHECK(ivshmem_channel_publisher_publish(NULL, "", 0) == -EINVAL);
	CHECK(ivshmem_channel_publisher_longest(NULL) == -EINVAL);
	CHECK(ivshmem_channel_subscriber_open(NULL, 0, &subscriber) == -EINVAL && subscriber == NULL);
	CHECK(ivshmem_channel_subscriber_next(NULL, buffer, sizeof(buffer), NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_subscriber_newest(NULL, buffer, sizeof(buffer), NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_subscriber_longest(NULL) == -EINVAL && ivshmem_channel_subscriber_fd(NULL) == -EINVAL);
	CHECK(ivshmem_channel_subscriber_arm(NULL) == -EINVAL && ivshmem_channel_subscriber_disarm(NULL) == -EINVAL);
	CHECK(ivshmem_channel_subscriber_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_rpc_server_join(NULL, 0, &server) == -EINVAL && server == NULL);
	CHECK(ivshmem_channel_rpc_server_next(NULL, &request, 0) == -EINVAL && request == NULL);
	CHECK(ivshmem_channel_rpc_server_reply(NULL, NULL, "", 0) == -EINVAL);
	CHECK(ivshmem_channel_rpc_server_fd(NULL) == -EINVAL && ivshmem_channel_rpc_server_arm(NULL) == -EINVAL);
	CHECK(ivshmem_channel_rpc_server_disarm(NULL) == -EINVAL);
	CHECK(ivshmem_channel_rpc_server_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_rpc_request_body(NULL, NULL) == NULL);
	CHECK(ivshmem_channel_rpc_request_from(NULL) == UINT32_MAX);
	CHECK(ivshmem_channel_rpc_client_join(NULL, 0, &client) == -EINVAL && client == NULL);
	CHECK(ivshmem_channel_rpc_client_answer(NULL, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_rpc_client_ask(NULL, "", 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_rpc_client_call(NULL, "", 0, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_rpc_client_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_changes_open(NULL, &changes) == -EINVAL && changes == NULL);
	CHECK(ivshmem_channel_changes_next(NULL, &change, 0) == -EINVAL);
	CHECK(ivshmem_channel_changes_set_cancel(NULL, NULL) == -EINVAL);
	CHECK(ivshmem_channel_cancel_new(NULL) == -EINVAL && ivshmem_channel_cancel_use(NULL) == -EINVAL);
	ivshmem_channel_link_close(NULL);
	ivshmem_channel_layout_free(NULL);
	ivshmem_channel_close(NULL);
	ivshmem_channel_member_close(NULL);
	ivshmem_channel_sender_close(NULL);
	ivshmem_channel_receiver_close(NULL);
	ivshmem_channel_publisher_close(NULL);
	ivshmem_channel_subscriber_close(NULL);
	ivshmem_channel_rpc_server_close(NULL);
	ivshmem_channel_rpc_request_free(NULL);
	ivshmem_channel_rpc_client_close(NULL);
	ivshmem_channel_changes_close(NULL);
	ivshmem_channel_cancel_free(NULL);
}

static void areas(struct pair *pair)
{
	const uint64_t base = 256 * 1024;
	struct ivshmem_channel *channel;
	uint64_t one = 0, two = 0, start = 0, size = 0;

	CHECK(ivshmem_channel_area_claim(NULL, base, "one", 1, &one) == -EINVAL);
	CHECK(ivshmem_channel_area_claim(pair->link, base, NULL, 1, &one) == -EINVAL);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "\xff", 1, &one) == -EINVAL);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "one", 1, NULL) == -EINVAL);
	CHECK(ivshmem_channel_area_claim(pair->link, 1, "one", 1, &one) == -EINVAL);
	CHECK(ivshmem_channel_area_find(pair->link, base, "one", &start, &size) == -ENOENT);
	/* Looking writes nothing: a channel that is there is not made a directory. */
	CHECK(ivshmem_channel_area_find(pair->link, 0, "one", &start, &size) == -ENOENT);
	CHECK(ivshmem_channel_open(pair->link, 0, &channel) == 0);
	ivshmem_channel_close(channel);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "one", 5000, &one) == 0 && one == base + 4096);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "two", 1, &two) == 0 && two == one + 8192);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "one", 5000, &start) == 0 && start == one);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "one", 1, &start) == -EEXIST);
	CHECK(ivshmem_channel_area_claim(pair->link, base, "three", UINT64_MAX, &start) == -ENOSPC);
	CHECK(ivshmem_channel_area_find(pair->link, base, "one", &start, &size) == 0 && start == one && size == 8192);
	CHECK(ivshmem_channel_area_find(pair->link, base, "two", NULL, NULL) == 0);
}

static void wrong_arguments(struct pair *pair)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new(0);
	struct ivshmem_channel_rpc_client *client;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_publisher *publisher;
	struct ivshmem_channel_presence presence;
	struct ivshmem_channel_sender *sender, *again;
	struct ivshmem_channel_member *member;
	struct ivshmem_channel *channel;
	struct ivshmem_channel_link *link;
	uint32_t slot = 3;
	const char *why;

	CHECK(ivshmem_channel_link_open("/nonexistent/ivshmem0", &link) == -ENOENT);
	CHECK(strstr(ivshmem_channel_error(), "/nonexistent/ivshmem0") != NULL);
	CHECK(ivshmem_channel_link_open("ffff:ff:1f.7", &link) == -ENOENT);
	CHECK(ivshmem_channel_link_open("/dev/null", &link) == -ENOTTY);
	CHECK(ivshmem_channel_link_open("/", &link) == -ENOTTY && link == NULL);
	CHECK(ivshmem_channel_create(pair->link, 1, layout, &channel) == -EINVAL);
	CHECK(ivshmem_channel_create(pair->link, 65536, layout, &channel) == -EINVAL && channel == NULL);
	ivshmem_channel_layout_free(layout);
	layout = ivshmem_channel_layout_new_rpc(UINT32_MAX, 64, 64);
	CHECK(ivshmem_channel_create(pair->link, 65536, layout, &channel) == -EINVAL);
	CHECK(ivshmem_channel_open_or_create(pair->link, 0, layout, &channel) == -EEXIST);
	ivshmem_channel_layout_free(layout);
	CHECK(ivshmem_channel_open(pair->link, 65536, &channel) == -ENODATA);
	/* It says why, and once. */
	why = strstr(ivshmem_channel_error(), "does not begin as a channel does");
	CHECK(why != NULL && strstr(why + 1, "does not begin as a channel does") == NULL);
	CHECK(ivshmem_channel_join(pair->channel, &slot, 1, 0, 0, NULL, &member) == -ENXIO);
	slot = 0;
	CHECK(ivshmem_channel_join(pair->channel, &slot, 1, 0, 0, NULL, &member) == -EBUSY && member == NULL);
	/* The channel has no rings for that. */
	CHECK(ivshmem_channel_rpc_client_join(pair->channel, 0, &client) == -ENXIO && client == NULL);
	CHECK(ivshmem_channel_member_presence(pair->one, 3, &presence) == -ENXIO);
	CHECK(ivshmem_channel_sender_open(pair->two, 0, &sender) == -ENXIO);
	CHECK(ivshmem_channel_receiver_open(pair->two, IVSHMEM_CHANNEL_ALL, &receiver) == -ENXIO);
	CHECK(ivshmem_channel_publisher_open(pair->two, 0, &publisher) == -ENXIO);
	CHECK(ivshmem_channel_publisher_open(pair->one, UINT32_MAX, &publisher) == -ENXIO);
	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_sender_open(pair->one, 1, &again) == -EALREADY);
	CHECK(ivshmem_channel_sender_send(sender, NULL, 1, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_send(sender, "", SIZE_MAX, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_longest(sender) == RING - 24);
	ivshmem_channel_sender_close(sender);
}

static void messages(struct pair *pair)
{
	struct ivshmem_channel_message found[3];
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	char buffer[RING];
	uint32_t from;
	int n;

	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, 0) == -EAGAIN);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, SHORT) == -ETIMEDOUT);
	CHECK(ivshmem_channel_receiver_peek(receiver, &from, 0) == -EAGAIN);
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING, 0) == -EMSGSIZE);
	CHECK(ivshmem_channel_sender_arm(sender, RING) == 0);

	/* What does not fit stays. */
	CHECK(ivshmem_channel_sender_send(sender, "hello", 5, 0) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, 4, NULL, FOREVER) == -EMSGSIZE);
	CHECK(ivshmem_channel_receiver_receive(receiver, NULL, 4, NULL, FOREVER) == -EINVAL);
	CHECK(ivshmem_channel_receiver_peek(receiver, &from, FOREVER) == 5 && from == 0);
	from = 7;
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, 5, &from, FOREVER) == 5 && from == 0);
	CHECK(memcmp(buffer, "hello", 5) == 0);

	/* What was queued is not seen before it is flushed. */
	for (n = 0; n < 4; n++)
		CHECK(ivshmem_channel_sender_queue(sender, "message", (size_t)n + 1, 0) == 0);
	CHECK(ivshmem_channel_receiver_peek(receiver, NULL, 0) == -EAGAIN);
	CHECK(ivshmem_channel_sender_flush(sender) == 0);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, NULL, 0, buffer, sizeof(buffer), 0) == -EINVAL);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, NULL, 1, buffer, sizeof(buffer), 0) == -EINVAL);
	/* As many as there is room for in the one, and in the other. */
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 3, buffer, 9, FOREVER) == 1);
	CHECK(found[0].at == 0 && found[0].len == 1 && found[0].from == 0);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 2, buffer, sizeof(buffer), FOREVER) == 2);
	CHECK(found[1].at == 8 && found[1].len == 3 && memcmp(buffer + 8, "mes", 3) == 0);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 3, buffer, 3, FOREVER) == -EMSGSIZE);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 3, buffer, 4, FOREVER) == 1);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 3, buffer, 4, 0) == -EAGAIN);
	CHECK(ivshmem_channel_receiver_release(receiver) == 0);

	/* A ring that is full. */
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, 0) == 0);
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, 0) == -EAGAIN);
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, SHORT) == -ETIMEDOUT);
	CHECK(ivshmem_channel_sender_arm(sender, RING - 24) == 1);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, 0) == RING - 24);
	CHECK(ivshmem_channel_sender_disarm(sender) == 0);
	CHECK(ivshmem_channel_sender_arm(sender, RING - 24) == 0);
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_receiver_close(receiver);
}

/* Byte @at of a message that is in two parts. */
static unsigned char *byte(const struct ivshmem_channel_part *parts, size_t at)
{
	int second = at >= parts[0].len;

	return (unsigned char *)parts[second].at + at - (second ? parts[0].len : 0);
}

static void in_place(struct pair *pair)
{
	struct ivshmem_channel_part out[2], in[2];
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	size_t len, at, two = 0;
	char buffer[RING];
	uint32_t from;

	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	CHECK(ivshmem_channel_sender_reserve(NULL, 1, out, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_reserve(sender, 1, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_commit(NULL, 0) == -EINVAL && ivshmem_channel_sender_commit(sender, 0) == -EINVAL);
	CHECK(ivshmem_channel_sender_reserve(sender, RING - 23, out, 0) == -EMSGSIZE);
	CHECK(ivshmem_channel_receiver_borrow(NULL, in, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, NULL, 0) == -EAGAIN);
	CHECK(ivshmem_channel_receiver_done(NULL) == -EINVAL && ivshmem_channel_receiver_done(receiver) == -EINVAL);
	for (len = 0; len <= RING - 24; len += 1 + len / 50) {
		CHECK(ivshmem_channel_sender_reserve(sender, len, out, 0) == 0);
		CHECK(out[0].len + out[1].len == len && (uintptr_t)out[0].at % 8 == 0);
		CHECK((out[0].at == NULL) == (out[0].len == 0) && (out[1].at == NULL) == (out[1].len == 0));
		two += out[1].len != 0;
		for (at = 0; at < len; at++)
			*byte(out, at) = (unsigned char)(at + len);
		CHECK(ivshmem_channel_sender_commit(sender, len + 1) == -EMSGSIZE);
		CHECK(ivshmem_channel_sender_commit(sender, len) == 0);
		CHECK(ivshmem_channel_sender_commit(sender, len) == -EINVAL);
		CHECK(ivshmem_channel_receiver_borrow(receiver, in, NULL, 0) == -EAGAIN);
		CHECK(ivshmem_channel_sender_flush(sender) == 0);
		from = 7;
		CHECK(ivshmem_channel_receiver_borrow(receiver, in, &from, FOREVER) == (int64_t)len && from == 0);
		CHECK(in[0].len + in[1].len == len && in[0].len == out[0].len && (uintptr_t)in[0].at % 8 == 0);
		for (at = 0; at < len; at++)
			CHECK(*byte(in, at) == (unsigned char)(at + len));
		CHECK(ivshmem_channel_receiver_done(receiver) == 0 && ivshmem_channel_receiver_done(receiver) == -EINVAL);
	}
	CHECK(two > 1);

	/* Other messages take the place of what is reserved, and what is borrowed can be received. */
	CHECK(ivshmem_channel_sender_reserve(sender, 100, out, 0) == 0);
	CHECK(ivshmem_channel_sender_send(sender, "hello", 5, 0) == 0);
	CHECK(ivshmem_channel_sender_commit(sender, 100) == -EINVAL);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, NULL, FOREVER) == 5);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, NULL, FOREVER) == 5);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, 0) == 5);
	CHECK(ivshmem_channel_receiver_done(receiver) == -EINVAL);
	CHECK(memcmp(buffer, "hello", 5) == 0);

	/* What is borrowed has its room. */
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, 0) == 0);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, NULL, FOREVER) == RING - 24);
	CHECK(ivshmem_channel_receiver_release(receiver) == 0);
	CHECK(ivshmem_channel_sender_reserve(sender, 1, out, SHORT) == -ETIMEDOUT);
	CHECK(ivshmem_channel_receiver_done(receiver) == 0);
	CHECK(ivshmem_channel_sender_reserve(sender, 1, out, 0) == 0);

	/* Nothing is behind the end of a buffer, not even an empty message. */
	CHECK(ivshmem_channel_sender_send(sender, "hello", 5, 0) == 0);
	CHECK(ivshmem_channel_sender_send(sender, NULL, 0, 0) == 0);
	{
		struct ivshmem_channel_message found[2];

		CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 2, buffer, 5, 0) == 1);
		CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 2, buffer, 0, 0) == 1 && found[0].len == 0);
	}
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_receiver_close(receiver);
}

static int is_ready(int fd, int timeout_ms)
{
	struct pollfd ready = { fd, POLLIN, 0 };

	return poll(&ready, 1, timeout_ms) == 1;
}

static void descriptors(struct pair *pair)
{
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	char buffer[8];
	int fd;

	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	fd = ivshmem_channel_receiver_fd(receiver);
	CHECK(fd >= 0 && ivshmem_channel_receiver_fd(receiver) == fd);
	CHECK(!is_ready(fd, 20));
	CHECK(ivshmem_channel_receiver_arm(receiver) == 1);
	/* A heartbeat is due. */
	CHECK(is_ready(fd, -1));
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, 0) == -EAGAIN);
	CHECK(ivshmem_channel_receiver_arm(receiver) == 1);
	CHECK(ivshmem_channel_receiver_disarm(receiver) == 0);
	CHECK(ivshmem_channel_sender_send(sender, "hello", 5, 0) == 0);
	CHECK(!is_ready(fd, 100));
	CHECK(ivshmem_channel_receiver_arm(receiver) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, 0) == 5);
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_receiver_close(receiver);
}

static struct ivshmem_channel_cancel *cancel;

static void *cancel_soon(void *nothing)
{
	usleep(20000);
	CHECK(ivshmem_channel_cancel_use(cancel) == 0);
	return nothing;
}

static void on_alarm(int number)
{
	(void)number;
	ivshmem_channel_cancel_use(cancel);
}

static void cancels(struct pair *pair)
{
	struct ivshmem_channel_subscriber *subscriber;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	struct ivshmem_channel_member *member;
	char buffer[RING];
	struct sigaction action;
	pthread_t thread;
	uint32_t slot = 0;

	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	CHECK(ivshmem_channel_subscriber_open(pair->two, 0, &subscriber) == 0);
	CHECK(ivshmem_channel_cancel_new(&cancel) == 0);
	CHECK(ivshmem_channel_receiver_set_cancel(receiver, NULL) == -EINVAL);
	CHECK(ivshmem_channel_receiver_set_cancel(receiver, cancel) == 0);
	CHECK(ivshmem_channel_sender_set_cancel(sender, cancel) == 0);
	CHECK(ivshmem_channel_subscriber_set_cancel(subscriber, cancel) == 0);
	CHECK(pthread_create(&thread, NULL, cancel_soon, NULL) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == -ECANCELED);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(ivshmem_channel_receiver_arm(receiver) == -ECANCELED);
	CHECK(ivshmem_channel_subscriber_next(subscriber, buffer, sizeof(buffer), NULL, FOREVER) == -ECANCELED);
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, FOREVER) == 0);
	CHECK(ivshmem_channel_sender_send(sender, buffer, RING - 24, FOREVER) == -ECANCELED);
	/* What is there is received all the same. */
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == RING - 24);
	ivshmem_channel_cancel_free(cancel);

	/* In a signal handler. */
	CHECK(ivshmem_channel_cancel_new(&cancel) == 0);
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_alarm;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(ivshmem_channel_receiver_set_cancel(receiver, cancel) == 0);
	ualarm(20000, 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == -ECANCELED);
	CHECK(ivshmem_channel_join(pair->channel, &slot, 1, 0, FOREVER, cancel, &member) == -ECANCELED);
	ivshmem_channel_cancel_free(cancel);
	ivshmem_channel_subscriber_close(subscriber);
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_sender_close(sender);
}

static void topics(struct pair *pair)
{
	struct ivshmem_channel_subscriber *subscriber;
	struct ivshmem_channel_publisher *publisher;
	uint32_t missed = 7, value;
	char buffer[64];

	CHECK(ivshmem_channel_publisher_open(pair->one, 0, &publisher) == 0);
	CHECK(ivshmem_channel_subscriber_open(pair->two, 0, &subscriber) == 0);
	CHECK(ivshmem_channel_publisher_longest(publisher) == 64);
	CHECK(ivshmem_channel_publisher_publish(publisher, buffer, 65) == -EMSGSIZE);
	CHECK(ivshmem_channel_subscriber_next(subscriber, buffer, 64, &missed, 0) == -EAGAIN && missed == 7);
	CHECK(ivshmem_channel_subscriber_next(subscriber, buffer, 64, &missed, SHORT) == -ETIMEDOUT);
	for (value = 1; value <= 3; value++)
		CHECK(ivshmem_channel_publisher_publish(publisher, &value, sizeof(value)) == 0);
	/* A buffer that could be too small loses no value. */
	CHECK(ivshmem_channel_subscriber_next(subscriber, buffer, 63, NULL, 0) == -EMSGSIZE);
	CHECK(ivshmem_channel_subscriber_newest(subscriber, buffer, 64, &missed, 0) == 4 && missed == 2);
	value = 3;
	CHECK(memcmp(buffer, &value, sizeof(value)) == 0);
	ivshmem_channel_subscriber_close(subscriber);
	ivshmem_channel_publisher_close(publisher);
}

/* What the sender of one message does to it meanwhile is of no concern to the others'. */
static void senders_that_break_rules(struct pair *pair)
{
	struct ivshmem_channel_sender *first, *second;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_message found[2];
	struct ivshmem_channel_member *three;
	struct ivshmem_channel_part in[2];
	volatile uint64_t *header;
	char buffer[RING];
	uint32_t slot = 2, from;
	uint64_t before;

	CHECK(ivshmem_channel_join(pair->channel, &slot, 1, 0, FOREVER, NULL, &three) == 0);
	CHECK(ivshmem_channel_receiver_open(three, IVSHMEM_CHANNEL_ALL, &receiver) == 0);
	CHECK(ivshmem_channel_sender_open(pair->one, 2, &first) == 0);
	CHECK(ivshmem_channel_sender_open(pair->two, 2, &second) == 0);

	/* One that takes its message back while it is read. */
	CHECK(ivshmem_channel_sender_send(first, "one", 3, 0) == 0);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, &from, FOREVER) == 3 && from == 0);
	CHECK(ivshmem_channel_sender_send(second, "two", 3, 0) == 0);
	header = (volatile uint64_t *)((char *)in[0].at - 8);
	before = *header;
	*header = 0;
	CHECK(ivshmem_channel_receiver_done(receiver) == -EBADMSG);
	CHECK(ivshmem_channel_receiver_done(receiver) == -EINVAL);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, 0) == 3 && from == 1);
	CHECK(memcmp(buffer, "two", 3) == 0);
	*header = before;
	CHECK(ivshmem_channel_sender_send(first, "more", 4, 0) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, FOREVER) == 3 && from == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, FOREVER) == 4 && from == 0);

	/* What is found behind a message is told by the next call that receives, and keeps no room from the others. */
	CHECK(ivshmem_channel_sender_send(second, "two", 3, 0) == 0);
	CHECK(ivshmem_channel_receiver_borrow(receiver, in, &from, FOREVER) == 3 && from == 1);
	CHECK(ivshmem_channel_receiver_done(receiver) == 0);
	header = (volatile uint64_t *)((char *)in[0].at + 8);
	CHECK(ivshmem_channel_sender_send(first, "one", 3, 0) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, FOREVER) == 3 && from == 0);
	CHECK(ivshmem_channel_sender_send(second, "two", 3, 0) == 0);
	*header = 3;
	CHECK(ivshmem_channel_sender_send(first, "more", 4, 0) == 0);
	CHECK(ivshmem_channel_receiver_receive_many(receiver, found, 2, buffer, sizeof(buffer), FOREVER) == 1);
	CHECK(found[0].from == 0 && ivshmem_channel_receiver_arm(receiver) == 0);
	CHECK(ivshmem_channel_receiver_release(receiver) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, 0) == -EBADMSG);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), &from, 0) == -EAGAIN);
	ivshmem_channel_sender_close(first);
	ivshmem_channel_sender_close(second);
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_member_close(three);
}

static void next_of(struct ivshmem_channel_changes *changes, uint32_t slot, struct ivshmem_channel_change *change)
{
	do {
		CHECK(ivshmem_channel_changes_next(changes, change, FOREVER) == 0);
	} while (change->slot != slot);
}

static void presence_and_reset(struct pair *pair)
{
	struct ivshmem_channel_presence presence;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_changes *changes;
	struct ivshmem_channel_member *three;
	struct ivshmem_channel_change change;
	struct ivshmem_channel *fresh;
	uint32_t slot = 2, incarnation;
	char buffer[8];

	/* The third slot's program comes, falls silent, returns and goes; the others' are silent or not. */
	CHECK(ivshmem_channel_changes_open(pair->one, &changes) == 0);
	CHECK(ivshmem_channel_changes_next(changes, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_join(pair->channel, &slot, 1, 0, FOREVER, NULL, &three) == 0);
	incarnation = ivshmem_channel_member_incarnation(three);
	next_of(changes, slot, &change);
	CHECK(change.what == IVSHMEM_CHANNEL_JOINED && change.incarnation == incarnation);
	next_of(changes, slot, &change);
	CHECK(change.what == IVSHMEM_CHANNEL_SILENT && change.incarnation == incarnation);
	CHECK(ivshmem_channel_member_beat(three) == 0);
	next_of(changes, slot, &change);
	CHECK(change.what == IVSHMEM_CHANNEL_RETURNED && change.incarnation == incarnation);
	ivshmem_channel_member_close(three);
	next_of(changes, slot, &change);
	CHECK(change.what == IVSHMEM_CHANNEL_LEFT && change.incarnation == incarnation);
	CHECK(ivshmem_channel_member_beat(pair->two) == 0);
	while (ivshmem_channel_changes_next(changes, &change, 0) == 0)
		CHECK(change.slot == 1);
	ivshmem_channel_changes_close(changes);

	CHECK(ivshmem_channel_member_presence(pair->one, 1, &presence) == 0);
	CHECK(presence.state == IVSHMEM_CHANNEL_PRESENT);
	CHECK(presence.incarnation == ivshmem_channel_member_incarnation(pair->two));
	CHECK(ivshmem_channel_member_presence(pair->one, 2, &presence) == 0);
	CHECK(presence.state == IVSHMEM_CHANNEL_ABSENT && presence.incarnation == 0);
	/* Whoever does not show that it lives is lost. */
	do {
		usleep(5000);
		CHECK(ivshmem_channel_member_beat(pair->one) == 0);
		CHECK(ivshmem_channel_member_presence(pair->one, 1, &presence) == 0);
	} while (presence.state != IVSHMEM_CHANNEL_LOST);
	CHECK(presence.incarnation == ivshmem_channel_member_incarnation(pair->two));

	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	CHECK(ivshmem_channel_receiver_arm(receiver) == 1);
	CHECK(ivshmem_channel_reset(pair->channel, &fresh) == 0);
	CHECK(ivshmem_channel_receiver_arm(receiver) == -ESTALE);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == -ESTALE);
	CHECK(strstr(ivshmem_channel_error(), "recreated") != NULL);
	CHECK(ivshmem_channel_member_beat(pair->one) == -ESTALE);
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_close(fresh);
}

/* A child closes its copies of all handles: what they stand for is the parent's. */
static void forks(struct pair *pair)
{
	struct ivshmem_channel_presence presence;
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	struct ivshmem_channel_cancel *other;
	char buffer[8];
	pid_t child;
	int status;

	CHECK(ivshmem_channel_sender_open(pair->one, 1, &sender) == 0);
	CHECK(ivshmem_channel_receiver_open(pair->two, 0, &receiver) == 0);
	CHECK(ivshmem_channel_cancel_new(&other) == 0);
	CHECK(ivshmem_channel_receiver_set_cancel(receiver, other) == 0);
	CHECK(ivshmem_channel_sender_send(sender, "one", 3, 0) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == 3);
	CHECK(ivshmem_channel_sender_queue(sender, "two", 3, 0) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		/* What hangs ends here. */
		alarm(60);
		ivshmem_channel_cancel_free(other);
		ivshmem_channel_receiver_close(receiver);
		ivshmem_channel_sender_close(sender);
		tear_down(pair);
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* What was queued was shown by nobody, and the slots were not left. */
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, 0) == -EAGAIN);
	CHECK(ivshmem_channel_sender_flush(sender) == 0);
	CHECK(ivshmem_channel_receiver_receive(receiver, buffer, sizeof(buffer), NULL, FOREVER) == 3);
	CHECK(ivshmem_channel_member_beat(pair->one) == 0 && ivshmem_channel_member_beat(pair->two) == 0);
	CHECK(ivshmem_channel_member_presence(pair->one, 1, &presence) == 0);
	CHECK(presence.state == IVSHMEM_CHANNEL_PRESENT);
	/* Still rung, if anybody can be. */
	if (ivshmem_channel_link_vectors(pair->link) > 0) {
		int fd = ivshmem_channel_link_fd(pair->link, 0);

		CHECK(fd >= 0 && ivshmem_channel_link_heard(pair->link, 0) >= 0);
		CHECK(ivshmem_channel_link_ring(pair->link, ivshmem_channel_link_peer_id(pair->link), 0) == 0);
		CHECK(is_ready(fd, 60000));
	}
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_cancel_free(other);
}

static void end_well(int number)
{
	(void)number;
	_exit(0);
}

/* A server that does not answer does not keep a program from being told to end. */
static void signals(void)
{
	char directory[] = "/tmp/contract-XXXXXX";
	struct ivshmem_channel_link *link;
	struct sockaddr_un address;
	int server, status;
	pid_t child;

	CHECK(mkdtemp(directory) != NULL);
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(server >= 0 && bind(server, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(listen(server, 1) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		struct sigaction action;

		memset(&action, 0, sizeof(action));
		action.sa_handler = end_well;
		CHECK(sigaction(SIGALRM, &action, NULL) == 0);
		ualarm(20000, 0);
		ivshmem_channel_link_open(address.sun_path, &link);
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	unlink(address.sun_path);
	rmdir(directory);
	close(server);
	CHECK(WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
	struct pair pair;

	CHECK(argc == 2);
	CHECK(strcmp(ivshmem_channel_error(), "") == 0);
	set_up(&pair, argv[1]);
	null_pointers(&pair);
	wrong_arguments(&pair);
	areas(&pair);
	messages(&pair);
	in_place(&pair);
	forks(&pair);
	signals();
	descriptors(&pair);
	cancels(&pair);
	topics(&pair);
	senders_that_break_rules(&pair);
	presence_and_reset(&pair);
	tear_down(&pair);
	return 0;
}
