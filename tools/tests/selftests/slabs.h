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

/*
 * Objects in use of each slab cache, after what can be reclaimed was. Not of that for the areas of
 * vmalloc(), some thousands of which the kernel keeps before it frees those of threads that ended.
 */
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
				   &slabs->caches[slabs->n].objects) == 2 &&
			    strcmp(slabs->caches[slabs->n].name, "vmap_area") != 0;
	fclose(info);
}

/* Objects of the cache @name; 0 if it is not there. */
static inline long slab_objects(const struct slabs *slabs, const char *name)
{
	for (unsigned int i = 0; i < slabs->n; i++)
		if (!strcmp(slabs->caches[i].name, name))
			return slabs->caches[i].objects;
	return 0;
}

/* The first cache that has @limit more objects than before; NULL if there is none. */
static inline const char *grown(const struct slabs *before, const struct slabs *after, long limit)
{
	for (unsigned int i = 0; i < after->n; i++) {
		const char *name = after->caches[i].name;

		if (after->caches[i].objects - slab_objects(before, name) >= limit)
			return name;
	}
	return NULL;
}

/* Waits until no cache has @limit more objects than before: what the kernel frees late may take a while. */
static inline void wait_for_slabs(const struct slabs *before, long limit)
{
	static struct slabs after;
	const char *cache;

	for (;;) {
		read_slabs(&after);
		cache = grown(before, &after, limit);
		if (!cache)
			return;
		test_waits_for("slab cache %s to shrink, which has grown by %ld objects", cache, limit);
		usleep(100000);
	}
}

#endif /* SLABS_H */
