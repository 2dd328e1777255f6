// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a ring costs whoever rings: the driver's calls, its register page, the rivals' ways to the
 * same register, and what no way can be cheaper than.
 */
#include "devices.h"

#define SAMPLES	101
#define MOST	1024

static void ours(void)
{
	struct ivshmem_ring ring = { .peer = NOBODY, .vector = 1 };
	struct ivshmem_ring rings[MOST];
	static const unsigned int counts[] = { 1, 8, 64, MOST };
	int fd = ours_open(0);
	volatile uint32_t *registers;

	MEASURE("doorbell.RING", SAMPLES, MUST(ioctl(fd, IVSHMEM_RING, &ring)));
	for (unsigned int i = 0; i < MOST; i++)
		rings[i] = ring;
	for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		struct ivshmem_ring_many many = { .count = counts[i], .rings = (uintptr_t)rings };
		char name[64];

		snprintf(name, sizeof(name), "doorbell.RING_MANY_%u", counts[i]);
		MEASURE(name, SAMPLES, MUST(ioctl(fd, IVSHMEM_RING_MANY, &many)));
	}
	registers = ours_map(fd, IVSHMEM_REGION_REGISTERS, PAGE_BYTES, PROT_READ | PROT_WRITE);
	MEASURE("doorbell.register_page", SAMPLES, registers[DOORBELL / 4] = NOBODY << 16 | 1);
}

static void vfio(void)
{
	struct vfio vfio = vfio_open(address_of("BENCH_VFIO"));
	struct vfio_region_info region = vfio_region(&vfio, VFIO_PCI_BAR0_REGION_INDEX);
	uint32_t value = NOBODY << 16 | 1;
	volatile uint32_t *registers;

	MEASURE("doorbell.vfio_pwrite", SAMPLES,
		MUST(pwrite(vfio.device, &value, sizeof(value), region.offset + DOORBELL)));
	registers = MUST(mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vfio.device,
			      region.offset));
	MEASURE("doorbell.vfio_mmap", SAMPLES, registers[DOORBELL / 4] = value);
}

static void floors(void)
{
	volatile uint32_t *registers = bare_map(0, PAGE_BYTES);
	int fd = inject_open(), event = MUST(eventfd(0, EFD_NONBLOCK));
	uint64_t one = 1;

	MEASURE("doorbell.sysfs_mmap", SAMPLES, registers[DOORBELL / 4] = NOBODY << 16 | 1);
	MEASURE("doorbell.floor_empty_ioctl", SAMPLES, MUST(ioctl(fd, INJECT_NOTHING)));
	MEASURE("doorbell.floor_eventfd_write", SAMPLES, MUST(write(event, &one, sizeof(one))));
}

int main(void)
{
	pin_to_cpu(0);
	report_tick_rate();
	ours();
	vfio();
	floors();
	return 0;
}
