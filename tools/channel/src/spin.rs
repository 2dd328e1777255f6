// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How long to look before sleeping: longer where that helped lately.

/// Fewest looks.
const LEAST: u32 = 8;
/// Most looks, a few microseconds.
const MOST: u32 = 2048;

/// Looks before a sleep.
#[derive(Debug)]
pub(crate) struct Spin(u32);

impl Spin {
    pub fn new() -> Self {
        Self(LEAST)
    }

    /// Looks some times; returns what was found.
    pub fn look<T, E>(
        &mut self,
        mut probe: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        for _ in 0..self.0 {
            if let Some(found) = probe()? {
                self.0 = (self.0 * 2).min(MOST);
                return Ok(Some(found));
            }
            std::hint::spin_loop();
        }
        self.0 = (self.0 / 2).max(LEAST);
        Ok(None)
    }
}
