// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `libivshmem_channel`: the crate `ivshmem-channel` for C, C++ and whatever calls C.
//!
//! `include/libivshmem_channel.h` is made from these files by `cbindgen`, with the documentation that is here, so that is
//! written for those who call from C. The test `header` says when the header is out of date, and how to write it anew.
//!
//! Handles are boxes; a null pointer is a `None`. What is `unsafe` in itself is in `boundary`; the functions that take
//! pointers to bytes are `unsafe` for the promises that the beginning of the header asks of their callers.

// All of it is exported under names that are not mangled, and takes pointers of another language.
#![allow(unsafe_code)]
// The header says it once for all functions.
#![allow(clippy::missing_safety_doc)]

mod area;
mod boundary;
mod cancel;
mod changes;
mod channel;
mod error;
mod event_loop;
mod layout;
mod link;
mod member;
mod part;
mod publisher;
mod raw;
mod receiver;
mod rpc;
mod sender;
mod subscriber;

pub use area::*;
pub use cancel::*;
pub use changes::*;
pub use channel::*;
pub use error::*;
pub use layout::*;
pub use link::*;
pub use member::*;
pub use part::*;
pub use publisher::*;
pub use raw::*;
pub use receiver::*;
pub use rpc::*;
pub use sender::*;
pub use subscriber::*;

/// The header says that each handle may be given from thread to thread, and of some that threads may share them.
const _: () = {
    const fn given<T: Send>() {}
    const fn shared<T: Send + Sync>() {}
    given::<Changes>();
    given::<Layout>();
    given::<Publisher>();
    given::<Receiver>();
    given::<RpcClient>();
    given::<RpcServer>();
    given::<Sender>();
    given::<Subscriber>();
    shared::<Cancel>();
    shared::<Channel>();
    shared::<Link>();
    shared::<Member>();
    shared::<RpcRequest>();
};
