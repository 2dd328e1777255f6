// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{value_parser, Arg, ArgAction, ArgMatches, Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use ivshmem_model::flavour::{AcrnDm, AcrnHv, Vmm};

const EXAMPLES: &str = "  The HV-land example of ACRN's tutorial: prints one QEMU command line for VM0 and one for VM2, and serves them.
      ivshmem-emu --region 'hv:/shm_region_0, 2, 0:2' --vm 2 -s 5,ivshmem,hv:/shm_region_0,2

  Its DM-land example, with the guests started too:
      ivshmem-emu --launch --vm 1 -s 6,ivshmem,dm:/test,2 --vm 2 -s 5,ivshmem,dm:/test,2 -- \\
          -machine q35 -m 512 -nographic -drive file=vm{vm}.img,if=virtio";

const EXIT_STATUS: &str =
    "  0  ended by SIGTERM, SIGINT, SIGQUIT or SIGHUP; with --launch: all guests ended with 0
  1  the configuration is wrong, something failed, or a guest ended with another status
  2  wrong usage

  SIGINT, SIGQUIT and SIGHUP do nothing if they were ignored at the start, as by nohup.";

const ENVIRONMENT: &str =
    "  RUST_LOG  what to log: error, warn, info (the default), debug (rings too), trace (all accesses too)";

/// Which release of ACRN the devices are those of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Release {
    /// 3.3 and later: the region ID is the subsystem ID.
    #[value(name = "3.3")]
    V3_3,
    /// 2.4 to 3.2: IVPosition reads 0 once the guest has mapped it.
    #[value(name = "2.4")]
    V2_4,
    /// 2.3: as 2.4, and BAR0 has 4096 bytes.
    #[value(name = "2.3")]
    V2_3,
}

impl Release {
    /// The hypervisor's device.
    pub fn hv(self) -> AcrnHv {
        match self {
            Self::V3_3 => AcrnHv::V3_3,
            Self::V2_4 => AcrnHv::V2_4,
            Self::V2_3 => AcrnHv::V2_3,
        }
    }

    /// The device model's device.
    pub fn dm(self, ovmf: bool) -> AcrnDm {
        let release = match self {
            Self::V3_3 => AcrnDm::V3_3,
            _ => AcrnDm::V2_0,
        };
        AcrnDm { ovmf, ..release }
    }
}

/// Which hypervisor's device each guest has.
///
/// kvmtool's is not among them: its BAR0 asks for as many I/O ports as the memory has bytes, which stops QEMU's
/// firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// That of the region's land.
    Acrn,
    /// Memory only.
    CloudHypervisor,
    /// MSI-X, and no doorbell.
    #[value(name = "stratovirt")]
    StratoVirt,
}

impl Flavour {
    /// The device, if it is not one of ACRN's.
    pub fn vmm(self) -> Option<Vmm> {
        match self {
            Self::Acrn => None,
            Self::CloudHypervisor => Some(Vmm::CLOUD_HYPERVISOR),
            Self::StratoVirt => Some(Vmm::STRATOVIRT),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub struct Options {
    /// Regions in text form.
    pub regions: Vec<String>,
    /// A scenario file.
    pub scenario: Option<PathBuf>,
    /// Virtual machines' options of `acrn-dm`, in the order given.
    pub slots: Vec<(u16, String)>,
    /// Whose devices they are.
    pub flavour: Flavour,
    /// ACRN's release.
    pub release: Release,
    /// Whether the guests boot with OVMF.
    pub ovmf: bool,
    /// Where the sockets go.
    pub socket_dir: Option<PathBuf>,
    /// Where dm-land regions are kept.
    pub shm_dir: PathBuf,
    /// Where to record what happens.
    pub record: Option<PathBuf>,
    /// Whether to start the guests.
    pub launch: bool,
    /// The command that starts QEMU, in words.
    pub qemu: Vec<String>,
    /// Further arguments for each QEMU.
    pub qemu_args: Vec<String>,
}

/// The whole command line.
pub fn command() -> Command {
    let value = |id: &'static str, name: &'static str| Arg::new(id).long(id).value_name(name);
    let path =
        |id: &'static str, name: &'static str| value(id, name).value_parser(value_parser!(PathBuf));
    Command::new("ivshmem-emu")
        .version(env!("CARGO_PKG_VERSION"))
        .about("ACRN's shared memory regions for virtual machines of QEMU (10.1 or later)")
        .after_help(format!(
            "EXAMPLES\n{EXAMPLES}\n\nEXIT STATUS\n{EXIT_STATUS}\n\nENVIRONMENT\n{ENVIRONMENT}"
        ))
        .arg(value("region", "REGION").action(ArgAction::Append).help(
            "A region in ACRN's text form, such as 'hv:/shm_region_0, 2, 0:2': name, MB, virtual machines. Can be given several times",
        ))
        .arg(path("scenario", "FILE").conflicts_with("region").help(
            "A scenario: ACRN's XML of any release, or, if its name ends in .toml, TOML with the same fields",
        ))
        .arg(value("vm", "ID").action(ArgAction::Append).value_parser(value_parser!(u16)).help(
            "The virtual machine that the options -s after this one belong to",
        ))
        .arg(Arg::new("slot").short('s').value_name("SLOT,ivshmem,NAME,MB[,ID]").action(ArgAction::Append).help(
            "A device, as acrn-dm takes it; others than ivshmem are left out, and only their slots count. Regions dm:/ need no other configuration; regions hv:/ must be configured with the same size",
        ))
        .arg(value("flavour", "FLAVOUR").value_parser(value_parser!(Flavour)).default_value("acrn").help(
            "Whose devices the guests get: ACRN's, or another hypervisor's over the same memory",
        ))
        .arg(value("release", "RELEASE").value_parser(value_parser!(Release)).default_value("3.3").help(
            "The release of ACRN whose devices these are",
        ))
        .arg(Arg::new("ovmf").long("ovmf").action(ArgAction::SetTrue).help(
            "The guests boot with OVMF: acrn-dm then makes the memory of dm-land regions prefetchable",
        ))
        .arg(path("socket-dir", "DIR").help(
            "Where to put the sockets [default: a new directory, removed at the end]",
        ))
        .arg(path("shm-dir", "DIR").default_value("/dev/shm").help(
            "Where dm-land regions are kept. As with ACRN, nobody ever removes them",
        ))
        .arg(path("record", "FILE").help(
            "Append what guests do to configuration space, registers and doorbells, one line each",
        ))
        .arg(Arg::new("launch").long("launch").action(ArgAction::SetTrue).help(
            "Start the guests, show what they write, and end when they have ended. Without it, only print how to start them",
        ))
        .arg(value("qemu", "COMMAND").default_value("qemu-system-x86_64").help(
            "The command that starts QEMU, split at spaces",
        ))
        .arg(value("print-completions", "SHELL").value_parser(value_parser!(Shell)).exclusive(true).help(
            "Print a completion script for a shell, and exit",
        ))
        .arg(Arg::new("print-man-page").long("print-man-page").action(ArgAction::SetTrue).exclusive(true).help(
            "Print the manual page, and exit",
        ))
        .arg(Arg::new("qemu-args").value_name("QEMU-ARGUMENT").last(true).action(ArgAction::Append).help(
            "Further arguments for each QEMU; '{vm}' becomes the virtual machine's ID",
        ))
}

/// Writes the manual page.
fn man_page(out: &mut dyn Write) -> io::Result<()> {
    // What stands after the options would become one paragraph: it has lines and columns of its own.
    let mut command = command().after_help("");
    let usage = command.render_usage().to_string().replace('-', "\\-");
    let page = Man::new(command);
    page.render_title(out)?;
    page.render_name_section(out)?;
    // Not the library's, which lists all options, without their values.
    writeln!(out, ".SH SYNOPSIS\n{}", usage.trim_start_matches("Usage: "))?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    let sections = [
        ("EXAMPLES", EXAMPLES),
        ("EXIT STATUS", EXIT_STATUS),
        ("ENVIRONMENT", ENVIRONMENT),
    ];
    for (title, text) in sections {
        let text = text.replace('\\', "\\e").replace('-', "\\-");
        writeln!(out, ".SH \"{title}\"\n.nf\n{text}\n.fi")?;
    }
    Ok(())
}

/// Writes what the command line asks to print, if it does.
fn print(matches: &ArgMatches, out: &mut dyn Write) -> io::Result<bool> {
    if let Some(shell) = matches.get_one::<Shell>("print-completions") {
        let mut file = Vec::new();
        clap_complete::generate(*shell, &mut command(), "ivshmem-emu", &mut file);
        out.write_all(&file)?;
        return Ok(true);
    }
    let page = matches.get_flag("print-man-page");
    if page {
        man_page(out)?;
    }
    Ok(page)
}

impl Options {
    /// Reads the command line; ends the program on wrong usage. `None` if it was only to print something, which is done.
    pub fn parse() -> io::Result<Option<Self>> {
        let mut command = command();
        let matches = command.get_matches_mut();
        if print(&matches, &mut io::stdout())? {
            return Ok(None);
        }
        let options = Self::from_matches(&matches).unwrap_or_else(|message| {
            command
                .error(ErrorKind::MissingRequiredArgument, message)
                .exit()
        });
        Ok(Some(options))
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, &'static str> {
        let strings = |id: &str| -> Vec<String> {
            let values = matches.get_many::<String>(id).into_iter().flatten();
            values.cloned().collect()
        };
        let path = |id: &str| matches.get_one::<PathBuf>(id).cloned();
        let flavour = *matches.get_one("flavour").unwrap_or(&Flavour::Acrn);
        let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if flavour != Flavour::Acrn && (is_given("release") || is_given("ovmf")) {
            return Err("--release and --ovmf are about ACRN's devices: leave out --flavour");
        }
        let options = Self {
            flavour,
            regions: strings("region"),
            scenario: path("scenario"),
            slots: slots(matches)?,
            release: *matches.get_one("release").unwrap_or(&Release::V3_3),
            ovmf: matches.get_flag("ovmf"),
            socket_dir: path("socket-dir"),
            shm_dir: path("shm-dir").unwrap_or_default(),
            record: path("record"),
            launch: matches.get_flag("launch"),
            qemu: strings("qemu")
                .iter()
                .flat_map(|words| words.split_whitespace())
                .map(str::to_string)
                .collect(),
            qemu_args: strings("qemu-args"),
        };
        if options.qemu.is_empty() {
            return Err("--qemu needs a command: leave it out for qemu-system-x86_64");
        }
        match options.regions.is_empty() && options.scenario.is_none() && options.slots.is_empty() {
            true => Err("give at least one --region, a --scenario, or a -s after --vm"),
            false => Ok(options),
        }
    }
}

/// Each `-s` with the `--vm` before it.
fn slots(matches: &ArgMatches) -> Result<Vec<(u16, String)>, &'static str> {
    let vms: Vec<(usize, u16)> = match (matches.indices_of("vm"), matches.get_many("vm")) {
        (Some(indices), Some(values)) => indices.zip(values.copied()).collect(),
        _ => Vec::new(),
    };
    let (Some(indices), Some(values)) = (matches.indices_of("slot"), matches.get_many("slot"))
    else {
        return Ok(Vec::new());
    };
    let owner = |index: usize| vms.iter().rev().find(|(at, _)| *at < index);
    indices
        .zip(values)
        .map(|(index, text): (usize, &String)| match owner(index) {
            Some((_, vm)) => Ok((*vm, text.clone())),
            None => Err("say with --vm which virtual machine a -s belongs to, before the -s"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, &'static str> {
        let args = ["ivshmem-emu"].iter().chain(args);
        Options::from_matches(&command().get_matches_from(args))
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn slots_belong_to_the_machine_before_them() {
        let options = parse(&["--vm", "1", "-s", "a", "-s", "b", "--vm", "2", "-s", "c"]).unwrap();
        let expected = [(1, "a"), (1, "b"), (2, "c")].map(|(vm, text)| (vm, text.to_string()));
        assert_eq!(options.slots, expected);
        assert!(parse(&["-s", "a", "--vm", "1"])
            .unwrap_err()
            .contains("--vm"));
    }

    #[test]
    fn releases_are_acrn_s() {
        let region = ["--region", "r", "--flavour"];
        for (args, good) in [
            (&["acrn", "--release", "2.4", "--ovmf"][..], true),
            (&["stratovirt"], true),
            (&["stratovirt", "--release", "3.3"], false),
            (&["cloud-hypervisor", "--ovmf"], false),
        ] {
            assert_eq!(parse(&[&region, args].concat()).is_ok(), good, "{args:?}");
        }
    }

    #[test]
    fn nothing_to_do_is_wrong_usage() {
        assert!(parse(&[]).unwrap_err().contains("--region"));
        assert!(parse(&["--vm", "1"]).unwrap_err().contains("--region"));
    }

    #[test]
    fn arguments_for_qemu() {
        let options = parse(&["--region", "r", "--qemu", "a b", "--", "-m", "{vm}"]).unwrap();
        assert_eq!(options.qemu, ["a", "b"]);
        assert_eq!(options.qemu_args, ["-m", "{vm}"]);
    }
}
