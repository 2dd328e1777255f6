// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Channels between programs of one host, beside what else moves bytes there.

use crate::row::{count, row, Group};

const MEMCPY: &str = "memcpy twice, one thread";
const PIPE: &str = "pipe";
const SOCKET: &str = "UNIX socket";
const RTRB: &str = "rtrb, two threads";
const BARE: &str = "a word before the bytes, and no more";
const ICEORYX2: &str = "iceoryx2, looking";

const PLACES: &str = "It moves between 0.5 and 0.7 from one run to another, with where the host puts the two virtual processors.";
const ONE_CACHE: &str = "memcpy by one thread has its bytes in its own cache. To get them from one processor to another with a word before \
    them, and no more, takes longer than the channel does.";
const CODE: &str = "Up to a third is 64 bytes with a word before them each way, and a third the code of two sends and two receives, as the \
    row of both ends by one thread shows. The rest, which was not told apart, has the two exchanges for each message by which nobody \
    takes for a message what a program writes that was replaced.";

const LIMITS: &str = "Two processors that nothing else should use meanwhile: what shares them is in the numbers. How far caches \
    are apart decides most of the short messages; both sides of a ratio have the same.";

/// Many messages, one after the other.
pub static STREAM: Group = Group {
    name: "channels",
    title: "Messages through a channel, one after the other",
    stage: "channels",
    method: "From one thread to another, each on a processor of its own, for each message with its copies in and out: the tenth \
             percentile of 16 turns, by the host's clock. The ring buffers have 2 MiB. iceoryx2's subscriber looks all the time, \
             as the channel's and rtrb's do. A word before the bytes means the same copies, and no more: nobody can be \
             woken, end or be replaced, and nothing is checked.",
    limits: LIMITS,
    rows: &[
        row("64 bytes", "channels.between.64", "channels.bare.64", BARE).p10(),
        row("64 bytes", "channels.between.64", "channels.rtrb.64", RTRB).p10().goal(0.6).missed_because(PLACES),
        row("64 bytes", "channels.between.64", "channels.pipe.64", PIPE).p10(),
        row("64 bytes", "channels.between.64", "channels.socket.64", SOCKET).p10(),
        row("64 bytes", "channels.between.64", "channels.iceoryx2.64", ICEORYX2).p10(),
        row("1 KiB", "channels.between.1024", "channels.memcpy_twice.1024", MEMCPY).p10().goal(1.3).missed_because(ONE_CACHE),
        row("1 KiB", "channels.between.1024", "channels.bare.1024", BARE).p10(),
        row("1 KiB", "channels.between.1024", "channels.rtrb.1024", RTRB).p10(),
        row("1 KiB", "channels.between.1024", "channels.pipe.1024", PIPE).p10(),
        row("1 KiB", "channels.between.1024", "channels.socket.1024", SOCKET).p10(),
        row("1 KiB", "channels.between.1024", "channels.iceoryx2.1024", ICEORYX2).p10(),
        row("64 KiB", "channels.between.65536", "channels.memcpy_twice.65536", MEMCPY).p10().goal(0.75).missed_because(ONE_CACHE),
        row("64 KiB", "channels.between.65536", "channels.bare.65536", BARE).p10(),
        row("64 KiB", "channels.between.65536", "channels.rtrb.65536", RTRB).p10(),
        row("64 KiB", "channels.between.65536", "channels.pipe.65536", PIPE).p10(),
        row("64 KiB", "channels.between.65536", "channels.socket.65536", SOCKET).p10(),
        row("64 KiB", "channels.between.65536", "channels.iceoryx2.65536", ICEORYX2).p10(),
        row("64 bytes, both ends by one thread", "channels.in_turn.64", "channels.rtrb_in_turn.64", "rtrb, one thread").p10(),
    ],
};

/// A message and its answer.
pub static ROUNDS: Group = Group {
    name: "round trips",
    title: "Messages through a channel and their answers",
    stage: "channels",
    method: "64 bytes and their answer, 20,000 times, between two processes, each on a processor of its own: the median of each of \
             16 turns, by the host's clock. Without another word the ends look for as long as they have learnt to, and then sleep. \
             A word each way is the least that memory can do.",
    limits: LIMITS,
    rows: &[
        count("slowest of 16, answered at once", "channels.round_trip.0_us.slowest").goal(1500.0),
        count("slowest of 16, answered after 1 us of work", "channels.round_trip.1_us.slowest").goal(2500.0),
        count("slowest of 16, answered after 3 us of work", "channels.round_trip.3_us.slowest").goal(5000.0),
        row("answered at once", "channels.round_trip.0_us", "channels.pipe.round_trip", "two pipes"),
        row("answered at once", "channels.round_trip.0_us", "channels.socket.round_trip", "two UNIX sockets"),
        row("both ends look all the time", "channels.looking.round_trip", "channels.looking.word", "a word each way").p10().goal(1.5).missed_because(CODE),
        row("both ends look all the time", "channels.looking.round_trip", "channels.looking.bare", BARE).p10(),
        row("both ends look all the time", "channels.looking.round_trip", "channels.iceoryx2.round_trip", ICEORYX2).p10().goal(0.5),
    ],
};

/// What is counted, and looking at what is empty.
pub static LANES: Group = Group {
    name: "lanes",
    title: "Channels with many senders, and the price of a sleep",
    stage: "channels",
    method: "A receiver looks for nothing, 200,000 times. Doorbells are counted while 63 senders in two threads send to one that \
             has fallen asleep, 2,000 times. System calls are those of a process that sleeps, is woken and answers, with 8 vectors, \
             as strace sees them: the difference of 600 and 200 rounds.",
    limits: LIMITS,
    rows: &[
        row("a look at 63 empty lanes", "channels.look.63", "channels.look.1", "at one").goal(1.5),
        count("doorbells for a sleep, of 63 senders", "channels.doorbells_per_sleep").goal(1.05),
        count("system calls for a sleep, a wake-up and an answer", "channels.system_calls").goal(4.0),
    ],
};
