/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What every sample does first: read the command line, open the device, ask what it is. What a
 * sample shows is in the sample itself.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

/* File offsets of regions need 64 bits in 32-bit programs too; so include this first. */
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ivshmem_rs.h>

/* Exit statuses: kselftest's for "cannot be tried here", and the usual one for wrong usage. */
#define SAMPLE_SKIP	4
#define SAMPLE_USAGE	2

struct sample {
	int fd;				/* the open device */
	struct ivshmem_info info;
	bool wait;			/* -w: wait for another machine, do not ring myself */
	int argc;			/* what follows the options */
	char **argv;
};

/* Prints the help and ends the program; status 0 if it was asked for. */
static inline void sample_help(const char *help, int status)
{
	fprintf(status ? stderr : stdout,
		"usage: %s\n  -d DEVICE  the device; /dev/ivshmem0 if not given\n%s"
		"  -h         this help\n", help,
		strstr(help, "[-w]") ? "  -w         wait for another machine to ring\n" : "");
	exit(status);
}

/* Handles the options -d, -w and -h, and opens the device. */
static inline struct sample sample_start(int argc, char **argv, const char *help)
{
	const char *device = "/dev/ivshmem0";
	struct sample sample = { 0 };
	int option;

	while ((option = getopt(argc, argv, "d:wh")) != -1) {
		if (option == 'd')
			device = optarg;
		else if (option == 'w' && strstr(help, "[-w]"))
			sample.wait = true;
		else
			sample_help(help, option == 'h' ? 0 : SAMPLE_USAGE);
	}
	sample.argc = argc - optind;
	sample.argv = argv + optind;
	sample.fd = open(device, O_RDWR | O_CLOEXEC);
	if (sample.fd < 0)
		err(errno == ENOENT ? SAMPLE_SKIP : 1, "cannot open %s", device);
	if (ioctl(sample.fd, IVSHMEM_GET_INFO, &sample.info) != 0)
		err(1, "IVSHMEM_GET_INFO");
	return sample;
}

/* Ends the program unless at least @vectors vectors can be rung. */
static inline void sample_need_vectors(const struct sample *sample, unsigned int vectors)
{
	if (sample->info.vectors < vectors)
		errx(SAMPLE_SKIP, "needs %u interrupt vectors, the device has %u", vectors,
		     sample->info.vectors);
}

/* Maps the first @bytes of the shared memory. */
static inline void *sample_map(const struct sample *sample, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, sample->fd, 0);

	if (memory == MAP_FAILED)
		err(1, "cannot map %zu bytes of the shared memory", bytes);
	return memory;
}

/* Rings vector @vector of @peer. What was written to the shared memory before arrives before. */
static inline void sample_ring(const struct sample *sample, uint32_t peer, uint32_t vector)
{
	struct ivshmem_ring ring = { .peer = peer, .vector = vector };

	if (ioctl(sample->fd, IVSHMEM_RING, &ring) != 0)
		err(1, "cannot ring vector %u of peer %u", vector, peer);
}

#endif /* SAMPLE_H */
