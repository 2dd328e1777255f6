/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Objects in use of each of the kernel's slab caches.
 */
#ifndef SLABS_H
#define SLABS_H

#include "guests.h"

#include <dirent.h>

#define CACHES	512

struct slabs {
	unsigned int n;
	struct {
		char name[48];
		long objects;
	} caches[CACHES];
};

static inline void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* Some caches are alias names, some go away meanwhile. */
	if (fd == -1 || write(fd, text, strlen(text)) == -1)
		errno = 0;
	if (fd != -1)
		close(fd);
}

/* Free objects that a CPU keeps for itself count as used: the kernel has to take them back first. */
static inline void shrink_slabs(void)
{
	DIR *caches = opendir("/sys/kernel/slab");
	struct dirent *cache;
	char path[320];

	if (!caches)
		fail("no /sys/kernel/slab");
	while ((cache = readdir(caches))) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache->d_name);
		write_to(path, "1");
	}
	closedir(caches);
}

/* Objects in use of each slab cache, after what can be reclaimed was. */
static inline void read_slabs(struct slabs *slabs)
{
	FILE *info = fopen("/proc/slabinfo", "re");
	char line[256];

	write_to("/proc/sys/vm/drop_caches", "3");
	shrink_slabs();
	if (!info)
		fail("no /proc/slabinfo");
	slabs->n = 0;
	while (slabs->n < CACHES && fgets(line, sizeof(line), info))
		slabs->n += sscanf(line, "%47s %ld", slabs->caches[slabs->n].name,
				   &slabs->caches[slabs->n].objects) == 2;
	fclose(info);
}

#endif /* SLABS_H */
