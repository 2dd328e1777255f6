// SPDX-License-Identifier: GPL-2.0

//! Commands: copies arguments in, checks all of them, then acts, then copies the answer out.

use kernel::{
    fs::{
        self,
        file::flags, //
    },
    prelude::*, //
};
use zerocopy::{
    Immutable,
    IntoBytes, //
};

use crate::{
    abi::{
        ioctl::{
            AcrnEventfd,
            DmaBuf,
            Ring,
            RingMany,
            SetEventfd,
            Wait,
            ACRN_SET_EVENTFD,
            DMA_BUF_CLOEXEC,
            GET_INFO,
            KVMFR_CREATE_DMA_BUF,
            KVMFR_GET_SIZE,
            RING,
            RING_MANY,
            RING_MANY_MAX,
            SET_EVENTFD,
            SUBSCRIBE,
            WAIT,
            WAIT_WORD, //
        },
        regs::Doorbell, //
    },
    cursor::bits,
    file::File,
    kapi::{
        barrier::read_barrier,
        eventfd::EventFd,
        user,
        wait::{
            cond_resched,
            ready,
            Timeout, //
        }, //
    }, //
};

/// The commands there are.
#[derive(Clone, Copy)]
enum Command {
    GetInfo,
    Ring,
    RingMany,
    Subscribe,
    SetEventfd,
    AcrnSetEventfd,
    Wait,
    KvmfrGetSize,
    KvmfrCreateDmaBuf,
}

impl TryFrom<u32> for Command {
    type Error = Error;

    /// `ENOTTY` for a number that is no command.
    fn try_from(number: u32) -> Result<Self> {
        Ok(match number {
            GET_INFO => Self::GetInfo,
            RING => Self::Ring,
            RING_MANY => Self::RingMany,
            SUBSCRIBE => Self::Subscribe,
            SET_EVENTFD => Self::SetEventfd,
            ACRN_SET_EVENTFD => Self::AcrnSetEventfd,
            WAIT => Self::Wait,
            KVMFR_GET_SIZE => Self::KvmfrGetSize,
            KVMFR_CREATE_DMA_BUF => Self::KvmfrCreateDmaBuf,
            _ => return Err(ENOTTY),
        })
    }
}

/// Handles the command `number` with the address or value `argument`. An unknown command is unknown
/// also when the device is gone.
pub(crate) fn dispatch(
    this: &File,
    file: &fs::File,
    number: u32,
    argument: usize,
) -> Result<isize> {
    let command = Command::try_from(number)?;
    this.device().check_alive()?;
    match command {
        Command::GetInfo => copy_out(argument, &this.device().info()),
        Command::Ring => ring(this, file, user::read(argument)?),
        Command::RingMany => ring_many(this, file, user::read(argument)?),
        Command::Subscribe => subscribe(this, user::read(argument)?),
        Command::SetEventfd => set_eventfd(this, user::read(argument)?),
        Command::AcrnSetEventfd => acrn_set_eventfd(this, user::read(argument)?),
        Command::Wait => wait(this, file, argument),
        Command::KvmfrGetSize => kvmfr_get_size(this),
        Command::KvmfrCreateDmaBuf => kvmfr_create_dma_buf(this, file, user::read(argument)?),
    }
}

/// Writes the answer of a command to user memory.
fn copy_out<T: IntoBytes + Immutable>(argument: usize, value: &T) -> Result<isize> {
    user::write(argument, value)?;
    Ok(0)
}

/// Whether the file was opened for writing.
fn is_writable(file: &fs::File) -> bool {
    file.flags() & flags::O_ACCMODE != flags::O_RDONLY
}

/// `EBADF` for files that were opened read-only: they may not ring.
fn check_writable(file: &fs::File) -> Result {
    if !is_writable(file) {
        return Err(EBADF);
    }
    Ok(())
}

/// `EACCES` for files that were opened write-only: as with `mmap`, they learn nothing of the
/// memory.
fn check_readable(file: &fs::File) -> Result {
    if file.flags() & flags::O_ACCMODE == flags::O_WRONLY {
        return Err(EACCES);
    }
    Ok(())
}

fn doorbell(ring: &Ring) -> Result<Doorbell> {
    Doorbell::new(ring.peer, ring.vector).ok_or(EINVAL)
}

#[inline(always)] // The call that programs make most often.
fn ring(this: &File, file: &fs::File, ring: Ring) -> Result<isize> {
    check_writable(file)?;
    this.device().check_can_ring()?;
    this.ring([doorbell(&ring)?].into_iter())?;
    Ok(0)
}

#[inline(always)] // For one alone it is as cheap as the command for one.
fn ring_many(this: &File, file: &fs::File, many: RingMany) -> Result<isize> {
    check_writable(file)?;
    this.device().check_can_ring()?;
    if many.flags != 0 || !(1..=RING_MANY_MAX).contains(&many.count) {
        return Err(EINVAL);
    }
    let address = usize::try_from(many.rings).map_err(|_| EFAULT)?;
    if many.count == 1 {
        this.ring([doorbell(&user::read(address)?)?].into_iter())?;
        return Ok(1);
    }
    ring_several(this, address, many.count)
}

/// Rings the `count` doorbells, at most [`RING_MANY_MAX`], that stand at user address `address`.
#[inline(never)]
fn ring_several(this: &File, address: usize, count: u32) -> Result<isize> {
    /// So many are kept on the stack, in 512 bytes; more are allocated.
    const FEW: usize = 64;

    // CAST: At most 1024.
    let len = count as usize;
    if len <= FEW {
        user::with_few::<_, FEW, _>(address, len, |rings| ring_all(this, rings))?;
    } else {
        let mut rings = KVec::from_elem(Ring::default(), len, GFP_KERNEL)?;
        user::read_slice(address, &mut rings)?;
        ring_all(this, &rings)?;
    }
    // CAST: At most 1024.
    Ok(count as isize)
}

/// Most rings between which nobody else gets the CPU.
const AT_ONCE: usize = 64;

/// Checks all of `rings`, then rings all.
fn ring_all(this: &File, rings: &[Ring]) -> Result {
    rings.iter().try_for_each(|ring| doorbell(ring).map(drop))?;
    // Each leaves the machine, and the end of the device waits for a part.
    for part in rings.chunks(AT_ONCE) {
        this.ring(part.iter().filter_map(|ring| doorbell(ring).ok()))?;
        cond_resched();
    }
    Ok(())
}

fn subscribe(this: &File, mask: u64) -> Result<isize> {
    if mask & !this.device().armed() != 0 {
        return Err(EINVAL);
    }
    // Something may be pending now for whoever sleeps on this file.
    this.waiters().select(mask, ready::READ);
    Ok(0)
}

fn set_eventfd(this: &File, args: SetEventfd) -> Result<isize> {
    this.device().check_can_wait()?;
    if args.flags != 0 || args.reserved != 0 {
        return Err(EINVAL);
    }
    let vector = armed_vector(this, args.vector)?;
    if args.fd == -1 {
        this.unbind(vector);
        return Ok(0);
    }
    this.bind(vector, EventFd::from_fd(args.fd)?)?;
    Ok(0)
}

/// The same under the name that ACRN's patched `uio_pci_generic` has for it.
fn acrn_set_eventfd(this: &File, args: AcrnEventfd) -> Result<isize> {
    let args = SetEventfd {
        vector: u32::try_from(args.vector).map_err(|_| EINVAL)?,
        fd: args.fd.max(-1),
        ..SetEventfd::default()
    };
    set_eventfd(this, args)
}

/// The number of an armed vector; `EINVAL` for others.
fn armed_vector(this: &File, vector: u32) -> Result<usize> {
    let bit = 1u64.checked_shl(vector).ok_or(EINVAL)?;
    if this.device().armed() & bit == 0 {
        return Err(EINVAL);
    }
    Ok(usize::try_from(vector)?)
}

fn wait(this: &File, file: &fs::File, argument: usize) -> Result<isize> {
    let args: Wait = user::read(argument)?;
    this.device().check_can_wait()?;
    if args.flags & !WAIT_WORD != 0 || args.vectors & !this.device().armed() != 0 {
        return Err(EINVAL);
    }
    if args.flags & WAIT_WORD != 0 {
        check_readable(file)?;
        if !this.device().window().has_word(args.offset) {
            return Err(EINVAL);
        }
    }
    let timeout = match args.timeout_ns {
        ..=-1 => Timeout::Infinite,
        ns => Timeout::Nanoseconds(ns),
    };
    let taken = if args.flags & WAIT_WORD != 0 {
        wait_word(this, &args, timeout)
    } else {
        wait_event(this, &args, timeout)
    };
    // Never restarted: the time limit would begin anew.
    let vectors = taken.map_err(|e| if e == ERESTARTSYS { EINTR } else { e })?;
    copy_out(argument, &Wait { vectors, ..args }).inspect_err(|_| {
        // As one event each: the count says only that there was one at least.
        this.put_back(bits(vectors).map(|vector| (vector, 1)));
    })
}

/// The mask of `args` if there is one; `None` stands for what the file is subscribed to.
fn mask(args: &Wait) -> Option<u64> {
    (args.vectors != 0).then_some(args.vectors)
}

/// Sleeps until a vector is pending; marks those that are seen, and returns their mask.
fn wait_event(this: &File, args: &Wait, timeout: Timeout) -> Result<u64> {
    let events = this.device().events();
    let mask = mask(args);
    let ready = || {
        if events.is_dead() {
            return Some(Err(ENODEV));
        }
        let mask = mask.unwrap_or_else(|| this.subscribed());
        match this.cursor().take_mask(events, mask) {
            0 => None,
            taken => Some(Ok(taken)),
        }
    };
    if let Some(result) = ready() {
        return result;
    }
    this.wait(mask, timeout, ready)?
}

/// Sleeps while a word of the shared memory has the value that the caller saw; marks the events
/// that arrived meanwhile seen, and returns their mask.
///
/// No wake-up is lost between the caller's look and the sleep: `wait_in` tests the word when this
/// thread is in the queue already. A peer writes the word first and rings afterwards, so that
/// either the test sees the new word, or the interrupt comes after the test and wakes.
fn wait_word(this: &File, args: &Wait, timeout: Timeout) -> Result<u64> {
    let device = this.device();
    let events = device.events();
    let mask = mask(args);
    let ready = || {
        if events.is_dead() {
            return Some(Err(ENODEV));
        }
        match device.window().word(args.offset) {
            // While the device is reset the word cannot be read; everybody is woken after that.
            Ok(None) => None,
            Ok(Some(word)) if word == args.value => None,
            Ok(_) => {
                // What the peer wrote before the word is read after it.
                read_barrier();
                let mask = mask.unwrap_or_else(|| this.subscribed());
                Some(Ok(this.cursor().take_mask(events, mask)))
            }
            Err(error) => Some(Err(error)),
        }
    };
    if let Some(result) = ready() {
        return result;
    }
    this.wait(mask, timeout, ready)?
}

/// The size as programs for Looking Glass' node ask for it: as a positive `int`.
fn kvmfr_get_size(this: &File) -> Result<isize> {
    let size = i32::try_from(this.device().window().size()).map_err(|_| EOVERFLOW)?;
    Ok(isize::try_from(size)?)
}

/// Makes a dma-buf as Looking Glass' node does; returns its descriptor.
fn kvmfr_create_dma_buf(this: &File, file: &fs::File, args: DmaBuf) -> Result<isize> {
    if args.flags & !DMA_BUF_CLOEXEC != 0 {
        return Err(EINVAL);
    }
    check_readable(file)?;
    let fd = this.device().exports().create(
        args.offset,
        args.size,
        is_writable(file),
        args.flags & DMA_BUF_CLOEXEC != 0,
    )?;
    Ok(isize::try_from(fd)?)
}
