// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * From one machine to another and back, in each way: a message of 4 bytes, and its answer.
 *
 *	roundtrip WAY answer PEER ROUNDS	says "ready", then answers
 *	roundtrip WAY ask PEER ROUNDS		prints "pair.WAY"
 *
 * PEER is the other machine's peer ID; for "virtio_net" its address.
 */
#include "devices.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>

#define VECTOR	1
#define PORT	7777

/* Rounds before those that count. */
#define WARM_UP	100

/* One word for each direction, on cache lines of their own. */
#define WORDS_APART	16

struct end {
	const char *name;
	void (*open)(struct end *end, const char *peer);
	void (*send)(struct end *end);
	void (*receive)(struct end *end);
	int asks;
	int fd, event;
	struct ivshmem_ring ring;
	volatile uint32_t *out, *in;
	uint32_t seen;
};

/* --- ours --- */

static void ours_begin(struct end *end, const char *peer)
{
	volatile uint32_t *memory;

	end->fd = ours_open_for(VECTOR, 0);
	end->ring = (struct ivshmem_ring){ .peer = atoi(peer), .vector = VECTOR };
	memory = ours_map(end->fd, IVSHMEM_REGION_MEMORY, PAGE_BYTES, PROT_READ | PROT_WRITE);
	end->out = memory + (end->asks ? 0 : WORDS_APART);
	end->in = memory + (end->asks ? WORDS_APART : 0);
	end->seen = *end->in;
}

static void ours_bound(struct end *end, const char *peer)
{
	ours_begin(end, peer);
	end->event = MUST(eventfd(0, 0));
	ours_bind(end->fd, VECTOR, end->event);
}

static void send_word(struct end *end)
{
	__atomic_store_n(end->out, *end->out + 1, __ATOMIC_RELEASE);
}

static void send_ring(struct end *end)
{
	send_word(end);
	MUST(ioctl(end->fd, IVSHMEM_RING, &end->ring));
}

static void receive_read(struct end *end)
{
	struct ivshmem_event event;

	MUST(read(end->fd, &event, sizeof(event)));
}

static void receive_eventfd(struct end *end)
{
	uint64_t count;

	MUST(read(end->event, &count, sizeof(count)));
}

static void receive_poll_read(struct end *end)
{
	struct pollfd entry = { .fd = end->fd, .events = POLLIN };

	MUST(poll(&entry, 1, -1));
	receive_read(end);
}

static void receive_wait_word(struct end *end)
{
	while (*end->in == end->seen) {
		struct ivshmem_wait wait = {
			.vectors = 1 << VECTOR,
			.timeout_ns = -1,
			.offset = (end->asks ? WORDS_APART : 0) * sizeof(uint32_t),
			.value = end->seen,
			.flags = IVSHMEM_WAIT_WORD,
		};

		MUST(ioctl(end->fd, IVSHMEM_WAIT, &wait));
	}
	end->seen = *end->in;
}

static void receive_spin(struct end *end)
{
	while (__atomic_load_n(end->in, __ATOMIC_ACQUIRE) == end->seen)
		;
	end->seen = *end->in;
}

/* --- the rivals --- */

static void serial_begin(struct end *end, const char *peer)
{
	DIR *directory = opendir("/sys/class/virtio-ports");
	struct dirent *entry;

	(void)peer;
	while (directory && (entry = readdir(directory))) {
		char path[600], name[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strcmp(name, "bench\n")) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			end->fd = MUST(open(path, O_RDWR | O_CLOEXEC));
		}
		fclose(file);
	}
	if (!end->fd)
		die("there is no virtio port \"bench\"");
	closedir(directory);
}

static void net_begin(struct end *end, const char *peer)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct sockaddr_in there = here;

	end->fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	MUST(bind(end->fd, (struct sockaddr *)&here, sizeof(here)));
	if (inet_pton(AF_INET, peer, &there.sin_addr) != 1)
		die("not an address: %s", peer);
	MUST(connect(end->fd, (struct sockaddr *)&there, sizeof(there)));
}

static void send_write(struct end *end)
{
	uint32_t message = 1;

	MUST(write(end->fd, &message, sizeof(message)));
}

static void receive_message(struct end *end)
{
	uint32_t message;
	size_t have = 0;

	while (have < sizeof(message)) {
		ssize_t bytes = MUST(read(end->fd, (char *)&message + have, sizeof(message) - have));

		/* The other end is not there yet. */
		if (!bytes)
			usleep(10000);
		have += bytes;
	}
}

static struct end ends[] = {
	{ .name = "read", .open = ours_begin, .send = send_ring, .receive = receive_read },
	{ .name = "eventfd", .open = ours_bound, .send = send_ring, .receive = receive_eventfd },
	{ .name = "poll_read", .open = ours_begin, .send = send_ring, .receive = receive_poll_read },
	{ .name = "WAIT_WORD", .open = ours_begin, .send = send_ring, .receive = receive_wait_word },
	{ .name = "spin", .open = ours_begin, .send = send_word, .receive = receive_spin },
	{ .name = "virtio_serial", .open = serial_begin, .send = send_write,
	  .receive = receive_message },
	{ .name = "virtio_net", .open = net_begin, .send = send_write, .receive = receive_message },
};

static void ask(struct end *end, unsigned int rounds)
{
	struct series series = series_new(rounds);
	char name[64];

	for (unsigned int i = 0; i < WARM_UP + rounds; i++) {
		uint64_t from = ticks();

		end->send(end);
		end->receive(end);
		if (i >= WARM_UP)
			series_add(&series, ticks() - from);
	}
	snprintf(name, sizeof(name), "pair.%s", end->name);
	series_report(&series, name, 0);
}

static void answer(struct end *end, unsigned int rounds)
{
	puts("ready");
	fflush(stdout);
	for (unsigned int i = 0; i < WARM_UP + rounds; i++) {
		end->receive(end);
		end->send(end);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5)
		die("usage: roundtrip WAY ask|answer PEER ROUNDS");
	report_tick_rate();
	for (unsigned int i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		struct end *end = &ends[i];

		if (strcmp(end->name, argv[1]))
			continue;
		end->asks = !strcmp(argv[2], "ask");
		end->open(end, argv[3]);
		(end->asks ? ask : answer)(end, atoi(argv[4]));
		return 0;
	}
	die("no way %s", argv[1]);
}
