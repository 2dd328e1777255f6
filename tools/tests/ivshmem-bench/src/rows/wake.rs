// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! From the interrupt to the program, in eight ways.

use crate::row::{row, Group};

const INJECTED: &str = "A helper module makes the very interrupt pending with irq_inject_interrupt() while interrupts are \
    off, reads the time stamp counter, and lets it through: the vector, the flow handler and the driver's handler are \
    the real ones. It ends when the program has the event.";

const LIST: &str = "The handler is what it costs more: see \"handler: 1 eventfd\". All else is an eventfd on both sides.";

const QUEUE: &str = "Between the vector's queue and the sleeper is that of the file, so that a poller stays in one queue while the \
    subscription changes, and a reader of many vectors enters one: one more call of __wake_up(), 140 instructions. WAIT, which \
    sleeps in the vector's queue, has what would be left.";

/// Asleep, on a CPU that runs another.
pub static ASLEEP: Group = Group {
    name: "asleep",
    title: "From the interrupt to a program that sleeps",
    stage: "low",
    method: INJECTED,
    limits: "The consumer has a real-time priority and is on the CPU that the interrupt comes to: no other CPU is woken.",
    rows: &[
        row("eventfd", "wake.asleep.eventfd", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd").goal(1.02).missed_because(LIST),
        row("read", "wake.asleep.read", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd").goal(1.06).missed_because(QUEUE),
        row("WAIT", "wake.asleep.WAIT", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd").goal(1.06),
        row("WAIT_WORD", "wake.asleep.WAIT_WORD", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd").goal(1.06),
        row("poll, then read", "wake.asleep.poll_read", "wake.asleep.vfio_poll_eventfd", "vfio-pci, poll, then eventfd").goal(1.05).missed_because(QUEUE),
        row("epoll, then read", "wake.asleep.epoll_read", "wake.asleep.vfio_epoll_eventfd", "vfio-pci, epoll, then eventfd").goal(1.05).missed_because(QUEUE),
        row("WAIT with a time limit", "wake.asleep.WAIT_1s", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd"),
        row("WAIT with a time limit", "wake.asleep.WAIT_1s", "wake.asleep.vfio_poll_eventfd", "vfio-pci, poll, then eventfd"),
        row("read, subscribed to 8 vectors", "wake.asleep.read_all_vectors", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd"),
        row("eventfd", "wake.asleep.eventfd", "wake.asleep.floor_eventfd", "eventfd, thread to thread"),
        row("eventfd", "wake.asleep.eventfd", "wake.asleep.floor_futex", "futex, thread to thread"),
    ],
};

/// Looking when the interrupt comes.
pub static LOOKING: Group = Group {
    name: "looking",
    title: "From the interrupt to a program that looks",
    stage: "low",
    method: INJECTED,
    limits: "The program is the one that was interrupted, and looks once. A program that spins on another CPU cannot be \
             timed by instructions, for emulated CPUs take turns.",
    rows: &[
        row("event page", "wake.looking.event_page", "wake.looking.vfio_eventfd", "vfio-pci, eventfd").goal(0.45),
        row("eventfd", "wake.looking.eventfd", "wake.looking.vfio_eventfd", "vfio-pci, eventfd"),
        row("read", "wake.looking.read", "wake.looking.vfio_eventfd", "vfio-pci, eventfd"),
        row("WAIT", "wake.looking.WAIT", "wake.looking.vfio_eventfd", "vfio-pci, eventfd"),
        row("WAIT_WORD", "wake.looking.WAIT_WORD", "wake.looking.vfio_eventfd", "vfio-pci, eventfd"),
        row("poll, then read", "wake.looking.poll_read", "wake.looking.vfio_poll_eventfd", "vfio-pci, poll, then eventfd"),
        row("epoll, then read", "wake.looking.epoll_read", "wake.looking.vfio_epoll_eventfd", "vfio-pci, epoll, then eventfd"),
        row("event page", "wake.looking.event_page", "wake.asleep.vfio_eventfd", "vfio-pci, eventfd, asleep"),
    ],
};

/// Asleep, and the CPU is idle.
pub static IDLE: Group = Group {
    name: "idle",
    title: "From the interrupt to a program that sleeps on an idle CPU",
    stage: "low",
    method:
        "As the group before; the interrupt is raised by a timer while the CPU has nothing to do.",
    limits: "The emulated CPU wakes from its halt in no time; a real one needs microseconds.",
    rows: &[
        row(
            "eventfd",
            "wake.idle.eventfd",
            "wake.idle.vfio_eventfd",
            "vfio-pci, eventfd",
        ),
        row(
            "read",
            "wake.idle.read",
            "wake.idle.vfio_eventfd",
            "vfio-pci, eventfd",
        ),
        row(
            "WAIT",
            "wake.idle.WAIT",
            "wake.idle.vfio_eventfd",
            "vfio-pci, eventfd",
        ),
        row(
            "WAIT_WORD",
            "wake.idle.WAIT_WORD",
            "wake.idle.vfio_eventfd",
            "vfio-pci, eventfd",
        ),
        row(
            "poll, then read",
            "wake.idle.poll_read",
            "wake.idle.vfio_poll_eventfd",
            "vfio-pci, poll, then eventfd",
        ),
        row(
            "epoll, then read",
            "wake.idle.epoll_read",
            "wake.idle.vfio_epoll_eventfd",
            "vfio-pci, epoll, then eventfd",
        ),
    ],
};
