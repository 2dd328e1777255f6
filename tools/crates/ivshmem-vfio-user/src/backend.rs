// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! vfio-user's requests as calls of the model.

use std::fs::File;
use std::io;
use std::ops::Range;

use ivshmem_abi::pci::{BAR_MEMORY, BAR_MSIX};
use ivshmem_model::{PeerId, Width};
use tracing::{debug, warn};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_IRQ_SET_DATA_TYPE_MASK, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, ServerBackend};

use crate::Host;

/// Most bytes of one access: what `vfio_user` tells the client as `max_data_xfer_size`.
const MAX_TRANSFER: usize = 1 << 20;

/// One virtual machine's side of a region. No method returns an error for what QEMU may ask: see the crate's
/// documentation.
pub(crate) struct Backend {
    host: Host,
    peer: PeerId,
    /// Whether it has the virtual machine's device; `None`: it has not asked for anything yet.
    attached: Option<bool>,
}

/// One of the model's accesses that a request of any length becomes.
struct Piece {
    /// Where its bytes are in the message.
    range: Range<usize>,
    /// Its offset in the region.
    at: u64,
    width: Width,
}

/// Cuts a request into accesses, each as wide as the region takes and the rest allows.
fn pieces(region: u32, offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let width = Width::ALL.into_iter().rev().find(|width| {
            // CAST: 8 at most.
            let bytes = width.bytes() as usize;
            bytes <= limit(region) && bytes <= len - done
        })?;
        let start = done;
        // CAST: As above.
        done += width.bytes() as usize;
        Some(Piece {
            range: start..done,
            // Behind the end of everything there is nothing: it is not the beginning again.
            // CAST: An offset in a buffer.
            at: offset.saturating_add(start as u64),
            width,
        })
    })
}

impl Backend {
    pub fn new(host: Host, peer: PeerId) -> Self {
        Self {
            host,
            peer,
            attached: None,
        }
    }

    /// Attaches the virtual machine at its first request: `Server::run` does not say when somebody has
    /// connected. False if its device is another connection's.
    fn attach(&mut self) -> bool {
        let (host, peer) = (&self.host, self.peer);
        *self.attached.get_or_insert_with(|| {
            let result = host.with(|model| model.attach(peer));
            let refused = |error: &_| warn!("{error}: who has connected now gets none");
            result.inspect_err(refused).is_ok()
        })
    }

    /// The connection is over.
    pub fn detach(self) {
        if self.attached == Some(true) {
            self.host.detach(self.peer);
        }
    }

    /// Number of vectors of the device.
    fn vectors(&self) -> u16 {
        self.host.with(|model| {
            let device = model.device(self.peer);
            let msix = device.and_then(|device| device.msix.as_ref());
            msix.map_or(0, |msix| msix.vectors())
        })
    }

    /// Those vectors of the device that are `count` from `start` on.
    fn range(&self, start: u32, count: u32) -> Range<u16> {
        let vectors = self.vectors();
        let first = u16::try_from(start).unwrap_or(vectors);
        let len = u16::try_from(count).unwrap_or(vectors);
        first..first.saturating_add(len).min(vectors)
    }

    fn read(&self, region: u32, offset: u64, width: Width) -> u64 {
        self.host.with(|model| match region {
            VFIO_PCI_CONFIG_REGION_INDEX => match u16::try_from(offset) {
                Ok(offset) => model.config_read(self.peer, offset, width).into(),
                Err(_) => width.ones(),
            },
            bar => model.bar_read(self.peer, bar as usize, offset, width),
        })
    }

    fn write(&self, region: u32, offset: u64, width: Width, value: u64) {
        self.host.with(|model| match region {
            VFIO_PCI_CONFIG_REGION_INDEX => {
                if let Ok(offset) = u16::try_from(offset) {
                    // CAST: Configuration accesses are cut to 32 bits.
                    model.config_write(self.peer, offset, width, value as u32);
                }
            }
            bar => model.bar_write(self.peer, bar as usize, offset, width, value),
        });
    }
}

/// Widest access that a region takes, in bytes.
fn limit(region: u32) -> usize {
    match region {
        VFIO_PCI_CONFIG_REGION_INDEX => 4,
        _ => 8,
    }
}

fn check_length(data: &[u8]) -> io::Result<()> {
    match data.len() <= MAX_TRANSFER {
        true => Ok(()),
        false => Err(io::Error::other(
            "an access is longer than a message may be",
        )),
    }
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        check_length(data)?;
        if !self.attach() {
            data.fill(0xff);
            return Ok(());
        }
        for piece in pieces(region, offset, data.len()) {
            let value = self.read(region, piece.at, piece.width).to_le_bytes();
            let bytes = &mut data[piece.range];
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        check_length(data)?;
        if !self.attach() {
            return Ok(());
        }
        for piece in pieces(region, offset, data.len()) {
            let mut value = [0; 8];
            let bytes = &data[piece.range];
            value[..bytes.len()].copy_from_slice(bytes);
            self.write(region, piece.at, piece.width, u64::from_le_bytes(value));
        }
        Ok(())
    }

    /// QEMU's first request. The device does not touch the guest's memory.
    fn dma_map(
        &mut self,
        _flags: DmaMapFlags,
        _offset: u64,
        _address: u64,
        _size: u64,
        _fd: Option<File>,
    ) -> io::Result<()> {
        self.attach();
        Ok(())
    }

    fn dma_unmap(&mut self, _flags: DmaUnmapFlags, _address: u64, _size: u64) -> io::Result<()> {
        self.attach();
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        if self.attach() {
            self.host.reset(self.peer);
        }
        Ok(())
    }

    /// Event descriptors for vectors `start` to `start + count`: those without one lose theirs. Without the kind of data
    /// that descriptors are, a count of 0 takes all, and any other signals those of the vectors.
    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        debug!(index, flags, start, count, fds = fds.len(), "set_irqs");
        let trigger = flags & VFIO_IRQ_SET_ACTION_TRIGGER != 0;
        if !self.attach() || index != VFIO_PCI_MSIX_IRQ_INDEX || !trigger {
            return Ok(());
        }
        let (host, peer) = (&self.host, self.peer);
        let mut fds = fds.into_iter();
        match (flags & VFIO_IRQ_SET_DATA_TYPE_MASK, count) {
            (VFIO_IRQ_SET_DATA_NONE, 0) => {
                (0..self.vectors()).for_each(|vector| host.set_event(peer, vector, None));
            }
            (VFIO_IRQ_SET_DATA_NONE, _) => {
                (self.range(start, count)).for_each(|vector| host.try_event(peer, vector));
            }
            (VFIO_IRQ_SET_DATA_EVENTFD, _) => {
                let range = self.range(start, count);
                range.for_each(|vector| host.set_event(peer, vector, fds.next()));
            }
            _ => {}
        }
        Ok(())
    }
}

// The regions' numbers are those of the BARs.
const _: () = assert!(BAR_MSIX == 1 && BAR_MEMORY == 2);
