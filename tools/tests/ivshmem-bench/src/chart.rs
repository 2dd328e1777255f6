// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ratios as a picture, in SVG: a bar to the left of the line in the middle is faster than the rival, one to
//! the right is slower. The scale is logarithmic.

use std::fmt::Write;

use crate::report::{Compared, Line};

const WIDTH: f64 = 860.0;
const ROW: f64 = 30.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 12.0;

/// Where the bars are, between the labels and the numbers.
const LEFT: f64 = 390.0;
const RIGHT: f64 = 790.0;

/// The ends of the scale. A ratio beyond is drawn to its end, and its number says what it is.
const SCALE: (f64, f64) = (0.1, 10.0);

const TICKS: [f64; 9] = [0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0];

/// A picture of the rows that have a rival; `None` if no row has one.
pub fn svg(title: &str, rows: &[&Line]) -> Option<String> {
    let rows: Vec<_> = rows
        .iter()
        .filter_map(|line| Some((*line, line.rival.as_ref()?)))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let mut svg = head(title, height);
    scale(&mut svg, height);
    for (number, (line, rival)) in rows.iter().enumerate() {
        row(&mut svg, TOP + ROW * number as f64, line, rival);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn head(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" role="img">
<title>{title}</title>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
"##
    )
}

fn scale(svg: &mut String, height: f64) {
    let bottom = height - BOTTOM;
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="16" text-anchor="end" fill="#1a7f5a">faster than the rival</text>
<text x="{:.1}" y="16" fill="#b35309">slower</text>"##,
        x(1.0) - 10.0,
        x(1.0) + 10.0
    );
    for tick in TICKS {
        let (at, colour) = (x(tick), if tick == 1.0 { "#333333" } else { "#e2e2e2" });
        let _ = writeln!(
            svg,
            r##"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}" stroke="{colour}"/>
<text x="{at:.1}" y="36" text-anchor="middle" font-size="11" fill="#666666">{tick}</text>"##
        );
    }
}

fn row(svg: &mut String, top: f64, line: &Line, rival: &Compared) {
    let (middle, end) = (x(1.0), x(rival.ratio));
    let (from, width) = (middle.min(end), (end - middle).abs().max(1.5));
    let colour = match line.holds() {
        _ if rival.ratio <= 1.0 => "#2a9d76",
        Some(false) => "#d1603d",
        _ => "#e0a458",
    };
    let _ = writeln!(
        svg,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>
<text x="{:.1}" y="{:.1}" text-anchor="end" font-size="10.5" fill="#666666">{}</text>
<rect x="{from:.1}" y="{:.1}" width="{width:.1}" height="16" fill="{colour}"/>
<text x="{:.1}" y="{:.1}">{:.3}</text>"##,
        LEFT - 14.0,
        top + 13.0,
        escape(&line.name),
        LEFT - 14.0,
        top + 25.0,
        escape(&format!("beside {}", rival.name)),
        top + 7.0,
        RIGHT + 10.0,
        top + 19.0,
        rival.ratio,
    );
    if let Some(goal) = line.goal {
        let at = x(goal);
        let _ = writeln!(
            svg,
            r##"<line x1="{at:.1}" y1="{:.1}" x2="{at:.1}" y2="{:.1}" stroke="#333333" stroke-width="2.5"/>"##,
            top + 4.0,
            top + 26.0,
        );
    }
}

/// Where a ratio is drawn.
fn x(ratio: f64) -> f64 {
    let part = |value: f64| (value / SCALE.0).ln() / (SCALE.1 / SCALE.0).ln();
    LEFT + (RIGHT - LEFT) * part(ratio.clamp(SCALE.0, SCALE.1))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
