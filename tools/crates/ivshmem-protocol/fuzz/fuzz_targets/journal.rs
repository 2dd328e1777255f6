// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The reader of the journal that a server leaves to the next one, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    ivshmem_server::try_out_journal(input);
});
