// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Page faults of several threads at once.

use super::{row, Group};

/// By the wall clock: instructions do not wait for locks.
pub static GROUP: Group = Group {
    name: "threads",
    title: "Touching 64 MiB with several threads",
    stage: "wall",
    method: "Each thread touches its own stretch; the time from when all start to when the last has ended, by the host's \
             clock, in a guest of four processors. The tenth percentiles of the runs are compared.",
    limits: "Noisy where the host is busy or has less than four processors.",
    rows: &[
        row("4 KiB faults, 1 thread", "faults.ours_off_by_a_page.touch_1", "faults.vfio_off_by_a_page.touch_1", "vfio-pci").p10(),
        row("4 KiB faults, 2 threads", "faults.ours_off_by_a_page.touch_2", "faults.vfio_off_by_a_page.touch_2", "vfio-pci").p10(),
        row("4 KiB faults, 4 threads", "faults.ours_off_by_a_page.touch_4", "faults.vfio_off_by_a_page.touch_4", "vfio-pci").p10().goal(1.0),
        row("4 KiB faults, 4 threads", "faults.ours_off_by_a_page.touch_4", "faults.memfd.touch_4", "memfd").p10(),
        row("4 KiB faults, 4 threads", "faults.ours_off_by_a_page.touch_4", "faults.ours_off_by_a_page.touch_1", "1 thread").p10(),
        row("4 KiB faults of vfio-pci, 4 threads", "faults.vfio_off_by_a_page.touch_4", "faults.vfio_off_by_a_page.touch_1", "1 thread").p10(),
        row("2 MiB faults, 1 thread", "faults.ours.touch_1", "faults.vfio_aligned.touch_1", "vfio-pci, aligned by hand").p10(),
        row("2 MiB faults, 2 threads", "faults.ours.touch_2", "faults.vfio_aligned.touch_2", "vfio-pci, aligned by hand").p10(),
        row("2 MiB faults, 4 threads", "faults.ours.touch_4", "faults.vfio_aligned.touch_4", "vfio-pci, aligned by hand").p10(),
    ],
};
