#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The newest value, with the same values as latest.rs, so that either end may be the other one's.

    latest.py LINK measure COUNT    publishes COUNT values, without waiting for anybody
    latest.py LINK show             shows the newest ten times a second, until the last one
"""

import struct
import sys
import time

from ivshmem_channel import Channel, Layout, Link

MEASURES = 0
SLOTS = 8
VALUE = struct.Struct("<QQQ")  # number, how many there will be, and what was measured
PATIENCE = 60.0  # seconds that the one who measures may be silent


def join(path, slots):
    # Who looks has to copy a value before two others are published: three buffers.
    layout = Layout(SLOTS).topic(MEASURES, 3, 64)
    return Channel.create_or_join(Link(path), layout, slots)


def measure(path, count):
    with join(path, [MEASURES]) as member, member.publisher() as values:
        for n in range(1, count + 1):
            values.publish(VALUE.pack(n, count, n * n))
            time.sleep(0.0005)


def show(path):
    with join(path, range(MEASURES + 1, SLOTS)) as member, member.subscriber() as values:
        n = count = None
        while n is None or n != count:
            value = values.newest(PATIENCE)
            n, count, measured = VALUE.unpack(value.data)
            if measured != n * n:
                sys.exit(f"value {n} is torn: {measured}")
            print(f"value {n} is {measured}; {value.missed} were not shown", flush=True)
            time.sleep(0.1)


def main():
    match sys.argv[1:]:
        case [path, "measure", count]:
            measure(path, int(count))
        case [path, "show"]:
            show(path)
        case _:
            sys.exit("usage: latest.py LINK measure COUNT | latest.py LINK show")


if __name__ == "__main__":
    main()
