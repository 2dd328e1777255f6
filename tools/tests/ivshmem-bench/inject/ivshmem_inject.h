/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * /dev/ivshmem_inject: raises the interrupt of any driver, from inside of the machine.
 *
 * For measurements only. A doorbell reaches the other machine through its emulator, in the emulator's
 * own time; an interrupt that is raised here comes between two instructions that are counted. The
 * vector, the flow handler and the driver's handler are the real ones.
 */
#ifndef IVSHMEM_INJECT_H
#define IVSHMEM_INJECT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define INJECT_PATH	"/dev/ivshmem_inject"

/* Do all but raise the interrupt. */
#define INJECT_DRY	1
/* Whoever is woken has to wait until @after was taken. */
#define INJECT_NO_SWITCH 2

/**
 * struct inject - argument and answer of INJECT_NOW, argument of INJECT_LATER
 * @irq: the interrupt's number in /proc/interrupts
 * @flags: INJECT_DRY, INJECT_NO_SWITCH
 * @delay_ns: INJECT_LATER: how long from now
 * @before: out: the time stamp counter when the interrupt was pending and about to be let through
 * @after: out: the counter when the handler had returned, and the thread went on
 */
struct inject {
	__u32 irq;
	__u32 flags;
	__u64 delay_ns;
	__u64 before;
	__u64 after;
};

/* Raises the interrupt, whose handler has run when this returns. */
#define INJECT_NOW	_IOWR('b', 0x10, struct inject)
/* Raises it from a timer. One at a time. */
#define INJECT_LATER	_IOW('b', 0x11, struct inject)
/* @before of the last INJECT_LATER, which has happened. */
#define INJECT_STAMP	_IOR('b', 0x12, __u64)
/* Nothing: what any ioctl costs. */
#define INJECT_NOTHING	_IO('b', 0x13)

#endif /* IVSHMEM_INJECT_H */
