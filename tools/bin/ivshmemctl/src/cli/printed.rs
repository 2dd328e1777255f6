// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command lines that manuals, help and messages print are ones that the program takes.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::program;

/// A command line, as it is printed.
#[derive(Debug)]
struct Printed {
    place: String,
    text: String,
    /// Whether it is to be run as it is; others may leave arguments out.
    is_whole: bool,
}

/// What there is of these in a line or a literal; what comes before, as a prompt does, is no part of it.
fn command_in(text: &str) -> Option<&str> {
    let at = text.match_indices("ivshmemctl ").map(|(at, _)| at);
    let begins = |at: &usize| text[..*at].is_empty() || text[..*at].ends_with(' ');
    let found = at.filter(begins).map(|at| &text[at..]).next();
    found.filter(|text| !text.contains("ivshmemctl  ")) // in a column of a table
}

/// The words up to where the shell has another command, or reads from or writes to a file.
fn words(text: &str) -> Vec<String> {
    // One that is itself in quotes, as for `sh -c`.
    let text = match text.matches('\'').count() % 2 {
        0 => text,
        _ => text.trim_end_matches('\''),
    };
    let words = shlex::split(text).unwrap_or_else(|| panic!("{text}"));
    let ends =
        |word: &String| ["|", "&", "&&", ";"].contains(&&**word) || word.starts_with(['<', '>']);
    words.into_iter().take_while(|word| !ends(word)).collect()
}

/// Whether a word stands for one that varies: `SOCKET`, `{path}`, `...`.
fn is_placeholder(word: &str) -> bool {
    let capital = |c: char| c.is_ascii_uppercase() || c == '-';
    word.contains(['{', '…']) || word.contains("...") || word.len() > 1 && word.chars().all(capital)
}

fn fault(printed: &Printed) -> Option<String> {
    let words = words(&printed.text);
    let error = program().try_get_matches_from(&words).err()?;
    let varies = words.iter().any(|word| is_placeholder(word));
    let is_good = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::InvalidSubcommand | ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            varies
        }
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => varies || !printed.is_whole,
        _ => false,
    };
    (!is_good).then(|| format!("{}: {}\n{error}", printed.place, printed.text))
}

/// Those in lines of their own, and in literals between these marks.
fn in_text(place: &str, text: &str, mark: &str) -> Vec<Printed> {
    let text = text.replace("\\\n", " ");
    let printed = |is_whole| {
        move |text: &str| Printed {
            place: place.to_owned(),
            text: text.to_owned(),
            is_whole,
        }
    };
    let lines = text.lines().filter(|line| !line.contains('`'));
    let lines = lines.filter(|line| line.starts_with(' '));
    let lines = lines.filter_map(command_in).map(printed(true));
    let literals = text.split(mark).skip(1).step_by(2);
    let literals = literals.map(|literal| literal.split_whitespace().collect::<Vec<_>>().join(" "));
    let literals = literals.filter(|literal| literal.starts_with("ivshmemctl "));
    lines
        .chain(literals.map(|literal| printed(false)(&literal)))
        .collect()
}

/// The examples of a command and of those below it.
fn in_help(command: &clap::Command) -> Vec<Printed> {
    let help = command.get_after_help().map(ToString::to_string);
    let of_this = help.map(|help| in_text(command.get_name(), &help, "`"));
    let below = command.get_subcommands().flat_map(in_help);
    of_this.into_iter().flatten().chain(below).collect()
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

fn in_files(paths: Vec<PathBuf>, extension: &str, mark: &str) -> Vec<Printed> {
    let paths = paths.into_iter();
    let paths = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    paths
        .flat_map(|path| {
            in_text(
                &path.display().to_string(),
                &read_to_string(&path).unwrap(),
                mark,
            )
        })
        .collect()
}

#[test]
fn every_command_line_that_is_printed_is_one_that_is_taken() {
    let checkout = vmbench::checkout();
    let manuals = in_files(files(&checkout.join("Documentation")), "rst", "``");
    let readme = in_files(vec![checkout.join("README.md")], "md", "`");
    let help = in_help(&program());
    let sources = files(&checkout.join("tools/bin/ivshmemctl/src"));
    // Only messages and comments: all lines of a source are not command lines.
    let messages = in_files(sources, "rs", "`")
        .into_iter()
        .filter(|p| !p.is_whole);
    assert!(
        manuals.len() > 60 && help.len() > 60,
        "{} {}",
        manuals.len(),
        help.len()
    );
    let all = [manuals, readme, help]
        .into_iter()
        .flatten()
        .chain(messages);
    let faults: Vec<_> = all.filter_map(|printed| fault(&printed)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
