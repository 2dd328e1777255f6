// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The samples in C and in Rust, each run as `samples/README` says, in two guests on one region.

use std::path::Path;

use guest_tests::artefacts::{self, Kernel};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Device, Guest, Region, Status};

use crate::guests::impostor::Impostor;
use crate::guests::python;

#[path = "samples/more.rs"]
mod more;

/// The samples in one language.
#[derive(Clone, Copy)]
struct Language {
    /// Where they are in the guests.
    directory: &'static str,
    /// Those that need no second machine, beside what each language [has](ALONE).
    alone: &'static [&'static str],
    in_pairs: &'static [&'static str],
    /// What they say to a file that is no device.
    no_device: &'static str,
}

/// Samples that need no second machine, in each language.
const ALONE: [&str; 7] = [
    "map",
    "ring_doorbell",
    "read_events",
    "wait_poll",
    "wait_eventfd",
    "wait_word",
    "event_page",
];

const C: Language = Language {
    directory: "/bin",
    alone: &["acrn_eventfd", "rt_latency", "two_devices"],
    in_pairs: &[
        "survive",
        "ring_many",
        "hello_send",
        "hello_receive",
        "pingpong",
        "histogram_measure",
        "histogram_show",
        "frame_send",
        "frame_receive",
    ],
    no_device: "no ivshmem device",
};

const RUST: Language = Language {
    directory: "/rust",
    alone: &["wait_async"],
    in_pairs: &["channel"],
    no_device: "is no node of the driver",
};

impl Language {
    fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.alone().chain(self.in_pairs.iter().copied())
    }

    /// Those that need no second machine, in the order in which they are run.
    fn alone(&self) -> impl Iterator<Item = &'static str> {
        ALONE.iter().chain(self.alone).copied()
    }

    /// A line for the shell, in which the names are those of this language.
    fn script(&self, line: &str) -> [String; 3] {
        let line = format!("PATH={}:$PATH; {line}", self.directory);
        ["sh".into(), "-c".into(), line]
    }
}

/// Two pictures of 1920x1080 need 16 MiB.
const SIZE: u64 = 16 << 20;

type Case = fn(&Fleet) -> Result<(), Failed>;
type CaseOfEach = fn(&Fleet, &Language) -> Result<(), Failed>;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let mut builder = kernel
        .guest()
        .memory_mib(384) // for all the programs
        .module(kernel.module()?)
        .file(artefacts::sample_script("ktap")?, "/bin/ktap");
    for name in C.programs() {
        builder = builder.file(kernel.program(name)?, format!("{}/{name}", C.directory));
    }
    builder = builder.file(kernel.program("hello")?, "/bin/hello");
    let runs_x86 = kernel.runs_x86()?;
    if runs_x86 {
        builder = builder.file(kernel.program("greet")?, "/bin/greet");
    }
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, 8)?;
        let mut guest = builder.clone().device(Device::doorbell(&region));
        let names: Vec<_> = RUST.programs().collect();
        let built = builder.static_binaries("ivshmem-samples", &names)?;
        for name in names {
            guest = guest.file(built.join(name), format!("{}/{name}", RUST.directory));
        }
        let second = Device::doorbell(&region);
        let guests = boot_all(&[guest.clone().device(second).name("a"), guest.name("b")])?;
        let world = Box::new(region);
        Ok(Fleet { guests, world })
    });
    let of_each: [(&str, CaseOfEach); 5] = [
        ("alone_they_all_pass_and_report_as_ktap", alone),
        ("errors_say_what_to_do", errors),
        ("text_written_in_one_is_read_in_the_other", text),
        ("each_way_to_wait_hears_the_other", waits),
        ("word_changes", word),
    ];
    let cases: [(&str, Case); 14] = [
        ("hello_of_the_readme_is_heard", hello),
        (
            "who_survives_removal_goes_on_when_the_device_is_back",
            survive,
        ),
        (
            "one_loop_hears_two_devices_and_goes_on_without_one",
            more::two_devices,
        ),
        ("one_call_rings_all_others", more::ring_many),
        ("host_peer_hears_and_greets_a_machine", more::host_peer),
        ("event_loop_made_for_acrn_hears_eight_rings", acrn_loop),
        ("letter_is_answered", letter),
        ("round_trips_are_counted", round_trips),
        ("histogram_arrives_as_it_was_measured", histogram),
        ("real_time_latency_asleep_and_spinning", latency),
        ("frames_arrive_as_png", frames),
        ("impostors_frame_and_report_are_refused", refused),
        ("impostors_letter_is_cut", cut),
        ("rust_channel_brings_what_two_say", channel),
    ];
    let mut trials = Vec::new();
    for (prefix, language) in [("", C), ("rust_", RUST)] {
        for (name, case) in of_each {
            let name = format!("samples::{prefix}{name}");
            trials.push(lab.trial(name, move |fleet| case(fleet, &language)));
        }
    }
    for (name, case) in cases {
        trials.push(lab.trial(format!("samples::{name}"), case));
    }
    // Python is the host's, and the compiler for C++ makes programs for x86.
    if runs_x86 {
        trials.push(lab.trial(
            "samples::greet_and_hello_understand_each_other",
            more::greet,
        ));
        trials.push(python::trial()?);
    }
    Ok(trials)
}

fn expect(condition: bool, what: &str, text: &str) -> Result<(), Failed> {
    match condition {
        true => Ok(()),
        false => Err(format!("{what}:\n{text}").into()),
    }
}

fn run(guest: &Guest, line: &str) -> Result<String, Failed> {
    let output = guest.run(line.split_whitespace())?.check()?;
    Ok(output.stdout_text())
}

/// Runs one command in each guest at the same time, and returns what they printed.
fn both(fleet: &Fleet, a: &str, b: &str) -> Result<(String, String), Failed> {
    let b = fleet.guests[1].command(b.split_whitespace()).spawn()?;
    let a = fleet.guests[0].command(a.split_whitespace()).run();
    let b = b.wait()?;
    Ok((a?.check()?.stdout_text(), b.check()?.stdout_text()))
}

fn alone(fleet: &Fleet, language: &Language) -> Result<(), Failed> {
    let names = language.alone();
    let programs: Vec<_> = names
        .map(|name| format!("{}/{name}", language.directory))
        .collect();
    let report = run(&fleet.guests[0], &format!("ktap {}", programs.join(" ")))?;
    let plan = format!("1..{}", programs.len());
    expect(
        report.lines().take(2).eq(["KTAP version 1", &plan]),
        "no plan",
        &report,
    )?;
    let results = report.lines().filter(|line| line.contains("ok "));
    let wanted = (1..).zip(language.alone());
    let wanted = wanted.map(|(n, name)| format!("ok {n} {name}"));
    expect(results.eq(wanted), "not all passed", &report)
}

/// What a program is given, how it ends, and what it says.
const ERRORS: [(&str, i32, &str); 4] = [
    ("-d /dev/ivshmem9", 4, "modprobe ivshmem_rs"),
    ("-x", 2, "usage:"),
    ("1 2 3", 2, "usage:"),
    ("-h", 0, "usage:"),
];

fn errors(fleet: &Fleet, language: &Language) -> Result<(), Failed> {
    let no_device = ("-d /dev/null", 1, language.no_device);
    for name in language.programs() {
        for (arguments, code, text) in ERRORS.into_iter().chain([no_device]) {
            let argv = format!("{}/{name} {arguments}", language.directory);
            let output = fleet.guests[0].run(argv.split_whitespace())?;
            let said = output.stdout_text() + &output.stderr_text();
            let as_wanted = output.status == Status::Code(code) && said.contains(text);
            expect(as_wanted, &format!("{argv}: {:?}", output.status), &said)?;
        }
    }
    Ok(())
}

fn text(fleet: &Fleet, language: &Language) -> Result<(), Failed> {
    let map = format!("{}/map", language.directory);
    let text = format!("from machine A by {map}");
    fleet.guests[0].run([&map, &text])?.check()?;
    let read = run(&fleet.guests[1], &map)?;
    expect(read == text, "another text", &read)
}

/// The peer ID that a program tells: "this is peer 1, waiting".
fn peer(line: &str) -> Result<String, Failed> {
    let id = line.strip_prefix("this is peer ").unwrap_or(line);
    let id: String = id.chars().take_while(char::is_ascii_digit).collect();
    expect(!id.is_empty(), "no peer ID", line)?;
    Ok(id)
}

/// Programs that wait to be rung, the vector to ring, and what they print.
const WAITS: [(&str, u32, &str); 4] = [
    ("read_events -w", 5, "vector 5: count 1"),
    // Its other descriptor is the standard input, which would be at its end.
    (
        "[ -p /tmp/keys ] || mkfifo /tmp/keys; wait_poll -w <>/tmp/keys",
        6,
        "vector 6 was rung",
    ),
    ("wait_eventfd -w", 0, "vector 0: 1 interrupts"),
    ("event_page -w", 0, "vector 0: interrupt"),
];

fn waits(fleet: &Fleet, language: &Language) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let rust_only = ("wait_async -w", 3, "vector 3: count 1");
    let more = (language.alone.contains(&"wait_async")).then_some(rust_only);
    for (script, vector, wanted) in WAITS.into_iter().chain(more) {
        let mut waiter = b.command(language.script(script)).spawn()?;
        let id = peer(&waiter.wait_for_output("this is peer")?)?;
        run(
            a,
            &format!("{}/ring_doorbell {id} {vector}", language.directory),
        )?;
        let said = waiter.wait()?.check()?.stdout_text();
        expect(said.contains(wanted), script, &said)?;
    }
    Ok(())
}

fn acrn_loop(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let mut waiter = b.command(["acrn_eventfd", "-w"]).spawn()?;
    let id = peer(&waiter.wait_for_output("this is peer")?)?;
    for vector in 0..8 {
        run(a, &format!("ring_doorbell {id} {vector}"))?;
        waiter.wait_for_output(&format!("vector {vector}: 1 interrupts"))?;
    }
    waiter.wait()?.check()?;
    Ok(())
}

fn word(fleet: &Fleet, language: &Language) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let program = format!("{}/wait_word", language.directory);
    let mut waiter = b.command([&program, "-w"]).spawn()?;
    let id = peer(&waiter.wait_for_output("waiting while")?)?;
    run(a, &format!("{program} {id}"))?;
    let said = waiter.wait()?.check()?.stdout_text();
    expect(said.contains("the word was"), "no change", &said)
}

/// From two senders: in the other guest, and in the listener's own.
fn channel(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let mut listener = b.command(["/rust/channel", "2"]).spawn()?;
    listener.wait_for_output("listening")?;
    run(a, "/rust/channel 1 good-morning")?;
    run(b, "/rust/channel 2 good-evening")?;
    let said = listener.wait()?.check()?.stdout_text();
    for wanted in ["slot 1 says: good-morning", "slot 2 says: good-evening"] {
        expect(said.contains(wanted), "not heard", &said)?;
    }
    Ok(())
}

fn hello(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let mut waiter = b.command(["hello"]).spawn()?;
    let said = waiter.wait_for_output("another guest")?;
    let command = said.split('"').nth(1).unwrap_or_default();
    expect(command.starts_with("hello "), "no command", &said)?;
    run(a, command)?;
    let heard = waiter.wait()?.check()?.stdout_text();
    expect(
        heard.contains("vector 0: hello from peer "),
        "not heard",
        &heard,
    )
}

fn survive(fleet: &Fleet) -> Result<(), Failed> {
    let b = &fleet.guests[1];
    let mut survivor = b.command(["survive", "2"]).spawn()?;
    survivor.wait_for_output("looking at ")?;
    let driver = "/sys/bus/pci/drivers/ivshmem_rs";
    let address = b.shell(&format!("basename {driver}/0000:*"))?.check()?;
    let address = address.stdout_text();
    for _ in 0..2 {
        b.shell(&format!("echo {address} >{driver}/unbind"))?
            .check()?;
        survivor.wait_for_output("the device is gone")?;
        b.shell(&format!("echo {address} >{driver}/bind"))?
            .check()?;
        survivor.wait_for_output("the device is back, as peer ")?;
    }
    survivor.wait()?.check()?;
    Ok(())
}

fn letter(fleet: &Fleet) -> Result<(), Failed> {
    let (sent, received) = both(fleet, "hello_send Good-morning", "hello_receive")?;
    expect(
        received.contains(": Good-morning"),
        "another letter",
        &received,
    )?;
    expect(sent.contains(" got: Good-morning"), "no answer", &sent)
}

fn round_trips(fleet: &Fleet) -> Result<(), Failed> {
    let (table, _) = both(fleet, "pingpong 0 200", "pingpong 1 200")?;
    let cells = table.lines().nth(1).unwrap_or_default().split_whitespace();
    let numbers: Vec<f64> = cells.filter_map(|cell| cell.parse().ok()).collect();
    let sorted = numbers.len() == 5 && numbers[0] == 200.0 && numbers[1..].is_sorted();
    expect(sorted && numbers[1] > 0.0, "no such table", &table)
}

/// The sum over the lines of a printed histogram: "     128 us       17 ####".
fn counted<'a>(lines: impl Iterator<Item = &'a str>) -> u64 {
    let count = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "us", count, ..] => count.parse::<u64>().ok(),
        _ => None,
    };
    lines.filter_map(count).sum()
}

fn histogram(fleet: &Fleet) -> Result<(), Failed> {
    let (measured, shown) = both(fleet, "histogram_measure 500", "histogram_show")?;
    expect(
        measured.starts_with("wake-ups: 500, "),
        "not 500",
        &measured,
    )?;
    let last = shown.lines().rfind(|line| line.starts_with("wake-ups:"));
    expect(last == Some(&measured), "another result", &shown)?;
    expect(counted(shown.lines()) == 500, "bars of another sum", &shown)
}

fn latency(fleet: &Fleet) -> Result<(), Failed> {
    let (table, echo) = both(fleet, "rt_latency 200 0", "rt_latency 200 1")?;
    expect(echo.is_empty(), "the other one measures too", &echo)?;
    for way in ["sleeping: 200, min", "spinning: 200, min"] {
        let lines = table.lines().skip_while(|line| !line.starts_with(way));
        let bars = lines.skip(1).take_while(|line| line.contains(" us "));
        let bars = bars.take_while(|line| !line.contains("min"));
        expect(counted(bars) == 200, way, &table)?;
    }
    Ok(())
}

/// Points of the test picture away from the box: the bars from left to right, and the ends of the ramp.
const POINTS: [(u32, u32, [u8; 3]); 10] = [
    (120, 300, [255, 255, 255]),
    (360, 300, [255, 255, 0]),
    (600, 300, [0, 255, 255]),
    (840, 300, [0, 255, 0]),
    (1080, 300, [255, 0, 255]),
    (1320, 300, [255, 0, 0]),
    (1560, 300, [0, 0, 255]),
    (1800, 300, [0, 0, 0]),
    (0, 1079, [0, 0, 0]),
    (1919, 1079, [255, 255, 255]),
];
const BOX_COLOUR: [u8; 3] = [255, 128, 0];

fn frames(fleet: &Fleet) -> Result<(), Failed> {
    both(fleet, "frame_send 3", "frame_receive /tmp")?;
    for number in 0..3 {
        let name = format!("frame-{number}.png");
        let bytes = fleet.guests[1].read_file(&format!("/tmp/{name}"))?;
        // Kept, to be looked at.
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name), &bytes)?;
        check_picture(&bytes, number).map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(())
}

/// Decodes with a library that checks all checksums, and looks at the colours.
fn check_picture(bytes: &[u8], number: u32) -> Result<(), String> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_checksums(false);
    let decoder = png::Decoder::new_with_options(std::io::Cursor::new(bytes), options);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("too large")?];
    let info = reader
        .next_frame(&mut pixels)
        .map_err(|error| error.to_string())?;
    reader.finish().map_err(|error| error.to_string())?;
    if (info.width, info.height, info.line_size) != (1920, 1080, 1920 * 3) {
        return Err(format!("another size: {info:?}"));
    }
    let in_box = (number * 120 + 60, 510, BOX_COLOUR);
    for (x, y, wanted) in POINTS.into_iter().chain([in_box]) {
        let at = y as usize * info.line_size + x as usize * 3;
        if pixels[at..at + 3] != wanted {
            return Err(format!("{:?} at {x}, {y}", &pixels[at..at + 3]));
        }
    }
    Ok(())
}

/// What an impostor writes into the places of a sender, and what the receiver says to it.
fn refused(fleet: &Fleet) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("no region")?;
    let guest = &fleet.guests[1];
    let frame = |memory: &Impostor, session: u32| {
        // Width, height, bytes of a line, last: lines that overlap the end of the slot.
        memory.write_words(640, &[1920, 1080, 1 << 30, 1])?;
        memory.write_words(512, &[session + 1])
    };
    let said = deceive(region, guest, "frame_receive /tmp", frame)?;
    expect(
        said.contains("in lines of 1073741824 bytes"),
        "a frame",
        &said,
    )?;

    let report = |memory: &Impostor, session: u32| {
        // Session, last, three times, samples, steps: more samples than the steps count.
        let mut words = [0; 2 + 6 + 1 + 21];
        (words[0], words[8], words[9]) = (session, 10, 9);
        memory.write_words(520, &words)?;
        memory.write_words(512, &[2])
    };
    let said = deceive(region, guest, "histogram_show", report)?;
    expect(said.contains("contradicts itself"), "a report", &said)
}

type Lie = fn(&Impostor, u32) -> std::io::Result<()>;

/// Runs a receiver against an impostor; it must end with 1. Returns what it says.
fn deceive(region: &Region, guest: &Guest, line: &str, lie: Lie) -> Result<String, Failed> {
    let memory = Impostor::new(region)?;
    let receiver = guest.command(line.split_whitespace()).spawn()?;
    let session = memory.meet(lie)?;
    let output = receiver.wait()?;
    let said = output.stderr_text();
    let title = format!("{line}, session {session}: {:?}", output.status);
    expect(output.status == Status::Code(1), &title, &said)?;
    Ok(said)
}

fn cut(fleet: &Fleet) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("no region")?;
    let memory = Impostor::new(region)?;
    let receiver = fleet.guests[1].command(["hello_receive"]).spawn()?;
    memory.meet(|memory, session| {
        let mut letter = [u32::from_le_bytes(*b"ABCD"); 2 + 300];
        (letter[0], letter[1]) = (session, u32::MAX);
        memory.write_words(512, &letter)
    })?;
    let said = receiver.wait()?.check()?.stdout_text();
    let first = said.lines().next().unwrap_or_default();
    // The place for a text has 1000 bytes.
    let letters = first.chars().filter(|c| "ABCD".contains(*c)).count();
    expect(letters == 1000, "not what fits", &said)
}
