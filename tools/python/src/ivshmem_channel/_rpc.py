# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Requests and replies."""

import ctypes
import time
from collections.abc import AsyncIterator, Iterator
from ctypes import c_size_t, c_void_p

from . import _library
from ._channel import Cancel, Channel
from ._errors import Cancelled
from ._handle import Handle, Pollable, data_of


class Request:
    """A request. It need not be answered before others are taken."""

    def __init__(self, handle: c_void_p) -> None:
        self._handle = handle
        length = c_size_t()
        body = _library.call("rpc_request_body", handle, ctypes.byref(length))
        # What is asked: bytes of another program, which need not keep to anything.
        self.body: bytes = ctypes.string_at(body, length.value)
        # The slot of the client.
        self.sender: int = _library.call("rpc_request_from", handle)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("rpc_request_free", handle)


class RpcServer(Pollable):
    """Who answers, in slot 0 of a channel of `Layout.rpc`. Iterating gives requests, and ends when it is cancelled."""

    _kind = "rpc_server"

    def __init__(self, channel: Channel, vector: int = 0) -> None:
        super().__init__(_library.make("rpc_server_join", channel._handle, vector))

    def next(self, timeout: float | None = None) -> Request:
        """Waits for the next request of a client that has not ended since."""
        return self._wait(timeout, self._next)

    def reply(self, request: Request, answer: bytes | bytearray | memoryview) -> bool:
        """Answers; False if the client has ended or does not take its answers. Does not wait for it."""
        return self._check("reply", request._handle, *data_of(answer)) == 1

    async def next_async(self) -> Request:
        """As `next`, on asyncio's loop."""
        return await self._until(lambda: self.next(0), self.arm)

    def set_cancel(self, cancel: Cancel) -> None:
        """Lets `cancel` end the waiting for requests."""
        self._check("set_cancel", cancel._handle)

    def __iter__(self) -> Iterator[Request]:
        while True:
            try:
                yield self.next()
            except Cancelled:
                return

    async def __aiter__(self) -> AsyncIterator[Request]:
        while True:
            try:
                yield await self.next_async()
            except Cancelled:
                return

    def _next(self, handle: c_void_p, left: int) -> Request:
        request = c_void_p()
        _library.check("rpc_server_next", handle, ctypes.byref(request), left)
        return Request(request)


class RpcClient(Handle):
    """Who asks, in whichever client's slot of a channel of `Layout.rpc` is free."""

    _kind = "rpc_client"

    def __init__(self, channel: Channel, vector: int = 0) -> None:
        super().__init__(_library.make("rpc_client_join", channel._handle, vector))

    def call(self, request: bytes | bytearray | memoryview, timeout: float | None = None) -> bytes:
        """Asks, and waits for the answer. After `PeerLost` or `TimedOut` the request may have been carried out, or may be
        later."""
        answer = c_void_p()
        at, size = data_of(request)
        begin = time.monotonic()
        # Both halves under one lock: between them another thread's question would end this one, and take its place.
        with self._using() as handle:
            _library.in_slices(timeout, lambda left: _library.check("rpc_client_ask", handle, at, size, left))
            if timeout is not None:
                timeout = max(timeout - (time.monotonic() - begin), 0.0)

            def take(left: int) -> bytes:
                length = _library.check("rpc_client_answer", handle, ctypes.byref(answer), left)
                return ctypes.string_at(answer, length)

            return _library.in_slices(timeout, take)

    def set_cancel(self, cancel: Cancel) -> None:
        """Lets `cancel` end calls."""
        self._check("set_cancel", cancel._handle)
