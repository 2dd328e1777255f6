/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a program does for itself to be real-time. The guest does the rest: a PREEMPT_RT kernel,
 * isolated CPUs, and the device's interrupts on the CPU of the program (/proc/irq/N/smp_affinity).
 */
#ifndef REALTIME_H
#define REALTIME_H

#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>

/*
 * Below that of the threads that handle interrupts on a PREEMPT_RT kernel, which have 50: who spins above
 * them, on the same CPU, waits for ever for what they would do.
 */
#define REALTIME_PRIORITY	40

/* Locks the memory and takes a real-time priority; warns and goes on where that is not allowed. */
static inline void realtime_start(void)
{
	struct sched_param param = { .sched_priority = REALTIME_PRIORITY };

	/* A page fault costs more than everything that is measured. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		warn("without locked memory (run this as root, or raise \"ulimit -l\"): mlockall");
	if (sched_setscheduler(0, SCHED_FIFO, &param) != 0)
		warn("without SCHED_FIFO (run this as root, or raise \"ulimit -r\" to %d): "
		     "sched_setscheduler", REALTIME_PRIORITY);
}

#endif /* REALTIME_H */
