// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The report as a page of the documentation, with its pictures.

use std::fmt::Write;

use crate::chart;
use crate::report::{GroupReport, Line, Report};
use crate::rows::GROUPS;
use crate::table;

/// Where the pictures are, beside the page.
pub const PICTURES: &str = "performance";

/// What page and pictures are made from, beside them.
pub const DATA: &str = "performance/data.json";

const HEAD: &str = include_str!("page/head.rst");
const TAIL: &str = include_str!("page/tail.rst");

/// A file of the documentation.
pub struct File {
    /// Its name, below `Documentation`.
    pub name: String,
    /// Its contents.
    pub text: String,
}

/// The page and its pictures.
pub fn files(report: &Report) -> Vec<File> {
    let goals: Vec<_> = report.groups.iter().flat_map(goals).collect();
    let goals: Vec<_> = goals.iter().collect();
    let mut files = Vec::new();
    let mut page = format!("{HEAD}\n{}\n", about(report));
    heading(&mut page, "The goals");
    page.push_str(GOALS);
    picture(&mut files, &mut page, "goals", "Ratios and goals", &goals);
    table(&mut page, &goals);
    missed(&mut page, report);
    for group in &report.groups {
        section(&mut files, &mut page, group);
    }
    page.push_str(TAIL);
    files.push(File {
        name: "performance.rst".into(),
        text: page,
    });
    files
}

/// The group's rows that have a goal, with its name before theirs.
fn goals(group: &GroupReport) -> impl Iterator<Item = Line> + '_ {
    let with_goal = group.rows.iter().filter(|line| line.goal.is_some());
    with_goal.map(|line| Line {
        name: format!("{}: {}", group.name, line.name),
        ..line.clone()
    })
}

/// Why goals are missed, where somebody has found out, with those of one reason together.
fn missed(page: &mut String, report: &Report) {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for group in &report.groups {
        for line in group.rows.iter().filter(|line| line.holds() == Some(false)) {
            let Some(reason) = reason(&group.name, &line.name) else {
                continue;
            };
            let name = format!("{}: {}", group.name, line.name);
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
    }
    if reasons.is_empty() {
        return;
    }
    page.push_str("Why goals are missed:\n\n");
    for (reason, names) in reasons {
        let _ = writeln!(page, "{}\n    {reason}\n", names.join("; "));
    }
}

/// What the source says of the row of this name that has a goal.
fn reason(group: &str, row: &str) -> Option<&'static str> {
    let group = GROUPS.iter().find(|known| known.name == group)?;
    let mut rows = group.rows.iter();
    let row = rows.find(|known| known.name == row && known.goal.is_some())?;
    (!row.reason.is_empty()).then_some(row.reason)
}

const GOALS: &str = "\
What the project wants to hold. Green bars are faster than the rival; red ones miss their goal, which is the short vertical
line; the others are slower and have no goal or hold it.

";

fn about(report: &Report) -> String {
    let about = &report.about;
    let how = match about.accel.as_str() {
        "kvm" => "with KVM, by time",
        _ => "under emulation, by executed instructions where the unit says so",
    };
    format!(
        "Measured with version {} on Linux {} in QEMU {}, {how}, on {} processors ({}).\n",
        about.version, about.kernel, about.qemu, about.cpus, about.cpu
    )
}

fn section(files: &mut Vec<File>, page: &mut String, group: &GroupReport) {
    heading(page, &group.title);
    let _ = writeln!(page, "{}\n", group.method);
    if !group.limits.is_empty() {
        let _ = writeln!(page, "*What the numbers do not say*: {}\n", group.limits);
    }
    let rows: Vec<_> = group.rows.iter().collect();
    picture(files, page, &group.name, &group.title, &rows);
    let _ = writeln!(page, "Ours and the rival in {}:\n", group.unit.name());
    table(page, &rows);
}

fn heading(page: &mut String, title: &str) {
    let _ = writeln!(page, "{title}\n{}\n", "=".repeat(title.len()));
}

fn picture(files: &mut Vec<File>, page: &mut String, name: &str, title: &str, rows: &[&Line]) {
    let Some(text) = chart::svg(title, rows) else {
        return;
    };
    let name = format!("{PICTURES}/{}.svg", name.replace(' ', "-"));
    let _ = writeln!(
        page,
        ".. figure:: {name}\n   :alt: {title}\n   :width: 100%\n"
    );
    files.push(File { name, text });
}

fn table(page: &mut String, rows: &[&Line]) {
    page.push_str(".. list-table::\n   :header-rows: 1\n   :widths: 34 10 10 8 8 6 6 28\n\n");
    list_row(page, &table::COLUMNS.map(String::from));
    for row in rows {
        list_row(page, &table::cells(row));
    }
    page.push('\n');
}

fn list_row(page: &mut String, cells: &[String; 8]) {
    for (column, cell) in cells.iter().enumerate() {
        let bullet = if column == 0 { "   * -" } else { "     -" };
        let _ = writeln!(page, "{}", format!("{bullet} {cell}").trim_end());
    }
}
