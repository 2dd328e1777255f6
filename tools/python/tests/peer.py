#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The programs of a channel, each as a process, with the messages and layouts of ivshmem-channel-c/tests/c/peer.c.

    peer.py LINK talk COUNT         sends numbered messages and expects each back
    peer.py LINK echo               sends back what comes, on asyncio's loop, up to an empty message
    peer.py LINK publish COUNT      publishes numbers up to COUNT
    peer.py LINK subscribe COUNT    reads up to COUNT
    peer.py LINK serve              answers with the request backwards, up to an empty request
    peer.py LINK ask COUNT          asks, and an empty request if COUNT is 0
"""

import asyncio
import sys

from ivshmem_channel import Channel, Layout, Link, RpcClient, RpcServer

RING = 960
LONGEST = 500


def message(number):
    length = number * 2654435761 % 2**32 % LONGEST + 1
    return bytes((number ^ at * 167) & 0xFF for at in range(length))


def join(link, layout, slot):
    return Channel.create_or_join(link, layout, [slot], timeout=None)


def rings():
    return Layout(2).ring(0, 1, RING).ring(1, 0, RING)


def talk(link, count):
    with join(link, rings(), 0) as me, me.sender(1) as to, me.receiver(1) as from_:
        for number in range(count):
            to.send(message(number))
            assert from_.receive() == message(number), number
        to.send(b"")
        assert from_.receive() == b""


def echo(link):
    async def main(to, from_):
        async for data in from_:
            await to.send_async(data)
            if not data:
                return

    with join(link, rings(), 1) as me, me.sender(0) as to, me.receiver(0) as from_:
        asyncio.run(main(to, from_))


def topic():
    return Layout(3).topic(0, 4, 64)


def publish(link, count):
    with join(link, topic(), 0) as me, me.publisher() as publisher:
        for number in range(1, count + 1):
            publisher.publish(number.to_bytes(4, sys.byteorder))


def subscribe(link, count):
    with join(link, topic(), 1) as me, me.subscriber() as subscriber:
        before = None
        for value in subscriber:
            number = int.from_bytes(value.data, sys.byteorder)
            assert before is None or number == before + 1 + value.missed, (before, number, value.missed)
            before = number
            if number == count:
                return


def rpc(link):
    return Channel.open_or_create(link, Layout.rpc(2, RING, RING))


def serve(link):
    with RpcServer(rpc(link)) as server:
        for request in server:
            assert server.reply(request, request.body[::-1])
            if not request.body:
                return


def ask(link, count):
    with RpcClient(rpc(link)) as client:
        for number in range(count):
            assert client.call(message(number))[::-1] == message(number), number
        if count == 0:
            assert client.call(b"") == b""


def main():
    _, path, what, *numbers = sys.argv
    commands = {function.__name__: function for function in (talk, echo, publish, subscribe, serve, ask)}
    commands[what](Link(path), *map(int, numbers))


if __name__ == "__main__":
    main()
