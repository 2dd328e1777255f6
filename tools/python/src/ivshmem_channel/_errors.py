# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What can go wrong."""

import errno


class ChannelError(OSError):
    """A call failed: `errno` is the library's number, `strerror` says what happened and what to do."""


class WouldBlock(ChannelError, BlockingIOError):
    """Nothing is there, or no room, and the call does not block."""


class TimedOut(ChannelError, TimeoutError):
    """The time is over."""


class Cancelled(ChannelError):
    """The wait was cancelled."""


class MessageTooLong(ChannelError):
    """The message is longer than can be sent, or than the buffer."""


class Reset(ChannelError):
    """Somebody recreated the channel: join again."""


class Replaced(ChannelError, ConnectionAbortedError):
    """Another program has taken this program's slot: end."""


class PeerLost(ChannelError, ConnectionResetError):
    """The server has ended, or another one has taken its place."""


class Corrupt(ChannelError):
    """Somebody wrote what no program may write: recreate the channel."""


class LaneCorrupt(ChannelError):
    """The same of one of several senders alone: the others are still heard."""


class Gone(ChannelError):
    """The device is gone, and with it the memory: close everything."""


_CLASSES: dict[int, type[ChannelError]] = {
    errno.EAGAIN: WouldBlock,
    errno.ETIMEDOUT: TimedOut,
    errno.ECANCELED: Cancelled,
    errno.EMSGSIZE: MessageTooLong,
    errno.ESTALE: Reset,
    errno.ECONNABORTED: Replaced,
    errno.ECONNRESET: PeerLost,
    errno.EUCLEAN: Corrupt,
    errno.EBADMSG: LaneCorrupt,
    errno.ENODEV: Gone,
}


def error_of(number: int, text: str) -> ChannelError:
    return _CLASSES.get(number, ChannelError)(number, text)
