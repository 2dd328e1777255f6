/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The machine's three ivshmem devices: one with this project's driver, one with vfio-pci, one with
 * no driver, whose resources sysfs offers as files. Their PCI addresses are in the environment:
 * BENCH_OURS, BENCH_VFIO, BENCH_BARE.
 */
#ifndef DEVICES_H
#define DEVICES_H

#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/ivshmem_rs.h>
#include <linux/vfio.h>

#include "../inject/ivshmem_inject.h"

#define PAGE_BYTES	4096ul

/* Offset of the doorbell in BAR0. */
#define DOORBELL	12

/* A peer that nobody is. */
#define NOBODY		60000u

static inline const char *address_of(const char *variable)
{
	const char *address = getenv(variable);

	if (!address)
		die("%s is not set", variable);
	return address;
}

/* --- interrupts --- */

/* The number of the device's interrupt @vector: the lowest of its MSI numbers is vector 0's. */
static inline unsigned int irq_of(const char *address, unsigned int vector)
{
	unsigned int irqs[64], count = 0;
	char path[128];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/msi_irqs", address);
	directory = opendir(path);
	if (!directory)
		die("%s: %s", path, strerror(errno));
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && count < 64)
			irqs[count++] = atoi(entry->d_name);
	closedir(directory);
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = i + 1; j < count; j++)
			if (irqs[j] < irqs[i]) {
				unsigned int lower = irqs[j];

				irqs[j] = irqs[i];
				irqs[i] = lower;
			}
	if (vector >= count)
		die("%s has %u vectors", path, count);
	return irqs[vector];
}

/* Lets CPU 0 handle the interrupt, on which the measurements run. */
static inline void irq_to_cpu_0(unsigned int irq)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/irq/%u/smp_affinity_list", irq);
	fd = MUST(open(path, O_WRONLY));
	MUST(write(fd, "0", 1));
	close(fd);
}

static inline int inject_open(void)
{
	return MUST(open(INJECT_PATH, O_RDONLY | O_CLOEXEC));
}

static inline struct inject inject(int fd, unsigned int irq, unsigned int flags)
{
	struct inject inject = { .irq = irq, .flags = flags };

	MUST(ioctl(fd, INJECT_NOW, &inject));
	return inject;
}

/* --- ours --- */

static inline int ours_open(int flags)
{
	return MUST(open("/dev/ivshmem0", O_RDWR | O_CLOEXEC | flags));
}

static inline struct ivshmem_info ours_info(int fd)
{
	struct ivshmem_info info;

	MUST(ioctl(fd, IVSHMEM_GET_INFO, &info));
	return info;
}

/* Opens the device for the events of one vector only. */
static inline int ours_open_for(unsigned int vector, int flags)
{
	int fd = ours_open(flags);
	__u64 mask = 1ull << vector;

	MUST(ioctl(fd, IVSHMEM_SUBSCRIBE, &mask));
	return fd;
}

static inline void ours_bind(int fd, unsigned int vector, int eventfd)
{
	struct ivshmem_eventfd bind = { .vector = vector, .fd = eventfd };

	MUST(ioctl(fd, IVSHMEM_SET_EVENTFD, &bind));
}

static inline void *ours_map(int fd, unsigned int region, size_t bytes, int prot)
{
	return MUST(mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)region << IVSHMEM_REGION_SHIFT));
}

/* --- vfio-pci --- */

struct vfio {
	int container, group, device;
};

static inline struct vfio vfio_open(const char *address)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[128], target[256];
	struct vfio vfio;
	ssize_t bytes;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	bytes = MUST(readlink(path, target, sizeof(target) - 1));
	target[bytes] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(target, '/') + 1);
	vfio.container = MUST(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
	vfio.group = MUST(open(path, O_RDWR | O_CLOEXEC));
	MUST(ioctl(vfio.group, VFIO_GROUP_GET_STATUS, &status));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		die("the group of %s is not viable", address);
	MUST(ioctl(vfio.group, VFIO_GROUP_SET_CONTAINER, &vfio.container));
	MUST(ioctl(vfio.container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU));
	vfio.device = MUST(ioctl(vfio.group, VFIO_GROUP_GET_DEVICE_FD, address));
	return vfio;
}

static inline struct vfio_region_info vfio_region(const struct vfio *vfio, unsigned int bar)
{
	struct vfio_region_info region = { .argsz = sizeof(region), .index = bar };

	MUST(ioctl(vfio->device, VFIO_DEVICE_GET_REGION_INFO, &region));
	return region;
}

/* Makes @count vectors signal these eventfds. */
static inline void vfio_bind(const struct vfio *vfio, const int *eventfds, unsigned int count)
{
	struct vfio_irq_set *set = calloc(1, sizeof(*set) + count * sizeof(*eventfds));

	set->argsz = sizeof(*set) + count * sizeof(*eventfds);
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = count;
	memcpy(set->data, eventfds, count * sizeof(*eventfds));
	MUST(ioctl(vfio->device, VFIO_DEVICE_SET_IRQS, set));
	free(set);
}

/* --- sysfs --- */

static inline void *bare_map(unsigned int bar, size_t bytes)
{
	char path[128];
	void *at;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%u",
		 address_of("BENCH_BARE"), bar);
	fd = MUST(open(path, O_RDWR | O_SYNC | O_CLOEXEC));
	at = MUST(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	close(fd);
	return at;
}

#endif /* DEVICES_H */
