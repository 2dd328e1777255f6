// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The manual page: the options as the command line has them, and the rest as written by hand.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;

const REST: &str = include_str!("man.roff");

/// Writes the page.
pub fn print(out: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command();
    let usage = command.render_usage().to_string().replace('-', "\\-");
    let page = Man::new(command)
        .section("8")
        .manual("System Administration")
        .date("");
    page.render_title(out)?;
    page.render_name_section(out)?;
    writeln!(out, ".SH SYNOPSIS\n{}", usage.trim_start_matches("Usage: "))?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    out.write_all(REST.as_bytes())
}
