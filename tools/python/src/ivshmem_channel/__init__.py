# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Channels between virtual machines and host processes, through shared memory.

A `Link` is a way to the memory, a `Layout` the shape of a channel, and a `Member` a slot that this program has joined by
`Channel.create_or_join`. A member opens senders, receivers, publishers and subscribers. `RpcServer` and `RpcClient` are for
requests and replies.

Time limits are in seconds: None waits for ever, and 0 does not block. Waits let Python's signal handlers run, and so end
with Ctrl-C, except those of joining. Members and what they open are used by one thread at a time; a
second one gets RuntimeError. All of them are context managers, which close them.
"""

from ._channel import Cancel, Channel, Layout, Link
from ._ends import MultiReceiver, Publisher, Received, Receiver, Sender, Subscriber, Value
from ._errors import (
    Cancelled,
    ChannelError,
    Corrupt,
    Gone,
    LaneCorrupt,
    MessageTooLong,
    PeerLost,
    Replaced,
    Reset,
    TimedOut,
    WouldBlock,
)
from ._in_place import Borrowed, Reservation
from ._member import Change, Changes, Event, Member, Presence, State
from ._rpc import Request, RpcClient, RpcServer

__all__ = [
    "Borrowed",
    "Cancel",
    "Cancelled",
    "Change",
    "Changes",
    "Channel",
    "ChannelError",
    "Corrupt",
    "Event",
    "Gone",
    "LaneCorrupt",
    "Layout",
    "Link",
    "Member",
    "MessageTooLong",
    "MultiReceiver",
    "PeerLost",
    "Presence",
    "Publisher",
    "Received",
    "Receiver",
    "Replaced",
    "Request",
    "Reservation",
    "Reset",
    "RpcClient",
    "RpcServer",
    "Sender",
    "State",
    "Subscriber",
    "TimedOut",
    "Value",
    "WouldBlock",
]
