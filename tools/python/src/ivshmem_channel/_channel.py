# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Links, layouts, channels: what is shared by threads, and freed when nobody has it any more."""

import ctypes
import errno
import os
from collections.abc import Iterable
from ctypes import c_uint64, c_void_p

from . import _library
from ._errors import ChannelError
from ._member import Member

# How long joining waits for programs that live, in seconds: more than a layout's silence of 3.
_JOIN = 10.0


class Link:
    """A way to the shared memory: a device such as /dev/ivshmem0, the PCI address of a device without the driver, the socket
    of an ivshmem server, or a file that is shared memory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._handle = _library.make("link_open", os.fsencode(path))

    @property
    def size(self) -> int:
        """Bytes of the memory."""
        return int(_library.call("link_size", self._handle))

    @property
    def vectors(self) -> int:
        """By how many vectors this end can be rung; 0 if by none, which is no error."""
        return int(_library.call("link_vectors", self._handle))

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
        self._handle = c_void_p(_library.call("layout_new", slots))

    @classmethod
    def rpc(cls, clients: int, requests: int, replies: int) -> "Layout":
        """For an `RpcServer` and up to `clients` clients, with the bytes of the ring buffers from and to each."""
        this = cls.__new__(cls)
        this._handle = c_void_p(_library.call("layout_new_rpc", clients, requests, replies))
        return this

    def ring(self, sender: int, receiver: int, size: int) -> "Layout":
        """Adds a ring buffer between two slots, of `size` bytes, a multiple of 64; the longest message has 24 less."""
        _library.check("layout_ring", self._handle, sender, receiver, size)
        return self

    def multi_ring(self, receiver: int, size: int) -> "Layout":
        """Adds a ring buffer to one slot from all others, with `size` bytes for each."""
        _library.check("layout_multi_ring", self._handle, receiver, size)
        return self

    def topic(self, publisher: int, buffers: int, size: int) -> "Layout":
        """Adds a topic, with 3 to 64 buffers for values of up to `size` bytes, a multiple of 64."""
        _library.check("layout_topic", self._handle, publisher, buffers, size)
        return self

    def heartbeat(self, interval: float, lost_after: float) -> "Layout":
        """Sets how often programs show that they live, and when they count as lost, in seconds."""
        milliseconds = (round(interval * 1000), round(lost_after * 1000))
        _library.check("layout_heartbeat", self._handle, *milliseconds)
        return self

    @property
    def size(self) -> int:
        """Bytes that a channel takes."""
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
        return cls(_library.make("create", link._handle, base, layout._handle))

    @classmethod
    def open_or_create(cls, link: Link, layout: Layout, base: int = 0) -> "Channel":
        """Finds the channel, or makes it."""
        return cls(_library.make("open_or_create", link._handle, base, layout._handle))

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
        place = (link._handle, base, layout._handle)
        return Member(
            _library.make(
                "create_or_join",
                *place,
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
        """Makes the channel anew: all messages are gone, and all who use it have to join again."""
        return Channel(_library.make("reset", self._handle))

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            _library.call("close", handle)
