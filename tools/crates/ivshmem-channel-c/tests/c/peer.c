/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The programs of a channel, each as a process: C99 with POSIX, and C++17. LINK is what ivshmem_channel_link_open() takes.
 *
 *	peer LINK talk COUNT	sends numbered messages and expects each back
 *	peer LINK echo		sends back what comes, by an event loop, up to an empty message
 *	peer LINK pass		the same from ring to ring, without a buffer
 *	peer LINK gather COUNT	receives COUNT messages of slots 0 and 1 each, several at a time
 *	peer LINK scatter SLOT COUNT	sends COUNT messages from slot SLOT to who gathers
 *	peer LINK publish COUNT	publishes numbers up to COUNT
 *	peer LINK subscribe COUNT	reads up to COUNT, by an event loop
 *	peer LINK serve		answers with the request backwards, by an event loop, up to an empty request
 *	peer LINK ask COUNT	asks, and an empty request if COUNT is 0
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both may be used in one program. */
#include <ivshmem_channel.h>
#include <libivshmem_channel.h>

#define RING		960u	/* no power of two, as in the tests of the header */
#define GATHERS		2u
#define LONGEST		500u
#define MINUTES		(300 * INT64_C(1000000000))

static struct ivshmem_channel_link *memory_link;

/* What a call returned, or the end of the program. */
static int64_t good(int64_t status, const char *what)
{
	if (status < 0) {
		fprintf(stderr, "%s: %d: %s\n", what, (int)status, ivshmem_channel_error());
		exit(1);
	}
	return status;
}

static void expect(int truth, const char *what)
{
	if (!truth) {
		fprintf(stderr, "not so: %s\n", what);
		exit(1);
	}
}

static struct ivshmem_channel_member *join_slot(struct ivshmem_channel_layout *layout, uint32_t slot)
{
	struct ivshmem_channel_member *member;

	good(ivshmem_channel_create_or_join(memory_link, 0, layout, &slot, 1, 0, MINUTES, NULL, &member), "join");
	expect(ivshmem_channel_member_slot(member) == slot, "the slot is the one that was asked for");
	return member;
}

static struct ivshmem_channel_layout *rings(void)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new(2);

	good(ivshmem_channel_layout_ring(layout, 0, 1, RING), "ring");
	good(ivshmem_channel_layout_ring(layout, 1, 0, RING), "ring");
	return layout;
}

static size_t message_of(uint32_t number, unsigned char *message)
{
	size_t len = number * 2654435761u % LONGEST + 1, at;

	for (at = 0; at < len; at++)
		message[at] = (unsigned char)(number ^ (uint32_t)at * 167u);
	return len;
}

/* Sleeps until the descriptor is ready. */
static void sleep_on(int fd)
{
	struct pollfd ready = { fd, POLLIN, 0 };

	while (poll(&ready, 1, -1) < 0)
		expect(errno == EINTR, "poll waits");
}

static void talk(uint32_t count)
{
	struct ivshmem_channel_layout *layout = rings();
	struct ivshmem_channel_member *member = join_slot(layout, 0);
	unsigned char wanted[LONGEST], got[LONGEST];
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	uint32_t number, from;
	int64_t len;

	good(ivshmem_channel_sender_open(member, 1, &sender), "sender");
	good(ivshmem_channel_receiver_open(member, 1, &receiver), "receiver");
	/* What is open is enough. */
	ivshmem_channel_layout_free(layout);
	ivshmem_channel_member_close(member);
	for (number = 0; number < count; number++) {
		size_t size = message_of(number, wanted);

		good(ivshmem_channel_sender_send(sender, wanted, size, MINUTES), "send");
		len = good(ivshmem_channel_receiver_receive(receiver, got, sizeof(got), &from, MINUTES), "receive");
		expect((size_t)len == size && memcmp(got, wanted, size) == 0, "it is the same");
		expect(from == 1, "it is slot 1's");
	}
	good(ivshmem_channel_sender_send(sender, NULL, 0, MINUTES), "send");
	expect(ivshmem_channel_receiver_receive(receiver, NULL, 0, NULL, MINUTES) == 0, "the last one is empty");
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_sender_close(sender);
}

static int64_t echo_one(struct ivshmem_channel_receiver *receiver, struct ivshmem_channel_sender *sender)
{
	unsigned char message[LONGEST];
	int64_t len = ivshmem_channel_receiver_receive(receiver, message, sizeof(message), NULL, 0);
	int fd = (int)good(ivshmem_channel_sender_fd(sender), "fd");
	int status;

	if (len < 0)
		return len;
	while ((status = ivshmem_channel_sender_send(sender, message, (size_t)len, 0)) == -EAGAIN)
		if (good(ivshmem_channel_sender_arm(sender, (size_t)len), "arm"))
			sleep_on(fd);
	good(status, "send");
	return len;
}

static void echo(void)
{
	struct ivshmem_channel_layout *layout = rings();
	struct ivshmem_channel_member *member = join_slot(layout, 1);
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	int64_t len;
	int fd;

	good(ivshmem_channel_sender_open(member, 0, &sender), "sender");
	good(ivshmem_channel_receiver_open(member, 0, &receiver), "receiver");
	fd = (int)good(ivshmem_channel_receiver_fd(receiver), "fd");
	while ((len = echo_one(receiver, sender)) != 0) {
		if (len > 0)
			continue;
		if (len != -EAGAIN)
			good(len, "receive");
		if (good(ivshmem_channel_receiver_arm(receiver), "arm"))
			sleep_on(fd);
	}
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static void pass(void)
{
	struct ivshmem_channel_layout *layout = rings();
	struct ivshmem_channel_member *member = join_slot(layout, 1);
	struct ivshmem_channel_part in[2], out[2];
	struct ivshmem_channel_receiver *receiver;
	struct ivshmem_channel_sender *sender;
	int64_t len;
	size_t at;

	good(ivshmem_channel_sender_open(member, 0, &sender), "sender");
	good(ivshmem_channel_receiver_open(member, 0, &receiver), "receiver");
	do {
		len = good(ivshmem_channel_receiver_borrow(receiver, in, NULL, MINUTES), "borrow");
		good(ivshmem_channel_sender_reserve(sender, (size_t)len, out, MINUTES), "reserve");
		for (at = 0; at < (size_t)len; at++) {
			int from = at >= in[0].len, to = at >= out[0].len;

			((unsigned char *)out[to].at)[at - (to ? out[0].len : 0)] =
				((unsigned char *)in[from].at)[at - (from ? in[0].len : 0)];
		}
		good(ivshmem_channel_receiver_done(receiver), "done");
		good(ivshmem_channel_sender_commit(sender, (size_t)len), "commit");
		good(ivshmem_channel_sender_flush(sender), "flush");
	} while (len > 0);
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static struct ivshmem_channel_layout *lanes(void)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new(3);

	good(ivshmem_channel_layout_multi_ring(layout, GATHERS, RING), "ring");
	return layout;
}

static void gather(uint32_t count)
{
	struct ivshmem_channel_layout *layout = lanes();
	struct ivshmem_channel_member *member = join_slot(layout, GATHERS);
	struct ivshmem_channel_message messages[4];
	unsigned char buffer[600], wanted[LONGEST];
	struct ivshmem_channel_receiver *receiver;
	uint32_t next[2] = { 0, 0 };
	int64_t found, n, most = 0;

	good(ivshmem_channel_receiver_open(member, IVSHMEM_CHANNEL_ALL, &receiver), "receiver");
	while (next[0] < count || next[1] < count) {
		found = good(ivshmem_channel_receiver_receive_many(receiver, messages, 4, buffer, sizeof(buffer), MINUTES),
			     "receive");
		if (found > most)
			most = found;
		for (n = 0; n < found; n++) {
			uint32_t from = messages[n].from;
			size_t size;

			expect(from < 2 && messages[n].at % 8 == 0, "the message is a sender's, and aligned");
			size = message_of(next[from]++, wanted);
			expect(messages[n].len == size && memcmp(buffer + messages[n].at, wanted, size) == 0,
			       "it is the next one of its sender");
		}
	}
	expect(most > 1, "several came at a time");
	ivshmem_channel_receiver_close(receiver);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static void scatter(uint32_t slot, uint32_t count)
{
	struct ivshmem_channel_layout *layout = lanes();
	struct ivshmem_channel_member *member = join_slot(layout, slot);
	struct ivshmem_channel_sender *sender;
	unsigned char message[LONGEST];
	uint32_t number;

	good(ivshmem_channel_sender_open(member, GATHERS, &sender), "sender");
	for (number = 0; number < count; number++)
		good(ivshmem_channel_sender_queue(sender, message, message_of(number, message), MINUTES), "queue");
	good(ivshmem_channel_sender_flush(sender), "flush");
	ivshmem_channel_sender_close(sender);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static struct ivshmem_channel_layout *topic(void)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new(3);

	good(ivshmem_channel_layout_topic(layout, 0, 4, 64), "topic");
	return layout;
}

static void publish(uint32_t count)
{
	struct ivshmem_channel_layout *layout = topic();
	struct ivshmem_channel_member *member = join_slot(layout, 0);
	struct ivshmem_channel_publisher *publisher;
	uint32_t number;

	good(ivshmem_channel_publisher_open(member, 0, &publisher), "publisher");
	for (number = 1; number <= count; number++)
		good(ivshmem_channel_publisher_publish(publisher, &number, sizeof(number)), "publish");
	ivshmem_channel_publisher_close(publisher);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static void subscribe(uint32_t count)
{
	struct ivshmem_channel_layout *layout = topic();
	struct ivshmem_channel_member *member = join_slot(layout, 1);
	struct ivshmem_channel_subscriber *subscriber;
	uint32_t number = 0, before, missed, value[16];
	int64_t len;
	int fd;

	good(ivshmem_channel_subscriber_open(member, 0, &subscriber), "subscriber");
	expect(ivshmem_channel_subscriber_longest(subscriber) == sizeof(value), "the longest value is the layout's");
	fd = (int)good(ivshmem_channel_subscriber_fd(subscriber), "fd");
	while (number < count) {
		len = ivshmem_channel_subscriber_next(subscriber, value, sizeof(value), &missed, 0);
		if (len == -EAGAIN) {
			if (good(ivshmem_channel_subscriber_arm(subscriber), "arm"))
				sleep_on(fd);
			continue;
		}
		expect(good(len, "next") == sizeof(number), "a value is a number");
		before = number;
		number = value[0];
		/* The first one need not be the first that was published. */
		expect(before ? number == before + 1 + missed : number > 0, "no value is lost unsaid");
	}
	ivshmem_channel_subscriber_close(subscriber);
	ivshmem_channel_member_close(member);
	ivshmem_channel_layout_free(layout);
}

static struct ivshmem_channel *rpc_channel(void)
{
	struct ivshmem_channel_layout *layout = ivshmem_channel_layout_new_rpc(2, RING, RING);
	struct ivshmem_channel *channel;

	good(ivshmem_channel_open_or_create(memory_link, 0, layout, &channel), "channel");
	ivshmem_channel_layout_free(layout);
	return channel;
}

static void serve(void)
{
	struct ivshmem_channel *channel = rpc_channel();
	struct ivshmem_channel_rpc_request *request;
	struct ivshmem_channel_rpc_server *server;
	unsigned char answer[LONGEST];
	size_t len, at;
	int fd, status;

	good(ivshmem_channel_rpc_server_join(channel, 0, &server), "server");
	fd = (int)good(ivshmem_channel_rpc_server_fd(server), "fd");
	do {
		const unsigned char *body;

		while ((status = ivshmem_channel_rpc_server_next(server, &request, 0)) == -EAGAIN)
			if (good(ivshmem_channel_rpc_server_arm(server), "arm"))
				sleep_on(fd);
		good(status, "next");
		body = (const unsigned char *)ivshmem_channel_rpc_request_body(request, &len);
		expect(ivshmem_channel_rpc_request_from(request) == 1, "the client has the first client's slot");
		for (at = 0; at < len && at < sizeof(answer); at++)
			answer[at] = body[len - 1 - at];
		expect(ivshmem_channel_rpc_server_reply(server, request, answer, at) == 1, "the answer is on its way");
		ivshmem_channel_rpc_request_free(request);
	} while (len > 0);
	ivshmem_channel_rpc_server_close(server);
	ivshmem_channel_close(channel);
}

static void ask(uint32_t count)
{
	struct ivshmem_channel *channel = rpc_channel();
	struct ivshmem_channel_rpc_client *client;
	unsigned char request[LONGEST];
	const void *answer;
	uint32_t number;
	int64_t len;
	size_t at;

	good(ivshmem_channel_rpc_client_join(channel, 0, &client), "client");
	ivshmem_channel_close(channel);
	for (number = 0; number < count; number++) {
		size_t size = message_of(number, request);

		len = good(ivshmem_channel_rpc_client_call(client, request, size, &answer, MINUTES), "call");
		expect((size_t)len == size, "the answer is as long as the request");
		for (at = 0; at < size; at++)
			expect(((const unsigned char *)answer)[size - 1 - at] == request[at], "it is that backwards");
	}
	if (count == 0) {
		/* In two steps. */
		good(ivshmem_channel_rpc_client_ask(client, NULL, 0, MINUTES), "ask");
		expect(ivshmem_channel_rpc_client_answer(client, NULL, MINUTES) == 0, "nothing backwards");
		expect(ivshmem_channel_rpc_client_answer(client, NULL, 0) == -EINVAL, "nothing is asked");
	}
	ivshmem_channel_rpc_client_close(client);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	uint32_t first = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	uint32_t second = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;

	expect(argc > 2, "a link and a command are given");
	good(ivshmem_channel_link_open(argv[1], &memory_link), argv[1]);
	if (strcmp(what, "talk") == 0)
		talk(first);
	else if (strcmp(what, "echo") == 0)
		echo();
	else if (strcmp(what, "pass") == 0)
		pass();
	else if (strcmp(what, "gather") == 0)
		gather(first);
	else if (strcmp(what, "scatter") == 0)
		scatter(first, second);
	else if (strcmp(what, "publish") == 0)
		publish(first);
	else if (strcmp(what, "subscribe") == 0)
		subscribe(first);
	else if (strcmp(what, "serve") == 0)
		serve();
	else if (strcmp(what, "ask") == 0)
		ask(first);
	else
		expect(0, "the command is one of those");
	ivshmem_channel_link_close(memory_link);
	return 0;
}
