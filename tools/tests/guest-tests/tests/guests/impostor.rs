// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A peer on the host that takes part in the rendezvous of `samples/rendezvous.h` and then lies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use vmbench::Region;

/// Bytes of a slot in the rendezvous: token, peer, tokens seen.
const SLOT: u64 = 64;
const SEEN: u64 = 8;

/// The token of the impostor, who is party 0.
const TOKEN: u32 = 0x1bad_babe;

/// The region's memory, seen from the host.
pub struct Impostor(File);

impl Impostor {
    /// Opens the memory through the server's descriptor, and forgets who was party 1 before.
    pub fn new(region: &Region) -> io::Result<Self> {
        let descriptors = format!("/proc/{}/fd", region.server_pid());
        for entry in std::fs::read_dir(descriptors)? {
            let path = entry?.path();
            if std::fs::read_link(&path)?
                .to_string_lossy()
                .contains("memfd:ivshmem ")
            {
                let memory = Self(OpenOptions::new().read(true).write(true).open(path)?);
                memory.write_words(SLOT, &[0])?;
                return Ok(memory);
            }
        }
        Err(io::Error::other("the server has no memory"))
    }

    /// Writes words at a byte offset.
    pub fn write_words(&self, at: u64, words: &[u32]) -> io::Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.0.write_all_at(&bytes, at)
    }

    /// Waits for party 1, writes the lie for the session, and then lets the rendezvous end.
    pub fn meet(&self, lie: impl Fn(&Self, u32) -> io::Result<()>) -> io::Result<u32> {
        let token = self.token_of_party_1()?;
        let session = (TOKEN ^ token) | 1;
        lie(self, session)?;
        self.write_words(0, &[TOKEN, 0])?;
        self.write_words(SEEN + 4, &[token])?;
        Ok(session)
    }

    fn token_of_party_1(&self) -> io::Result<u32> {
        let mut token = [0; 4];
        let mut result = Ok(());
        test_limit::wait_until("party 1 has come", || {
            result = self.0.read_exact_at(&mut token, SLOT);
            result.is_err() || token != [0; 4]
        });
        result.map(|()| u32::from_le_bytes(token))
    }
}
