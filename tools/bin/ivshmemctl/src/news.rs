// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is told of other endpoints: each can cause as many events as it likes, and must not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::Style;
use serde_json::Value;

use crate::output::Output;

/// The most that is told in a while; the rest is left out.
const MOST: u32 = 100;
const WHILE: Duration = Duration::from_secs(10);

/// Tells of other endpoints.
pub struct News {
    output: Output,
    told: Mutex<Told>,
}

/// What was told in a while, and when that has begun.
struct Told {
    events: u32,
    begun: Instant,
}

impl News {
    /// Nothing yet.
    pub fn new(output: Output) -> Self {
        let begun = Instant::now();
        Self {
            output,
            told: Mutex::new(Told { events: 0, begun }),
        }
    }

    /// Tells what happened, unless that was too much of late.
    pub fn tell(&self, value: &Value, text: &str, style: Style) {
        if self.may_tell(Instant::now()) {
            self.output.notice(value, text, style);
        }
    }

    fn may_tell(&self, now: Instant) -> bool {
        // Each change leaves it whole.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(told.begun) > WHILE {
            *told = Told {
                events: 0,
                begun: now,
            };
        }
        told.events = told.events.saturating_add(1);
        told.events <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_for_a_while() {
        let news = News::new(Output::new(true));
        let begun = Instant::now();
        let told = |now| (0..1000).filter(|_| news.may_tell(now)).count();
        assert_eq!(told(begun), MOST as usize);
        assert_eq!(told(begun + WHILE / 2), 0);
        assert_eq!(told(begun + 2 * WHILE), MOST as usize);
    }
}
