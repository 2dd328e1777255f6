// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Survives the device: when it is unplugged, touching its memory raises SIGBUS. Here that is an error like any other,
 * and the program goes on when the device is back.
 *
 *	survive			until the device has gone and come back once
 *	survive TIMES		until it has done so TIMES times
 *
 * Only touches of the memory within the guard may raise SIGBUS, and each is a function of its own: whatever it was doing is
 * left in the middle, so it must do nothing but that. Another SIGBUS ends the program as ever.
 */
#include "sample.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>

/* Time between two looks, and between two tries to open the device. */
#define LOOK_NS	50000000

static sigjmp_buf gone;
static volatile sig_atomic_t guarded;

static void on_sigbus(int number)
{
	if (guarded)
		siglongjmp(gone, 1);
	signal(number, SIG_DFL);	/* the access is made again, and ends the program */
}

/* Reads a word of the shared memory; false if the device is gone. */
static bool look(uint32_t *word, uint32_t *value)
{
	if (sigsetjmp(gone, 1)) {
		guarded = 0;
		return false;
	}
	guarded = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);	/* the compiler keeps the load in between */
	*value = ivshmem_load(word);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	guarded = 0;
	return true;
}

/* Opens the device at this PCI address, whose node may have another number than before; -1 if it is not there. */
static int reopen(const char *bus_id, struct ivshmem_info *info)
{
	char pattern[64], node[64];
	glob_t found;
	int fd;

	snprintf(pattern, sizeof(pattern), "/sys/bus/pci/devices/%s/misc/ivshmem*", bus_id);
	if (glob(pattern, 0, NULL, &found) != 0)
		return -1;
	snprintf(node, sizeof(node), "/dev/%s", strrchr(found.gl_pathv[0], '/') + 1);
	fd = ivshmem_open(node, O_RDWR | O_CLOEXEC, info);
	globfree(&found);
	return fd;
}

static void nap(void)
{
	const struct timespec time = { .tv_nsec = LOOK_NS };

	nanosleep(&time, NULL);
}

int main(int argc, char **argv)
{
	struct sample sample = sample_start(argc, argv, 1, "survive [-d DEVICE] [TIMES]");
	struct sigaction action = { .sa_handler = on_sigbus };
	uint32_t times = sample_number(&sample, 0, 1, UINT32_MAX), value;
	uint32_t *word = sample_map(&sample, sizeof(*word));
	char bus_id[IVSHMEM_BUS_ID_LEN];

	if (sigaction(SIGBUS, &action, NULL) != 0)
		err(1, "sigaction");
	memcpy(bus_id, sample.info.bus_id, sizeof(bus_id));
	printf("looking at %s\n", sample.info.bus_id);
	while (times > 0) {
		if (look(word, &value)) {
			nap();
			continue;
		}
		printf("the device is gone\n");
		munmap(word, sizeof(*word));
		close(sample.fd);
		while ((sample.fd = reopen(bus_id, &sample.info)) < 0)
			nap();
		word = sample_map(&sample, sizeof(*word));
		printf("the device is back, as peer %u\n", sample.info.peer_id);
		times--;
	}
	return 0;
}
