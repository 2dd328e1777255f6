// SPDX-License-Identifier: GPL-2.0
/*
 * Raises interrupts for measurements: see ivshmem_inject.h. Never load it where it matters what
 * interrupts a driver gets.
 */
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/uaccess.h>

#include <asm/msr.h>

#include "ivshmem_inject.h"

static DEFINE_MUTEX(later_lock);
static struct hrtimer later_timer;
static u32 later_irq;
static u64 later_before;

static long inject_now(struct inject __user *argument)
{
	struct inject inject;
	unsigned long flags;
	int error = 0;

	if (copy_from_user(&inject, argument, sizeof(inject)))
		return -EFAULT;
	if (inject.flags & ~(INJECT_DRY | INJECT_NO_SWITCH))
		return -EINVAL;
	if (inject.flags & INJECT_NO_SWITCH)
		preempt_disable();
	/* Pending when it has been raised, and taken when interrupts are let through again. */
	local_irq_save(flags);
	if (!(inject.flags & INJECT_DRY))
		error = irq_inject_interrupt(inject.irq);
	inject.before = rdtsc_ordered();
	local_irq_restore(flags);
	inject.after = rdtsc_ordered();
	if (inject.flags & INJECT_NO_SWITCH)
		preempt_enable();
	if (error)
		return error;
	return copy_to_user(argument, &inject, sizeof(inject)) ? -EFAULT : 0;
}

static enum hrtimer_restart raise(struct hrtimer *timer)
{
	/* Interrupts are off here: it comes when the timer's own has ended. */
	irq_inject_interrupt(later_irq);
	later_before = rdtsc_ordered();
	return HRTIMER_NORESTART;
}

static long inject_later(struct inject __user *argument)
{
	struct inject inject;

	if (copy_from_user(&inject, argument, sizeof(inject)))
		return -EFAULT;
	guard(mutex)(&later_lock);
	hrtimer_cancel(&later_timer);
	later_irq = inject.irq;
	hrtimer_start(&later_timer, ns_to_ktime(inject.delay_ns), HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

static long inject_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	switch (command) {
	case INJECT_NOW:
		return inject_now((void __user *)argument);
	case INJECT_LATER:
		return inject_later((void __user *)argument);
	case INJECT_STAMP:
		return put_user(READ_ONCE(later_before), (u64 __user *)argument);
	case INJECT_NOTHING:
		return 0;
	}
	return -ENOTTY;
}

static const struct file_operations inject_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = inject_ioctl,
};

static struct miscdevice inject_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ivshmem_inject",
	.fops = &inject_operations,
	.mode = 0600,
};

static int __init inject_init(void)
{
	hrtimer_setup(&later_timer, raise, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	return misc_register(&inject_device);
}

static void __exit inject_exit(void)
{
	misc_deregister(&inject_device);
	hrtimer_cancel(&later_timer);
}

module_init(inject_init);
module_exit(inject_exit);
MODULE_DESCRIPTION("Raises interrupts for measurements");
MODULE_LICENSE("GPL");
