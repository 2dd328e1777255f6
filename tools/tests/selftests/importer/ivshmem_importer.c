// SPDX-License-Identifier: GPL-2.0
/*
 * Imports dma-bufs for tests: see ivshmem_importer.h. Its device does not exist; the CPU reads at
 * the addresses that the device would.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "ivshmem_importer.h"

#define LATE_MS 300

static struct platform_device *importer_platform;

/* What is below @attachment changes with the reservation locked. */
struct import {
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
	enum dma_data_direction direction;
	unsigned int invalidated;
	bool late;
	struct delayed_work let_go;
};

static void unmap_locked(struct import *import)
{
	if (import->table)
		dma_buf_unmap_attachment(import->attachment, import->table, import->direction);
	import->table = NULL;
}

static void let_go(struct work_struct *work)
{
	struct import *import = container_of(work, struct import, let_go.work);

	dma_resv_lock(import->buf->resv, NULL);
	unmap_locked(import);
	dma_resv_unlock(import->buf->resv);
}

static void invalidate(struct dma_buf_attachment *attachment)
{
	struct import *import = attachment->importer_priv;

	import->invalidated++;
	if (import->late)
		schedule_delayed_work(&import->let_go, msecs_to_jiffies(LATE_MS));
	else
		unmap_locked(import);
}

static const struct dma_buf_attach_ops importer_attach_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = invalidate,
};

static long attach(struct import *import, struct importer_attach __user *argument)
{
	struct dma_buf_attachment *attachment;
	struct importer_attach attach;
	struct dma_buf *buf;

	if (copy_from_user(&attach, argument, sizeof(attach)))
		return -EFAULT;
	if (import->buf)
		return -EBUSY;
	buf = dma_buf_get(attach.fd);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	import->late = attach.flags & IMPORTER_LATE;
	if (attach.flags & IMPORTER_PINNED)
		attachment = dma_buf_attach(buf, &importer_platform->dev);
	else
		attachment = dma_buf_dynamic_attach(buf, &importer_platform->dev,
						    &importer_attach_ops, import);
	if (IS_ERR(attachment)) {
		dma_buf_put(buf);
		return PTR_ERR(attachment);
	}
	import->buf = buf;
	import->attachment = attachment;
	return 0;
}

static long map(struct import *import, enum dma_data_direction direction)
{
	struct sg_table *table;
	long error = 0;

	if (!import->buf)
		return -ENXIO;
	dma_resv_lock(import->buf->resv, NULL);
	if (!import->table) {
		table = dma_buf_map_attachment(import->attachment, direction);
		error = PTR_ERR_OR_ZERO(table);
		import->table = error ? NULL : table;
		import->direction = direction;
	}
	dma_resv_unlock(import->buf->resv);
	return error;
}

static long read_locked(struct import *import, struct importer_word *word)
{
	struct scatterlist *entry;
	u32 offset = word->offset;
	const u32 *at;
	int i;

	if (!import->table)
		return -ENXIO;
	for_each_sgtable_dma_sg(import->table, entry, i) {
		if (offset >= sg_dma_len(entry)) {
			offset -= sg_dma_len(entry);
			continue;
		}
		/* The device has no IOMMU: its addresses are physical ones. */
		at = memremap(sg_dma_address(entry) + offset, sizeof(*at), MEMREMAP_WB);
		if (!at)
			return -ENOMEM;
		word->value = READ_ONCE(*at);
		memunmap((void *)at);
		return 0;
	}
	return -EINVAL;
}

static long read_word(struct import *import, struct importer_word __user *argument)
{
	struct importer_word word;
	long error;

	if (copy_from_user(&word, argument, sizeof(word)))
		return -EFAULT;
	if (!import->buf)
		return -ENXIO;
	dma_resv_lock(import->buf->resv, NULL);
	error = read_locked(import, &word);
	dma_resv_unlock(import->buf->resv);
	if (error)
		return error;
	return copy_to_user(argument, &word, sizeof(word)) ? -EFAULT : 0;
}

static long importer_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct import *import = file->private_data;

	switch (command) {
	case IMPORTER_ATTACH:
		return attach(import, (void __user *)argument);
	case IMPORTER_MAP:
		return map(import, DMA_BIDIRECTIONAL);
	case IMPORTER_MAP_READ:
		return map(import, DMA_TO_DEVICE);
	case IMPORTER_READ:
		return read_word(import, (void __user *)argument);
	case IMPORTER_INVALIDATED:
		return READ_ONCE(import->invalidated);
	}
	return -ENOTTY;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct import *import = kzalloc(sizeof(*import), GFP_KERNEL);

	if (!import)
		return -ENOMEM;
	INIT_DELAYED_WORK(&import->let_go, let_go);
	file->private_data = import;
	return 0;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct import *import = file->private_data;

	if (import->buf) {
		let_go(&import->let_go.work);
		dma_buf_detach(import->buf, import->attachment);
		cancel_delayed_work_sync(&import->let_go);
		dma_buf_put(import->buf);
	}
	kfree(import);
	return 0;
}

static const struct file_operations importer_operations = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.release = importer_release,
	.unlocked_ioctl = importer_ioctl,
};

static struct miscdevice importer_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ivshmem_importer",
	.fops = &importer_operations,
	.mode = 0600,
};

static int __init importer_init(void)
{
	int error;

	importer_platform = platform_device_register_simple("ivshmem_importer", -1, NULL, 0);
	if (IS_ERR(importer_platform))
		return PTR_ERR(importer_platform);
	error = dma_coerce_mask_and_coherent(&importer_platform->dev, DMA_BIT_MASK(64));
	if (!error)
		error = misc_register(&importer_device);
	if (error)
		platform_device_unregister(importer_platform);
	return error;
}

static void __exit importer_exit(void)
{
	misc_deregister(&importer_device);
	platform_device_unregister(importer_platform);
}

module_init(importer_init);
module_exit(importer_exit);
MODULE_DESCRIPTION("Imports dma-bufs for tests");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_LICENSE("GPL");
