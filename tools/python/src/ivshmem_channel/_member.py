# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""A slot that this program has joined."""

import ctypes
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _library
from ._ends import MultiReceiver, Publisher, Receiver, Sender, Subscriber
from ._errors import Cancelled
from ._handle import Handle

if TYPE_CHECKING:
    from ._channel import Cancel

# Instead of a slot: all others.
_ALL = 2**32 - 1


class State(enum.IntEnum):
    """Whether a program is in a slot."""

    ABSENT = 0
    PRESENT = 1
    LOST = 2


@dataclass(frozen=True)
class Presence:
    """Who is in a slot. The incarnation is another one each time that somebody joins."""

    state: State
    incarnation: int
    peer_id: int


class Event(enum.IntEnum):
    """What has happened to a program."""

    JOINED = 0
    LEFT = 1
    SILENT = 2
    RETURNED = 3


@dataclass(frozen=True)
class Change:
    """Another program came or went."""

    event: Event
    slot: int
    incarnation: int


class Changes(Handle):
    """Who comes and goes, beginning with all who are there. Iterating waits for ever, and ends when it is cancelled.

    It looks twice in a heartbeat, as long as it is called; a program that joins and leaves in between is not seen.
    """

    _kind = "changes"

    def next(self, timeout: float | None = None) -> Change:
        """Waits for the next change."""
        return self._wait(timeout, self._next)

    def set_cancel(self, cancel: "Cancel") -> None:
        """Lets `cancel` end the waiting."""
        self._check("set_cancel", cancel._handle)

    def __iter__(self) -> Iterator[Change]:
        while True:
            try:
                yield self.next()
            except Cancelled:
                return

    def _next(self, handle: ctypes.c_void_p, left: int) -> Change:
        found = _library.CChange()
        _library.check("changes_next", handle, ctypes.byref(found), left)
        return Change(Event(found.what), found.slot, found.incarnation)


class Member(Handle):
    """A slot that this program has joined, until this and all that it has opened is closed.

    Whoever neither calls nor waits for longer than a heartbeat has to call `beat`, or counts as lost.
    """

    _kind = "member"

    @property
    def slot(self) -> int:
        """The slot."""
        with self._using() as handle:
            return int(_library.call("member_slot", handle))

    @property
    def incarnation(self) -> int:
        """This program's number for this time."""
        with self._using() as handle:
            return int(_library.call("member_incarnation", handle))

    def beat(self) -> None:
        """Shows that this program lives, if it is time to."""
        self._check("beat")

    def presence(self, slot: int) -> Presence:
        """Says who is in a slot. A program that crashed is found lost only if this is called from time to time."""
        found = _library.CPresence()
        self._check("presence", slot, ctypes.byref(found))
        return Presence(State(found.state), found.incarnation, found.peer_id)

    def changes(self) -> Changes:
        """Who comes and goes, as events."""
        with self._using() as handle:
            return Changes(_library.make("changes_open", handle))

    def sender(self, to: int) -> Sender:
        """Opens the sending end of the ring buffer to slot `to`."""
        with self._using() as handle:
            return Sender(_library.make("sender_open", handle, to))

    def receiver(self, sender: int) -> Receiver:
        """Opens the receiving end of the ring buffer from slot `sender`."""
        with self._using() as handle:
            return Receiver(_library.make("receiver_open", handle, sender))

    def multi_receiver(self) -> MultiReceiver:
        """Opens the receiving end of the ring buffer from all other slots."""
        with self._using() as handle:
            return MultiReceiver(_library.make("receiver_open", handle, _ALL))

    def publisher(self, topic: int = 0) -> Publisher:
        """Opens the publishing end of a topic."""
        with self._using() as handle:
            return Publisher(_library.make("publisher_open", handle, topic))

    def subscriber(self, topic: int = 0) -> Subscriber:
        """Opens a reading end of a topic."""
        with self._using() as handle:
            return Subscriber(_library.make("subscriber_open", handle, topic))
