/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * /dev/ivshmem_importer: imports a dma-buf as a driver does, for tests. An open file has one.
 */
#ifndef IVSHMEM_IMPORTER_H
#define IVSHMEM_IMPORTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define IMPORTER_PATH	"/dev/ivshmem_importer"

/* As importers do that cannot be told to let go. */
#define IMPORTER_PINNED	1
/* Lets go a while after it was told to, by another thread. */
#define IMPORTER_LATE	2

/**
 * struct importer_attach - argument of IMPORTER_ATTACH
 * @fd: the dma-buf
 * @flags: IMPORTER_*
 */
struct importer_attach {
	__s32 fd;
	__u32 flags;
};

/**
 * struct importer_word - argument and answer of IMPORTER_READ
 * @offset: a byte of the dma-buf, a multiple of 4
 * @value: out: the word there
 */
struct importer_word {
	__u32 offset;
	__u32 value;
};

#define IMPORTER_ATTACH		_IOW('I', 1, struct importer_attach)
/* Maps it for the device: for reading and writing, or for reading only. */
#define IMPORTER_MAP		_IO('I', 2)
#define IMPORTER_MAP_READ	_IO('I', 3)
/* Reads a word where the device would. ENXIO: it is not mapped. */
#define IMPORTER_READ		_IOWR('I', 4, struct importer_word)
/* Returns how often the exporter said that mappings are no longer good. */
#define IMPORTER_INVALIDATED	_IO('I', 5)

#endif /* IVSHMEM_IMPORTER_H */
