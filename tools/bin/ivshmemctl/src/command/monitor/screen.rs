// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The full-screen view.

use anyhow::Result;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use ratatui::Frame;

use super::counts::{Counts, Row, Snapshot};
use crate::fullscreen::{frame_of, View};

/// Lines of a vector.
const HEIGHT: u16 = 2;

/// The counts, which are added to at each look.
pub struct Screen<'a> {
    /// What is counted.
    pub title: String,
    /// What was counted.
    pub counts: &'a mut Counts,
    /// Counts.
    pub count: &'a dyn Fn() -> Snapshot,
}

impl View for Screen<'_> {
    fn draw(&self, frame: &mut Frame) {
        draw(frame, &self.title, self.counts);
    }

    fn look(&mut self) -> Result<bool> {
        self.counts.add((self.count)());
        Ok(!self.counts.dead())
    }
}

fn draw(frame: &mut Frame, title: &str, counts: &Counts) {
    let inside = frame_of(frame, title, &format!("{:.0} s", counts.seconds()));
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
