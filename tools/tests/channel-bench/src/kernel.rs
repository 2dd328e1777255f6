// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the kernel has to move bytes: pipes, and UNIX sockets of streams.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::pin;

/// Nanoseconds for each message from one thread to another.
pub fn stream<R: Read, W: Write + Send>(
    (mut from, mut to): (R, W),
    len: usize,
    count: usize,
) -> Result<f64> {
    let (message, mut buffer) = (vec![1; len], vec![0; len]);
    thread::scope(|scope| {
        let sends = scope.spawn(move || -> Result<()> {
            pin::to(1);
            for _ in 0..count {
                to.write_all(&message)?;
            }
            Ok(())
        });
        pin::to(0);
        let begin = Instant::now();
        for _ in 0..count {
            from.read_exact(&mut buffer)?;
        }
        let each = begin.elapsed().as_nanos() as f64 / count as f64;
        sends.join().expect("the sender does not panic")?;
        Ok(each)
    })
}

/// The median of many round trips of `len` bytes in nanoseconds, through two of these, both ends asleep in between.
pub fn round_trip<R: Read + Send, W: Write + Send>(
    [(mut asked, mut ask), (mut answered, mut answer)]: [(R, W); 2],
    len: usize,
    count: usize,
) -> Result<f64> {
    let (mut message, mut buffer) = (vec![1; len], vec![0; len]);
    thread::scope(|scope| {
        let answers = scope.spawn(move || -> Result<()> {
            pin::to(1);
            for _ in 0..count {
                asked.read_exact(&mut buffer)?;
                answer.write_all(&buffer)?;
            }
            Ok(())
        });
        pin::to(0);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            ask.write_all(&message)?;
            answered.read_exact(&mut message)?;
            times.push(begin.elapsed().as_nanos() as f64);
        }
        answers.join().expect("the answerer does not panic")?;
        times.sort_by(f64::total_cmp);
        Ok(times[count / 2])
    })
}

/// The ends of a pipe: what is read, and what is written to.
pub fn pipe() -> Result<(File, File)> {
    let (from, to) = rustix::pipe::pipe()?;
    Ok((from.into(), to.into()))
}

/// The ends of a UNIX socket.
pub fn socket() -> Result<(UnixStream, UnixStream)> {
    Ok(UnixStream::pair()?)
}
