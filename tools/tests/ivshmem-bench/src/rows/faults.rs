// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Mapping the shared memory.

use super::{count, row, Group};

const METHOD: &str = "One byte of each 4 KiB is written; mmap() is a part of it. The rivals' memory is there before, as the shared \
    memory is. Faults are those that getrusage() counts, with those of the process itself.";

/// With page structures.
pub static LOW: Group = Group {
    name: "below 4 GiB",
    title: "Mapping the memory, which lies below 4 GiB (page structures)",
    stage: "low",
    method: METHOD,
    limits: "Caches and the cost of a TLB miss are not counted: large pages bring more than these numbers say.",
    rows: ROWS,
};

/// With page frames.
pub static HIGH: Group = Group {
    name: "above 4 GiB",
    title: "Mapping the memory, which lies above 4 GiB (page frames)",
    stage: "high",
    method: METHOD,
    limits: "As the group before.",
    rows: ROWS,
};

const ROWS: &[super::Row] = &[
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.memfd_hugetlb.touch",
        "memfd of large pages",
    )
    .goal(1.1),
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.memfd_thp.touch",
        "memfd, transparent large pages",
    ),
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.memfd.touch",
        "memfd, 4 KiB pages",
    ),
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.vfio.touch",
        "vfio-pci, BAR2",
    ),
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.vfio_aligned.touch",
        "vfio-pci, BAR2, aligned by hand",
    ),
    row(
        "map and touch 64 MiB",
        "faults.ours.touch",
        "faults.resource2.touch",
        "sysfs resource2",
    ),
    row(
        "map with MAP_POPULATE and touch",
        "faults.ours_populate.touch",
        "faults.memfd_hugetlb.touch",
        "memfd of large pages, touched",
    ),
    row(
        "map and touch at an address off by 4 KiB",
        "faults.ours_off_by_a_page.touch",
        "faults.vfio_off_by_a_page.touch",
        "vfio-pci, BAR2, the same",
    ),
    count("faults of 64 MiB", "faults.ours.faults").goal(40.0),
    count(
        "faults at an address off by 4 KiB",
        "faults.ours_off_by_a_page.faults",
    )
    .goal(40.0),
    count("faults with MAP_POPULATE", "faults.ours_populate.faults"),
    count("faults of vfio-pci, BAR2", "faults.vfio.faults"),
    row(
        "unmap 64 MiB",
        "faults.ours.unmap",
        "faults.memfd_hugetlb.unmap",
        "memfd of large pages",
    ),
    row(
        "unmap 64 MiB",
        "faults.ours.unmap",
        "faults.vfio_aligned.unmap",
        "vfio-pci, BAR2, aligned by hand",
    ),
    row(
        "fork with 64 MiB",
        "faults.ours.fork",
        "faults.memfd_hugetlb.fork",
        "memfd of large pages",
    ),
    row(
        "fork with 64 MiB",
        "faults.ours.fork",
        "faults.vfio_aligned.fork",
        "vfio-pci, BAR2, aligned by hand",
    ),
    row(
        "touch 64 MiB in the child",
        "faults.ours.touch_in_child",
        "faults.memfd_hugetlb.touch_in_child",
        "memfd of large pages",
    ),
];
