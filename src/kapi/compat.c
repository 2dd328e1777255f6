// SPDX-License-Identifier: GPL-2.0
/*
 * What kernels before 7.3 do not have in rust/helpers/. src/kapi/helpers.rs declares it for Rust.
 */
#include <linux/irqflags.h>
#include <linux/spinlock.h>
#include <asm/barrier.h>

void ivshmem_rmb(void)
{
	/* Whoever calls says which reads are ordered. */
	rmb();
}

void ivshmem_wmb(void)
{
	/* Whoever calls says which writes are ordered. */
	wmb();
}

unsigned long ivshmem_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void ivshmem_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

unsigned long ivshmem_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void ivshmem_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}
