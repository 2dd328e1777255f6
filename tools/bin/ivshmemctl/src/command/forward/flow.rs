// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a connection has in flight. The one who receives says how much may be sent, and so has room for all of it: what is in
//! the ring is always taken out at once, and a connection whose reader is slow holds up no other one.

use std::collections::VecDeque;

use super::frame::Body;

/// Bytes that may be on their way in one direction of a connection before the receiver has given credit.
pub const WINDOW: u32 = 256 << 10;

/// Bytes that the program at the receiver's has taken before the sender is told.
const CREDIT: u32 = WINDOW / 2;

/// One connection, as one endpoint sees it.
#[derive(Debug)]
pub struct Flow {
    /// What has come and was not taken yet: never more than a window.
    buffer: VecDeque<u8>,
    /// What the other endpoint may still send.
    window: u32,
    /// What was taken, and not told yet.
    taken: u32,
    /// What this endpoint may still send.
    credit: u32,
    /// No more comes.
    ended: bool,
    /// Why it is over, in both directions.
    over: Option<Over>,
}

/// What is to be done with what has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The other endpoint is to be told that it may send so many more bytes.
    Credit(u32),
    /// There are bytes to be taken.
    Bytes,
    /// All has come and was taken.
    End,
}

/// Why a connection is over before both directions have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The other endpoint says so.
    Reset(String),
    /// The other endpoint does not keep to the rules.
    Violation(&'static str),
    /// The other endpoint is not there any more.
    Gone,
    /// The other endpoint had taken this one for gone.
    Forgotten,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            buffer: VecDeque::new(),
            window: WINDOW,
            taken: 0,
            credit: WINDOW,
            ended: false,
            over: None,
        }
    }
}

impl Flow {
    /// Takes what the other endpoint says of this connection. Bytes before which none wait are handed to `pass`, which says how
    /// many it has taken; the rest waits.
    pub fn hear(&mut self, body: Body<'_>, pass: impl FnOnce(&[u8]) -> usize) {
        if self.over.is_some() {
            return;
        }
        let heard = match body {
            Body::Data(bytes) => self.receive(bytes, pass),
            Body::Credit(bytes) => self.more(bytes),
            Body::End if self.ended => Err("an end after the end"),
            Body::End => {
                self.ended = true;
                Ok(())
            }
            Body::Reset(reason) => {
                self.end(Over::Reset(reason.into()));
                Ok(())
            }
            _ => Err("another message than one of a connection"),
        };
        if let Err(what) = heard {
            self.end(Over::Violation(what));
        }
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        pass: impl FnOnce(&[u8]) -> usize,
    ) -> Result<(), &'static str> {
        if self.ended {
            return Err("bytes after the end");
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let left = self.window.checked_sub(len);
        self.window = left.ok_or("more bytes than may be sent")?;
        let passed = match self.buffer.is_empty() {
            true => pass(bytes),
            false => 0,
        };
        self.buffer.extend(&bytes[passed..]);
        // CAST: Not more than a window.
        self.taken += passed as u32;
        Ok(())
    }

    fn more(&mut self, bytes: u32) -> Result<(), &'static str> {
        let credit = self.credit.checked_add(bytes).filter(|sum| *sum <= WINDOW);
        self.credit = credit.ok_or("credit for what was not sent")?;
        Ok(())
    }

    /// Ends it in both directions. What has come and was not taken is lost.
    pub fn end(&mut self, over: Over) {
        if self.over.is_none() {
            self.over = Some(over);
            self.buffer = VecDeque::new();
        }
    }

    /// Why it is over, if it is before both directions have ended.
    pub fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// Bytes that may be sent now, of up to so many.
    pub fn may_send(&self, most: usize) -> usize {
        most.min(self.credit as usize)
    }

    /// So many were sent: not more than may be.
    pub fn sent(&mut self, bytes: usize) {
        // CAST: What may be sent is a window at most.
        self.credit -= bytes as u32;
    }

    /// What has come, as far as it is in one piece; empty if nothing has.
    pub fn front(&self) -> &[u8] {
        self.buffer.as_slices().0
    }

    /// So many bytes of what waits were taken.
    pub fn take(&mut self, bytes: usize) {
        self.buffer.drain(..bytes.min(self.buffer.len()));
        // CAST: Not more than a window was there.
        self.taken += bytes as u32;
    }

    /// What is to be done now. Credit is given by this.
    pub fn due(&mut self) -> Option<Due> {
        // Nobody sends more after the end.
        if self.taken >= CREDIT && !self.ended {
            let told = std::mem::take(&mut self.taken);
            self.window += told;
            return Some(Due::Credit(told));
        }
        match (self.buffer.is_empty(), self.ended) {
            (false, _) => Some(Due::Bytes),
            (true, true) => Some(Due::End),
            (true, false) => None,
        }
    }

    /// Whether anybody who waits for this has something to do, after this was heard.
    pub fn is_idle(&self) -> bool {
        let due = self.taken >= CREDIT || self.ended || !self.buffer.is_empty();
        !due && self.over.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &[u8]) -> usize {
        0
    }

    fn violation(flow: &Flow) -> bool {
        matches!(flow.over(), Some(Over::Violation(_)))
    }

    #[test]
    fn a_window_may_be_sent_and_then_what_there_is_credit_for() {
        let (mut from, mut to) = (Flow::default(), Flow::default());
        let mut sent = 0;
        let piece = vec![7; 10_000];
        while from.may_send(piece.len()) > 0 {
            let len = from.may_send(piece.len());
            from.sent(len);
            to.hear(Body::Data(&piece[..len]), none);
            sent += len;
        }
        assert_eq!(sent, WINDOW as usize);
        let mut credit = 0;
        while !to.front().is_empty() {
            let len = to.front().len().min(5000);
            to.take(len);
            if let Some(Due::Credit(bytes)) = to.due() {
                from.hear(Body::Credit(bytes), none);
                credit += bytes as usize;
            }
        }
        assert!(credit > sent / 2, "{credit}");
        assert_eq!(from.may_send(usize::MAX), credit);
        assert_eq!((from.over(), to.over()), (None, None));
    }

    #[test]
    fn who_sends_more_than_a_window_is_stopped_and_nothing_of_it_is_kept() {
        let mut flow = Flow::default();
        flow.hear(Body::Data(&vec![0; WINDOW as usize]), none);
        assert!(!violation(&flow));
        flow.hear(Body::Data(&[0]), none);
        assert!(violation(&flow));
        assert!(flow.front().is_empty());
        for _ in 0..100 {
            flow.hear(Body::Data(&vec![0; WINDOW as usize]), none);
        }
        assert!(flow.front().is_empty());
    }

    #[test]
    fn credit_for_what_was_not_sent_is_refused() {
        for credit in [1, WINDOW, u32::MAX] {
            let mut flow = Flow::default();
            flow.hear(Body::Credit(credit), none);
            assert!(violation(&flow), "{credit}");
        }
        let mut flow = Flow::default();
        flow.sent(10);
        flow.hear(Body::Credit(10), none);
        assert!(!violation(&flow));
        flow.hear(Body::Credit(1), none);
        assert!(violation(&flow));
    }

    #[test]
    fn nothing_comes_after_the_end_but_credit() {
        let mut flow = Flow::default();
        flow.sent(5);
        flow.hear(Body::Data(b"abc"), none);
        flow.hear(Body::End, none);
        assert_eq!(flow.due(), Some(Due::Bytes));
        flow.hear(Body::Credit(5), none);
        flow.take(3);
        assert_eq!(flow.due(), Some(Due::End));
        assert!(!violation(&flow));
        for after in [
            Body::Data(b""),
            Body::End,
            Body::Listening,
            Body::Open("x:1"),
        ] {
            let mut flow = Flow::default();
            flow.hear(Body::End, none);
            flow.hear(after, none);
            assert!(violation(&flow), "{after:?}");
        }
    }

    #[test]
    fn what_is_taken_at_once_does_not_wait_and_gives_credit() {
        let mut flow = Flow::default();
        flow.hear(Body::Data(b"all"), <[u8]>::len);
        assert!(flow.is_idle());
        flow.hear(Body::Data(b"some"), |_| 1);
        assert_eq!(flow.front(), b"ome");
        // Not before what waits.
        flow.hear(Body::Data(b"more"), <[u8]>::len);
        flow.take(3);
        assert_eq!(flow.front(), b"more");
        flow.take(4);
        assert!(flow.is_idle());
        let len = WINDOW as usize - 11;
        flow.hear(Body::Data(&vec![0; len]), <[u8]>::len);
        assert!(!flow.is_idle());
        assert_eq!(flow.due(), Some(Due::Credit(WINDOW)));
        // Who does not keep to the rules passes nothing.
        flow.hear(Body::Data(&vec![0; len + 12]), |_| panic!("too much"));
        assert!(violation(&flow));
    }

    #[test]
    fn the_first_reason_counts() {
        let mut flow = Flow::default();
        flow.hear(Body::Data(b"lost"), none);
        flow.hear(Body::Reset("no"), none);
        flow.hear(Body::Credit(1), none);
        flow.end(Over::Gone);
        assert_eq!(flow.over(), Some(&Over::Reset("no".into())));
        assert!(flow.front().is_empty());
    }
}
