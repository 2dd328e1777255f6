// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a thread of its own writes: whoever reads it slowly, or not at all, holds up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result};

/// How much may wait to be written. More is left out.
const MOST: usize = 1000;
/// How long the last things may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes something.
type Job = Box<dyn FnOnce() + Send>;

/// What waits to be written.
#[derive(Debug)]
pub struct Queue {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    /// Starts the thread.
    pub fn start() -> Result<Self> {
        let (jobs, queue) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let thread = Builder::new().name("output".into());
        thread
            .spawn(move || work(&queue, &counted))
            .context("cannot start a thread")?;
        Ok(Self { jobs, waiting })
    }

    /// Has something written when it is its turn, unless too much waits. Does not block.
    pub fn put(&self, job: impl FnOnce() + Send + 'static) {
        if self.waiting.load(Ordering::Relaxed) < MOST {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // The thread does not end before.
            let _ = self.jobs.send(Box::new(job));
        }
    }

    /// Waits until all is written, for a second at most.
    pub fn finish(&self) {
        let (done, written) = channel();
        // Who waits no more has waited long enough.
        let tell = move || done.send(()).unwrap_or_default();
        let _ = self.jobs.send(Box::new(tell));
        let _ = written.recv_timeout(PATIENCE);
    }
}

fn work(queue: &Receiver<Job>, waiting: &AtomicUsize) {
    for job in queue {
        job();
        // That of the end was not counted, and is the last one.
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_and_the_rest_is_written() {
        let queue = Queue::start().unwrap();
        let (go, stalled) = channel::<()>();
        let written = Arc::new(AtomicUsize::new(0));
        queue.put(move || stalled.recv().unwrap_or_default());
        for _ in 0..2 * MOST {
            let written = written.clone();
            queue.put(move || {
                written.fetch_add(1, Ordering::Relaxed);
            });
        }
        drop(go);
        queue.finish();
        let written = written.load(Ordering::Relaxed);
        assert!((MOST - 1..=MOST).contains(&written), "{written}");
    }
}
