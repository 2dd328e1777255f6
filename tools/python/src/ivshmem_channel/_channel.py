# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Links, layouts, channels: what is shared by threads, and freed when nobody has it any more."""

import ctypes
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_uint64, c_void_p

from . import _library
from ._errors import ChannelError
from ._handle import data_of
from ._member import Member

# How long joining waits for programs that live, in seconds: more than a layout's silence of 3.
_JOIN = 10.0


class Link:
    """A way to the shared memory: a device such as /dev/ivshmem0, the PCI address of a device without the driver, the socket
    of an ivshmem server, or a file that is shared memory.

    Channels are made in it. A program that makes none uses its memory and doorbells, from any thread: what it reads is a
    copy, and what a decision depends on is to be read once.
    """

    def __init__(self, path: str | os.PathLike[str], interval: float = 0.001) -> None:
        """Opens it. Where nothing can ring this end, what it waits for is looked at again after each `interval` in seconds, of
        which more than a tenth counts as that; 0 is no pause, and keeps a processor busy."""
        self._handle = _library.make("link_open_with_interval", os.fsencode(path), _library.interval(interval))

    @property
    def size(self) -> int:
        """Bytes of the memory."""
        return int(_library.call("link_size", self._handle))

    @property
    def vectors(self) -> int:
        """By how many vectors this end can be rung; 0 if by none, which is no error."""
        return int(_library.call("link_vectors", self._handle))

    @property
    def way(self) -> str:
        """By which way the memory is reached, and what that costs."""
        return bytes(_library.call("link_way", self._handle)).decode()

    @property
    def peer_id(self) -> int:
        """The ID by which others ring this end; 0 is a real one. It can be another one after a resume."""
        return int(_library.call("link_peer_id", self._handle))

    def read(self, offset: int, length: int) -> bytes:
        """Copies bytes out of the memory. Load the word that says that they are there first."""
        buffer = ctypes.create_string_buffer(length)
        _library.check("link_read", self._handle, offset, buffer, length)
        return buffer.raw

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Copies bytes into the memory. Store the word that says that they are there afterwards."""
        _library.check("link_write", self._handle, offset, *data_of(data))

    def load(self, offset: int) -> int:
        """The 32-bit word at a multiple of 4, before everything that this thread does afterwards."""
        value = c_uint32()
        _library.check("link_load", self._handle, offset, ctypes.byref(value))
        return value.value

    def store(self, offset: int, value: int) -> None:
        """Stores a 32-bit word, after everything that this thread did before."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"{value} is no word of 32 bits")
        _library.check("link_store", self._handle, offset, value)

    def fence(self) -> None:
        """A full barrier: what was stored before is visible before anything is loaded after."""
        _library.call("link_fence", self._handle)

    def ring(self, peer: int, vector: int = 0) -> None:
        """Rings a vector of a peer; oneself is allowed. That nobody is there is no error."""
        if not (0 <= peer < 1 << 16 and 0 <= vector < 1 << 8):
            raise ValueError(f"vector {vector} of peer {peer} cannot be")
        _library.check("link_ring", self._handle, peer, vector)

    def wait(self, vectors: Iterable[int] = (), timeout: float | None = None) -> set[int]:
        """Sleeps until one of the vectors is rung, of all if none is given, and returns those that were. Other waits by the
        same link, also those of channels, take rings from it; `bell` hears all."""
        mask = 0
        for vector in vectors:
            if not 0 <= vector < 64:
                raise ValueError(f"there is no vector {vector}")
            mask |= 1 << vector
        rung = c_uint64()
        _library.in_slices(timeout, lambda left: _library.check("link_wait", self._handle, mask, left, ctypes.byref(rung)))
        return {vector for vector in range(64) if rung.value >> vector & 1}

    def wait_word(self, offset: int, value: int, timeout: float | None = None) -> int:
        """Sleeps while the word is `value`, and returns what it is then. Whoever changes it has to ring this end; where that
        cannot be rung, this looks in each `interval` of the link."""
        _library.in_slices(timeout, lambda left: _library.check("link_wait_word", self._handle, offset, value, left))
        return self.load(offset)

    def bell(self, vector: int = 0) -> int:
        """The descriptor for `select`, `selectors` and `asyncio` that is ready once the vector was rung, or the device is gone.
        It belongs to this object."""
        return _library.check("link_fd", self._handle, vector)

    def heard(self, vector: int = 0) -> bool:
        """Forgets the rings that `bell` is ready for; returns whether there were any."""
        return _library.check("link_heard", self._handle, vector) == 1

    def claim_area(self, name: str, size: int, directory: int = 0) -> int:
        """Finds or makes the area of this name, with at least `size` bytes, by the directory at byte `directory`; returns the
        byte where it begins, for example as the base of a channel."""
        start = c_uint64()
        place = (self._handle, directory, name.encode())
        _library.check("area_claim", *place, size, ctypes.byref(start))
        return start.value

    def find_area(self, name: str, directory: int = 0) -> range | None:
        """The bytes of the area of this name; None if nobody has claimed it."""
        start, size = c_uint64(), c_uint64()
        place = (self._handle, directory, name.encode())
        try:
            _library.check("area_find", *place, ctypes.byref(start), ctypes.byref(size))
        except ChannelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return range(start.value, start.value + size.value)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("link_close", handle)


class Layout:
    """The shape of a channel. All programs have to bring the same one. Its methods change it and return it."""

    def __init__(self, slots: int) -> None:
        """For `slots` programs, 2 to 64, without any ring buffers yet."""
        self._take(_library.call("layout_new", slots))

    def _take(self, handle: int) -> None:
        self._handle = c_void_p(handle)
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def _using(self) -> Iterator[c_void_p]:
        """While a channel is made with it. Threads may do that at the same time."""
        with self._lock:
            self._users += 1
        try:
            yield self._handle
        finally:
            with self._lock:
                self._users -= 1

    def _change(self, name: str, *arguments: int) -> "Layout":
        with self._lock:
            if self._users:
                raise RuntimeError("another thread is making a channel with this layout")
            _library.check(name, self._handle, *arguments)
        return self

    @classmethod
    def rpc(cls, clients: int, requests: int, replies: int) -> "Layout":
        """For an `RpcServer` and up to `clients` clients, with the bytes of the ring buffers from and to each."""
        this = cls.__new__(cls)
        this._take(_library.call("layout_new_rpc", clients, requests, replies))
        return this

    def ring(self, sender: int, receiver: int, size: int) -> "Layout":
        """Adds a ring buffer between two slots, of `size` bytes, a multiple of 64; the longest message has 24 less."""
        return self._change("layout_ring", sender, receiver, size)

    def multi_ring(self, receiver: int, size: int) -> "Layout":
        """Adds a ring buffer to one slot from all others, with `size` bytes for each."""
        return self._change("layout_multi_ring", receiver, size)

    def topic(self, publisher: int, buffers: int, size: int) -> "Layout":
        """Adds a topic, with 3 to 64 buffers for values of up to `size` bytes, a multiple of 64."""
        return self._change("layout_topic", publisher, buffers, size)

    def heartbeat(self, interval: float, lost_after: float) -> "Layout":
        """Sets how often programs show that they live, and when they count as lost, in seconds."""
        milliseconds = (round(interval * 1000), round(lost_after * 1000))
        return self._change("layout_heartbeat", *milliseconds)

    @property
    def size(self) -> int:
        """Bytes that a channel takes."""
        with self._lock:
            return int(_library.call("layout_size", self._handle))

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("layout_free", handle)


class Cancel:
    """Ends waits from another thread or a signal handler. Threads may share it."""

    def __init__(self) -> None:
        self._handle = _library.make("cancel_new")

    def cancel(self) -> None:
        """Ends all waits that it was given to, now and later, with `Cancelled`."""
        _library.check("cancel_use", self._handle)

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("cancel_free", handle)


class Channel:
    """A channel that was made or found, at byte `base` of the memory, a multiple of 4096."""

    def __init__(self, handle: c_void_p) -> None:
        """For this class alone: see `open`, `create` and `open_or_create`."""
        self._handle = handle

    @classmethod
    def open(cls, link: Link, base: int = 0) -> "Channel":
        """Finds the channel."""
        return cls(_library.make("open", link._handle, base))

    @classmethod
    def create(cls, link: Link, layout: Layout, base: int = 0) -> "Channel":
        """Makes a channel, whatever was there before."""
        with layout._using() as shape:
            return cls(_library.make("create", link._handle, base, shape))

    @classmethod
    def open_or_create(cls, link: Link, layout: Layout, base: int = 0) -> "Channel":
        """Finds the channel, or makes it."""
        with layout._using() as shape:
            return cls(_library.make("open_or_create", link._handle, base, shape))

    @staticmethod
    def create_or_join(
        link: Link,
        layout: Layout,
        slots: Iterable[int],
        *,
        base: int = 0,
        vector: int = 0,
        timeout: float | None = _JOIN,
        cancel: Cancel | None = None,
    ) -> Member:
        """Finds the channel or makes it, and joins it: how programs begin that may come in any order."""
        numbers = list(slots)
        with layout._using() as shape:
            return Member(
                _library.make(
                    "create_or_join",
                    link._handle,
                    base,
                    shape,
                    _library.words(numbers),
                    len(numbers),
                    vector,
                    _library.nanoseconds(timeout),
                    cancel and cancel._handle,
                )
            )

    def join(
        self,
        slots: Iterable[int],
        *,
        vector: int = 0,
        timeout: float | None = _JOIN,
        cancel: Cancel | None = None,
    ) -> Member:
        """Takes part in whichever of the slots is free first, and is rung by `vector`."""
        numbers = list(slots)
        return Member(
            _library.make(
                "join",
                self._handle,
                _library.words(numbers),
                len(numbers),
                vector,
                _library.nanoseconds(timeout),
                cancel and cancel._handle,
            )
        )

    def reset(self) -> "Channel":
        """Recreates the channel: all messages are gone, and all who use it have to join again."""
        return Channel(_library.make("reset", self._handle))

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("close", handle)
