// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One topic, without doorbells and without time: values that one program publishes, and any other reads.
//!
//! A topic has a few buffers. The writer takes one, which shows by its word that it is being written, copies a value into
//! it, says in the word which value it holds, and counts up. It never waits: who reads too slowly misses values, and
//! finds out. A reader copies a value, and takes it only if the buffer's word is the same afterwards.
//!
//! As in [rings](crate::ring) a writer that was stopped, was replaced, and goes on, can do nothing but write into
//! the buffer that it had taken. Its successor leaves that one out.
//!
//! [`Publisher`](crate::Publisher) and [`Subscriber`](crate::Subscriber) are what programs use.

mod place;
mod reader;
mod writer;

pub use place::Topic;
pub(crate) use place::{CONTROL, HEADER};
pub use reader::{Found, Reader};
pub use writer::Writer;
