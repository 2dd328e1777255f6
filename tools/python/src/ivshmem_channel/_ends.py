# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The ends of ring buffers and topics."""

import ctypes
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_void_p
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from . import _library
from ._errors import Cancelled, MessageTooLong
from ._handle import Handle, Pollable, data_of
from ._in_place import Borrowed, Reservation, Views, let_go

if TYPE_CHECKING:
    from ._channel import Cancel

_T = TypeVar("_T")
# The room for messages to begin with, in bytes.
_ROOM = 4096


class Received(NamedTuple):
    """A message of one of several senders."""

    sender: int
    data: bytes


class Value(NamedTuple):
    """A value of a topic, and how many were missed before it."""

    data: bytes
    missed: int


class _InPlace(Pollable):
    """An end whose messages can be written or read where they are."""

    def __init__(self, handle: c_void_p) -> None:
        super().__init__(handle)
        self._views = Views()

    def _parts(self, timeout: float | None, step: Callable[[c_void_p, Any, int], None]) -> tuple[memoryview, ...]:
        parts = (_library.CPart * 2)()
        self._wait(timeout, lambda handle, left: step(handle, parts, left))
        return self._views.of(self, parts)

    def close(self) -> None:
        """Closes it; again does nothing. `BufferError` while a view of a message is in use."""
        if self._handle is not None and self._views.in_use:
            raise BufferError(f"something uses the memory of a message of this {type(self).__name__}: let go of it first")
        super().close()


class Sender(_InPlace):
    """The sending end of a ring buffer. Messages arrive whole and in their order."""

    _kind = "sender"

    @property
    def longest(self) -> int:
        """Bytes of the longest message."""
        return self._check("longest")

    def send(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """Sends a message, and all that was queued before; waits until there is room."""
        self._put("sender_send", data, timeout)

    def queue(self, data: bytes | bytearray | memoryview, timeout: float | None = None) -> None:
        """As `send`, but the receiver need not see it before `flush`: for many small messages at a time."""
        self._put("sender_queue", data, timeout)

    @contextmanager
    def reserve(self, length: int, timeout: float | None = None) -> Iterator[Reservation]:
        """Makes room for a message of up to `length` bytes, which is written where it will be, and sent at the end of the
        `with` block. After an exception there it is not sent. Sending anything else in the block gives up the room."""

        def step(handle: c_void_p, parts: Any, left: int) -> None:
            _library.check("sender_reserve", handle, length, parts, left)

        parts = self._parts(timeout, step)
        room = Reservation(parts, length)
        try:
            yield room
        finally:
            let_go(parts)
        self._check("commit", room.length)
        self._check("flush")

    def flush(self) -> None:
        """Shows the receiver all that was queued."""
        self._check("flush")

    def arm_for(self, length: int) -> bool:
        """`arm`, for room for a message of so many bytes."""
        return self._check("arm", length) == 1

    def arm(self) -> bool:
        """`arm_for` the longest message."""
        return self.arm_for(self.longest)

    async def send_async(self, data: bytes | bytearray | memoryview) -> None:
        """As `send`, on asyncio's loop."""
        at, length = data_of(data)
        await self._until(lambda: self.send(at, 0), lambda: self.arm_for(length))

    def set_cancel(self, cancel: "Cancel") -> None:
        """Lets `cancel` end the waiting for room."""
        self._check("set_cancel", cancel._handle)

    def _put(self, name: str, data: bytes | bytearray | memoryview, timeout: float | None) -> None:
        at, length = data_of(data)
        self._wait(timeout, lambda handle, left: _library.check(name, handle, at, length, left))


class _Receiving(_InPlace, Generic[_T]):
    """What receivers have in common. Iterating waits for ever for each message, and ends when it is cancelled."""

    _kind = "receiver"

    def __init__(self, handle: c_void_p) -> None:
        super().__init__(handle)
        self._room = ctypes.create_string_buffer(_ROOM)

    def receive(self, timeout: float | None = None) -> _T:
        """Waits for the next message, and takes it. `TimedOut`, or `WouldBlock` if the limit is 0."""
        return self._wait(timeout, self._take)

    def receive_many(self, most: int = 64, timeout: float | None = None) -> list[_T]:
        """Waits for a message, and takes those that are there by then, up to `most`."""
        messages = (_library.CMessage * most)()
        return self._wait(timeout, lambda handle, left: self._take_many(handle, messages, left))

    def receive_into(self, buffer: bytearray | memoryview, timeout: float | None = None) -> int:
        """As `receive`, into a buffer; returns the length. `MessageTooLong` if it does not fit: it stays."""
        size = memoryview(buffer).nbytes
        room = (ctypes.c_char * size).from_buffer(buffer)
        at, name = ctypes.addressof(room), "receiver_receive"
        try:
            return self._wait(timeout, lambda handle, left: _library.check(name, handle, at, size, None, left))
        finally:
            # An exception has this frame, and a buffer in use cannot grow.
            del room

    @contextmanager
    def borrow(self, timeout: float | None = None) -> Iterator[Borrowed]:
        """Waits for the next message, which is read where it is, and taken at the end of the `with` block. After an exception
        there it stays the next one."""
        sender = c_uint32()

        def step(handle: c_void_p, parts: Any, left: int) -> None:
            _library.check("receiver_borrow", handle, parts, ctypes.byref(sender), left)

        parts = self._parts(timeout, step)
        message = Borrowed(sender.value, tuple(part.toreadonly() for part in parts))
        try:
            yield message
        finally:
            let_go(message.parts)
            let_go(parts)
        self._check("done")

    async def receive_async(self) -> _T:
        """As `receive`, on asyncio's loop."""
        return await self._until(lambda: self.receive(0), self.arm)

    def release(self) -> None:
        """Gives the senders the room of all messages that were received."""
        self._check("release")

    def set_cancel(self, cancel: "Cancel") -> None:
        """Lets `cancel` end the waiting for a message. What is there is still received."""
        self._check("set_cancel", cancel._handle)

    def __iter__(self) -> Iterator[_T]:
        while True:
            try:
                yield self.receive()
            except Cancelled:
                return

    async def __aiter__(self) -> AsyncIterator[_T]:
        while True:
            try:
                yield await self.receive_async()
            except Cancelled:
                return

    def _message(self, sender: int, data: bytes) -> _T:
        raise NotImplementedError

    def _take(self, handle: c_void_p, left: int) -> _T:
        sender = c_uint32()
        while True:
            place = (self._room, len(self._room), ctypes.byref(sender))
            try:
                length = _library.check("receiver_receive", handle, *place, left)
            except MessageTooLong:
                self._grow(handle)
            else:
                return self._message(sender.value, ctypes.string_at(self._room, length))

    def _take_many(self, handle: c_void_p, messages: Any, left: int) -> list[_T]:
        while True:
            place = (messages, len(messages), self._room, len(self._room))
            try:
                found = _library.check("receiver_receive_many", handle, *place, left)
            except MessageTooLong:
                self._grow(handle)
            else:
                begin = ctypes.addressof(self._room)
                return [
                    self._message(at.sender, ctypes.string_at(begin + at.at, at.len))
                    for at in messages[:found]
                ]

    def _grow(self, handle: c_void_p) -> None:
        """Makes room for the next message, which is there."""
        length = _library.check("receiver_peek", handle, None, 0)
        self._room = ctypes.create_string_buffer(max(length, 2 * len(self._room)))


class Receiver(_Receiving[bytes]):
    """The receiving end of a ring buffer with one sender. Its messages are bytes."""

    def _message(self, sender: int, data: bytes) -> bytes:
        return data


class MultiReceiver(_Receiving[Received]):
    """The receiving end of a ring buffer with several senders. Its messages come with the slot that sent them.

    `LaneCorrupt` concerns one sender alone: go on for the others' messages.
    """

    def _message(self, sender: int, data: bytes) -> Received:
        return Received(sender, data)


class Publisher(Handle):
    """The end of a topic that publishes. It never waits for anybody."""

    _kind = "publisher"

    @property
    def longest(self) -> int:
        """Bytes of the longest value."""
        return self._check("longest")

    def publish(self, data: bytes | bytearray | memoryview) -> None:
        """Publishes a value, whole or not at all."""
        self._check("publish", *data_of(data))


class Subscriber(Pollable):
    """An end of a topic that reads. Iterating gives each value that is still there, and ends when it is cancelled."""

    _kind = "subscriber"

    def __init__(self, handle: c_void_p) -> None:
        super().__init__(handle)
        self._room = ctypes.create_string_buffer(self.longest)

    @property
    def longest(self) -> int:
        """Bytes of the longest value."""
        return self._check("longest")

    def next(self, timeout: float | None = None) -> Value:
        """Waits for the oldest value that was not read here and is still there."""
        return self._wait(timeout, lambda handle, left: self._read("next", handle, left))

    def newest(self, timeout: float | None = None) -> Value:
        """Waits for the newest value that was not read here."""
        return self._wait(timeout, lambda handle, left: self._read("newest", handle, left))

    async def next_async(self) -> Value:
        """As `next`, on asyncio's loop."""
        return await self._until(lambda: self.next(0), self.arm)

    def set_cancel(self, cancel: "Cancel") -> None:
        """Lets `cancel` end the waiting for a value."""
        self._check("set_cancel", cancel._handle)

    def __iter__(self) -> Iterator[Value]:
        while True:
            try:
                yield self.next()
            except Cancelled:
                return

    async def __aiter__(self) -> AsyncIterator[Value]:
        while True:
            try:
                yield await self.next_async()
            except Cancelled:
                return

    def _read(self, which: str, handle: c_void_p, left: int) -> Value:
        missed = c_uint32()
        place = (self._room, len(self._room), ctypes.byref(missed))
        length = _library.check(f"subscriber_{which}", handle, *place, left)
        return Value(ctypes.string_at(self._room, length), missed.value)
