/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Reading PCI attributes, and binding and unbinding the driver through sysfs.
 */
#ifndef SYSFS_H
#define SYSFS_H

#include "device.h"

#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>

#define DRIVER_DIR	"/sys/bus/pci/drivers/ivshmem_rs"

#define DEVICES_DIR	"/sys/bus/pci/devices"

/* Opens an attribute of the PCI device @bus_id for reading. */
static inline int open_attribute(const char *bus_id, const char *attribute)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/%s", bus_id, attribute);
	return (int)ASSERT_OK(open(path, O_RDONLY | O_CLOEXEC));
}

/* Reads an attribute as text and returns its length. */
static inline size_t read_attribute(const char *bus_id, const char *attribute, char *text,
				    size_t room)
{
	int fd = open_attribute(bus_id, attribute);
	ssize_t bytes = ASSERT_OK(read(fd, text, room - 1));

	close(fd);
	text[bytes] = '\0';
	return bytes;
}

/* An attribute that is one number, such as "0x1af4". */
static inline unsigned long attribute_number(const char *bus_id, const char *attribute)
{
	char text[64];

	read_attribute(bus_id, attribute, text, sizeof(text));
	return strtoul(text, NULL, 0);
}

/* Writes @text to a file that is there; 0, or -1 with errno. */
static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	ssize_t bytes;

	if (fd < 0)
		return -1;
	bytes = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return bytes == (ssize_t)strlen(text) ? 0 : -1;
}

/* Writes @bus_id to the driver's "bind" or "unbind"; 0, or -1 with errno. */
static inline int driver_write(const char *attribute, const char *bus_id)
{
	char path[128];

	snprintf(path, sizeof(path), DRIVER_DIR "/%s", attribute);
	return write_text(path, bus_id);
}

static inline int driver_unbind(const char *bus_id)
{
	return driver_write("unbind", bus_id);
}

static inline int driver_bind(const char *bus_id)
{
	return driver_write("bind", bus_id);
}

/* Whether the PCI device @bus_id can be reset alone. */
static inline bool device_is_resettable(const char *bus_id)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/reset", bus_id);
	return access(path, W_OK) == 0;
}

/* Resets it; 0, or -1 with errno. */
static inline int device_reset(const char *bus_id)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/reset", bus_id);
	return write_text(path, "1");
}

/* The PCI address behind the node @path, from sysfs alone. */
static inline void node_bus_id(const char *path, char bus_id[IVSHMEM_BUS_ID_LEN])
{
	char link[PATH_MAX], target[PATH_MAX], name[64];
	ssize_t bytes;

	snprintf(name, sizeof(name), "%s", path);
	snprintf(link, sizeof(link), "/sys/class/misc/%s/device", basename(name));
	bytes = ASSERT_OK(readlink(link, target, sizeof(target) - 1));
	target[bytes] = '\0';
	snprintf(bus_id, IVSHMEM_BUS_ID_LEN, "%.15s", basename(target));
}

/*
 * Waits until the PCI device is unplugged: the kernel takes its entry away after the driver is done
 * with it (pci_stop_dev() before device_del()).
 */
static inline void wait_until_removed(const char *bus_id)
{
	char path[64];

	snprintf(path, sizeof(path), DEVICES_DIR "/%s", bus_id);
	test_waits_for("%s to go", path);
	while (access(path, F_OK) == 0)
		usleep(1000);
}

/*
 * Waits until no program has the device @bus_id in use. The kernel closes files that were passed,
 * and not received, a little later.
 */
static inline void wait_until_unused(const char *bus_id)
{
	static const char *const uses[] = { "opens", "mappings", "eventfds" };

	for (unsigned int i = 0; i < sizeof(uses) / sizeof(*uses); i++) {
		char name[64];

		snprintf(name, sizeof(name), "ivshmem_statistics/%s", uses[i]);
		test_waits_for("%s of programs that ended to be 0", uses[i]);
		while (attribute_number(bus_id, name) != 0)
			usleep(1000);
	}
}

/* Address of the device under test, which stays when the node goes. */
static char device_bus_id[IVSHMEM_BUS_ID_LEN];

/* To be called before the first case. */
static inline void remember_device(void)
{
	node_bus_id(dev_path(), device_bus_id);
}

/* To be called after each case, which may have left the device unbound. */
static inline void bind_device_again(void)
{
	if (access(dev_path(), F_OK) != 0 && driver_bind(device_bus_id) != 0)
		printf("# cannot bind %s again: %s\n", device_bus_id, strerror(errno));
}

#endif /* SYSFS_H */
