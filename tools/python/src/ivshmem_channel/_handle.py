# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What all that can be closed has in common."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_void_p
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from . import _library

_Self = TypeVar("_Self", bound="Handle")
_T = TypeVar("_T")


class Handle:
    """A handle of the library that one thread at a time may use, and that is closed."""

    # The beginning of the names of its functions.
    _kind: ClassVar[str]

    def __init__(self, handle: c_void_p) -> None:
        self._lock = threading.Lock()
        self._handle: c_void_p | None = handle

    @contextmanager
    def _using(self) -> Iterator[c_void_p]:
        # Before the lock can be missing, nothing was made.
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(f"another thread is using this {type(self).__name__}")
        try:
            if self._handle is None:
                raise ValueError(f"this {type(self).__name__} is closed")
            yield self._handle
        finally:
            self._lock.release()

    def _check(self, name: str, *arguments: Any) -> int:
        with self._using() as handle:
            return _library.check(f"{self._kind}_{name}", handle, *arguments)

    def _wait(self, timeout: float | None, step: Callable[[c_void_p, int], _T]) -> _T:
        """Calls `step` with the handle and with a part of the time in nanoseconds, until it does not time out."""
        with self._using() as handle:
            return _library.in_slices(timeout, lambda left: step(handle, left))

    def close(self) -> None:
        """Closes it; again does nothing."""
        if self._handle is None:
            return
        with self._using() as handle:
            self._handle = None
            _library.call(f"{self._kind}_close", handle)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # What could not be made has no handle.
        if getattr(self, "_handle", None) is not None:
            self.close()


class Pollable(Handle):
    """One with a descriptor for event loops.

    `fileno` is ready for reading once it is time to try again: `arm` asks for that, and says whether to sleep. It is ready
    for heartbeats too, so that a program that only waits still shows that it lives.
    """

    # Whether a task waits.
    _awaited = False

    def fileno(self) -> int:
        """The descriptor, for `select`, `selectors` and `asyncio`; always the same, and neither read nor closed."""
        return self._check("fd")

    def arm(self) -> bool:
        """Asks for the descriptor to become ready. False if there is something by now: look instead of sleeping."""
        return self._check("arm") == 1

    def disarm(self) -> None:
        """Has the descriptor be ready no more, until it is armed again."""
        self._check("disarm")

    def close(self) -> None:
        """Closes it; again does nothing. Not while a task waits for it, which would never be told."""
        if self._awaited:
            raise RuntimeError(f"a task is waiting for this {type(self).__name__}")
        super().close()

    async def _until(self, attempt: Callable[[], _T], arm: Callable[[], bool]) -> _T:
        """Repeats `attempt`, which does not block, on asyncio's loop."""
        if self._awaited:
            raise RuntimeError(f"another task is waiting for this {type(self).__name__}")
        self._awaited = True
        try:
            return await self._attempts(attempt, arm)
        finally:
            self._awaited = False

    async def _attempts(self, attempt: Callable[[], _T], arm: Callable[[], bool]) -> _T:
        loop = asyncio.get_running_loop()
        descriptor = self.fileno()
        while True:
            try:
                return attempt()
            except BlockingIOError:
                pass
            if not arm():
                # What another program writes without end does not keep the loop.
                await asyncio.sleep(0)
                continue
            ready = asyncio.Event()
            loop.add_reader(descriptor, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(descriptor)


def data_of(data: "bytes | bytearray | memoryview") -> tuple[Any, int]:
    """What ctypes passes as a pointer to these bytes, and their number."""
    if not isinstance(data, bytes):
        # Not bytes(data) alone, which makes so many zeros of a number.
        data = bytes(memoryview(data))
    return data, len(data)
