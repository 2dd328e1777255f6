// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A board for echo.c, to try it out: a process of Linux that has the shared memory as a file, or as root the registers and the
 * memory of a device that no driver has.
 *
 *	echo FILE
 *	echo /sys/bus/pci/devices/0000:00:04.0
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "board.h"

int echo(void);

static void *memory;
static uint64_t memory_size;
static volatile uint32_t *registers;

static void *map(const char *path, uint64_t *size)
{
	struct stat about;
	void *at;
	int fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &about) != 0)
		err(1, "%s", path);
	*size = (uint64_t)about.st_size;
	at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		err(1, "%s", path);
	close(fd);
	return at;
}

static void map_device(const char *directory)
{
	const unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
	unsigned long long start;
	char path[256];
	uint64_t size;
	FILE *file;

	snprintf(path, sizeof(path), "%s/enable", directory);
	file = fopen(path, "w");
	if (!file || fputs("1", file) < 0 || fclose(file) != 0)
		err(1, "%s", path);
	/* The registers are a part of the page that is mapped. */
	snprintf(path, sizeof(path), "%s/resource", directory);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%llx", &start) != 1)
		err(1, "%s", path);
	fclose(file);
	snprintf(path, sizeof(path), "%s/resource0", directory);
	registers = (volatile uint32_t *)map(path, &size) + start % page / 4;
	snprintf(path, sizeof(path), "%s/resource2", directory);
	memory = map(path, &memory_size);
}

void *board_memory(uint64_t *size)
{
	*size = memory_size;
	return memory;
}

uint32_t board_peer_id(void)
{
	return registers ? registers[8 / 4] : 0;
}

void board_ring(uint32_t peer, uint32_t vector)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (registers)
		registers[12 / 4] = peer << 16 | vector;
}

uint32_t board_ms(void)
{
	struct timespec now;

	/* A real board has its processor for itself. */
	sched_yield();
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

uint32_t board_random(void)
{
	uint32_t number;

	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		err(1, "getrandom");
	return number;
}

int main(int argc, char **argv)
{
	struct stat about;
	int status;

	if (argc != 2)
		errx(2, "usage: echo FILE|DIRECTORY");
	if (stat(argv[1], &about) != 0)
		err(1, "%s", argv[1]);
	if (S_ISDIR(about.st_mode))
		map_device(argv[1]);
	else
		memory = map(argv[1], &memory_size);
	status = echo();
	if (status)
		errx(1, "the channel ended with %d", status);
	return 0;
}
