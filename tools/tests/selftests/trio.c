// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * N guests on one region: each sends M checked messages to each other one. Guest i rings vector i of
 * its peers, so a receiver knows from the vector who has news for it.
 *
 *	trio N ME [M]
 *
 * Start it in all N guests (2 to 8), with ME from 0 to N - 1 and the same M (2000).
 */
#include "guests.h"

#define DEFAULT_MESSAGES	2000
#define MAILBOX_RECORDS		16

/* One way from one guest to another: a ring whose ends have one writer each. */
struct mailbox {
	uint32_t head;		/* messages put in; the sender writes it */
	uint32_t pad_head[15];
	uint32_t tail;		/* messages taken out; the receiver writes it */
	uint32_t pad_tail[15];
	struct record records[MAILBOX_RECORDS];
};

struct traffic {
	struct guests guests;
	uint32_t messages;
	uint32_t sent[RENDEZVOUS_SLOTS];	/* this end's head towards each guest */
	uint32_t received[RENDEZVOUS_SLOTS];	/* this end's tail from each guest */
	unsigned long long wakes, events;
};

static struct mailbox *mailbox(const struct traffic *traffic, unsigned int from, unsigned int to)
{
	struct mailbox *boxes = (struct mailbox *)(traffic->guests.memory + DATA_AT);

	_Static_assert(DATA_AT + RENDEZVOUS_SLOTS * RENDEZVOUS_SLOTS * sizeof(*boxes) <= GUEST_BYTES,
		       "mailboxes fit");
	return &boxes[from * RENDEZVOUS_SLOTS + to];
}

/* Puts as many messages for @to as there is room for; true if there was any. */
static bool send_to(struct traffic *traffic, unsigned int to)
{
	struct mailbox *box = mailbox(traffic, traffic->guests.me, to);
	uint32_t start = traffic->sent[to], used = start - load(&box->tail);

	if (used > MAILBOX_RECORDS)
		fail("guest %u has taken more than was sent", to);
	while (traffic->sent[to] < traffic->messages && used < MAILBOX_RECORDS) {
		uint32_t sequence = traffic->sent[to]++;

		write_record(&traffic->guests, &box->records[sequence % MAILBOX_RECORDS], to,
			     sequence);
		used++;
	}
	store(&box->head, traffic->sent[to]);
	return traffic->sent[to] != start;
}

/* Takes and checks all messages of @from; true if there was any. */
static bool receive_from(struct traffic *traffic, unsigned int from)
{
	struct mailbox *box = mailbox(traffic, from, traffic->guests.me);
	uint32_t start = traffic->received[from], head = load(&box->head);

	if (head - start > MAILBOX_RECORDS || head > traffic->messages)
		fail("guest %u says it sent %u, %u were taken", from, head, start);
	for (uint32_t sequence = start; sequence != head; sequence++)
		check_record(&traffic->guests, &box->records[sequence % MAILBOX_RECORDS], from,
			     sequence);
	traffic->received[from] = head;
	store(&box->tail, head);
	return head != start;
}

/* Everything was sent, taken by the others, and received. */
static bool is_done(const struct traffic *traffic)
{
	const struct guests *guests = &traffic->guests;

	for (unsigned int i = 0; i < guests->n; i++)
		if (i != guests->me && (load(&mailbox(traffic, guests->me, i)->tail) != traffic->messages ||
					traffic->received[i] != traffic->messages))
			return false;
	return true;
}

/* Sleeps until somebody rings; only the other guests' vectors may. */
static void sleep_for_events(struct traffic *traffic)
{
	const struct guests *guests = &traffic->guests;
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];
	ssize_t bytes;

	test_waits_for("a doorbell of another guest");
	bytes = CHECK(read(guests->fd, events, sizeof(events)));
	traffic->wakes++;
	for (size_t i = 0; i < bytes / sizeof(events[0]); i++) {
		if (events[i].vector >= guests->n || events[i].vector == guests->me)
			fail("vector %u was rung, which nobody rings here", events[i].vector);
		if (events[i].count == 0)
			fail("vector %u is pending with count 0", events[i].vector);
		traffic->events += events[i].count;
	}
}

static void run(struct traffic *traffic)
{
	const struct guests *guests = &traffic->guests;

	while (!is_done(traffic)) {
		bool progress = false;

		for (unsigned int i = 0; i < guests->n; i++) {
			bool news;

			if (i == guests->me)
				continue;
			news = receive_from(traffic, i);
			news |= send_to(traffic, i);
			if (news)
				ring_guest(guests, i, guests->me);
			progress |= news;
		}
		/* All mailboxes were looked at since the last read, so a ring missed is pending now. */
		if (progress)
			test_progress();
		else
			sleep_for_events(traffic);
	}
}

/* At the end, once all rings are in: the vectors that nobody rings here have stayed silent. */
static void check_silence(const struct guests *guests)
{
	uint64_t armed = (1ull << guests->info.vectors) - 1;
	uint64_t rung = ((1ull << guests->n) - 1) & ~(1ull << guests->me);

	/* The marker of settle() is rung by this guest itself. */
	rung |= 1ull << dev_last_vector(guests->fd);
	settle(guests->fd);
	CHECK(subscribe(guests->fd, armed & ~rung));
	if (poll_now(guests->fd, POLLIN))
		fail("a vector was rung, which nobody rings here");
}

int main(int argc, char **argv)
{
	struct traffic traffic = { .messages = DEFAULT_MESSAGES };
	unsigned int n, me;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: trio N ME [M]\n");
		return TEST_EXIT_USAGE;
	}
	n = number_argument(argv[1], 2, RENDEZVOUS_SLOTS);
	me = number_argument(argv[2], 0, n - 1);
	if (argc == 4)
		traffic.messages = number_argument(argv[3], 1, 100000000);
	meet(&traffic.guests, me, n);
	if (traffic.guests.info.vectors < n)
		fail("needs %u vectors, the device has %u", n, traffic.guests.info.vectors);
	for (unsigned int i = 0; i < n; i++) {
		store(&mailbox(&traffic, me, i)->head, 0);
		store(&mailbox(&traffic, i, me)->tail, 0);
	}
	barrier(&traffic.guests, 2);
	run(&traffic);
	barrier(&traffic.guests, 3);
	check_silence(&traffic.guests);
	printf("trio %u of %u: %u messages to and from each other guest passed, %llu wakes, %llu events\n",
	       me, n, traffic.messages, traffic.wakes, traffic.events);
	return 0;
}
