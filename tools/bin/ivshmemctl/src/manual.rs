// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The manual pages, made from the command line's own help.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use roff::{bold, roman, Roff};

use crate::exit::Exit;

/// What the examples of a command's help begin with.
const EXAMPLES: &str = "Examples:\n";

/// The pages of the program and of each of its commands, with the names of their files.
pub fn pages(mut program: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    program.build();
    let mut pages = Vec::new();
    let mut waiting = vec![(program.get_name().to_string(), program)];
    while let Some((title, command)) = waiting.pop() {
        let mut see: Vec<_> = title
            .rsplit_once('-')
            .map(|(above, _)| above.to_string())
            .into_iter()
            .collect();
        // The command `help` shows these pages' text, and has none of its own.
        for below in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let title = format!("{title}-{}", below.get_name());
            see.push(title.clone());
            waiting.push((title, below.clone()));
        }
        pages.push((format!("{title}.1"), page(command, &see)?));
    }
    Ok(pages)
}

fn page(command: Command, see: &[String]) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    let subcommands = command.has_subcommands();
    let mut command = command.disable_help_subcommand(true);
    let usage = command.render_usage().to_string().replace('-', "\\-");
    let man = Man::new(command.after_help(""))
        .source(concat!("ivshmem-rs ", env!("CARGO_PKG_VERSION")))
        .manual("ivshmem-rs");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    // Not the library's, which lists all options, without their values.
    writeln!(
        text,
        ".SH SYNOPSIS\n{}",
        usage.trim_start_matches("Usage: ")
    )?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if subcommands {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    exit_status(&mut rest);
    if let Some(examples) = examples.as_deref().and_then(|e| e.strip_prefix(EXAMPLES)) {
        rest.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.lines() {
            rest.text([roman(line.trim_start())]);
        }
        rest.control("fi", []);
    }
    see_also(&mut rest, see);
    rest.to_writer(&mut text)?;
    Ok(text)
}

fn exit_status(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in Exit::ALL {
        page.control("TP", []);
        page.text([bold(exit.code().to_string())]);
        page.text([roman(meaning)]);
    }
}

fn see_also(page: &mut Roff, names: &[String]) {
    page.control("SH", ["SEE ALSO"]);
    for (number, name) in names.iter().enumerate() {
        let comma = if number + 1 < names.len() { "," } else { "" };
        page.text([bold(name), roman(format!("(1){comma}"))]);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_a_page_with_examples_and_exit_codes() {
        let pages = pages(Cli::command()).unwrap();
        for (name, text) in &pages {
            let text = String::from_utf8(text.clone()).unwrap();
            let section = |title: &str| text.contains(&format!(".SH {title}"));
            assert!(text.contains(".SH \"EXIT STATUS\""), "{name}: {text}");
            assert!(section("SYNOPSIS") && section("NAME"), "{name}");
            // What only has commands below it has its examples there.
            assert_ne!(section("EXAMPLES"), section("SUBCOMMANDS"), "{name}");
        }
        for name in [
            "ivshmemctl.1",
            "ivshmemctl-ring.1",
            "ivshmemctl-server-status.1",
        ] {
            assert!(pages.iter().any(|(page, _)| page == name), "{name}");
        }
    }
}
