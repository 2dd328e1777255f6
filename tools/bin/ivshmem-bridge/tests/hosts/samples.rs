// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The sample: a sensor at one host, a viewer at another one, and a program in Python that speaks Zenoh alone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::end::{End, Machines};
use super::link::{Hosts, ADDRESSES};
use super::path_in;

/// Temperatures that are measured.
const COUNT: &str = "8";

/// What a program has printed, killed when this is dropped.
struct Printing(Child);

impl Printing {
    fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    fn lines(&mut self) -> impl Iterator<Item = String> {
        let stdout = self.0.stdout.take().unwrap();
        BufReader::new(stdout).lines().map(Result::unwrap)
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("samples")
        .join(name)
}

/// The bridge of one host, with the sample's files, whose paths and address are replaced by the test's.
fn bridge(machines: &Machines, number: u32) -> End {
    let directory = machines.directory.path();
    let [config, zenoh] = ["bridge.toml", "zenoh.json5"].map(|name| path_in(directory, name));
    for (name, to, replaced) in [
        (
            format!("host{number}.toml"),
            &config,
            [
                ("\"demo\"", &machines.socket),
                ("\"/etc/ivshmem/zenoh.json5\"", &zenoh),
            ],
        ),
        (
            format!("zenoh{number}.json5"),
            &zenoh,
            [
                ("192.0.2.1", &ADDRESSES[0].to_string()),
                ("", &String::new()),
            ],
        ),
    ] {
        let mut text = std::fs::read_to_string(sample(&name)).unwrap();
        for (from, to) in replaced.into_iter().filter(|(from, _)| !from.is_empty()) {
            assert!(text.contains(from), "{name} has no {from}");
            let quoted = format!("{to:?}");
            text = text.replace(from, if from.starts_with('"') { &quoted } else { to });
        }
        std::fs::write(to, text).unwrap();
    }
    End::start(&format!("--config {config}"))
}

#[test]
fn a_sensor_is_seen_at_another_host_and_by_a_program_of_zenoh() {
    let python = std::env::var_os("ZENOH_PYTHON");
    let python =
        python.expect("ZENOH_PYTHON is a Python that has eclipse-zenoh: use `make test-bridge`");
    let sensor = vmbench::build::static_binary("ivshmem-channel-samples", "sensor").unwrap();
    let hosts = Hosts::new("");
    let (first, second) = (&hosts.first, &hosts.second);
    // They make the channel.
    let mut viewing = Command::new(&sensor);
    viewing.args([&second.machines.socket, "view"]);
    let mut viewing = Printing::start(&mut viewing);
    let mut here = first.act(|| bridge(&first.machines, 1));
    let mut there = second.act(|| bridge(&second.machines, 2));
    there.expect("joined");
    let mut watching = Command::new(python);
    watching.arg(sample("watch.py"));
    watching.arg(format!("tcp/{}:7447", ADDRESSES[0]));
    let mut watching = second.act(|| Printing::start(&mut watching));
    let mut watched = watching.lines();
    assert_eq!(watched.next().as_deref(), Some("connected"));
    let mut measuring = Command::new(&sensor);
    measuring.args([&first.machines.socket, "measure", COUNT]);
    let _measuring = Printing::start(&mut measuring);
    here.expect("joined");
    for seen in [viewing.lines().collect::<Vec<_>>(), watched.collect()] {
        // Newest values: some may be left out, but not the last one.
        let last = seen.last().expect("something is seen");
        assert_eq!(last, &format!("{COUNT}/{COUNT} 20.8"), "{seen:?}");
    }
    here.end();
    there.end();
}
