// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The other way to the memory: what ACRN's tutorial does with uio_pci_generic, from a file of the
 * PCI device in sysfs. It works beside a machine that uses the driver. There are no interrupts this
 * way.
 *
 *	resource2 /sys/class/uio/uio0/device [TEXT]
 *
 * Reads or writes the text of map.c.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TEXT_AT		4096
#define TEXT_BYTES	4096

int main(int argc, char **argv)
{
	char path[4096], text[TEXT_BYTES] = "";
	volatile char *shared;
	struct stat resource;
	void *memory;
	int fd;

	if (argc != 2 && argc != 3)
		errx(2, "usage: resource2 DIRECTORY-OF-THE-DEVICE [TEXT]");
	snprintf(path, sizeof(path), "%s/resource2", argv[1]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	/*
	 * The file is as long as the BAR. The tutorial takes the size from "config", for which the
	 * BAR's register has to be overwritten: that takes the memory away from all who use it.
	 */
	if (fd < 0 || fstat(fd, &resource) != 0)
		err(1, "%s", path);
	if (resource.st_size < TEXT_AT + TEXT_BYTES)
		errx(1, "%s has no more than %lld bytes", path, (long long)resource.st_size);
	memory = mmap(NULL, resource.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		err(1, "cannot map %s", path);
	printf("%lld bytes\n", (long long)resource.st_size);
	shared = (volatile char *)memory + TEXT_AT;
	if (argc == 3)
		snprintf(text, sizeof(text), "%s", argv[2]);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		if (argc == 3)
			shared[i] = text[i];
		else
			text[i] = shared[i];
	}
	printf("%s\n", text);
	return 0;
}
