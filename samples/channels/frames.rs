// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A pipe of 1080p frames: one program draws, another one looks at each.
//!
//! ```text
//! frames LINK draw COUNT   draws COUNT frames, as fast as they are looked at
//! frames LINK look COUNT   looks at COUNT frames
//! ```

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use ivshmem_channel::Layout;
use ivshmem_channel_samples::{enter, open, AnyLink};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
const LINE: usize = WIDTH * 4;
const FRAME: usize = LINE * HEIGHT;
/// One frame is drawn while another one is looked at. A message takes 8 bytes more than what it carries, and a ring buffer has
/// to have 16 more than its messages; its size is a multiple of 64.
const RING: u32 = (2 * (FRAME + 8) + 16).next_multiple_of(64) as u32;
const DRAWS: u32 = 0;
const LOOKS: u32 = 1;
/// How long the other one may take.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "draw", count] => draw(&open(link)?, count.parse()?),
        [link, "look", count] => look(&open(link)?, count.parse()?),
        _ => bail!("usage: frames LINK draw COUNT | frames LINK look COUNT"),
    }
}

fn layout() -> Layout {
    Layout::new(2).ring(DRAWS, LOOKS, RING)
}

fn draw(link: &AnyLink, count: u32) -> Result<()> {
    let member = enter(link, &layout(), |channel| channel.join(DRAWS, 0))?;
    let mut frames = member.sender(LOOKS)?;
    for n in 0..count {
        // Into the ring buffer itself, line by line.
        let mut frame = frames.reserve(FRAME, PATIENCE)?;
        for y in 0..HEIGHT {
            frame.write(y * LINE, &line(n, y))?;
        }
        frame.commit(FRAME)?;
        frames.flush()?;
    }
    Ok(())
}

fn look(link: &AnyLink, count: u32) -> Result<()> {
    let member = enter(link, &layout(), |channel| channel.join(LOOKS, 0))?;
    let mut frames = member.receiver(DRAWS)?;
    let begin = Instant::now();
    let mut seen = [0; LINE];
    let mut expected = None;
    for _ in 0..count {
        let frame = frames.next(PATIENCE)?.context("no frame in time")?;
        ensure!(frame.len() == FRAME, "a frame of {} bytes", frame.len());
        let mut number = [0; 4];
        frame.read(0, &mut number)?;
        let n = u32::from_le_bytes(number);
        // Whoever draws may have been started again.
        let follows = expected.is_none_or(|next| n == next || n == 0);
        ensure!(follows, "frame {n} comes in place of {expected:?}");
        expected = Some(n.wrapping_add(1));
        for y in 0..HEIGHT {
            frame.read(y * LINE, &mut seen)?;
            ensure!(seen == line(n, y), "line {y} of frame {n} is another one");
        }
        frame.done()?;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    println!("{count} frames, {rate:.0} each second");
    Ok(())
}

/// Line `y` of frame `n`, which it begins with.
fn line(n: u32, y: usize) -> [u8; LINE] {
    // CAST: Colours repeat.
    let (colour, y) = (n as u8, y as u8);
    let mut line = [y.wrapping_add(colour); LINE];
    line[..4].copy_from_slice(&n.to_le_bytes());
    line
}
