# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The functions of libivshmem_channel."""

import ctypes
import math
import operator
import os
import time
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, TypeVar

from ._errors import TimedOut, error_of

_T = TypeVar("_T")

# How long a wait keeps Python's signal handlers from running, in nanoseconds.
_SLICE = 100_000_000

# The shared library with the interface that is declared here.
_SONAME = "libivshmem_channel.so.0"


class CMessage(ctypes.Structure):
    """struct ivshmem_channel_message"""

    _fields_ = [("at", c_size_t), ("len", c_size_t), ("sender", c_uint32)]


class CPart(ctypes.Structure):
    """struct ivshmem_channel_part"""

    _fields_ = [("at", c_void_p), ("len", c_size_t)]


class CPresence(ctypes.Structure):
    """struct ivshmem_channel_presence"""

    _fields_ = [("state", c_uint32), ("incarnation", c_uint32), ("peer_id", c_uint32)]


class CChange(ctypes.Structure):
    """struct ivshmem_channel_change"""

    _fields_ = [("what", c_uint32), ("slot", c_uint32), ("incarnation", c_uint32), ("peer_id", c_uint32)]



class _Unsigned:
    """An unsigned number as an argument, which ctypes by itself would cut to its width."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._most = 2 ** (8 * ctypes.sizeof(kind)) - 1

    def from_param(self, number: Any) -> Any:
        number = operator.index(number)
        if not 0 <= number <= self._most:
            raise ValueError(f"{number} is not a number from 0 to {self._most}")
        return self._kind(number)


class _Text:
    """Bytes as an argument that is a string, which C would end at a NUL."""

    def from_param(self, text: bytes) -> Any:
        if b"\0" in text:
            raise ValueError("there is a NUL in it")
        return c_char_p(text)


_handle, _handles = c_void_p, POINTER(c_void_p)
_words = POINTER(c_uint32)
_u32, _u64, _size, _text = _Unsigned(c_uint32), _Unsigned(c_uint64), _Unsigned(c_size_t), _Text()

# Of each function: what it returns, and its arguments.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "area_claim": (c_int, [_handle, _u64, _text, _u64, POINTER(c_uint64)]),
    "area_find": (c_int, [_handle, _u64, _text, POINTER(c_uint64), POINTER(c_uint64)]),
    "cancel_free": (None, [_handle]),
    "cancel_new": (c_int, [_handles]),
    "cancel_use": (c_int, [_handle]),
    "changes_close": (None, [_handle]),
    "changes_next": (c_int, [_handle, POINTER(CChange), c_int64]),
    "changes_open": (c_int, [_handle, _handles]),
    "changes_set_cancel": (c_int, [_handle, _handle]),
    "close": (None, [_handle]),
    "create": (c_int, [_handle, _u64, _handle, _handles]),
    "create_or_join": (
        c_int,
        [_handle, _u64, _handle, _words, c_size_t, _u32, c_int64, _handle, _handles],
    ),
    "error": (c_char_p, []),
    "join": (c_int, [_handle, _words, c_size_t, _u32, c_int64, _handle, _handles]),
    "layout_free": (None, [_handle]),
    "layout_heartbeat": (c_int, [_handle, _u32, _u32]),
    "layout_multi_ring": (c_int, [_handle, _u32, _u32]),
    "layout_new": (_handle, [_u32]),
    "layout_new_rpc": (_handle, [_u32, _u32, _u32]),
    "layout_ring": (c_int, [_handle, _u32, _u32, _u32]),
    "layout_size": (c_uint64, [_handle]),
    "layout_topic": (c_int, [_handle, _u32, _u32, _u32]),
    "link_close": (None, [_handle]),
    "link_fd": (c_int, [_handle, _u32]),
    "link_fence": (None, [_handle]),
    "link_heard": (c_int, [_handle, _u32]),
    "link_load": (c_int, [_handle, _u64, _words]),
    "link_open": (c_int, [_text, _handles]),
    "link_open_with_interval": (c_int, [_text, _u64, _handles]),
    "link_peer_id": (c_uint32, [_handle]),
    "link_read": (c_int, [_handle, _u64, c_void_p, c_size_t]),
    "link_ring": (c_int, [_handle, _u32, _u32]),
    "link_size": (c_uint64, [_handle]),
    "link_store": (c_int, [_handle, _u64, _u32]),
    "link_vectors": (c_uint32, [_handle]),
    "link_wait": (c_int, [_handle, _u64, c_int64, POINTER(c_uint64)]),
    "link_wait_word": (c_int, [_handle, _u64, _u32, c_int64]),
    "link_way": (c_char_p, [_handle]),
    "link_write": (c_int, [_handle, _u64, c_void_p, c_size_t]),
    "member_beat": (c_int, [_handle]),
    "member_close": (None, [_handle]),
    "member_incarnation": (c_uint32, [_handle]),
    "member_presence": (c_int, [_handle, _u32, POINTER(CPresence)]),
    "member_slot": (c_uint32, [_handle]),
    "open": (c_int, [_handle, _u64, _handles]),
    "open_or_create": (c_int, [_handle, _u64, _handle, _handles]),
    "publisher_close": (None, [_handle]),
    "publisher_longest": (c_int64, [_handle]),
    "publisher_open": (c_int, [_handle, _u32, _handles]),
    "publisher_publish": (c_int, [_handle, c_void_p, c_size_t]),
    "receiver_arm": (c_int, [_handle]),
    "receiver_borrow": (c_int64, [_handle, POINTER(CPart), _words, c_int64]),
    "receiver_close": (None, [_handle]),
    "receiver_disarm": (c_int, [_handle]),
    "receiver_done": (c_int, [_handle]),
    "receiver_fd": (c_int, [_handle]),
    "receiver_open": (c_int, [_handle, _u32, _handles]),
    "receiver_peek": (c_int64, [_handle, _words, c_int64]),
    "receiver_receive": (c_int64, [_handle, c_void_p, c_size_t, _words, c_int64]),
    "receiver_receive_many": (
        c_int64,
        [_handle, POINTER(CMessage), c_size_t, c_void_p, c_size_t, c_int64],
    ),
    "receiver_release": (c_int, [_handle]),
    "receiver_set_cancel": (c_int, [_handle, _handle]),
    "reset": (c_int, [_handle, _handles]),
    "rpc_client_answer": (c_int64, [_handle, _handles, c_int64]),
    "rpc_client_ask": (c_int, [_handle, c_void_p, c_size_t, c_int64]),
    "rpc_client_call": (c_int64, [_handle, c_void_p, c_size_t, _handles, c_int64]),
    "rpc_client_close": (None, [_handle]),
    "rpc_client_join": (c_int, [_handle, _u32, _handles]),
    "rpc_client_set_cancel": (c_int, [_handle, _handle]),
    "rpc_request_body": (c_void_p, [_handle, POINTER(c_size_t)]),
    "rpc_request_free": (None, [_handle]),
    "rpc_request_from": (c_uint32, [_handle]),
    "rpc_server_arm": (c_int, [_handle]),
    "rpc_server_close": (None, [_handle]),
    "rpc_server_disarm": (c_int, [_handle]),
    "rpc_server_fd": (c_int, [_handle]),
    "rpc_server_join": (c_int, [_handle, _u32, _handles]),
    "rpc_server_next": (c_int, [_handle, _handles, c_int64]),
    "rpc_server_reply": (c_int, [_handle, _handle, c_void_p, c_size_t]),
    "rpc_server_set_cancel": (c_int, [_handle, _handle]),
    "sender_arm": (c_int, [_handle, _size]),
    "sender_close": (None, [_handle]),
    "sender_commit": (c_int, [_handle, _size]),
    "sender_disarm": (c_int, [_handle]),
    "sender_fd": (c_int, [_handle]),
    "sender_flush": (c_int, [_handle]),
    "sender_longest": (c_int64, [_handle]),
    "sender_open": (c_int, [_handle, _u32, _handles]),
    "sender_queue": (c_int, [_handle, c_void_p, c_size_t, c_int64]),
    "sender_reserve": (c_int, [_handle, _size, POINTER(CPart), c_int64]),
    "sender_send": (c_int, [_handle, c_void_p, c_size_t, c_int64]),
    "sender_set_cancel": (c_int, [_handle, _handle]),
    "subscriber_arm": (c_int, [_handle]),
    "subscriber_close": (None, [_handle]),
    "subscriber_disarm": (c_int, [_handle]),
    "subscriber_fd": (c_int, [_handle]),
    "subscriber_longest": (c_int64, [_handle]),
    "subscriber_newest": (c_int64, [_handle, c_void_p, c_size_t, _words, c_int64]),
    "subscriber_next": (c_int64, [_handle, c_void_p, c_size_t, _words, c_int64]),
    "subscriber_open": (c_int, [_handle, _u32, _handles]),
    "subscriber_set_cancel": (c_int, [_handle, _handle]),
}


def _load() -> dict[str, Any]:
    name = os.environ.get("IVSHMEM_CHANNEL_LIBRARY", _SONAME)
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        hint = "install libivshmem_channel, or name its file in IVSHMEM_CHANNEL_LIBRARY"
        raise ImportError(f"cannot load {name}: {error}: {hint}") from error
    functions = {}
    for short, (returns, arguments) in _FUNCTIONS.items():
        try:
            function = library["ivshmem_channel_" + short]
        except AttributeError as error:
            raise ImportError(f"{name}: {error}: another libivshmem_channel is needed") from error
        function.restype, function.argtypes = returns, arguments
        functions[short] = function
    return functions


_functions = _load()


def call(name: str, *arguments: Any) -> Any:
    """Calls a function that cannot fail, such as those that free."""
    try:
        return _functions[name](*arguments)
    except ctypes.ArgumentError as error:
        # What `from_param` raised is in the text alone.
        kind = TypeError if "TypeError" in str(error) else ValueError
        raise kind(f"{name}: {error}") from None


def check(name: str, *arguments: Any) -> int:
    """Calls a function that returns a number, or the negative number of an error, which this raises."""
    status: int = call(name, *arguments)
    if status < 0:
        text: bytes = _functions["error"]()
        raise error_of(-status, text.decode(errors="replace"))
    return status


def make(name: str, *arguments: Any) -> c_void_p:
    """Calls a function that makes a handle, which is its last argument."""
    handle = c_void_p()
    check(name, *arguments, ctypes.byref(handle))
    return handle


def words(numbers: list[int]) -> Any:
    return (c_uint32 * len(numbers))(*map(_u32.from_param, numbers))


def in_slices(timeout: float | None, step: Callable[[int], _T]) -> _T:
    """Calls `step` with a part of the time in nanoseconds, until it does not time out: in between, Python's signal handlers
    run."""
    limit = nanoseconds(timeout)
    begin = time.monotonic_ns()
    while True:
        left = _SLICE if limit < 0 else limit - (time.monotonic_ns() - begin)
        if limit >= 0 and left <= _SLICE:
            return step(max(left, 0) if limit == 0 else max(left, 1))
        try:
            return step(_SLICE)
        except TimedOut:
            pass


def nanoseconds(timeout: float | None) -> int:
    """A time limit as the library takes it."""
    if timeout is None or timeout == math.inf:
        return -1
    if not timeout >= 0:
        raise ValueError("a time limit is not negative: None waits for ever")
    return min(math.ceil(timeout * 1e9), 2**63 - 1)


def interval(seconds: float) -> int:
    """The time from one look to the next as the library takes it."""
    if not 0 <= seconds < math.inf:
        raise ValueError("the time from one look to the next is a number of seconds that is not negative")
    return min(math.ceil(seconds * 1e9), 2**63 - 1)
