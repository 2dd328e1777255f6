// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Models of what the driver does without a lock around it: `tests/`, one for each protocol.
//!
//! The module itself cannot be compiled for loom: wait queues, spinlocks and interrupts are the kernel's. So
//! each step is written again with loom's types, named as in the source, and in the same order. What a change of
//! `src/events.rs`, `src/eventfds.rs`, `src/cursor.rs`, `src/kapi/fan_in.rs` or `src/kapi/wait.rs` does to the order
//! of steps has to be done here too. Each model also runs with a step left out, and must fail then.
