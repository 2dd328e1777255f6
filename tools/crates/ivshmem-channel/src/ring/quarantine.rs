// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Places in a ring's data that are left out, because a program that was replaced may still write there.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::count::Counts;
use super::{control, replace, Fault, IsOurs, Place, RECORD};

/// Words for places in a ring's block.
const PLACES: usize = 8;

/// The places that are left out, in private memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantine(Vec<Span>);

/// One of them: where it begins in the data, and how many bytes it has. It may go over the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    at: u32,
    len: u32,
}

/// The word of no place. Words are of one generation: one that stood there in an earlier one does not come again, so that
/// who still replaces it is too late.
fn none(place: &Place) -> u64 {
    u64::from(place.generation) | u64::from(place.generation) << 32
}

impl Span {
    fn to_word(self, place: &Place) -> u64 {
        (u64::from(self.at) | u64::from(self.len) << 32) ^ none(place)
    }

    /// `None` if the word holds none.
    fn of_word(word: u64, place: &Place) -> Result<Option<Self>, Fault> {
        let word = word ^ none(place);
        // CAST: Each takes its half.
        let (at, len) = (word as u32, (word >> 32) as u32);
        let good = at < place.size && len < place.size && (at | len) % RECORD == 0;
        match len {
            0 => Ok(None),
            _ if good => Ok(Some(Self { at, len })),
            _ => Err(Fault::Corrupt("a place that is left out is impossible")),
        }
    }

    fn contains(self, counts: Counts, other: Self) -> bool {
        let ahead = counts.forward(self.at, other.at);
        ahead <= self.len && other.len <= self.len - ahead
    }
}

fn word(place: &Place, index: usize) -> u64 {
    place.word(control::QUARANTINE) + index as u64 * 8
}

impl Quarantine {
    /// Forgets the places of another generation. `may_run` says whether a program that had the sending end may still go on.
    pub fn begin(
        memory: &impl Memory,
        place: &Place,
        may_run: bool,
        is_ours: IsOurs<'_>,
    ) -> Result<Self, Fault> {
        let last = memory.load64(word(place, PLACES - 1), Ordering::Acquire)?;
        // Whom we replace may have come as far, and clear the first header at any time if that is as it was seen. So a record
        // begins there each time, whose header is not like any of before: what is left out is in front of it.
        let late = may_run && last == none(place);
        let front = late.then_some(Span {
            at: place.size - RECORD,
            len: RECORD,
        });
        for index in 0..PLACES {
            let span = front.filter(|_| index == 0);
            let new = span.map_or(none(place), |span| span.to_word(place));
            let change = |old| (old != new).then_some(new);
            replace(memory, word(place, index), is_ours, change)?;
        }
        Ok(Self(Vec::from_iter(front)))
    }

    /// Finds the places that there are.
    pub fn load(memory: &impl Memory, place: &Place) -> Result<Self, Fault> {
        let mut spans = Vec::new();
        for index in 0..PLACES {
            let value = memory.load64(word(place, index), Ordering::Acquire)?;
            spans.extend(Span::of_word(value, place)?);
        }
        Ok(Self(spans))
    }

    /// Leaves so many bytes from a place on out from now on, for all who come after.
    pub fn add(
        &mut self,
        memory: &impl Memory,
        place: &Place,
        (at, len): (u32, u32),
        is_ours: IsOurs<'_>,
    ) -> Result<(), Fault> {
        let new = Span { at, len };
        let counts = place.counts();
        if self.0.iter().any(|old| old.contains(counts, new)) {
            return Ok(());
        }
        // What it covers is one place with it.
        let covered = |old: &Span| new.contains(counts, *old);
        let old = self.0.iter().find(|old| covered(old)).copied();
        let wanted = old.map_or(none(place), |old| old.to_word(place));
        for index in 0..PLACES {
            let mut taken = false;
            replace(memory, word(place, index), is_ours, |value| {
                taken = value == wanted;
                taken.then_some(new.to_word(place))
            })?;
            if taken {
                self.0.retain(|old| !covered(old));
                self.0.push(new);
                return Ok(());
            }
        }
        Err(Fault::Corrupt(
            "too many programs that may still run were replaced",
        ))
    }

    /// Whether nothing is left out.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes from place `at`, which is not left out, to the next one that is, and how many are left out there; a whole
    /// ring away if none is.
    pub fn next(&self, place: &Place, at: u32) -> (u32, u32) {
        let counts = place.counts();
        let ahead = self
            .0
            .iter()
            .map(|span| (counts.forward(at, span.at), span.len));
        ahead.min().unwrap_or((place.size, 0))
    }

    /// The most bytes in a row that are not left out.
    pub fn longest_run(&self, place: &Place) -> u32 {
        let counts = place.counts();
        let behind = |span: &Span| (span.at + span.len) % place.size;
        let covered = |at| {
            let inside = |span: &Span| counts.forward(span.at, at) < span.len;
            self.0.iter().any(inside)
        };
        let ends = self.0.iter().map(behind).filter(|at| !covered(*at));
        let runs = ends.map(|at| self.next(place, at).0);
        match self.is_empty() {
            true => place.size,
            false => runs.max().unwrap_or(0),
        }
    }
}
