// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What the other calls cost: opening, asking, looking, mapping a page. */
#include "devices.h"

#include <poll.h>

#define SAMPLES	51
#define VECTOR	1
#define OTHER	2
#define BOUND	256

static int injector;
static unsigned int irq;
static struct vfio vfio;

/* MEASURE_AFTER(name, before, statement): as MEASURE, each time after another statement. */
#define MEASURE_AFTER(name, before, ...)					\
	do {									\
		struct series after_empty = series_new(SAMPLES);		\
		struct series after_full = series_new(SAMPLES);		\
		for (unsigned int after_i = 0; after_i < SAMPLES; after_i++) {	\
			uint64_t after_from = ticks();				\
			series_add(&after_empty, ticks() - after_from);	\
			before;						\
			after_from = ticks();					\
			__VA_ARGS__;						\
			series_add(&after_full, ticks() - after_from);		\
		}								\
		series_report(&after_full, name, series_quantile(&after_empty, 50)); \
		free(after_empty.at);						\
	} while (0)

static void look(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	MUST(poll(&entry, 1, 0));
}

static void ring(void)
{
	inject(injector, irq, 0);
}

static void opening(void)
{
	int files[BOUND], events[BOUND];

	MEASURE("calls.open_close", SAMPLES, close(open("/dev/ivshmem0", O_RDWR | O_CLOEXEC)));
	for (unsigned int i = 0; i < BOUND; i++) {
		files[i] = ours_open(0);
		events[i] = MUST(eventfd(0, 0));
		ours_bind(files[i], OTHER, events[i]);
	}
	MEASURE("calls.open_close_256_bound", SAMPLES,
		close(open("/dev/ivshmem0", O_RDWR | O_CLOEXEC)));
	for (unsigned int i = 0; i < BOUND; i++) {
		close(files[i]);
		close(events[i]);
	}
	MEASURE("calls.open_close_misc", SAMPLES, close(open(INJECT_PATH, O_RDWR | O_CLOEXEC)));
	MEASURE("calls.open_close_null", SAMPLES, close(open("/dev/null", O_RDWR | O_CLOEXEC)));
}

static void asking(void)
{
	struct vfio_device_info theirs = { .argsz = sizeof(theirs) };
	struct ivshmem_info info;
	int fd = ours_open(0);
	__u64 mask = 1;

	MEASURE("calls.GET_INFO", SAMPLES, MUST(ioctl(fd, IVSHMEM_GET_INFO, &info)));
	MEASURE("calls.vfio_GET_INFO", SAMPLES,
		MUST(ioctl(vfio.device, VFIO_DEVICE_GET_INFO, &theirs)));
	MEASURE("calls.SUBSCRIBE", SAMPLES, MUST(ioctl(fd, IVSHMEM_SUBSCRIBE, &mask)));
	MEASURE("calls.floor_empty_ioctl", SAMPLES, MUST(ioctl(injector, INJECT_NOTHING)));
	close(fd);
}

static void looking(void)
{
	int fd = ours_open_for(VECTOR, O_NONBLOCK), event = MUST(eventfd(0, EFD_NONBLOCK));
	struct ivshmem_wait wait = { .vectors = 1 << VECTOR }, word;
	volatile uint32_t *memory = ours_map(fd, IVSHMEM_REGION_MEMORY, PAGE_BYTES, PROT_READ);
	struct ivshmem_event record;
	uint64_t count = 1;

	MEASURE("calls.poll_not_ready", SAMPLES, look(fd));
	MEASURE("calls.read_not_ready", SAMPLES, (void)!read(fd, &record, sizeof(record)));
	MEASURE("calls.WAIT_not_ready", SAMPLES, wait.vectors = 1 << VECTOR;
		ioctl(fd, IVSHMEM_WAIT, &wait));
	MEASURE_AFTER("calls.read_ready", ring(), MUST(read(fd, &record, sizeof(record))));
	wait.vectors = 1 << VECTOR;
	MEASURE_AFTER("calls.WAIT_ready", ring(), MUST(ioctl(fd, IVSHMEM_WAIT, &wait)));
	word = (struct ivshmem_wait){ .vectors = 1 << VECTOR, .timeout_ns = -1,
				      .value = *memory + 1, .flags = IVSHMEM_WAIT_WORD };
	MEASURE_AFTER("calls.WAIT_WORD_ready", word.vectors = 1 << VECTOR,
		      MUST(ioctl(fd, IVSHMEM_WAIT, &word)));
	ring();
	MEASURE("calls.poll_ready", SAMPLES, look(fd));

	MEASURE("calls.eventfd_poll_not_ready", SAMPLES, look(event));
	MEASURE("calls.eventfd_read_not_ready", SAMPLES, (void)!read(event, &count, sizeof(count)));
	MEASURE_AFTER("calls.eventfd_read_ready",
		      count = 1; MUST(write(event, &count, sizeof(count))),
		      MUST(read(event, &count, sizeof(count))));
	count = 1;
	MUST(write(event, &count, sizeof(count)));
	MEASURE("calls.eventfd_poll_ready", SAMPLES, look(event));
	close(fd);
	close(event);
}

/* Maps a page and unmaps it; in between it is touched, or not. */
static void map_page(int fd, off_t offset, int touch)
{
	volatile char *at = MUST(mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, offset));

	if (touch)
		(void)*at;
	munmap((void *)at, PAGE_BYTES);
}

static void mapping(void)
{
	off_t bar = vfio_region(&vfio, VFIO_PCI_BAR2_REGION_INDEX).offset;
	int fd = ours_open(0), memfd = MUST(memfd_create("page", MFD_CLOEXEC));
	off_t events = (off_t)IVSHMEM_REGION_EVENTS << IVSHMEM_REGION_SHIFT;

	MUST(ftruncate(memfd, PAGE_BYTES));
	map_page(memfd, 0, 1);
	MEASURE("calls.map_page", SAMPLES, map_page(fd, 0, 0));
	MEASURE("calls.map_touch_page", SAMPLES, map_page(fd, 0, 1));
	MEASURE("calls.map_touch_event_page", SAMPLES, map_page(fd, events, 1));
	MEASURE("calls.vfio_map_page", SAMPLES, map_page(vfio.device, bar, 0));
	MEASURE("calls.vfio_map_touch_page", SAMPLES, map_page(vfio.device, bar, 1));
	MEASURE("calls.memfd_map_page", SAMPLES, map_page(memfd, 0, 0));
	MEASURE("calls.memfd_map_touch_page", SAMPLES, map_page(memfd, 0, 1));
}

int main(void)
{
	pin_to_cpu(0);
	injector = inject_open();
	irq = irq_of(address_of("BENCH_OURS"), VECTOR);
	irq_to_cpu_0(irq);
	vfio = vfio_open(address_of("BENCH_VFIO"));
	report_tick_rate();
	opening();
	asking();
	looking();
	mapping();
	return 0;
}
