// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What fills a terminal's screen, and is drawn again and again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen};
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::widgets::Block;
use ratatui::{DefaultTerminal, Frame, TerminalOptions, Viewport};

use crate::signals::ended_while_drawing;

/// What a console counts as that does not know its size, as a serial one: columns and rows.
const UNKNOWN: (u16, u16) = (80, 24);

/// How often to look whether a signal came, which does not end the wait for a key.
const LOOK: Duration = Duration::from_millis(100);

/// What is shown.
pub trait View {
    /// Draws what is known.
    fn draw(&self, frame: &mut Frame);

    /// Looks again. Returns whether there will be more to see.
    fn look(&mut self) -> Result<bool>;
}

/// Shows a view, which looks again after each `interval`, until a key, a signal, the view or the number of intervals ends it.
pub fn run(view: &mut impl View, interval: Duration, limit: Option<u64>) -> Result<()> {
    let ended = ended_while_drawing()?;
    let shown = show(view, interval, limit, &ended);
    // Before any message, which would be lost with the screen.
    let restored = ratatui::try_restore();
    shown?;
    Ok(restored?)
}

fn show(
    view: &mut impl View,
    interval: Duration,
    limit: Option<u64>,
    ended: &AtomicBool,
) -> Result<()> {
    let mut terminal = init()?;
    let mut intervals = 0;
    while limit.is_none_or(|limit| intervals < limit) {
        terminal.draw(|frame| view.draw(frame))?;
        if is_ended_within(interval, ended)? || !view.look()? {
            break;
        }
        intervals += 1;
    }
    Ok(())
}

/// Draws a frame with this title, and a foot that also says how to end. Returns what is inside.
pub fn frame_of(frame: &mut Frame, title: &str, foot: &str) -> Rect {
    let title = format!(" {title} ").bold();
    let foot = format!(" {foot}   q ends ");
    let block = Block::bordered().title(title).title_bottom(foot);
    let inside = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    inside
}

/// The terminal's other screen.
fn init() -> Result<DefaultTerminal> {
    let size = terminal::size();
    if size.is_ok_and(|(columns, rows)| columns > 0 && rows > 0) {
        return Ok(ratatui::try_init()?);
    }
    let area = Rect::new(0, 0, UNKNOWN.0, UNKNOWN.1);
    let viewport = Viewport::Fixed(area);
    let terminal = ratatui::try_init_with_options(TerminalOptions { viewport })?;
    execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
    Ok(terminal)
}

/// Waits for the interval to pass; true if a key or a signal said to end before.
fn is_ended_within(interval: Duration, ended: &AtomicBool) -> Result<bool> {
    let begin = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let left = interval.saturating_sub(begin.elapsed());
        if !event::poll(left.min(LOOK))? {
            if left <= LOOK {
                return Ok(false);
            }
            continue;
        }
        let Event::Key(key) = event::read()? else {
            continue;
        };
        let interrupt = key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char('c');
        if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
            return Ok(true);
        }
    }
    Ok(true)
}
