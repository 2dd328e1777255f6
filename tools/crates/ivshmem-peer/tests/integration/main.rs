// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Host peers among themselves, on the real server and on one that misbehaves. (Peers and guests together:
//! `guest-tests`.)

mod fake;
mod foreign;
mod join;
mod live;
