# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Messages that are written and read where they are, in the shared memory."""

import ctypes
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ._handle import Handle


class Reservation:
    """Room for a message, in one part or two: the second one is there if the message goes over the end of the ring."""

    def __init__(self, parts: tuple[memoryview, ...], length: int) -> None:
        #: Where to write, in order.
        self.parts = parts
        #: Bytes of the message that will be sent: all, unless it is set to less.
        self.length = length

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Copies `data` to byte `at` of the message."""
        rest = memoryview(data).cast("B")
        if not 0 <= at <= sum(map(len, self.parts)) - len(rest):
            raise ValueError(f"{len(rest)} bytes at {at} are not within the message")
        for part in self.parts:
            fits = rest[: max(len(part) - at, 0)]
            part[at : at + len(fits)] = fits
            rest, at = rest[len(fits) :], max(at - len(part), 0)


class Borrowed(NamedTuple):
    """A message that is read where it is, in one part or two, and the slot that sent it.

    A sender that does not keep to the rules can change its bytes at any time: read once what decides, and use nothing before
    the `with` block has ended without an error.
    """

    sender: int
    parts: tuple[memoryview, ...]

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


class Views:
    """The parts that an end has given out. Its memory stays mapped while any is in use."""

    def __init__(self) -> None:
        self._given: list[weakref.ref[Any]] = []

    @property
    def in_use(self) -> bool:
        self._given = [given for given in self._given if given() is not None]
        return bool(self._given)

    def of(self, owner: "Handle", parts: Iterable[Any]) -> tuple[memoryview, ...]:
        """Views of these CParts; there is always one, if of no bytes."""
        return tuple(self._view(owner, part.at, part.len) for part in parts if part.len) or (memoryview(b""),)

    def _view(self, owner: "Handle", at: int, length: int) -> memoryview:
        array = (ctypes.c_ubyte * length).from_address(at)
        # The end is not collected, which would unmap the memory, before what was made of it.
        array.owner = owner
        self._given.append(weakref.ref(array))
        return memoryview(array).cast("B")


def let_go(parts: tuple[memoryview, ...]) -> None:
    """Makes the parts unusable; those that something else was made of stay, like that."""
    for part in parts:
        with suppress(BufferError):
            part.release()
