// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What cannot be is refused, with what to do.

use std::process::Command;

use super::host::{Host, BRIDGE};
use super::{path_in, PROGRAM};

const TO_ZENOH: &str = "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 0 }]";

#[test]
fn mistakes_in_the_files_are_told_with_their_lines() {
    let host = Host::new(&[]);
    let mistake =
        "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 0, polcy = \"drop\" }]";
    let (code, text) = host.bridge(mistake).failure();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("line 6"), "{text}");
    assert!(text.contains("unknown field `polcy`"), "{text}");

    let directory = tempfile::tempdir().unwrap();
    let [config, zenoh] = ["config", "zenoh.json5"].map(|name| path_in(directory.path(), name));
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    let lines = format!("[[channel]]\nsocket = \"demo\"\noffset = 0\nslot = 1\n{TO_ZENOH}");
    std::fs::write(&config, lines).unwrap();
    let (code, text) = run(&["--config", &config]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--zenoh-config"), "{text}");
    let with_zenoh = ["--config", &config, "--zenoh-config", &zenoh];
    std::fs::write(&zenoh, "{ mode: \"rooter\" }").unwrap();
    let (code, text) = run(&with_zenoh);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("zenoh.json5"), "{text}");
    let (code, text) = run(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--config"), "{text}");
}

#[test]
fn values_cannot_go_round() {
    let mut host = Host::new(&[]);
    let _program = host.program();
    // What it writes itself.
    let own = "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 1 }]";
    let mut bridge = host.bridge(own);
    let away = bridge.expect("away")["reason"].to_string();
    let told = format!("another slot than {BRIDGE} publishes it");
    assert!(away.contains(&told), "{away}");
    bridge.end();
    // What another bridge writes.
    let mut first = host.bridge(TO_ZENOH);
    first.expect("joined");
    let other = Host::new(&[]);
    host.zenoh.clone_from(&other.zenoh);
    let mut second = host.bridge(TO_ZENOH);
    let away = second.expect("away")["reason"].to_string();
    assert!(
        away.contains("another bridge carries this channel"),
        "{away}"
    );
    // Once that has ended, it takes its place.
    first.end();
    second.expect("joined");
    second.end();
}
