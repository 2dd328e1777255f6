// SPDX-License-Identifier: GPL-2.0

//! PCI glue: which devices, what happens when one is bound and unbound.

use core::marker::PhantomData;

use kernel::{
    device::{
        Bound,
        Core, //
    },
    io::Io,
    pci,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use crate::{
    abi::{
        ioctl::BUS_ID_LEN,
        mmap::Region,
        pci::{
            BAR_REGISTERS,
            DEVICE_ID,
            MAX_VECTORS, //
        },
        regs, //
    },
    device::{
        Device,
        Properties, //
    },
    events::Events,
    file::File,
    index::Index,
    kapi::{
        chardev,
        compat::{
            pci_device_table,
            MatchedInfo, //
        },
        dma_buf::Exports,
        driver_data::DriverData,
        pci::{
            enable,
            msix_vectors,
            Configuration, //
        },
        window::Window, //
    },
    memory,
    moderation::Moderation,
    parameters,
    vectors::{
        self,
        Vectors, //
    }, //
};

/// The driver.
pub(crate) struct Ivshmem;

pci_device_table!(
    PCI_TABLE,
    <Ivshmem as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT_QUMRANET, DEVICE_ID as u32),
        ()
    )]
);

/// What exists while a device is bound.
///
/// Fields are dropped in the order of their declaration, which is the order of the teardown: the
/// node goes, so that nobody comes; interrupts end; everybody is woken and the memory is taken
/// away; the number is free for the next device. The registers follow when the driver core releases
/// what the device manages, and last of all the device is disabled.
pub(crate) struct Data<'bound> {
    _node: Pin<KBox<chardev::Registration<File>>>,
    running: Running,
    index: Index,
    _bound: PhantomData<&'bound ()>,
}

/// A device whose vectors count. Its end frees the vectors, then closes the device: what says that
/// the end has come comes after the last event. It comes when this is dropped, also where probing
/// fails, or before, if the PCI core gives the device up.
pub(crate) struct Running {
    device: Arc<Device>,
    vectors: Option<Vectors>,
    configuration: Configuration,
    /// Whether the recovery from an error is under way. Changed under the device's lock.
    recovering: Atomic<bool>,
}

impl Running {
    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What the device is to be configured as after an error.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The device is about to be reset, and does not work until [`Running::resume`]. Called under
    /// the device's lock. May sleep.
    pub(crate) fn pause(&self) {
        // The PCI core restores the vectors without the lock that enabling one takes, which a timer
        // would do at the end of a pause.
        if let Some(vectors) = &self.vectors {
            vectors.end_pauses();
        }
        self.device.pause();
    }

    /// The device works again after [`Running::pause`], or after the machine slept. Does nothing
    /// during the recovery from an error, whose end does it: another reset is still to come.
    pub(crate) fn resume(&self) {
        if self.recovering.load(Relaxed) {
            return;
        }
        if let Some(vectors) = &self.vectors {
            vectors.allow_pauses();
        }
        self.device.resume();
    }

    /// There was an error on the way to the device, which does not work until
    /// [`Running::end_recovery`], or for good. As [`Running::pause`].
    pub(crate) fn begin_recovery(&self) {
        self.recovering.store(true, Relaxed);
        self.pause();
    }

    /// The device works again after [`Running::begin_recovery`].
    pub(crate) fn end_recovery(&self) {
        self.recovering.store(false, Relaxed);
        self.resume();
    }

    /// The end of the device: nothing that happens to it later is seen by programs. Does nothing
    /// the second time. May sleep.
    pub(crate) fn end(&self) {
        if let Some(vectors) = &self.vectors {
            vectors.free();
        }
        self.device.close();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl pci::Driver for Ivshmem {
    type IdInfo = ();
    type Data<'bound> = Data<'bound>;

    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: MatchedInfo<'bound, Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        memory::check(pdev)?;
        let configuration = enable(pdev)?;

        let window = Window::new(memory::open(pdev)?, Region::Memory.file_offset(0))?;
        let registers = pdev
            .iomap_region_sized(BAR_REGISTERS, c"ivshmem_rs")
            .inspect_err(|error| {
                dev_err!(
                    pdev,
                    "cannot map the registers ({:?}): BAR0 is missing, too small, or another driver has it\n",
                    error
                )
            })?;
        let register_page = memory::open_registers(pdev)
            .map(|page| Window::new(page, Region::Registers.file_offset(0)))
            .transpose()?;
        let position = registers.read32(regs::IV_POSITION);
        if position > regs::MAX_PEER {
            dev_warn!(
                pdev,
                "peer ID {} of the device is none: peers cannot ring it; peer_id=N reports another\n",
                position
            );
        }
        let index = Index::take()?;
        let most = max_vectors(pdev)?;
        let events = Arc::new(Events::new(index.get(), most)?, GFP_KERNEL)?;
        let moderation = Arc::new(Moderation::new()?, GFP_KERNEL)?;
        let vectors = arm_vectors(pdev, &index, &events, &moderation, most);

        let properties = Properties {
            number: index.get(),
            peer_override: peer_override(pdev),
            vectors: vectors.as_ref().map_or(0, Vectors::len),
            vectors_offered: msix_vectors(pdev),
            revision: pdev.revision_id(),
            subsystem: (pdev.subsystem_vendor_id(), pdev.subsystem_device_id()),
            bus_id: bus_id(pdev),
        };
        let registers = registers.into_devres()?;
        let device = Device::new(
            registers,
            events,
            Exports::new(window)?,
            register_page,
            moderation,
            position,
            properties,
        );
        let device = Arc::new(device, GFP_KERNEL)?;
        let running = Running {
            device: device.clone(),
            vectors,
            configuration,
            recovering: Atomic::new(false),
        };

        let name = CString::try_from_fmt(fmt!("ivshmem{}", index.get()))?;
        let node = chardev::Registration::new(name, pdev.as_ref(), device.clone());
        let node = KBox::pin_init(node, GFP_KERNEL)?;
        report(pdev, &index, &device);
        Ok(Data {
            _node: node,
            running,
            index,
            _bound: PhantomData,
        })
    }

    /// The teardown is that of [`Data`].
    fn unbind<'bound>(pdev: &'bound pci::Device<Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        dev_info!(pdev, "ivshmem{}: removed\n", data.index.get());
    }
}

impl DriverData for Ivshmem {
    type Shared = Running;

    fn shared<'a>(data: &'a Data<'_>) -> &'a Running {
        &data.running
    }
}

/// How many vectors to arm at most: as many as the device has, and the module parameter allows.
fn max_vectors(pdev: &pci::Device<Bound>) -> Result<usize> {
    let wanted = parameters::max_vectors();
    // CAST: `u32` fits into `usize`.
    if !(1..=MAX_VECTORS).contains(&(wanted as usize)) {
        dev_err!(pdev, "max_vectors={} is not 1 to {}\n", wanted, MAX_VECTORS);
        return Err(EINVAL);
    }
    // CAST: `u32` fits into `usize`.
    Ok(wanted.min(msix_vectors(pdev)) as usize)
}

/// Arms the interrupt vectors; without any, memory and doorbell are still of use.
fn arm_vectors(
    pdev: &pci::Device<Bound>,
    index: &Index,
    events: &Arc<Events>,
    moderation: &Arc<Moderation>,
    most: usize,
) -> Option<Vectors> {
    if most == 0 {
        return None;
    }
    vectors::arm(pdev, index, events, moderation, most)
        .inspect_err(|error| {
            dev_warn!(
                pdev,
                "no interrupt vectors ({:?}): peers can be rung from here, but cannot ring\n",
                error
            )
        })
        .ok()
}

/// The peer ID that the module parameter asks for; it holds for all devices of this machine.
fn peer_override(pdev: &pci::Device<Bound>) -> Option<u32> {
    match u32::try_from(parameters::peer_id()) {
        Ok(id @ 0..=regs::MAX_PEER) => Some(id),
        Ok(id) => {
            dev_warn!(
                pdev,
                "peer_id={} ignored: peer IDs end at {}\n",
                id,
                regs::MAX_PEER
            );
            None
        }
        // Negative: no override.
        Err(_) => None,
    }
}

/// The PCI address as `GET_INFO` reports it.
fn bus_id(pdev: &pci::Device<Bound>) -> [u8; BUS_ID_LEN] {
    let dev: &kernel::device::Device<Bound> = pdev.as_ref();
    let mut id = [0; BUS_ID_LEN];
    // The last byte stays a NUL.
    let room = id.iter_mut().take(BUS_ID_LEN - 1);
    for (to, from) in room.zip(dev.name().to_bytes()) {
        *to = *from;
    }
    id
}

/// One line in the kernel log that says what programs will find.
fn report(pdev: &pci::Device<Bound>, index: &Index, device: &Device) {
    let info = device.info();
    let cache = device.window().cache();
    if info.vectors_offered == 0 {
        dev_info!(
            pdev,
            "ivshmem{}: {} KiB of shared memory ({}), no doorbell\n",
            index.get(),
            info.shm_size / 1024,
            cache.name()
        );
    } else {
        dev_info!(
            pdev,
            "ivshmem{}: {} KiB of shared memory ({}), peer {}, {} of {} vectors\n",
            index.get(),
            info.shm_size / 1024,
            cache.name(),
            info.peer_id,
            info.vectors,
            info.vectors_offered
        );
    }
}
