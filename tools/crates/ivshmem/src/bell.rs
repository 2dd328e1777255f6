// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A descriptor that tells of rings.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::{epoll, Timespec};
use rustix::io::Errno;

use crate::{Error, Result};

/// Ready for reading once this end was rung: for event loops, and to sleep on more than one thing.
///
/// Each bell hears all rings of its vector, also those that another bell or a wait has heard.
pub struct Bell {
    epoll: OwnedFd,
    /// What is rung, and what else is heard. Closed, they would leave the epoll instance.
    eventfds: Vec<Arc<OwnedFd>>,
    /// Takes from what is rung, where somebody has to.
    drain: Option<Drain>,
}

type Drain = Box<dyn Fn() + Send + Sync>;

impl Bell {
    /// One that hears each addition to `eventfd`, from which nobody reads.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there can be no more open files.
    pub fn of(eventfd: Arc<OwnedFd>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let bell = Self {
            epoll,
            eventfds: Vec::new(),
            drain: None,
        };
        let bell = bell.or(eventfd)?;
        // What was rung before.
        bell.take()?;
        Ok(bell)
    }

    /// One that hears each addition to `eventfd` itself, so that no thread has to pass rings on, though others read from it:
    /// who takes what was added adds to `taken` after that. So does `drain`, which must not block; it is called whenever
    /// rings are forgotten, so that the counter does not fill up. A ring that others take can be heard twice.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_shared(
        eventfd: Arc<OwnedFd>,
        taken: Arc<OwnedFd>,
        drain: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut bell = Self::of(eventfd)?.or(taken)?;
        bell.drain = Some(Box::new(drain));
        bell.take()?;
        Ok(bell)
    }

    /// The same bell, which hears additions to `eventfd` too. What was added before counts.
    pub(crate) fn or(mut self, eventfd: Arc<OwnedFd>) -> Result<Self> {
        // An edge is an addition. It is forgotten in this epoll instance alone, so that bells do not share rings.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&self.epoll, &*eventfd, data, edges).map_err(failed)?;
        self.eventfds.push(eventfd);
        Ok(self)
    }

    /// Forgets the rings up to now; returns whether there were any. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], which a descriptor that is open does not give.
    pub fn take(&self) -> Result<bool> {
        // First, so that what this adds to `taken` is forgotten too.
        if let Some(drain) = &self.drain {
            drain();
        }
        let mut events = Vec::with_capacity(self.eventfds.len());
        let none = Timespec::default();
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&none)) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn failed(error: Errno) -> Error {
    Error::io(error, "cannot watch an eventfd")
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bell").field(&self.epoll).finish()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};

    use super::*;

    fn is_ready(bell: &Bell) -> bool {
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn a_second_reason_to_wake_is_heard_also_if_it_came_first() {
        let new = || Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let (rung, end) = (new(), new());
        let add = |fd: &OwnedFd| rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
        let bell = Bell::of(Arc::clone(&rung)).unwrap();
        let bell = bell.or(Arc::clone(&end)).unwrap();
        assert!(!is_ready(&bell));
        add(&end);
        add(&rung);
        assert!(is_ready(&bell) && bell.take().unwrap());
        assert!(!is_ready(&bell), "both were taken");
        add(&rung);
        assert!(bell.take().unwrap());
        let late = Bell::of(rung).unwrap().or(end).unwrap();
        assert!(is_ready(&late));
    }

    #[test]
    fn rings_that_others_take_are_heard() {
        let new = || {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            Arc::new(eventfd(0, flags).unwrap())
        };
        let (rung, taken) = (new(), new());
        let add = |fd: &OwnedFd| rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
        let take = {
            let (rung, taken) = (Arc::clone(&rung), Arc::clone(&taken));
            move || match rustix::io::read(&*rung, &mut [0; 8]) {
                Ok(_) => drop(add(&taken)),
                Err(error) => assert_eq!(error, Errno::AGAIN),
            }
        };
        add(&rung);
        let bells = [(); 2].map(|()| {
            let take = take.clone();
            Bell::of_shared(Arc::clone(&rung), Arc::clone(&taken), take).unwrap()
        });
        assert_eq!(bells.each_ref().map(is_ready), [false; 2], "it was before");
        for others_take in [true, false] {
            add(&rung);
            if others_take {
                take();
            }
            for bell in &bells {
                assert!(is_ready(bell) && bell.take().unwrap());
                assert!(!is_ready(bell) && !bell.take().unwrap());
            }
        }
    }

    #[test]
    fn each_bell_hears_each_ring_once() {
        let eventfd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let ring = || rustix::io::write(&*eventfd, &1u64.to_ne_bytes()).unwrap();
        ring();
        let bells = [(); 2].map(|()| Bell::of(Arc::clone(&eventfd)).unwrap());
        for bell in &bells {
            assert!(!is_ready(bell) && !bell.take().unwrap(), "it was before");
        }
        for _ in 0..3 {
            ring();
            ring();
            for bell in &bells {
                assert!(is_ready(bell) && is_ready(bell));
                assert!(bell.take().unwrap());
                assert!(!is_ready(bell) && !bell.take().unwrap());
            }
        }
    }
}
