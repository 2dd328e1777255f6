// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * From an interrupt to the program that waits for it, in each way that there is to wait.
 *
 *	looking		the program looks when the interrupt has been: its call does not sleep
 *	asleep		it sleeps in the call, on the CPU that the interrupt comes to, which runs another
 *	idle		the same, but the CPU is idle
 *
 * The consumer has a priority of real time, the producer has none, and both are on CPU 0: so the
 * consumer sleeps whenever the producer runs, and runs as soon as it is woken.
 */
#include "devices.h"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#define SAMPLES		101
#define VECTOR		1
#define SECOND_NS	1000000000ll

/* How long after INJECT_LATER the interrupt comes, and how long the producer sleeps for it. */
#define LATER_NS	1000000
#define ASLEEP_US	3000

/* What a consumer has to do with. */
struct way {
	const char *name;
	/* Returns when there was an event, and has taken it. */
	void (*take)(struct way *way);
	/* What to raise, or 0 for ways that have a call of their own to wake. */
	unsigned int irq;
	void (*wake)(struct way *way);
	/* Cannot sleep. */
	int only_looks;
	/* Waits in epoll. */
	int uses_epoll;
	int fd, epoll;
	volatile uint32_t *word;
	uint32_t seen;
	const volatile struct ivshmem_event_page *page;
	uint64_t seq;
	_Atomic uint32_t futex;
};

static int injector;

static void take_eventfd(struct way *way)
{
	uint64_t count;

	MUST(read(way->fd, &count, sizeof(count)));
}

static void take_read(struct way *way)
{
	struct ivshmem_event event;

	MUST(read(way->fd, &event, sizeof(event)));
}

static void take_read_all(struct way *way)
{
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];

	MUST(read(way->fd, events, sizeof(events)));
}

static void wait_ioctl(struct way *way, int64_t timeout_ns)
{
	struct ivshmem_wait wait = { .vectors = 1 << VECTOR, .timeout_ns = timeout_ns };

	MUST(ioctl(way->fd, IVSHMEM_WAIT, &wait));
}

static void take_wait(struct way *way)
{
	wait_ioctl(way, -1);
}

static void take_wait_limit(struct way *way)
{
	wait_ioctl(way, SECOND_NS);
}

static void take_wait_word(struct way *way)
{
	struct ivshmem_wait wait = {
		.vectors = 1 << VECTOR,
		.timeout_ns = -1,
		.value = way->seen,
		.flags = IVSHMEM_WAIT_WORD,
	};

	MUST(ioctl(way->fd, IVSHMEM_WAIT, &wait));
	way->seen = *way->word;
}

static void take_event_page(struct way *way)
{
	uint64_t seq;

	do
		seq = __atomic_load_n(&way->page->seq[VECTOR], __ATOMIC_ACQUIRE);
	while (seq == way->seq);
	way->seq = seq;
}

static void poll_in(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	MUST(poll(&entry, 1, -1));
}

static void take_poll_read(struct way *way)
{
	poll_in(way->fd);
	take_read(way);
}

static void take_poll_eventfd(struct way *way)
{
	poll_in(way->fd);
	take_eventfd(way);
}

static void epoll_in(int epoll)
{
	struct epoll_event event;

	MUST(epoll_wait(epoll, &event, 1, -1));
}

static void take_epoll_read(struct way *way)
{
	epoll_in(way->epoll);
	take_read(way);
}

static void take_epoll_eventfd(struct way *way)
{
	epoll_in(way->epoll);
	take_eventfd(way);
}

static void take_futex(struct way *way)
{
	while (atomic_load(&way->futex) == way->seen)
		syscall(SYS_futex, &way->futex, FUTEX_WAIT_PRIVATE, way->seen, NULL, NULL, 0);
	way->seen = atomic_load(&way->futex);
}

static void wake_futex(struct way *way)
{
	atomic_fetch_add(&way->futex, 1);
	syscall(SYS_futex, &way->futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wake_eventfd(struct way *way)
{
	uint64_t one = 1;

	MUST(write(way->fd, &one, sizeof(one)));
}

/* What the peer does before it rings. */
static void prepare(struct way *way)
{
	if (way->word)
		*way->word += 1;
}

static void report(struct series *series, const char *how, const struct way *way, double minus)
{
	char name[64];

	snprintf(name, sizeof(name), "wake.%s.%s", how, way->name);
	series_report(series, name, minus);
}

static void looking(struct way *way)
{
	struct series dry = series_new(SAMPLES), series = series_new(SAMPLES);

	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t from = inject(injector, way->irq, INJECT_DRY).before;

		series_add(&dry, ticks() - from);
		prepare(way);
		from = inject(injector, way->irq, 0).before;
		way->take(way);
		series_add(&series, ticks() - from);
	}
	report(&series, "looking", way, series_quantile(&dry, 50));
	free(dry.at);
}

/* --- asleep --- */

static _Atomic uint64_t taken, taken_at;
static atomic_bool ended;

static void *consume(void *argument)
{
	struct way *way = argument;

	pin_to_cpu(0);
	set_priority(50);
	while (!ended) {
		way->take(way);
		taken_at = ticks();
		taken++;
	}
	return NULL;
}

/* Lets an event come; returns when it was on its way, in ticks. */
static uint64_t wake(struct way *way, int idle)
{
	uint64_t from;

	prepare(way);
	if (!way->irq) {
		from = ticks();
		way->wake(way);
		return from;
	}
	if (!idle)
		return inject(injector, way->irq, 0).before;
	MUST(ioctl(injector, INJECT_LATER,
		   &(struct inject){ .irq = way->irq, .delay_ns = LATER_NS }));
	usleep(ASLEEP_US);
	MUST(ioctl(injector, INJECT_STAMP, &from));
	return from;
}

static void asleep(struct way *way, int idle)
{
	struct series series = series_new(SAMPLES);
	pthread_t thread;

	taken = 0;
	ended = 0;
	if (pthread_create(&thread, NULL, consume, way))
		die("pthread_create");
	/* It runs at once, to its first sleep. */
	usleep(ASLEEP_US);
	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t before = taken, from = wake(way, idle);

		if (taken != before + 1)
			die("%s: %llu events instead of one", way->name,
			    (unsigned long long)(taken - before));
		series_add(&series, taken_at - from);
	}
	ended = 1;
	wake(way, 0);
	pthread_join(thread, NULL);
	report(&series, idle ? "idle" : "asleep", way, 0);
}

static int epoll_of(int fd)
{
	int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
	struct epoll_event event = { .events = EPOLLIN };

	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	return epoll;
}

static void measure(struct way *way)
{
	/* Only for as long: who is in an epoll set is dearer to wake, however it waits. */
	if (way->uses_epoll)
		way->epoll = epoll_of(way->fd);
	if (way->irq)
		looking(way);
	if (!way->only_looks)
		asleep(way, 0);
	if (!way->only_looks && way->irq)
		asleep(way, 1);
	if (way->uses_epoll)
		close(way->epoll);
}

static void ours(void)
{
	unsigned int irq = irq_of(address_of("BENCH_OURS"), VECTOR);
	int all = ours_open(0), event = MUST(eventfd(0, 0)), binder = ours_open(0);
	struct way ways[] = {
		{ .name = "read", .take = take_read },
		{ .name = "read_all_vectors", .take = take_read_all, .fd = all },
		{ .name = "WAIT", .take = take_wait },
		{ .name = "WAIT_1s", .take = take_wait_limit },
		{ .name = "WAIT_WORD", .take = take_wait_word,
		  .word = ours_map(all, IVSHMEM_REGION_MEMORY, PAGE_BYTES, PROT_READ | PROT_WRITE) },
		{ .name = "poll_read", .take = take_poll_read },
		{ .name = "epoll_read", .take = take_epoll_read, .uses_epoll = 1 },
		{ .name = "event_page", .take = take_event_page, .only_looks = 1,
		  .page = ours_map(all, IVSHMEM_REGION_EVENTS, PAGE_BYTES, PROT_READ) },
		{ .name = "eventfd", .take = take_eventfd, .fd = event },
	};

	irq_to_cpu_0(irq);
	for (unsigned int i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct way *way = &ways[i];
		int own = way->fd ? -1 : ours_open_for(VECTOR, 0);

		way->irq = irq;
		if (own != -1)
			way->fd = own;
		if (way->word)
			way->seen = *way->word;
		if (way->page)
			way->seq = way->page->seq[VECTOR];
		if (way->take == take_eventfd)
			ours_bind(binder, VECTOR, event);
		measure(way);
		if (own != -1)
			close(own);
	}
}

static void vfio(void)
{
	struct vfio vfio = vfio_open(address_of("BENCH_VFIO"));
	int events[8];
	unsigned int irq;

	for (unsigned int i = 0; i < 8; i++)
		events[i] = MUST(eventfd(0, 0));
	vfio_bind(&vfio, events, 8);
	irq = irq_of(address_of("BENCH_VFIO"), VECTOR);
	irq_to_cpu_0(irq);
	struct way ways[] = {
		{ .name = "vfio_eventfd", .take = take_eventfd },
		{ .name = "vfio_poll_eventfd", .take = take_poll_eventfd },
		{ .name = "vfio_epoll_eventfd", .take = take_epoll_eventfd, .uses_epoll = 1 },
	};
	for (unsigned int i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		ways[i].irq = irq;
		ways[i].fd = events[VECTOR];
		measure(&ways[i]);
	}
}

static void floors(void)
{
	struct way futex = { .name = "floor_futex", .take = take_futex, .wake = wake_futex };
	struct way event = { .name = "floor_eventfd", .take = take_eventfd, .wake = wake_eventfd,
			     .fd = MUST(eventfd(0, 0)) };

	measure(&futex);
	measure(&event);
}

int main(void)
{
	pin_to_cpu(0);
	injector = inject_open();
	report_tick_rate();
	ours();
	vfio();
	floors();
	return 0;
}
