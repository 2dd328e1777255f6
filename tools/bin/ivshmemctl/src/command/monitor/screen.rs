// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The full-screen view.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Sparkline};
use ratatui::{DefaultTerminal, Frame, TerminalOptions, Viewport};

use super::counts::{Counts, Row, Snapshot};

/// Lines of a vector.
const HEIGHT: u16 = 2;

/// What a console counts as that does not know its size, as a serial one: columns and rows.
const UNKNOWN: (u16, u16) = (80, 24);

/// Shows the counts, and adds to them after each `interval`, until a key, the device or the number of intervals ends it.
pub fn run(
    title: &str,
    counts: &mut Counts,
    look: impl Fn() -> Snapshot,
    interval: Duration,
    limit: Option<u64>,
) -> Result<()> {
    let title = format!(" {title} ");
    let mut terminal = init()?;
    let result = (|| {
        let mut intervals = 0;
        while limit.is_none_or(|limit| intervals < limit) && !counts.dead() {
            terminal.draw(|frame| draw(frame, &title, counts))?;
            if key_within(interval)? {
                break;
            }
            intervals += 1;
            counts.add(look());
        }
        Ok(())
    })();
    // Before any message, which would be lost with the screen.
    ratatui::try_restore()?;
    result
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

/// Waits for the interval to pass; true if a key said to end before.
fn key_within(interval: Duration) -> Result<bool> {
    let begin = Instant::now();
    loop {
        let left = interval.saturating_sub(begin.elapsed());
        if !event::poll(left)? {
            return Ok(false);
        }
        let Event::Key(key) = event::read()? else {
            continue;
        };
        let interrupt = key.modifiers == KeyModifiers::CONTROL && key.code == KeyCode::Char('c');
        if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
            return Ok(true);
        }
    }
}

fn draw(frame: &mut Frame, title: &str, counts: &Counts) {
    let foot = format!(" {:.0} s   q ends ", counts.seconds());
    let block = Block::bordered().title(title.bold()).title_bottom(foot);
    let inside = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let rows: Vec<_> = counts.rows().collect();
    if rows.is_empty() {
        let text = "This device has no doorbell: nothing will ever interrupt.";
        frame.render_widget(Paragraph::new(text), inside);
        return;
    }
    let heights = rows.iter().map(|_| Constraint::Length(HEIGHT));
    for (row, area) in rows
        .iter()
        .zip(Layout::vertical(heights).split(inside).iter())
    {
        draw_vector(frame, *area, row);
    }
}

fn draw_vector(frame: &mut Frame, area: Rect, row: &Row) {
    let columns = [Constraint::Length(34), Constraint::Min(0)];
    let [left, right] = Layout::horizontal(columns).areas(area);
    let style = match row.rate > 0.0 {
        true => Style::new().green().bold(),
        false => Style::new().dim(),
    };
    let text = format!(
        "vector {}  {:>10}  {:>8.0}/s",
        row.vector, row.interrupts, row.rate
    );
    frame.render_widget(Paragraph::new(Line::styled(text, style)), left);
    // The latest at the right edge.
    let width = usize::from(right.width);
    let skip = row.history.len().saturating_sub(width);
    let bars: Vec<u64> = row.history.iter().skip(skip).copied().collect();
    frame.render_widget(
        Sparkline::default().data(&bars).style(Style::new().cyan()),
        right,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;

    use super::*;

    fn screen(counts: &Counts) -> String {
        let mut terminal = Terminal::new(TestBackend::new(60, 8)).unwrap();
        terminal
            .draw(|frame| draw(frame, " title ", counts))
            .unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn each_vector_has_its_numbers() {
        let mut counts = Counts::new(Snapshot::now(vec![0, 0], false));
        counts.add(Snapshot::now(vec![0, 1234], false));
        let screen = screen(&counts);
        assert!(screen.contains(" title "), "{screen}");
        assert!(screen.contains("vector 0           0"), "{screen}");
        assert!(screen.contains("vector 1        1234"), "{screen}");
        assert!(screen.contains('█'), "{screen}");
    }

    #[test]
    fn a_device_without_a_doorbell_says_so() {
        let counts = Counts::new(Snapshot::now(Vec::new(), false));
        assert!(screen(&counts).contains("no doorbell"));
    }
}
