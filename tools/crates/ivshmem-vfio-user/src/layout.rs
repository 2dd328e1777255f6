// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The device as vfio describes devices: regions and interrupts, by number.

use ivshmem_abi::pci::BAR_MEMORY;
use ivshmem_model::Function;
use vfio_bindings::bindings::vfio::{
    vfio_region_info, vfio_region_sparse_mmap_area, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_ERR_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_MMAP,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{IrqInfo, ServerRegion, SparseArea};

use crate::Backing;

/// Configuration space as QEMU sees it. With more than 256 bytes it would be a PCI Express device, which
/// no flavour is.
const CONFIG_SIZE: u64 = 256;

/// All regions that vfio has numbers for; absent ones have no bytes.
pub(crate) fn regions(function: &Function, memory: &Backing) -> Vec<ServerRegion> {
    (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| match index {
            BAR_MEMORY => shared(index, function.bars[index as usize].size, memory),
            VFIO_PCI_CONFIG_REGION_INDEX => trapped(index, CONFIG_SIZE),
            _ => {
                let bar = function.bars.get(index as usize);
                trapped(index, bar.map_or(0, |bar| bar.size))
            }
        })
        .collect()
}

/// A region whose accesses are messages.
fn trapped(index: u32, size: u64) -> ServerRegion {
    ServerRegion {
        region_info: vfio_region_info {
            // CAST: A small structure.
            argsz: size_of::<vfio_region_info>() as u32,
            flags: VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
            index,
            cap_offset: 0,
            size,
            offset: 0,
        },
        sparse_areas: Vec::new(),
        mmap_fd: None,
    }
}

/// A region that QEMU maps. Without an area it would get no descriptor.
fn shared(index: u32, size: u64, memory: &Backing) -> ServerRegion {
    let mut region = trapped(index, size);
    region.region_info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
    region.sparse_areas.push(SparseArea {
        area: vfio_region_sparse_mmap_area { offset: 0, size },
    });
    region.mmap_fd = Some(memory.descriptor());
    region
}

/// All interrupts that vfio has numbers for; of those that interrupt the guest only MSI-X exists, if that.
pub(crate) fn interrupts(function: &Function) -> Vec<IrqInfo> {
    let vectors = function.msix.as_ref().map_or(0, |msix| msix.vectors());
    (0..VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo {
            index,
            flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            count: match index {
                VFIO_PCI_MSIX_IRQ_INDEX => vectors.into(),
                // Never signalled; without it QEMU warns that it cannot learn of errors.
                VFIO_PCI_ERR_IRQ_INDEX => 1,
                _ => 0,
            },
        })
        .collect()
}
