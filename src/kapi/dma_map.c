// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses by which a device reaches memory that has no page structures, as the scatter list that
 * importers of dma-bufs want: the part of dma_buf.rs that is macros in the kernel's headers.
 *
 * As dma_buf_phys_vec_to_sgt(), without its question whether the host bridge passes requests on
 * from one PCI device to another (pci_p2pdma_map_type()): the memory of an ivshmem device is RAM of
 * the host, and the hypervisor gives all devices of a machine access to that.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#define MOST_BYTES ALIGN_DOWN(UINT_MAX, PAGE_SIZE)

/*
 * Maps @size bytes of device memory at @start for @dev. The list has addresses for the device and
 * no pages. May sleep.
 */
struct sg_table *ivshmem_dma_map(struct device *dev, phys_addr_t start, size_t size,
				 enum dma_data_direction direction)
{
	struct sg_table *table = kzalloc(sizeof(*table), GFP_KERNEL);
	struct scatterlist *entry;
	dma_addr_t address;
	int error, i;

	if (!table)
		return ERR_PTR(-ENOMEM);
	error = sg_alloc_table(table, DIV_ROUND_UP(size, MOST_BYTES), GFP_KERNEL);
	if (error)
		goto free;
	address = dma_map_resource(dev, start, size, direction, 0);
	error = dma_mapping_error(dev, address);
	if (error)
		goto free_entries;
	for_each_sgtable_dma_sg(table, entry, i) {
		size_t len = min_t(size_t, size, MOST_BYTES);

		sg_dma_address(entry) = address;
		sg_dma_len(entry) = len;
		address += len;
		size -= len;
	}
	/* There is no list for the CPU. */
	table->orig_nents = 0;
	return table;

free_entries:
	sg_free_table(table);
free:
	kfree(table);
	return ERR_PTR(error);
}

/* Undoes what ivshmem_dma_map() did for the same @dev, @size and @direction. */
void ivshmem_dma_unmap(struct device *dev, struct sg_table *table, size_t size,
		       enum dma_data_direction direction)
{
	dma_unmap_resource(dev, sg_dma_address(table->sgl), size, direction, 0);
	/* As many as were allocated, which the importer must not have changed. */
	table->orig_nents = DIV_ROUND_UP(size, MOST_BYTES);
	sg_free_table(table);
	kfree(table);
}
