// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The tutorial's two examples, as people run them: `samples/acrn`.

use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::contains;

pub fn cases() -> Vec<Trial> {
    let script = |name: &'static str, expected: &'static [&str]| {
        Trial::test(format!("acrn::samples_acrn_{name}"), move || {
            run(name, expected)
        })
    };
    vec![
        script(
            "dm-land",
            &[
                "[VM1] 00:06.0 RAM memory: Red Hat, Inc. ",
                "[VM2] 00:05.0 RAM memory: Red Hat, Inc. ",
                "[VM2] VM2 reads: Hello from VM1, through the device model",
                "[VM2] the exit status is 0",
            ],
        ),
        script(
            "hv-land",
            &[
                "[VM0] 00:08.0 RAM memory: Red Hat, Inc. ",
                "[VM2] 00:05.0 RAM memory: Red Hat, Inc. ",
                "[VM0] from peer 2: Hello from VM2, through the hypervisor",
                "[VM2] from peer 0: Peer 0 got: Hello from VM2, through the hypervisor",
                "[VM2] the exit status is 0",
            ],
        ),
    ]
}

/// Runs a script until its machines have ended; it must succeed and have written these texts.
fn run(name: &str, expected: &[&str]) -> Result<(), Failed> {
    let script = vmbench::checkout().join("samples/acrn").join(name);
    // A `make` that runs this test passes its options on; the script's own `make` is not its child.
    let output = Command::new(script).env_remove("MAKEFLAGS").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}\n{text}{errors}", output.status).into());
    }
    expected.iter().try_for_each(|part| contains(&text, part))
}
