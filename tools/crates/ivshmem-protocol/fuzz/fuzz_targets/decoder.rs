// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The client's decoder, fed by libFuzzer.
#![no_main]

#[path = "../../tests/decoder/feed.rs"]
mod feed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| feed::feed(input));
