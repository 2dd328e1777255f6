// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * From a ring to the event that it makes, by the host's clock: a device rings itself, through the emulator
 * or the hypervisor, and whoever rang takes the event.
 */
#include "devices.h"

#include <linux/pci_regs.h>

#define SAMPLES	1000
#define VECTOR	1

/* Offset of the peer's own ID in BAR0. */
#define POSITION 8

/* Measures @ring until @take has returned. */
#define ROUND(name, ring, take)							\
	do {									\
		struct series round = series_new(SAMPLES);			\
		for (unsigned int round_i = 0; round_i < SAMPLES; round_i++) {	\
			uint64_t round_from = ticks();				\
			ring;							\
			take;							\
			series_add(&round, ticks() - round_from);		\
		}								\
		series_report(&round, "selfring." name, 0);			\
	} while (0)

static void ours(void)
{
	int fd = ours_open_for(VECTOR, 0);
	unsigned int id = ours_info(fd).peer_id;
	struct ivshmem_ring ring = { .peer = id, .vector = VECTOR };
	const volatile struct ivshmem_event_page *page =
		ours_map(fd, IVSHMEM_REGION_EVENTS, PAGE_BYTES, PROT_READ);
	volatile uint32_t *registers =
		ours_map(fd, IVSHMEM_REGION_REGISTERS, PAGE_BYTES, PROT_READ | PROT_WRITE);
	struct ivshmem_event event;
	struct ivshmem_wait wait;
	uint64_t seq;

	irq_to_cpu_0(irq_of(address_of("BENCH_OURS"), VECTOR));
	ROUND("RING_read", MUST(ioctl(fd, IVSHMEM_RING, &ring)),
	      MUST(read(fd, &event, sizeof(event))));
	ROUND("RING_WAIT", MUST(ioctl(fd, IVSHMEM_RING, &ring)),
	      wait = ((struct ivshmem_wait){ .vectors = 1 << VECTOR, .timeout_ns = -1 });
	      MUST(ioctl(fd, IVSHMEM_WAIT, &wait)));
	ROUND("RING_event_page", seq = page->seq[VECTOR]; MUST(ioctl(fd, IVSHMEM_RING, &ring)),
	      while (page->seq[VECTOR] == seq));
	ROUND("register_page_event_page",
	      seq = page->seq[VECTOR]; registers[DOORBELL / 4] = id << 16 | VECTOR,
	      while (page->seq[VECTOR] == seq));
}

/* Interrupts are writes of the device to the bus, which vfio leaves it to the program to allow. */
static void allow_writes(const struct vfio *vfio)
{
	off_t at = vfio_region(vfio, VFIO_PCI_CONFIG_REGION_INDEX).offset + PCI_COMMAND;
	uint16_t command;

	MUST(pread(vfio->device, &command, sizeof(command), at));
	command |= PCI_COMMAND_MASTER;
	MUST(pwrite(vfio->device, &command, sizeof(command), at));
}

static void vfio(void)
{
	struct vfio vfio = vfio_open(address_of("BENCH_VFIO"));
	struct vfio_region_info region = vfio_region(&vfio, VFIO_PCI_BAR0_REGION_INDEX);
	volatile uint32_t *registers = MUST(mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
						 MAP_SHARED, vfio.device, region.offset));
	uint32_t value = registers[POSITION / 4] << 16 | VECTOR;
	int events[2] = { MUST(eventfd(0, 0)), MUST(eventfd(0, 0)) };
	uint64_t count;

	vfio_bind(&vfio, events, 2);
	allow_writes(&vfio);
	irq_to_cpu_0(irq_of(address_of("BENCH_VFIO"), VECTOR));
	ROUND("vfio_pwrite_eventfd",
	      MUST(pwrite(vfio.device, &value, sizeof(value), region.offset + DOORBELL)),
	      MUST(read(events[VECTOR], &count, sizeof(count))));
	ROUND("vfio_mmap_eventfd", registers[DOORBELL / 4] = value,
	      MUST(read(events[VECTOR], &count, sizeof(count))));
}

int main(void)
{
	pin_to_cpu(0);
	report_tick_rate();
	ours();
	vfio();
	return 0;
}
