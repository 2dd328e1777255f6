# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""A slot that this program has joined."""

import ctypes
import enum
from dataclasses import dataclass

from . import _library
from ._ends import MultiReceiver, Publisher, Receiver, Sender, Subscriber
from ._handle import Handle

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

    def sender(self, to: int) -> Sender:
        """Opens the sending end of the ring to slot `to`."""
        with self._using() as handle:
            return Sender(_library.make("sender_open", handle, to))

    def receiver(self, sender: int) -> Receiver:
        """Opens the receiving end of the ring from slot `sender`."""
        with self._using() as handle:
            return Receiver(_library.make("receiver_open", handle, sender))

    def multi_receiver(self) -> MultiReceiver:
        """Opens the receiving end of the ring from all other slots."""
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
