// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests and replies.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use ivshmem_channel::rpc;

use crate::boundary::{bytes, free, give, guard, length, some, tell, timeout};
use crate::cancel::{cancel as of_cancel, Cancel};
use crate::channel::Channel;
use crate::error::Failure;
use crate::event_loop::EventLoop;
use crate::link::AnyLink;

/// Who answers. One thread at a time may use it.
pub struct RpcServer {
    server: rpc::Server<AnyLink>,
    events: EventLoop,
}

/// A request. It need not be answered before others are taken. Threads may share it.
pub struct RpcRequest(rpc::Request);

/// Who asks. One thread at a time may use it.
pub struct RpcClient {
    client: rpc::Client<AnyLink>,
    answer: Vec<u8>,
}

/// Joins a channel of ivshmem_channel_layout_new_rpc() as its server, in slot 0, as ivshmem_channel_join() does with a
/// time limit of twice the layout's silence, at least a second and at most a minute.
///
/// Returns what ivshmem_channel_join() does; -ENXIO also if the channel has another layout.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_join(
    channel: Option<&Channel>,
    vector: u32,
    server: Option<&mut MaybeUninit<*mut RpcServer>>,
) -> c_int {
    guard(|| {
        give(server, || {
            let channel = &some(channel, "the channel")?.0;
            Ok(RpcServer {
                server: rpc::Server::join(channel, vector)?,
                events: EventLoop::default(),
            })
        })
    })
}

/// Waits for the next request of a client that has not ended since, for up to `timeout_ns`. The caller frees it by
/// ivshmem_channel_rpc_request_free().
///
/// Returns 0; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over; -ECANCELED; -ESTALE;
/// -ECONNABORTED; -EUCLEAN; -EBADMSG, once or twice for each client that spoils its ring buffer: call again for the others;
/// -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_next(
    server: Option<&mut RpcServer>,
    request: Option<&mut MaybeUninit<*mut RpcRequest>>,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        give(request, || {
            let RpcServer { server, events } = some(server, "the server")?;
            events.awake(server)?;
            let found = server.next(timeout(timeout_ns))?;
            found
                .map(RpcRequest)
                .ok_or_else(|| Failure::none_within(timeout_ns))
        })
    })
}

/// Answers `request` with `len` bytes. Does not wait for the client. The request stays the caller's to free.
///
/// Returns 1 if the answer is on its way, 0 if not: the client has ended or does not take its answers; -EMSGSIZE; -ESTALE;
/// -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_rpc_server_reply(
    server: Option<&mut RpcServer>,
    request: Option<&RpcRequest>,
    answer: *const c_void,
    len: usize,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let answer = unsafe { bytes(answer, len)? };
        let RpcServer { server, events } = some(server, "the server")?;
        let RpcRequest(request) = some(request, "the request")?;
        events.awake(server)?;
        Ok(i32::from(server.reply(request, answer)?))
    })
}

/// Lets `cancel` end the waiting for requests, also in calls to come.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_set_cancel(
    server: Option<&mut RpcServer>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        some(server, "the server")?.server.set_cancel(cancel);
        Ok(0)
    })
}

/// As ivshmem_channel_receiver_fd(), for requests.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_fd(server: Option<&mut RpcServer>) -> c_int {
    guard(|| some(server, "the server")?.events.fd())
}

/// As ivshmem_channel_receiver_arm(), for requests. One of a client that has ended can be told of, and not be found.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_arm(server: Option<&mut RpcServer>) -> c_int {
    guard(|| {
        let RpcServer { server, events } = some(server, "the server")?;
        events.awake(server)?;
        events.arm(server)
    })
}

/// As ivshmem_channel_receiver_disarm().
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_disarm(server: Option<&mut RpcServer>) -> c_int {
    guard(|| {
        let RpcServer { server, events } = some(server, "the server")?;
        events.disarm(server)
    })
}

/// Leaves the server's slot. Nothing if `server` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_server_close(server: Option<Box<RpcServer>>) {
    free(server);
}

/// What is asked: bytes of another program, which need not keep to anything. Sets `len`, which may be null, to their
/// number. They belong to the request; null if that is.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_request_body(
    request: Option<&RpcRequest>,
    len: Option<&mut MaybeUninit<usize>>,
) -> *const c_void {
    let body = request.map_or(&[][..], |request| &request.0.body);
    tell(len, body.len());
    request.map_or(std::ptr::null(), |_| body.as_ptr().cast())
}

/// The slot of the client; UINT32_MAX if `request` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_request_from(request: Option<&RpcRequest>) -> u32 {
    request.map_or(u32::MAX, |request| request.0.from())
}

/// Frees a request, and nothing if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_request_free(request: Option<Box<RpcRequest>>) {
    free(request);
}

/// Joins a channel of ivshmem_channel_layout_new_rpc() in whichever client's slot is free, as ivshmem_channel_join() does
/// with a time limit of twice the layout's silence, at least a second and at most a minute.
///
/// Returns what ivshmem_channel_join() does; -ENXIO also if the channel has another layout.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_client_join(
    channel: Option<&Channel>,
    vector: u32,
    client: Option<&mut MaybeUninit<*mut RpcClient>>,
) -> c_int {
    guard(|| {
        give(client, || {
            let channel = &some(channel, "the channel")?.0;
            Ok(RpcClient {
                client: rpc::Client::join(channel, vector)?,
                answer: Vec::new(),
            })
        })
    })
}

/// Asks with `len` bytes, and waits for the answer, for up to `timeout_ns`; also for a server that has not come yet, but not
/// for one that is gone. Sets `answer`, which may be null, to the answer: it belongs to the client, and is valid until the
/// next call with it.
///
/// Returns the answer's length in bytes; -ECONNRESET if the server ended or was replaced meanwhile, and -ETIMEDOUT if the
/// time is over: the request may have been carried out, or may be later, if there was room for it; -EMSGSIZE if the request is
/// too long; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if another pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_rpc_client_call(
    client: Option<&mut RpcClient>,
    request: *const c_void,
    len: usize,
    answer: Option<&mut MaybeUninit<*const c_void>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let request = unsafe { bytes(request, len)? };
        let client = some(client, "the client")?;
        client.answer = client.client.call(request, timeout(timeout_ns))?;
        tell(answer, client.answer.as_ptr().cast());
        Ok(length(client.answer.len()))
    })
}

/// Asks with `len` bytes, as the first half of ivshmem_channel_rpc_client_call(): waits for room only, for up to `timeout_ns`.
/// What was asked before is not answered any more.
///
/// Returns 0; -ETIMEDOUT if there was no room in that time: nothing was sent; what that returns otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_rpc_client_ask(
    client: Option<&mut RpcClient>,
    request: *const c_void,
    len: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let request = unsafe { bytes(request, len)? };
        let client = some(client, "the client")?;
        client.client.ask(request, timeout(timeout_ns))?;
        Ok(0)
    })
}

/// Waits for the answer to what was asked last, for up to `timeout_ns`, and sets `answer` to it, as
/// ivshmem_channel_rpc_client_call() does. After -ETIMEDOUT another call goes on waiting.
///
/// Returns what that does; -EINVAL also if nothing was asked, or it was answered.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_client_answer(
    client: Option<&mut RpcClient>,
    answer: Option<&mut MaybeUninit<*const c_void>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        let client = some(client, "the client")?;
        client.answer = client.client.answer(timeout(timeout_ns))?;
        tell(answer, client.answer.as_ptr().cast());
        Ok(length(client.answer.len()))
    })
}

/// Lets `cancel` end calls, also those to come.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_client_set_cancel(
    client: Option<&mut RpcClient>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        some(client, "the client")?.client.set_cancel(cancel);
        Ok(0)
    })
}

/// Leaves the client's slot. Nothing if `client` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_rpc_client_close(client: Option<Box<RpcClient>>) {
    free(client);
}
