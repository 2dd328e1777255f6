// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Three ways to wait for messages in a program that ends in an orderly way on SIGTERM or Ctrl-C: in a thread, in an event loop, and
//! on tokio.
//!
//! ```text
//! waits LINK thread | loop | tokio   shows each message until the signal
//! waits LINK say TEXT                sends one
//! ```

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{bail, Result};
use futures_util::StreamExt;
use ivshmem_channel::{Cancel, Error, Layout, Messages, Receiver, Watch};
use ivshmem_channel_samples::{enter, open, AnyLink};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::retry_on_intr;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::pipe;

const SHOWS: u32 = 0;
const SAYS: u32 = 1;
const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "say", text] => say(&open(link)?, text),
        [link, "thread"] => in_a_thread(receiver(&open(link)?)?),
        [link, "loop"] => in_a_loop(receiver(&open(link)?)?),
        [link, "tokio"] => on_tokio(receiver(&open(link)?)?),
        _ => bail!("usage: waits LINK thread|loop|tokio | waits LINK say TEXT"),
    }
}

fn say(link: &AnyLink, text: &str) -> Result<()> {
    let me = enter(link, &Layout::duplex(4096), |channel| channel.join(SAYS, 0))?;
    Ok(me.sender(SHOWS)?.send(text.as_bytes(), LIMIT)?)
}

fn receiver(link: &AnyLink) -> Result<Receiver<AnyLink>> {
    let me = enter(link, &Layout::duplex(4096), |channel| {
        channel.join(SHOWS, 0)
    })?;
    let receiver = me.receiver(SAYS)?;
    println!("waiting");
    Ok(receiver)
}

fn show(message: &[u8]) {
    println!("{}", String::from_utf8_lossy(message));
}

/// Signals do not end a wait, and what is allowed in their handlers does not suffice to do so. Another thread does.
fn in_a_thread(mut receiver: Receiver<AnyLink>) -> Result<()> {
    let cancel = Cancel::new()?;
    receiver.set_cancel(&cancel);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        signals.forever().next();
        cancel.cancel();
    });
    let mut message = Vec::new();
    loop {
        match receiver.receive(&mut message, None) {
            Ok(_) => show(&message),
            // What has arrived before was shown. Dropping the receiver gives its room back.
            Err(Error::Cancelled) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The signal is a descriptor beside the one of the receiver; others can be added.
fn in_a_loop(mut receiver: Receiver<AnyLink>) -> Result<()> {
    let (signalled, signals) = UnixStream::pair()?;
    pipe::register(SIGINT, signals.try_clone()?)?;
    pipe::register(SIGTERM, signals)?;
    let watch = Watch::new()?;
    let mut message = Vec::new();
    loop {
        while receiver.receive(&mut message, Some(Duration::ZERO))? {
            show(&message);
        }
        if !watch.arm(&mut receiver)? {
            continue; // one has arrived meanwhile
        }
        let mut ready = [
            PollFd::new(&signalled, PollFlags::IN),
            PollFd::new(&watch, PollFlags::IN),
        ];
        retry_on_intr(|| poll(&mut ready, None))?;
        if !ready[0].revents().is_empty() {
            return Ok(());
        }
        watch.awake(&receiver)?;
    }
}

/// The signal is another future.
fn on_tokio(receiver: Receiver<AnyLink>) -> Result<()> {
    use tokio::signal::unix::{signal, SignalKind};

    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut messages = Messages::new(receiver)?;
        loop {
            tokio::select! {
                Some(message) = messages.next() => show(&message?),
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    })
}
