// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Parts of the memory that programs find by name. `Documentation/channel.rst` has the bytes.
//!
//! Areas are given out one behind the other, and never taken back. An entry is two words, each replaced in one step: the
//! first says for which name it is, the second how large. So whoever is killed between the two leaves an entry that others
//! complete, if it is for their name, and else void.

use std::ops::Range;
use std::sync::atomic::Ordering;

use ivshmem::Memory;

use crate::layout::{Invalid, BASE_ALIGN};
use crate::random::random;
use crate::ring::MOST_TRIES;
use crate::{Error, Result};

/// The lower half of the header: `IVSA`. The upper half is the generation.
const MAGIC: u32 = u32::from_le_bytes(*b"IVSA");
/// Bytes of the directory.
const DIRECTORY: u64 = 4096;
/// Where the first entry is, and bytes of one.
const FIRST: u64 = 16;
const ENTRY: u64 = 16;
/// What areas begin at multiples of, and their sizes count.
const PAGE: u64 = 4096;
/// Bits of an entry's first word that are the name's; those above are the generation's.
const KEY_BITS: u32 = 48;

/// Most areas of a directory.
pub const MAX_AREAS: u64 = (DIRECTORY - FIRST) / ENTRY;

/// A directory of areas, so that programs need not agree by hand on what is where in the memory. An area is whatever
/// its users make of it, for example a channel.
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{Areas, Channel, Layout};
/// let link = Endpoint::open("/dev/ivshmem0")?;
/// let areas = Areas::open_or_create(&link, 0)?;
/// let layout = Layout::duplex(1 << 16);
/// let place = areas.claim("sensors", layout.size())?;
/// let me = Channel::create_or_join(&link, place.start, &layout, |channel| channel.join(0, 0))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Areas<M> {
    memory: M,
    base: u64,
}

/// What was found on the way through the entries.
struct Place {
    /// Number of the entry.
    entry: u64,
    /// Byte offset of its area, if it has one.
    start: u64,
}

impl<M: Memory> Areas<M> {
    /// Finds the directory at byte `base` of the memory, a multiple of 4096, or makes it. It takes 4096 bytes, and the areas
    /// follow it. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Link`] if it does not fit there, [`Error::NotWriteBack`].
    pub fn open_or_create(memory: M, base: u64) -> Result<Self> {
        let this = Self::at(memory, base)?;
        let found = this.load(0)?;
        // If another program makes it first, that is as good.
        if generation_of(found).is_none() {
            this.replace(0, found, new_header()?)?;
        }
        Ok(this)
    }

    /// Finds the directory at byte `base` of the memory; `None` if nobody has made one. For programs that only look: it
    /// writes nothing. Does not block.
    ///
    /// # Errors
    ///
    /// As [`open_or_create`](Self::open_or_create).
    pub fn open(memory: M, base: u64) -> Result<Option<Self>> {
        let this = Self::at(memory, base)?;
        let found = this.load(0)?;
        Ok(generation_of(found).is_some().then_some(this))
    }

    /// Makes a directory without areas, whatever was there before. Nobody is told who uses areas of before.
    ///
    /// # Errors
    ///
    /// As [`open_or_create`](Self::open_or_create); [`Error::Reset`] if somebody writes there all the time.
    pub fn create(memory: M, base: u64) -> Result<Self> {
        let this = Self::at(memory, base)?;
        for _ in 0..MOST_TRIES {
            let found = this.load(0)?;
            if this.replace(0, found, new_header()?)? {
                return Ok(this);
            }
        }
        Err(Error::Reset)
    }

    fn at(memory: M, base: u64) -> Result<Self> {
        if base % BASE_ALIGN != 0 || base.saturating_add(DIRECTORY) > memory.size() {
            let text = format!(
                "a directory cannot begin at byte {base}: take a multiple of {BASE_ALIGN} inside of the {} bytes",
                memory.size()
            );
            return Err(ivshmem::Error::Argument(text).into());
        }
        if !memory.can_exchange() {
            return Err(Error::NotWriteBack);
        }
        Ok(Self { memory, base })
    }

    /// Finds the area of this name, or makes it, with at least `size` bytes. All programs have to ask for the same size.
    /// Returns its bytes in the memory: it begins at a multiple of 4096, and what it holds is what was there before. Does
    /// not block, and a program that is killed meanwhile keeps nobody from it.
    ///
    /// Names are told apart by 48 bits that are computed from them.
    ///
    /// # Errors
    ///
    /// [`Error::OtherSize`] if it has another size; [`Error::Layout`] if there is no room for it or for its entry;
    /// [`Error::Reset`] if another program recreates the directory at the same time; [`Error::Link`].
    pub fn claim(&self, name: &str, size: u64) -> Result<Range<u64>> {
        let pages = u32::try_from(size.max(1).div_ceil(PAGE));
        let pages = pages.map_err(|_| Error::Layout(Invalid::Range("the size of an area")))?;
        let generation = self.generation()?;
        let mut place = Place {
            entry: 0,
            start: self.base + DIRECTORY,
        };
        while place.entry < MAX_AREAS {
            let key = self.key(&place, generation, Some((name, pages)))?;
            let wanted = key == Some(key_of(name, generation));
            let there = self.pages(&place, generation, if wanted { pages } else { 0 })?;
            if wanted && there != 0 {
                let bytes = self.bytes(&place, there)?;
                return match there == pages {
                    true => Ok(bytes),
                    false => Err(Error::OtherSize {
                        there: bytes.end - bytes.start,
                        wanted: size,
                    }),
                };
            }
            self.go_on(&mut place, there)?;
        }
        Err(Error::Layout(Invalid::Range("the number of areas")))
    }

    /// Finds the area of this name; `None` if nobody has claimed it. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`], [`Error::Link`]; [`Error::Layout`] if an entry says what cannot be.
    pub fn find(&self, name: &str) -> Result<Option<Range<u64>>> {
        let generation = self.generation()?;
        let mut place = Place {
            entry: 0,
            start: self.base + DIRECTORY,
        };
        while place.entry < MAX_AREAS {
            let Some(key) = self.key(&place, generation, None)? else {
                return Ok(None);
            };
            let found = self.load(place.at() + 8)?;
            // Nobody goes past an entry that has no size: there was none behind it.
            let Some(pages) = size_of_word(found, generation) else {
                return Ok(None);
            };
            if key == key_of(name, generation) && pages != 0 {
                return self.bytes(&place, pages).map(Some);
            }
            self.go_on(&mut place, pages)?;
        }
        Ok(None)
    }

    fn generation(&self) -> Result<u32> {
        generation_of(self.load(0)?).ok_or(Error::Reset)
    }

    /// For which name an entry is. If it is for none, it is for `claim` from now on.
    fn key(
        &self,
        place: &Place,
        generation: u32,
        claim: Option<(&str, u32)>,
    ) -> Result<Option<u64>> {
        for _ in 0..MOST_TRIES {
            let word = self.load(place.at())?;
            if word >> KEY_BITS == tag(generation) {
                return Ok(Some(word));
            }
            let Some((name, pages)) = claim else {
                return Ok(None);
            };
            self.bytes(place, pages)?;
            // The word was loaded before: while the generation is ours, it is of none that came later.
            if self.generation()? != generation {
                return Err(Error::Reset);
            }
            self.replace(place.at(), word, key_of(name, generation))?;
        }
        Err(Error::Reset)
    }

    /// How many pages the area of an entry has, which is `wanted` from now on if nobody has said it.
    fn pages(&self, place: &Place, generation: u32, wanted: u32) -> Result<u32> {
        for _ in 0..MOST_TRIES {
            let word = self.load(place.at() + 8)?;
            if let Some(pages) = size_of_word(word, generation) {
                return Ok(pages);
            }
            if self.generation()? != generation {
                return Err(Error::Reset);
            }
            let value = u64::from(generation) << 32 | u64::from(wanted);
            self.replace(place.at() + 8, word, value)?;
        }
        Err(Error::Reset)
    }

    /// The bytes of an area of so many pages.
    fn bytes(&self, place: &Place, pages: u32) -> Result<Range<u64>> {
        let end = place.start.saturating_add(u64::from(pages) * PAGE);
        let available = self.memory.size();
        if end > available {
            let needed = end;
            return Err(Error::Layout(Invalid::TooLarge { needed, available }));
        }
        Ok(place.start..end)
    }

    /// To the next entry.
    fn go_on(&self, place: &mut Place, pages: u32) -> Result<()> {
        place.start = self.bytes(place, pages)?.end;
        place.entry += 1;
        Ok(())
    }

    fn load(&self, at: u64) -> Result<u64> {
        Ok(self.memory.load64(self.base + at, Ordering::Acquire)?)
    }

    fn replace(&self, at: u64, old: u64, new: u64) -> Result<bool> {
        let replaced = self.memory.compare_exchange64(self.base + at, old, new)?;
        Ok(replaced.is_ok())
    }
}

impl Place {
    /// Where the entry is in the directory.
    fn at(&self) -> u64 {
        FIRST + self.entry * ENTRY
    }
}

/// A header of a generation that was hardly used before.
fn new_header() -> Result<u64> {
    loop {
        let header = u64::from(random()?) << 32 | u64::from(MAGIC);
        if generation_of(header).is_some() {
            return Ok(header);
        }
    }
}

/// The generation of a directory, whose tag is never 0: else entries in memory that nobody has used would be its own.
fn generation_of(header: u64) -> Option<u32> {
    // CAST: The two halves.
    let (magic, generation) = (header as u32, (header >> 32) as u32);
    (magic == MAGIC && tag(generation) != 0).then_some(generation)
}

/// Pages of a size of this generation.
fn size_of_word(word: u64, generation: u32) -> Option<u32> {
    // CAST: The lower half.
    (word >> 32 == u64::from(generation)).then_some(word as u32)
}

/// What of the generation is in an entry's first word. One of an older generation that has the same by chance is void.
fn tag(generation: u32) -> u64 {
    u64::from(generation) >> (KEY_BITS - 32)
}

/// The first word of the entry of this name: FNV-1a of its bytes, 64 bits folded to 48.
fn key_of(name: &str, generation: u32) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mask = (1 << KEY_BITS) - 1;
    tag(generation) << KEY_BITS | ((hash ^ hash >> KEY_BITS) & mask)
}
