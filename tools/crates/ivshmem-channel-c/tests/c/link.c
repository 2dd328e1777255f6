/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A link without a channel: its memory and its doorbells. C99 with POSIX, and C++17. LINK is what
 * ivshmem_channel_link_open_with_interval() takes.
 *
 *	link LINK check		tries each call, with oneself as the other end
 *	link LINK ping COUNT	counts up to COUNT with a program that does the following
 *	link LINK pong COUNT	counts after it
 *
 * Each says by how many vectors it can be rung, and at the end by which way that was.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libivshmem_channel.h>

#define MINUTES		(300 * INT64_C(1000000000))
#define SHORT		INT64_C(1000000)	/* a millisecond */
#define LIMIT		INT64_C(200000000)	/* of a wait whose end matters */
#define INTERVAL	UINT64_C(200000)	/* of looks, where nothing can ring this end */
#define NOBODY		UINT32_MAX

/* Where in the memory: what one says and the other answers, and whom they ring. */
#define PLACE		UINT64_C(0x8000)
#define OF_PING		PLACE
#define OF_PONG		(PLACE + 4)
#define ID_OF_PING	(PLACE + 8)
#define ID_OF_PONG	(PLACE + 12)
#define DATA		(PLACE + 64)

#define CHECK(truth) check(!!(truth), #truth, __LINE__)

static struct ivshmem_channel_link *memory_link;

static void check(int truth, const char *what, int line)
{
	if (truth)
		return;
	fprintf(stderr, "line %d: not so: %s (last error: %s)\n", line, what, ivshmem_channel_error());
	exit(1);
}

static uint32_t load(uint64_t offset)
{
	uint32_t value;

	CHECK(ivshmem_channel_link_load(memory_link, offset, &value) == 0);
	return value;
}

static void store(uint64_t offset, uint32_t value)
{
	CHECK(ivshmem_channel_link_store(memory_link, offset, value) == 0);
}

static void memory(void)
{
	uint64_t size = ivshmem_channel_link_size(memory_link);
	char data[100], copy[100];

	memset(data, 'x', sizeof(data));
	CHECK(ivshmem_channel_link_write(memory_link, DATA + 1, data, sizeof(data)) == 0);
	CHECK(ivshmem_channel_link_read(memory_link, DATA + 1, copy, sizeof(copy)) == 0);
	CHECK(memcmp(data, copy, sizeof(data)) == 0);
	CHECK(ivshmem_channel_link_read(memory_link, size, NULL, 0) == 0);
	CHECK(ivshmem_channel_link_read(memory_link, size, copy, 1) == -EINVAL);
	CHECK(ivshmem_channel_link_write(memory_link, UINT64_MAX, data, 2) == -EINVAL);
	CHECK(ivshmem_channel_link_write(memory_link, DATA, NULL, 1) == -EINVAL);
	store(DATA, 0x01020304);
	CHECK(load(DATA) == 0x01020304);
	CHECK(ivshmem_channel_link_store(memory_link, DATA + 2, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_store(memory_link, size, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_load(memory_link, DATA, NULL) == -EINVAL);
	ivshmem_channel_link_fence(memory_link);
	CHECK(ivshmem_channel_link_wait_word(memory_link, DATA, 0, MINUTES) == 0);
	CHECK(ivshmem_channel_link_wait_word(memory_link, DATA, 0x01020304, 0) == -EAGAIN);
	CHECK(ivshmem_channel_link_wait_word(memory_link, DATA, 0x01020304, SHORT) == -ETIMEDOUT);
	CHECK(ivshmem_channel_link_wait_word(memory_link, DATA + 1, 0, 0) == -EINVAL);
}

/* Rings oneself, and hears it in each way. */
static void doorbell(void)
{
	uint32_t me = ivshmem_channel_link_peer_id(memory_link);
	struct pollfd ready = { -1, POLLIN, 0 };
	uint64_t rung = 0;
	int fd;

	fd = ivshmem_channel_link_ring(memory_link, 0x10000, 0);
	CHECK(fd == -EINVAL || fd == -EOPNOTSUPP);
	if (ivshmem_channel_link_vectors(memory_link) == 0) {
		CHECK(ivshmem_channel_link_wait(memory_link, 0, SHORT, NULL) == -EOPNOTSUPP);
		CHECK(ivshmem_channel_link_fd(memory_link, 0) == -EOPNOTSUPP);
		CHECK(ivshmem_channel_link_heard(memory_link, 0) == -EOPNOTSUPP);
		return;
	}
	CHECK(ivshmem_channel_link_wait(memory_link, 0, 0, &rung) == -EAGAIN && rung == 0);
	/* A device may have 64. A server sends vectors one by one: whether one is to come is known after a second. */
	fd = ivshmem_channel_link_wait(memory_link, UINT64_C(1) << 63, 0, &rung);
	CHECK(fd == -EINVAL || fd == -EAGAIN);
	fd = ivshmem_channel_link_fd(memory_link, 0);
	CHECK(fd >= 0 && ivshmem_channel_link_fd(memory_link, 0) == fd);
	CHECK(ivshmem_channel_link_heard(memory_link, 0) == 0);
	ready.fd = fd;
	CHECK(poll(&ready, 1, 0) == 0);
	CHECK(ivshmem_channel_link_ring(memory_link, me, 0) == 0);
	CHECK(poll(&ready, 1, -1) == 1);
	/* A wait hears it too, and takes it from nobody else. */
	CHECK(ivshmem_channel_link_wait(memory_link, 1, MINUTES, &rung) == 0 && rung == 1);
	CHECK(poll(&ready, 1, 0) == 1);
	CHECK(ivshmem_channel_link_heard(memory_link, 0) == 1);
	CHECK(ivshmem_channel_link_heard(memory_link, 0) == 0 && poll(&ready, 1, 0) == 0);
	CHECK(ivshmem_channel_link_wait(memory_link, 1, SHORT, NULL) == -ETIMEDOUT);
	CHECK(ivshmem_channel_link_fd(memory_link, 64) == -EINVAL);
}

/* Changes the word at DATA while somebody sleeps. */
static void *change(void *link)
{
	usleep(LIMIT / 4000);
	CHECK(ivshmem_channel_link_store((struct ivshmem_channel_link *)link, DATA, 1) == 0);
	return NULL;
}

/* Whether a wait sleeps through a change, which it sees at its end. */
static int sleeps_through_a_change(struct ivshmem_channel_link *link)
{
	struct timespec begin, end;
	pthread_t thread;

	CHECK(ivshmem_channel_link_store(link, DATA, 0) == 0);
	CHECK(pthread_create(&thread, NULL, change, link) == 0);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	CHECK(ivshmem_channel_link_wait_word(link, DATA, 0, LIMIT) == 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	CHECK(pthread_join(thread, NULL) == 0);
	return (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) + end.tv_nsec - begin.tv_nsec >= LIMIT;
}

/* Where nothing can ring this end, looks are as rare as was said. A wait that begins late sees the change at its first. */
static void interval(const char *path)
{
	struct ivshmem_channel_link *link;
	int attempts;

	if (ivshmem_channel_link_vectors(memory_link) != 0)
		return;
	CHECK(ivshmem_channel_link_open_with_interval(path, UINT64_MAX, &link) == 0);
	for (attempts = 0; !sleeps_through_a_change(link); attempts++)
		CHECK(attempts < 20);
	ivshmem_channel_link_close(link);
}

static void null_pointers(void)
{
	CHECK(ivshmem_channel_link_peer_id(NULL) == 0);
	CHECK(strcmp(ivshmem_channel_link_way(NULL), "") == 0);
	CHECK(ivshmem_channel_link_read(NULL, 0, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_write(NULL, 0, NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_store(NULL, 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_ring(NULL, 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_wait(NULL, 0, 0, NULL) == -EINVAL);
	CHECK(ivshmem_channel_link_wait_word(NULL, 0, 0, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_fd(NULL, 0) == -EINVAL);
	CHECK(ivshmem_channel_link_heard(NULL, 0) == -EINVAL);
	ivshmem_channel_link_fence(NULL);
}

/* Says `number`, and rings who has said its ID; that one looks by itself where it cannot be rung. */
static void say(uint64_t offset, uint32_t number, uint64_t whom)
{
	uint32_t id = load(whom);

	store(offset, number);
	if (id != NOBODY)
		CHECK(ivshmem_channel_link_ring(memory_link, id, 0) == 0);
}

static uint32_t id(void)
{
	return ivshmem_channel_link_vectors(memory_link) ? ivshmem_channel_link_peer_id(memory_link) : NOBODY;
}

static void await(uint64_t offset, uint32_t number)
{
	CHECK(ivshmem_channel_link_wait_word(memory_link, offset, number - 1, MINUTES) == 0);
	CHECK(load(offset) == number);
}

/* Sleeps for a moment, for a word that nobody rings for. */
static void look_again(uint64_t offset, uint32_t value)
{
	int status = ivshmem_channel_link_wait_word(memory_link, offset, value, SHORT);

	CHECK(status == 0 || status == -ETIMEDOUT);
}

static void ping(uint32_t count)
{
	uint32_t number;

	store(ID_OF_PING, id());
	store(OF_PING, 0);
	/* The other one has said whom to ring. */
	while ((number = load(OF_PONG)) != 0)
		look_again(OF_PONG, number);
	for (number = 1; number <= count; number++) {
		say(OF_PING, number, ID_OF_PONG);
		await(OF_PONG, number);
	}
}

static void pong(uint32_t count)
{
	uint32_t number;

	store(OF_PING, NOBODY);
	store(ID_OF_PONG, id());
	printf("ready\n");
	fflush(stdout);
	while (load(OF_PING) == NOBODY)
		look_again(OF_PING, NOBODY);
	store(OF_PONG, 0);
	for (number = 1; number <= count; number++) {
		await(OF_PING, number);
		say(OF_PONG, number, ID_OF_PING);
	}
}

int main(int argc, char **argv)
{
	uint32_t count = argc == 4 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;

	if (argc < 3) {
		fprintf(stderr, "usage: link LINK check|ping COUNT|pong COUNT\n");
		return 2;
	}
	CHECK(ivshmem_channel_link_open_with_interval(argv[1], INTERVAL, &memory_link) == 0);
	printf("%u vectors\n", (unsigned int)ivshmem_channel_link_vectors(memory_link));
	if (strcmp(argv[2], "check") == 0) {
		null_pointers();
		memory();
		doorbell();
		interval(argv[1]);
	} else if (strcmp(argv[2], "ping") == 0) {
		ping(count);
	} else {
		pong(count);
	}
	printf("by %s\n", ivshmem_channel_link_way(memory_link));
	ivshmem_channel_link_close(memory_link);
	return 0;
}
