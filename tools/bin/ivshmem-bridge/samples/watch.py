#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Shows the sensor's values on any machine that reaches a host's bridge: a program of Zenoh that knows of no shared memory.

    watch.py ENDPOINT    such as tcp/192.0.2.1:7447; until the last value

It takes Zenoh's package: pip install eclipse-zenoh
"""

import queue
import sys

import zenoh

KEY = "plant/line1/temperature"
PATIENCE = 60.0  # seconds that nothing may come


def values(session):
    """The newest value, which bridges tell whoever asks, and then each that is published."""
    heard = queue.Queue()
    subscriber = session.declare_subscriber(KEY, lambda sample: heard.put(sample.payload))
    for reply in session.get(KEY + "/@ivshmem/*"):
        if reply.ok:
            yield reply.ok.payload.to_string()
    while True:
        yield heard.get(timeout=PATIENCE).to_string()


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: watch.py ENDPOINT")
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", f'["{sys.argv[1]}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    with zenoh.open(config) as session:
        print("connected", flush=True)
        for value in values(session):
            print(value, flush=True)
            number, count = value.split(" ")[0].split("/")
            if number == count:
                return


if __name__ == "__main__":
    main()
