// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The part of the memory that the endpoints share, and its division.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Memory};
use ivshmem_channel::{Channel, Error, Layout, Member, MAX_SLOTS};

use crate::claim;
use crate::end::{AnyLink, End, Joined};
use crate::exit::{failure, Exit};
use crate::output::size;
use crate::parse;

/// The most bytes of a ring: more than what a receiver on a busy machine falls behind.
const LARGEST_RING: u64 = 1 << 20;

/// What sizes of rings are multiples of.
const RING_ALIGN: u64 = 64;

/// Buffers of what an endpoint tells of itself: one is written while another is read.
const BUFFERS: u32 = 4;

/// What to do about a channel that is corrupt.
pub const OVERWRITE: &str = "the option --overwrite recreates the channel for all endpoints";

/// The options that say where the endpoints meet.
#[derive(Args, Clone, Debug)]
pub struct Area {
    #[command(flatten)]
    end: End,

    /// First byte of the memory that is used, a multiple of 4K; the same at all endpoints
    #[arg(short = 's', long, value_name = "OFFSET", default_value = "0", value_parser = parse::number)]
    offset: u64,

    /// Bytes of the memory that are used at most, without this option all; the same at all endpoints
    #[arg(long, value_name = "SIZE", value_parser = parse::number)]
    size: Option<u64>,

    /// How many endpoints there can be at a time; the same at all endpoints
    ///
    /// The memory is divided by the number of their pairs: half as many endpoints get ring buffers that are four times as large.
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(2..=i64::from(MAX_SLOTS)))]
    endpoints: u32,

    /// Recreate the channel, whatever is there
    ///
    /// Without this option, memory that holds neither zeros nor a channel with the same layout is not written over. The option
    /// is also the remedy for a channel that is corrupt. Endpoints that run come back by themselves.
    #[arg(long)]
    overwrite: bool,
}

/// What the endpoints meet for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// Bytes of what an endpoint can tell of itself, a multiple of 64. Each command has a number of its own, so that
    /// none takes another's channel for its own.
    pub notice: u32,
    /// Bytes of a ring below which it is of no use.
    pub least_ring: u64,
    /// What can be done where there is no room for such rings.
    pub remedy: &'static str,
    /// Vector that wakes an endpoint, if it has so many; else 0 does. Each command has one of its own, so that none is woken for
    /// what another one gets.
    pub vector: u32,
}

/// A slot that was taken.
pub struct Place {
    /// It.
    pub member: Member<AnyLink>,
    /// The memory.
    pub link: AnyLink,
    /// Bytes of each ring.
    pub ring: u32,
    /// All slots.
    pub slots: u32,
    /// This endpoint's peer ID; none where all have the same, without a doorbell.
    pub peer_id: Option<u32>,
    /// On a host, what tells of the server.
    pub joined: Option<Joined>,
}

impl Area {
    /// Opens the memory and takes a slot. Blocks until one of another guest's programs that have crashed is free, for
    /// six seconds at most.
    ///
    /// # Errors
    ///
    /// Those of opening; if the memory is too small, has something else in it, or all slots are taken.
    pub fn join(&self, purpose: Purpose, overwrite: bool) -> Result<Place> {
        let (link, joined) = self.end.watched_link(purpose.vector)?;
        let ring = self.ring(link.size(), purpose)?;
        let layout = layout(self.endpoints, ring, purpose.notice);
        let peer_id = (link.vectors() > 0).then(|| link.peer_id());
        let overwrite = overwrite && self.overwrite;
        if !overwrite {
            claim::for_channel(&link, self.offset, layout.size())?;
        }
        let channel = match overwrite {
            true => Channel::create(link.clone(), self.offset, &layout),
            false => Channel::open_or_create(link.clone(), self.offset, &layout),
        };
        let vector = match purpose.vector < link.vectors() {
            true => purpose.vector,
            false => 0,
        };
        let member = channel.and_then(|channel| self.take(&channel, vector));
        Ok(Place {
            member: member.map_err(|error| self.explain(error))?,
            link,
            ring,
            slots: self.endpoints,
            peer_id,
            joined,
        })
    }

    /// Takes the first slot that can be had at once, and that is, before one that was never used, that of a program of
    /// this machine that has ended: the others know then that it has not only fallen silent.
    fn take(
        &self,
        channel: &Channel<AnyLink>,
        vector: u32,
    ) -> ivshmem_channel::Result<Member<AnyLink>> {
        let look = channel.joining().timeout(Duration::ZERO);
        for slot in 0..self.endpoints {
            match look.join(slot, vector) {
                Err(Error::SlotTaken(_)) => {}
                taken => return taken,
            }
        }
        let slots: Vec<_> = (0..self.endpoints).collect();
        channel.join_any(&slots, vector)
    }

    /// Bytes of each ring if there are so many bytes of memory.
    fn ring(&self, memory: u64, purpose: Purpose) -> Result<u32> {
        let behind = memory.saturating_sub(self.offset);
        let available = self.size.map_or(behind, |size| size.min(behind));
        let endpoints = self.endpoints;
        let rings = u64::from(endpoints * (endpoints - 1));
        let smallest = layout(endpoints, RING_ALIGN as u32, purpose.notice).size();
        let others = smallest - rings * RING_ALIGN;
        let ring = (available.saturating_sub(others) / rings).min(LARGEST_RING);
        let ring = ring - ring % RING_ALIGN;
        if ring < purpose.least_ring {
            let needed = others + rings * purpose.least_ring.next_multiple_of(RING_ALIGN);
            let text = format!(
                "{} of memory at offset {:#x} are too small for {endpoints} endpoints, which need {needed} bytes: use {}",
                size(available),
                self.offset,
                purpose.remedy,
            );
            return Err(failure(Exit::Unable, text));
        }
        // CAST: At most LARGEST_RING.
        Ok(ring as u32)
    }

    fn explain(&self, error: Error) -> anyhow::Error {
        let advice = match &error {
            Error::OtherLayout => {
                "something else uses the memory there: give all endpoints the same --endpoints, --size and --offset, another \
                 --offset if another program is there, or this one --overwrite to write over what is left of one"
            }
            Error::SlotTaken(_) => {
                "all places are taken: end one of the others, or start all of them with larger --endpoints"
            }
            Error::Corrupt(_) => OVERWRITE,
            _ => return error.into(),
        };
        anyhow::Error::from(error).context(advice)
    }
}

/// A ring from each of the endpoints to each other one, and a topic for what each tells of itself.
fn layout(endpoints: u32, ring: u32, notice: u32) -> Layout {
    let rings = (0..endpoints).fold(Layout::new(endpoints), |layout, end| {
        layout.multi_ring(end, ring)
    });
    (0..endpoints).fold(rings, |layout, end| layout.topic(end, BUFFERS, notice))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const PURPOSE: Purpose = Purpose {
        notice: 256,
        least_ring: 4096,
        remedy: "fewer --endpoints",
        vector: 0,
    };

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        area: Area,
    }

    fn area(arguments: &str) -> Area {
        let words = arguments.split_whitespace();
        Program::parse_from(["program"].into_iter().chain(words)).area
    }

    #[test]
    fn rings_fill_the_memory_and_no_more() {
        for (arguments, memory) in [
            ("", 1 << 20),
            ("--endpoints 2", 1 << 20),
            ("--endpoints 64", 64 << 20),
            ("--offset 1M --endpoints 3", 4 << 20),
            ("--size 1M", 4 << 20),
        ] {
            let area = area(arguments);
            let available = area.size.unwrap_or(memory - area.offset);
            let ring = area.ring(memory, PURPOSE).unwrap();
            let size = |ring| layout(area.endpoints, ring, PURPOSE.notice).size();
            assert!(size(ring) <= available, "{arguments}");
            assert!(size(ring + RING_ALIGN as u32) > available, "{arguments}");
        }
        assert_eq!(
            u64::from(area("").ring(1 << 40, PURPOSE).unwrap()),
            LARGEST_RING
        );
    }

    #[test]
    fn a_memory_that_is_too_small_is_refused_with_what_is_needed() {
        for arguments in ["--endpoints 64", "--offset 1M", "--offset 4G", "--size 4K"] {
            let refused = area(arguments).ring(1 << 20, PURPOSE).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("too small for"), "{text}");
        }
        // What it says is enough.
        let area = area("--endpoints 8");
        let text = area.ring(1 << 16, PURPOSE).unwrap_err().to_string();
        let words = text.split(" need ").nth(1).unwrap();
        let needed = words.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(area.ring(needed, PURPOSE).unwrap(), 4096);
    }
}
