/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the programs that run in several guests at once share. They meet in the shared memory, each
 * in the place that its arguments give it, and print lines for people; the exit status is the
 * result: 0 passed, 1 failed, 2 wrong usage, 4 no device.
 *
 * IVSHMEM_DEV names the device. Who makes no progress, alone or because of another one, is ended as
 * limit.h says.
 */
#ifndef GUESTS_H
#define GUESTS_H

#include "device.h"
#include "../../../samples/rendezvous.h"

/* The part of the shared memory that the programs use: slots, barrier words, their own data. */
#define GUEST_BYTES	(256u * 1024)
#define BARRIER_AT	RENDEZVOUS_BYTES
#define DATA_AT		4096u
#define LINE_BYTES	64

/* One guest's view of the others. */
struct guests {
	unsigned int me, n;
	int fd;				/* opened with O_RDWR, blocking */
	struct ivshmem_info info;
	uint32_t peers[RENDEZVOUS_SLOTS];
	uint32_t session;		/* the same for all, new in each run */
	unsigned char *memory;
};

/* A record that is checked as a whole: one cache line. */
struct record {
	uint32_t session, from, to, sequence;
	uint32_t data[11];
	uint32_t checksum;
};

__attribute__((format(printf, 1, 2), noreturn))
static inline void fail(const char *format, ...)
{
	va_list args;

	printf("FAIL: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	_exit(TEST_EXIT_FAIL);
}

#define CHECK(call) ({								\
	long result_ = (long)(call);						\
	if (result_ == -1)							\
		fail("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno)); \
	result_; })

static inline uint32_t load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Copies between shared and private memory a word at a time; the other end may write meanwhile. */
static inline void copy_words(void *to, const void *from, size_t bytes)
{
	volatile uint32_t *out = to;
	const volatile uint32_t *in = from;

	for (size_t i = 0; i < bytes / 4; i++)
		out[i] = in[i];
}

static inline uint32_t record_checksum(const struct record *record)
{
	const uint32_t *words = (const uint32_t *)record;
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < offsetof(struct record, checksum) / 4; i++)
		sum = (sum ^ words[i]) * 16777619u;
	return sum;
}

/* Writes message @sequence from this guest to @to into shared memory. */
static inline void write_record(const struct guests *guests, void *at, uint32_t to,
				uint32_t sequence)
{
	struct record record = {
		.session = guests->session, .from = guests->me, .to = to, .sequence = sequence,
	};

	for (size_t i = 0; i < 11; i++)
		record.data[i] = sequence * 2654435761u + (uint32_t)i;
	record.checksum = record_checksum(&record);
	copy_words(at, &record, sizeof(record));
}

/* Reads a record out of shared memory and ends the program unless it is the expected one. */
static inline void check_record(const struct guests *guests, const void *at, uint32_t from,
				uint32_t sequence)
{
	struct record record;

	copy_words(&record, at, sizeof(record));
	if (record.session != guests->session || record.from != from || record.to != guests->me ||
	    record.sequence != sequence)
		fail("record %u from %u to %u of session %#x, expected %u from %u to %u of %#x",
		     record.sequence, record.from, record.to, record.session, sequence, from,
		     guests->me, guests->session);
	if (record.checksum != record_checksum(&record))
		fail("record %u from %u is torn", sequence, from);
}

static inline void ring_guest(const struct guests *guests, unsigned int guest, unsigned int vector)
{
	CHECK(ring(guests->fd, guests->peers[guest], vector));
}

/* Waits until all guests have come to barrier @number; numbers go up by one. */
static inline void barrier(const struct guests *guests, uint32_t number)
{
	uint32_t *words = (uint32_t *)(guests->memory + BARRIER_AT);

	store(&words[guests->me], guests->session + number);
	for (unsigned int i = 0; i < guests->n; i++) {
		test_waits_for("guest %u to come to barrier %u", i, number);
		/* Another guest may have gone on to the next barrier, no further. */
		while (load(&words[i]) - (guests->session + number) > 1)
			usleep(1000);
	}
	test_progress();
}

/*
 * Opens the device, finds the other guests, and forgets what programs before this one have rung.
 * Nobody rings before all have returned from here.
 */
static inline void meet(struct guests *guests, unsigned int me, unsigned int n)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (access(dev_path(), F_OK) != 0) {
		fprintf(stderr, "no device node %s\n", dev_path());
		exit(TEST_EXIT_SKIP);
	}
	test_share();
	test_limit_start();
	guests->me = me;
	guests->n = n;
	guests->fd = CHECK(open(dev_path(), O_RDWR | O_CLOEXEC));
	guests->info = dev_info(guests->fd);
	if (!guests->info.vectors || guests->info.shm_size < GUEST_BYTES)
		fail("needs a doorbell and %u bytes of memory", GUEST_BYTES);
	guests->memory = must_map(guests->fd, IVSHMEM_REGION_MEMORY, 0, GUEST_BYTES,
				  PROT_READ | PROT_WRITE);
	/* They may still boot. */
	test_waits_for("%u guests to come", n);
	guests->session = rendezvous(guests->memory, me, n, guests->info.peer_id, guests->peers,
				     test_seconds());
	if (!guests->session)
		fail("not all of %u guests came within %u s", n, test_seconds());
	/* The programs before this one have ended, as all parties are here; their rings are in. */
	settle(guests->fd);
	close(guests->fd);
	guests->fd = CHECK(open(dev_path(), O_RDWR | O_CLOEXEC));
	barrier(guests, 1);
}

/* A whole number in @min .. @max from the command line. */
static inline unsigned int number_argument(const char *text, unsigned int min, unsigned int max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value < min || value > max) {
		fprintf(stderr, "'%s' should be a number from %u to %u\n", text, min, max);
		exit(TEST_EXIT_USAGE);
	}
	return value;
}

#endif /* GUESTS_H */
