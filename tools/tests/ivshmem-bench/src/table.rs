// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The report as text.

use std::fmt::Write;

use crate::report::{GroupReport, Line, Report};

/// The columns of a table of rows.
pub const COLUMNS: [&str; 8] = [
    "row", "ours", "rival", "ratio", "spread", "goal", "holds", "rival is",
];

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let about = &report.about;
    let mut text = format!(
        "ivshmem-rs {} on {}, QEMU {}, {}; {} x {}\n",
        about.version, about.kernel, about.qemu, about.accel, about.cpus, about.cpu
    );
    for group in &report.groups {
        let _ = write!(
            text,
            "\n{} ({})\n\n{}",
            group.title,
            group.unit.name(),
            rows(group)
        );
    }
    let lines = || {
        let groups = report.groups.iter();
        groups.flat_map(|group| group.rows.iter().map(move |line| (group, line)))
    };
    let with_goal = lines().filter(|(_, line)| line.goal.is_some()).count();
    let missed = lines().filter(|(_, line)| line.holds() == Some(false));
    let names: Vec<_> = missed
        .map(|(group, line)| format!("{}: {}", group.name, line.name))
        .collect();
    let _ = write!(
        text,
        "\n{} of {with_goal} goals hold",
        with_goal - names.len()
    );
    if !names.is_empty() {
        let _ = write!(text, "; not: {}", names.join("; "));
    }
    text + ".\n"
}

fn rows(group: &GroupReport) -> String {
    let mut cells = vec![COLUMNS.map(String::from)];
    cells.extend(group.rows.iter().map(self::cells));
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = format!("  {:<w$}", row[0], w = widths[0]);
        for (cell, width) in row.iter().zip(&widths).take(7).skip(1) {
            let _ = write!(line, "  {cell:>width$}");
        }
        let _ = writeln!(text, "{line}  {}", row[7]);
    }
    text
}

/// The cells of a row, in the order of the columns.
pub fn cells(line: &Line) -> [String; 8] {
    let rival = line.rival.as_ref();
    let or_empty = |cell: Option<String>| cell.unwrap_or_default();
    [
        line.name.clone(),
        number(line.ours),
        or_empty(rival.map(|rival| number(rival.value))),
        or_empty(rival.map(|rival| ratio(rival.ratio))),
        or_empty(rival.map(|rival| format!("{:.1} %", rival.spread * 100.0))),
        or_empty(line.goal.map(|goal| match rival {
            None if goal.fract() == 0.0 => format!("{goal:.0}"),
            _ => format!("{goal:.2}"),
        })),
        or_empty(
            line.holds()
                .map(|holds| (if holds { "yes" } else { "NO" }).into()),
        ),
        or_empty(rival.map(|rival| rival.name.clone())),
    ]
}

/// A number with as many digits as are of use.
pub fn number(value: f64) -> String {
    match value {
        ..100.0 if value.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn ratio(value: f64) -> String {
    format!("{value:.3}")
}
