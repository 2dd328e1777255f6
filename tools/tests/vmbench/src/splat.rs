// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Finds what a kernel says when something is wrong.

/// A kernel message that no healthy run has, with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splat {
    /// The line that gives it away.
    pub title: String,
    /// That line and the report below it, up to the end-of-trace mark or [`Splat::MAX_LINES`].
    pub text: String,
}

impl Splat {
    /// How many lines of a report are kept.
    pub const MAX_LINES: usize = 64;
}

/// A line that holds all pieces of a row, in any order, starts a splat.
const SIGNS: [&[&str]; 25] = [
    &["WARNING:"],
    &["BUG:"],
    &["kernel BUG at"],
    &["Oops:"],
    &["Kernel panic"],
    &["panicked at"],
    &["Call Trace:"],
    &["general protection fault"],
    &["unable to handle"],
    &["invalid opcode:"],
    &["divide error:"],
    &["stack segment:"],
    &["UBSAN:"],
    &["KFENCE:"],
    &["KASAN:"],
    &["KCSAN:"],
    &["refcount_t:"],
    &["INFO: task", "blocked for more than"],
    &["INFO: trying to register non-static key"],
    &["rcu:", "stall"],
    &["soft lockup"],
    &["hard LOCKUP"],
    &["list_add corruption"],
    &["list_del corruption"],
    &["kmemleak:", "new suspected memory leaks"],
];

/// The kernel ends most reports with this.
const END: &str = "---[ end ";

/// Returns the splats in a kernel log, in order. Further signs within one report belong to it.
pub fn find(log: &str) -> Vec<Splat> {
    let mut splats = Vec::new();
    let mut lines = log.lines();
    while let Some(title) = lines.by_ref().find(|line| is_sign(line)) {
        let mut text = title.to_string();
        for line in lines.by_ref().take(Splat::MAX_LINES - 1) {
            text.push('\n');
            text.push_str(line);
            if line.contains(END) {
                break;
            }
        }
        splats.push(Splat {
            title: title.to_string(),
            text,
        });
    }
    splats
}

fn is_sign(line: &str) -> bool {
    SIGNS
        .iter()
        .any(|pieces| pieces.iter().all(|piece| line.contains(piece)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_log_has_none() {
        let log = "[    0.000000] Linux version 7.3.4\n\
                   [    0.100000] rcu: Preemptible hierarchical RCU implementation.\n\
                   [    0.200000] ivshmem_rs: loading out-of-tree module taints kernel.\n\
                   [    0.300000] Run /init as init process\n";
        assert_eq!(find(log), []);
    }

    #[test]
    fn each_sign_is_found() {
        for line in [
            "WARNING: CPU: 0 PID: 61 at kernel/workqueue.c:2336 x+0x1/0x2",
            "BUG: sleeping function called from invalid context at a.c:1",
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "WARNING: possible circular locking dependency detected",
            "Oops: 0002 [#1] SMP NOPTI",
            "UBSAN: array-index-out-of-bounds in a.c:1:2",
            "refcount_t: underflow; use-after-free.",
            "Oops: general protection fault, probably for non-canonical address 0x1: 0000",
            "INFO: task cat:77 blocked for more than 120 seconds.",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]",
            "Kernel panic - not syncing: sysrq triggered crash",
            "rust_kernel: panicked at samples/rust/a.rs:30:9:",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            " Call Trace:",
        ] {
            let log = format!("[    1.0] fine\n[    2.0] {line}\n[    3.0] fine\n");
            let splats = find(&log);
            assert_eq!(splats.len(), 1, "{line}");
            assert_eq!(splats[0].title, format!("[    2.0] {line}"));
        }
    }

    #[test]
    fn a_report_is_one_splat_and_ends_at_its_mark() {
        let log = "x\nWARNING: CPU: 0\n Call Trace:\n <TASK>\n---[ end trace 0 ]---\n\
                   fine\nBUG: again\n Call Trace:\n---[ end trace 1 ]---\n";
        let splats = find(log);
        assert_eq!(splats.len(), 2);
        assert_eq!(
            splats[0].text,
            "WARNING: CPU: 0\n Call Trace:\n <TASK>\n---[ end trace 0 ]---"
        );
        assert_eq!(splats[1].title, "BUG: again");
    }

    #[test]
    fn a_report_without_an_end_is_cut() {
        let log = format!("BUG: x\n{}", "line\n".repeat(500));
        let splats = find(&log);
        assert_eq!(splats.len(), 1);
        assert_eq!(splats[0].text.lines().count(), Splat::MAX_LINES);
    }
}
