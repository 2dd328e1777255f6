// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What an interrupt costs the CPU that it comes to, from before it to after it: with nobody who is
 * concerned, with eventfds, and with many who wait for other vectors.
 */
#include "devices.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#define SAMPLES	51
#define VECTOR	1
#define OTHER	2
#define MOST	256

/* The stack of a sleeper: 256 with the usual 8 MiB would need 2 GiB of addresses. */
#define STACK_BYTES	65536

static const unsigned int counts[] = { 1, 8, 64, MOST };

#define COUNTS	(sizeof(counts) / sizeof(*counts))

static int injector;

static void name_of(char *name, size_t room, const char *what, unsigned int count)
{
	snprintf(name, room, "handler.%s_%u", what, count);
}

/* Median time of the interrupt alone: whoever it wakes has to wait. */
static void measure(const char *name, unsigned int irq)
{
	struct series dry = series_new(SAMPLES), series = series_new(SAMPLES);

	for (unsigned int i = 0; i < SAMPLES; i++) {
		struct inject stamps = inject(injector, irq, INJECT_DRY | INJECT_NO_SWITCH);

		series_add(&dry, stamps.after - stamps.before);
		stamps = inject(injector, irq, INJECT_NO_SWITCH);
		series_add(&series, stamps.after - stamps.before);
	}
	series_report(&series, name, series_quantile(&dry, 50));
	free(dry.at);
}

/* --- eventfds --- */

static void bound(unsigned int irq, unsigned int vector, const char *what)
{
	int files[MOST], events[MOST];
	char name[64];

	for (unsigned int i = 0, have = 0; i < COUNTS; i++) {
		for (; have < counts[i]; have++) {
			files[have] = ours_open(0);
			events[have] = MUST(eventfd(0, 0));
			ours_bind(files[have], vector, events[have]);
		}
		name_of(name, sizeof(name), what, counts[i]);
		measure(name, irq);
	}
	for (unsigned int i = 0; i < MOST; i++) {
		close(files[i]);
		close(events[i]);
	}
}

/* --- sleepers --- */

enum how { READ, WAIT, POLL, VFIO, HOWS };

static const char *const how_names[HOWS] = { "read", "WAIT", "poll", "vfio" };

struct sleeper {
	pthread_t thread;
	enum how how;
	int fd;
};

static atomic_bool ended;

/* Sleeps for the other vector until it is rung, which is once, at the end. */
static void *sleep_once(void *argument)
{
	struct sleeper *sleeper = argument;
	struct ivshmem_wait wait = { .vectors = 1 << OTHER, .timeout_ns = -1 };
	struct pollfd entry = { .fd = sleeper->fd, .events = POLLIN };
	struct ivshmem_event event;
	uint64_t count;

	pin_to_cpu(0);
	set_priority(50);
	switch (sleeper->how) {
	case READ:
		MUST(read(sleeper->fd, &event, sizeof(event)));
		break;
	case WAIT:
		MUST(ioctl(sleeper->fd, IVSHMEM_WAIT, &wait));
		break;
	case POLL:
		MUST(poll(&entry, 1, -1));
		break;
	default:
		MUST(read(sleeper->fd, &count, sizeof(count)));
	}
	if (!ended)
		die("a sleeper woke for the other vector");
	return NULL;
}

static void start_sleeper(struct sleeper *sleeper)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_create(&sleeper->thread, &attributes, sleep_once, sleeper))
		die("pthread_create: %s", strerror(errno));
	pthread_attr_destroy(&attributes);
}

/* How often all threads of this process but the caller have been switched to another. */
static unsigned long switches(void)
{
	unsigned long all = 0, number;
	struct dirent *entry;
	char path[300], line[256];
	DIR *directory = opendir("/proc/self/task");

	while ((entry = readdir(directory))) {
		FILE *status;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		status = fopen(path, "r");
		while (status && fgets(line, sizeof(line), status))
			if (sscanf(line, "voluntary_ctxt_switches: %lu", &number) == 1 ||
			    sscanf(line, "nonvoluntary_ctxt_switches: %lu", &number) == 1)
				all += number;
		if (status)
			fclose(status);
	}
	closedir(directory);
	return all;
}

/* Interrupts until all sleep again, whose switches are counted. */
static void measure_woken(const char *what, unsigned int count, unsigned int irq)
{
	struct series series = series_new(SAMPLES);
	unsigned long before = switches(), after;
	char name[64];

	for (unsigned int i = 0; i < SAMPLES; i++) {
		struct inject stamps = inject(injector, irq, 0);

		series_add(&series, stamps.after - stamps.before);
	}
	after = switches();
	snprintf(name, sizeof(name), "handler.until_asleep_%s_%u", what, count);
	series_report(&series, name, 0);
	snprintf(name, sizeof(name), "handler.woken_for_nothing_%s_%u", what, count);
	report_count(name, (double)(after - before) / SAMPLES);
}

static void asleep(enum how how, unsigned int irq, unsigned int other_irq, const int *vfio_events)
{
	struct sleeper *sleepers = calloc(MOST, sizeof(*sleepers));
	char what[32], name[64];
	unsigned int have = 0;

	ended = 0;
	for (unsigned int i = 0; i < COUNTS; i++) {
		for (; have < counts[i]; have++) {
			sleepers[have].how = how;
			sleepers[have].fd = how == VFIO ? vfio_events[OTHER] :
					    ours_open_for(OTHER, 0);
			start_sleeper(&sleepers[have]);
		}
		usleep(3000);
		snprintf(what, sizeof(what), "asleep_%s", how_names[how]);
		name_of(name, sizeof(name), what, counts[i]);
		measure(name, irq);
		measure_woken(how_names[how], counts[i], irq);
	}
	ended = 1;
	for (unsigned int i = 0; i < have; i++) {
		inject(injector, other_irq, 0);
		usleep(100);
	}
	for (unsigned int i = 0; i < have; i++) {
		pthread_join(sleepers[i].thread, NULL);
		if (how != VFIO)
			close(sleepers[i].fd);
	}
	free(sleepers);
}

/* --- epoll --- */

static void in_one_epoll(unsigned int irq)
{
	int epoll = MUST(epoll_create1(EPOLL_CLOEXEC)), files[MOST];
	struct epoll_event event = { .events = EPOLLIN };
	char name[64];

	for (unsigned int i = 0, have = 0; i < COUNTS; i++) {
		for (; have < counts[i]; have++) {
			files[have] = ours_open_for(OTHER, 0);
			MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, files[have], &event));
		}
		name_of(name, sizeof(name), "epoll", counts[i]);
		measure(name, irq);
	}
	for (unsigned int i = 0; i < MOST; i++)
		close(files[i]);
	close(epoll);
}

static void ours(void)
{
	unsigned int irq = irq_of(address_of("BENCH_OURS"), VECTOR);
	unsigned int other = irq_of(address_of("BENCH_OURS"), OTHER);

	irq_to_cpu_0(irq);
	irq_to_cpu_0(other);
	measure("handler.nobody", irq);
	bound(irq, VECTOR, "eventfds_same_vector");
	bound(irq, OTHER, "eventfds_other_vector");
	for (enum how how = READ; how <= POLL; how++)
		asleep(how, irq, other, NULL);
	in_one_epoll(irq);
}

static void vfio(void)
{
	struct vfio vfio = vfio_open(address_of("BENCH_VFIO"));
	unsigned int irq, other;
	int events[8];

	for (unsigned int i = 0; i < 8; i++)
		events[i] = MUST(eventfd(0, EFD_SEMAPHORE));
	vfio_bind(&vfio, events, 8);
	irq = irq_of(address_of("BENCH_VFIO"), VECTOR);
	other = irq_of(address_of("BENCH_VFIO"), OTHER);
	irq_to_cpu_0(irq);
	irq_to_cpu_0(other);
	measure("handler.vfio", irq);
	asleep(VFIO, irq, other, events);
}

int main(void)
{
	pin_to_cpu(0);
	injector = inject_open();
	report_tick_rate();
	ours();
	vfio();
	return 0;
}
