// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Makes the area of a channel, also if several programs do at the same time.
//!
//! Who makes it has a mark of its own in the place of the magic number meanwhile, which it puts there only if nobody else
//! has put one, and replaces only if nobody else has taken it over.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use crate::layout::{header, Invalid, Stage, BASE_ALIGN, HEADER_LEN};
use crate::random::random;
use crate::{Error, Layout, Plan, Result};

/// Finds the channel at `base`.
pub(crate) fn find(memory: &impl Memory, base: u64) -> Result<Plan> {
    let available = available(memory, base)?;
    let mut bytes = read(memory, base, available, |_| {})?;
    // Once more, and whole: what is checked is what is used.
    memory.read(base, &mut bytes)?;
    Ok(Plan::decode(&bytes, available)?)
}

/// What is in the place of the magic number.
pub(crate) fn stage(memory: &impl Memory, base: u64) -> Result<Stage> {
    available(memory, base)?;
    let word = memory.load64(base + header::MAGIC as u64, Ordering::Acquire)?;
    Ok(Stage::of(word))
}

/// How a channel is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    /// Whatever is there.
    Anew,
    /// Unless there is one of that layout.
    IfThereIsNone,
}

/// Makes a channel at `base`, where `seen` was; `None` if that is not so any more, or if another program takes it over
/// meanwhile.
pub(crate) fn make(
    memory: &impl Memory,
    base: u64,
    layout: &Layout,
    seen: Stage,
    making: Making,
) -> Result<Option<Plan>> {
    let available = available(memory, base)?;
    if !memory.can_exchange() {
        return Err(Error::NotWriteBack);
    }
    let generation = random()?;
    let bytes = layout.encode(generation, available);
    let bytes = bytes.map_err(Error::Layout)?;
    let mark = Stage::marked(random()?);
    let replace = |from: Stage, to: Stage| {
        let at = base + header::MAGIC as u64;
        let replaced = memory.compare_exchange64(at, from.word(), to.word())?;
        Ok::<_, Error>(replaced.is_ok())
    };
    if !replace(seen, mark)? {
        return Ok(None);
    }
    // Another program may have made it since we looked.
    if making == Making::IfThereIsNone {
        if let Some(plan) = under_mark(memory, base, available, layout)? {
            return Ok(replace(mark, Stage::MADE)?.then_some(plan));
        }
    }
    let word = base + header::GENERATION as u64;
    // Nobody takes it for made before all of it is there.
    memory.store32(word, 0, Ordering::SeqCst)?;
    memory.fence();
    let (before, rest) = bytes.split_at(header::GENERATION);
    let version = &before[header::VERSION..];
    memory.write(base + header::VERSION as u64, version)?;
    let after = &rest[size_of::<u32>()..];
    memory.write(word + size_of::<u32>() as u64, after)?;
    memory.store32(word, generation, Ordering::Release)?;
    // What was written, and not what is there by now: another program may have its mark on it, to look under that.
    let plan = Plan::decode(&bytes, available)?;
    Ok(replace(mark, Stage::MADE)?.then_some(plan))
}

/// The channel that is there if one does not mind the mark, and if it has this layout.
fn under_mark(
    memory: &impl Memory,
    base: u64,
    available: u64,
    layout: &Layout,
) -> Result<Option<Plan>> {
    let made = |bytes: &mut [u8]| {
        bytes[header::MAGIC..][..8].copy_from_slice(&Stage::MADE.word().to_le_bytes());
    };
    let mut bytes = match read(memory, base, available, made) {
        Err(Error::NotAChannel(_)) => return Ok(None),
        other => other?,
    };
    memory.read(base, &mut bytes)?;
    made(&mut bytes);
    let plan = Plan::decode(&bytes, available).ok();
    Ok(plan.filter(|plan| plan.layout() == layout))
}

/// Room for header and table, by what the header says once `change` has changed it.
fn read(
    memory: &impl Memory,
    base: u64,
    available: u64,
    change: impl Fn(&mut [u8]),
) -> Result<Vec<u8>> {
    let mut head = [0; HEADER_LEN];
    memory.load32(base + header::GENERATION as u64, Ordering::Acquire)?;
    memory.read(base, &mut head)?;
    change(&mut head);
    let needed = Plan::table_len(&head)?;
    if needed as u64 > available {
        let needed = needed as u64;
        return Err(Invalid::TooLarge { needed, available }.into());
    }
    Ok(vec![0; needed])
}

/// Bytes of the memory from `base` on.
fn available(memory: &impl Memory, base: u64) -> Result<u64> {
    let size = memory.size();
    if base % BASE_ALIGN != 0 || base.saturating_add(HEADER_LEN as u64) > size {
        let text = format!(
            "a channel cannot begin at byte {base}: take a multiple of {BASE_ALIGN} inside of the {size} bytes"
        );
        return Err(ivshmem::Error::Argument(text).into());
    }
    Ok(size - base)
}
