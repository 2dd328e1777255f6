/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What every sample does: read the command line, open the device, and say what to do when something
 * fails. What a sample shows is in the sample itself.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

/* File offsets of regions need 64 bits in 32-bit programs too; so include this first. */
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libivshmem.h>

/* Exit statuses: kselftest's for "cannot be tried here", and the usual one for wrong usage. */
#define SAMPLE_SKIP	4
#define SAMPLE_USAGE	2

struct sample {
	int fd;				/* the open device */
	struct ivshmem_info info;
	bool wait;			/* -w: wait for another guest, do not ring myself */
	const char *help;
	int argc;			/* what follows the options */
	char **argv;
};

/* What the user can do about an error of the driver. */
static inline const char *sample_remedy(int error)
{
	switch (error) {
	case ENOENT:
		return "load the driver with \"modprobe ivshmem_rs\" and see dmesg, or name another device with -d";
	case EACCES:
		return "run this as root, or join the group of the device";
	case ENOTTY:
		return "this is no ivshmem device: name another one with -d";
	case EPROTO:
		return "the driver's interface has another version: build this with the driver's header";
	case ENODEV:
		return "the device was removed: start again when it is back";
	case EOPNOTSUPP:
		return "the device has no doorbell, or no interrupt vectors (see dmesg): give the guest ivshmem-doorbell "
		       "instead of ivshmem-plain";
	case ETIMEDOUT:
		return "nobody rang: see whether the other guest's program runs, and its peer ID";
	default:
		return "see Documentation/userspace-api.rst";
	}
}

/* Ends the program after a call has failed: with errno, and with what to do about it. */
__attribute__((noreturn)) static inline void sample_fail(const char *what)
{
	int error = errno;

	warn("%s", what);
	errx(error == ENOENT || error == EOPNOTSUPP ? SAMPLE_SKIP : 1, "%s", sample_remedy(error));
}

/* Prints the help and ends the program; status 0 if it was asked for. */
__attribute__((noreturn)) static inline void sample_help(const char *help, int status)
{
	fprintf(status ? stderr : stdout,
		"usage: %s\n  -d DEVICE  the device; /dev/ivshmem0 if not given\n%s"
		"  -h         this help\n", help,
		strstr(help, "[-w]") ? "  -w         wait for another guest to ring\n" : "");
	exit(status);
}

/* Handles the options -d, -w and -h, and opens the device. At most @words may follow the options. */
static inline struct sample sample_start(int argc, char **argv, int words, const char *help)
{
	const char *device = "/dev/ivshmem0";
	struct sample sample = { .help = help };
	int option;

	/* What was found out is told at once, and in order, through pipes too. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
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
	if (sample.argc > words)
		sample_help(help, SAMPLE_USAGE);
	sample.fd = ivshmem_open(device, O_RDWR | O_CLOEXEC, &sample.info);
	if (sample.fd < 0)
		sample_fail(device);
	return sample;
}

/* The number in word @n of the command line, @absent if there is none; 0 to @most. */
static inline uint32_t sample_number(const struct sample *sample, int n, uint32_t absent,
				     uint32_t most)
{
	const char *text = n < sample->argc ? sample->argv[n] : "";
	unsigned long value;
	char *end;

	if (n >= sample->argc)
		return absent;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (end == text || *end || *text == '-' || errno || value > most) {
		warnx("'%s' is not a number from 0 to %u", text, most);
		sample_help(sample->help, SAMPLE_USAGE);
	}
	return value;
}

/* Ends the program unless at least @vectors vectors can be rung. */
static inline void sample_need_vectors(const struct sample *sample, unsigned int vectors)
{
	if (sample->info.vectors < vectors)
		errx(SAMPLE_SKIP, "needs %u interrupt vectors, the device has %u: give the guest an "
		     "ivshmem-doorbell with vectors=%u or more, and the server as many", vectors,
		     sample->info.vectors, vectors);
}

/* Maps the first @bytes of the shared memory. */
static inline void *sample_map(const struct sample *sample, size_t bytes)
{
	void *memory;

	if (sample->info.shm_size < bytes)
		errx(SAMPLE_SKIP, "needs %zu KiB of shared memory, the device has %llu KiB: start the "
		     "server with a larger --size", bytes / 1024,
		     (unsigned long long)sample->info.shm_size / 1024);
	memory = ivshmem_map(sample->fd, 0, bytes, PROT_READ | PROT_WRITE);
	if (!memory)
		sample_fail("cannot map the shared memory");
	return memory;
}

/* Rings vector @vector of @peer. What was written to the shared memory before arrives before. */
static inline void sample_ring(const struct sample *sample, uint32_t peer, uint32_t vector)
{
	if (ivshmem_ring_peer(sample->fd, peer, vector) != 0)
		sample_fail("cannot ring");
}

/* The time in nanoseconds, to take differences. */
static inline int64_t sample_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

#endif /* SAMPLE_H */
