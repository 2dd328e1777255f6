// SPDX-License-Identifier: GPL-2.0

//! Commands: copies arguments in, checks all of them, then acts, then copies the answer out.

use kernel::{
    fs::{
        self,
        file::flags, //
    },
    prelude::*,
    sync::barrier::{
        mb,
        Read, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

use crate::{
    abi::{
        ioctl::{
            AcrnEventfd,
            Ring,
            RingMany,
            SetEventfd,
            Wait,
            ACRN_SET_EVENTFD,
            GET_INFO,
            RING,
            RING_MANY,
            RING_MANY_MAX,
            SET_EVENTFD,
            SUBSCRIBE,
            WAIT,
            WAIT_WORD, //
        },
        pci::MAX_VECTORS,
        regs::Doorbell, //
    },
    cursor::{
        Among,
        Taken, //
    },
    file::File,
    kapi::{
        eventfd::EventFd,
        wait::{
            ready,
            Limit, //
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
        Command::Ring => ring(this, file, copy_in(argument)?),
        Command::RingMany => ring_many(this, file, copy_in(argument)?),
        Command::Subscribe => subscribe(this, copy_in(argument)?),
        Command::SetEventfd => set_eventfd(this, copy_in(argument)?),
        Command::AcrnSetEventfd => acrn_set_eventfd(this, copy_in(argument)?),
        Command::Wait => wait(this, argument),
    }
}

/// Reads the argument of a command from user memory.
fn copy_in<T: FromBytes + IntoBytes + Default>(argument: usize) -> Result<T> {
    let mut value = T::default();
    UserSlice::new(UserPtr::from_addr(argument), size_of::<T>())
        .reader()
        .read_slice(value.as_mut_bytes())?;
    Ok(value)
}

/// Writes the answer of a command to user memory.
fn copy_out<T: IntoBytes + Immutable>(argument: usize, value: &T) -> Result<isize> {
    UserSlice::new(UserPtr::from_addr(argument), size_of::<T>())
        .writer()
        .write_slice(value.as_bytes())?;
    Ok(0)
}

/// `EBADF` for files that were opened read-only: they may not ring.
fn check_writable(file: &fs::File) -> Result {
    if file.flags() & flags::O_ACCMODE == flags::O_RDONLY {
        return Err(EBADF);
    }
    Ok(())
}

fn doorbell(ring: &Ring) -> Result<Doorbell> {
    Doorbell::new(ring.peer, ring.vector).ok_or(EINVAL)
}

fn ring(this: &File, file: &fs::File, ring: Ring) -> Result<isize> {
    check_writable(file)?;
    this.device().check_doorbell()?;
    this.device().ring(doorbell(&ring)?)?;
    Ok(0)
}

fn ring_many(this: &File, file: &fs::File, many: RingMany) -> Result<isize> {
    check_writable(file)?;
    this.device().check_doorbell()?;
    if many.flags != 0 || !(1..=RING_MANY_MAX).contains(&many.count) {
        return Err(EINVAL);
    }
    // CAST: At most 1024.
    let count = many.count as usize;
    let address = usize::try_from(many.rings).map_err(|_| EFAULT)?;
    let mut rings = KVec::from_elem(Ring::default(), count, GFP_KERNEL)?;
    UserSlice::new(UserPtr::from_addr(address), size_of::<Ring>() * count)
        .reader()
        .read_slice(rings.as_mut_bytes())?;
    // All are checked before the first one rings.
    rings.iter().try_for_each(|ring| doorbell(ring).map(drop))?;
    for ring in &rings {
        this.device().ring(doorbell(ring)?)?;
    }
    // CAST: At most 1024.
    Ok(count as isize)
}

fn subscribe(this: &File, mask: u64) -> Result<isize> {
    if mask & !this.device().armed() != 0 {
        return Err(EINVAL);
    }
    this.cursor().subscribe(mask);
    // Something may be pending now for whoever sleeps on this file.
    this.device().events().queue().wake_all(ready::READ);
    Ok(0)
}

fn set_eventfd(this: &File, args: SetEventfd) -> Result<isize> {
    this.device().check_doorbell()?;
    if args.flags != 0 || args.reserved != 0 {
        return Err(EINVAL);
    }
    let vector = armed_vector(this, args.vector)?;
    if args.fd == -1 {
        this.device().events().unbind(this.cursor().owner, vector);
        return Ok(0);
    }
    let eventfd = EventFd::from_fd(args.fd)?;
    let (events, cursor) = (this.device().events(), this.cursor());
    events.bind(cursor.owner, vector, eventfd, || {
        cursor.pending(events, Among::Subscribed) & (1 << vector) != 0
    })?;
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
    let vector = usize::try_from(vector)?;
    if vector >= MAX_VECTORS || this.device().armed() & (1 << vector) == 0 {
        return Err(EINVAL);
    }
    Ok(vector)
}

fn wait(this: &File, argument: usize) -> Result<isize> {
    let args: Wait = copy_in(argument)?;
    this.device().check_doorbell()?;
    if args.flags & !WAIT_WORD != 0 || args.vectors & !this.device().armed() != 0 {
        return Err(EINVAL);
    }
    let among = match args.vectors {
        0 => Among::Subscribed,
        mask => Among::Mask(mask),
    };
    let limit = match args.timeout_ns {
        ..=-1 => Limit::Never,
        ns => Limit::Nanoseconds(ns),
    };
    let taken = if args.flags & WAIT_WORD != 0 {
        wait_word(this, &args, among, limit)
    } else {
        wait_event(this, among, limit)
    };
    // Never restarted: the time limit would begin anew.
    let taken = taken.map_err(|e| if e == ERESTARTSYS { EINTR } else { e })?;
    let vectors = taken.vectors();
    copy_out(argument, &Wait { vectors, ..args }).inspect_err(|_| {
        this.cursor()
            .put_back(this.device().events(), taken.records());
    })
}

/// Sleeps until a vector is pending; takes the events of those that are.
fn wait_event(this: &File, among: Among, limit: Limit) -> Result<Taken> {
    let events = this.device().events();
    events.queue().wait(limit, || {
        if events.is_dead() {
            return Some(Err(ENODEV));
        }
        let taken = this.cursor().take(events, among, MAX_VECTORS);
        (!taken.records().is_empty()).then_some(Ok(taken))
    })?
}

/// Sleeps while a word of the shared memory has the value that the caller saw; takes the events that
/// arrived meanwhile.
///
/// No wake-up is lost between the caller's look and the sleep: `WaitQueue::wait` tests the word
/// when this thread is in the queue already. A peer writes the word first and rings afterwards, so
/// that either the test sees the new word, or the interrupt comes after the test and wakes.
fn wait_word(this: &File, args: &Wait, among: Among, limit: Limit) -> Result<Taken> {
    let device = this.device();
    let events = device.events();
    device.window().word(args.offset)?;
    events.queue().wait(limit, || {
        if events.is_dead() {
            return Some(Err(ENODEV));
        }
        match device.window().word(args.offset) {
            // While the device is reset the word cannot be read; everybody is woken after that.
            Ok(None) => None,
            Ok(Some(word)) if word == args.value => None,
            Ok(_) => {
                // What the peer wrote before the word is read after it.
                mb(Read);
                Some(Ok(this.cursor().take(events, among, MAX_VECTORS)))
            }
            Err(error) => Some(Err(error)),
        }
    })?
}
