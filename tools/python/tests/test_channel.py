# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The package on a file, or on the link that IVSHMEM_TEST_LINK names. IVSHMEM_CHANNEL_LIBRARY names the library.

    python3 -m unittest discover -s tests
"""

import array
import asyncio
import errno
import gc
import inspect
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import weakref
from pathlib import Path
from unittest import mock

import ivshmem_channel as ic
from ivshmem_channel import _library

RING = 4096
SOON = 0.02
FOREVER = 300.0


class Case(unittest.TestCase):
    """Two members of a channel with a ring each way, one to slot 2 from both, and a topic."""

    def setUp(self):
        if named := os.environ.get("IVSHMEM_TEST_LINK"):
            path = named
        else:
            file = tempfile.NamedTemporaryFile()
            self.addCleanup(file.close)
            file.truncate(1 << 20)
            path = file.name
        self.link = ic.Link(path)
        self.layout = ic.Layout(3).ring(0, 1, RING).ring(1, 0, RING).multi_ring(2, RING).topic(0, 4, 64)
        self.channel = ic.Channel.create(self.link, self.layout)
        self.members = [self.channel.join([slot]) for slot in range(3)]
        for member in self.members:
            self.addCleanup(member.close)

    def pair(self):
        sender, receiver = self.members[0].sender(1), self.members[1].receiver(0)
        self.addCleanup(sender.close)
        self.addCleanup(receiver.close)
        return sender, receiver


class Interface(unittest.TestCase):
    def test_declares_what_the_header_declares(self):
        header = Path(__file__).parents[3] / "include/libivshmem_channel.h"
        code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        functions = re.findall(r"ivshmem_channel_(\w+)\(([^)]*)\);", code)
        wanted = {name: 0 if arguments == "void" else arguments.count(",") + 1 for name, arguments in functions}
        declared = {name: len(arguments) for name, (_, arguments) in _library._FUNCTIONS.items()}
        self.assertEqual(declared, wanted)

    def test_everything_is_documented_and_exported(self):
        for name in ic.__all__:
            self.assertTrue(inspect.getdoc(getattr(ic, name)), name)


class Memory(Case):
    PLACE = 1 << 19

    def test_is_read_and_written_within_its_bounds(self):
        link, place = self.link, self.PLACE
        for data in (b"", b"hello", bytearray(b"x" * 1000), memoryview(b"y")):
            link.write(place + 1, data)
            self.assertEqual(link.read(place + 1, len(data)), bytes(data))
        link.store(place, 0xFFFFFFFF)
        link.fence()
        self.assertEqual(link.load(place), 0xFFFFFFFF)
        for wrong in (lambda: link.read(link.size, 1), lambda: link.write(link.size - 1, b"xy"), lambda: link.load(place + 2)):
            with self.assertRaises(ic.ChannelError) as raised:
                wrong()
            self.assertEqual(raised.exception.errno, errno.EINVAL)
        for value in (-1, 1 << 32):
            self.assertRaises(ValueError, link.store, place, value)
        self.assertRegex(link.way, "server|file")

    def test_a_word_that_changes_ends_a_wait(self):
        link, place = self.link, self.PLACE
        link.store(place, 0)
        self.assertRaises(ic.WouldBlock, link.wait_word, place, 0, 0)
        self.assertRaises(ic.TimedOut, link.wait_word, place, 0, SOON)
        self.assertEqual(link.wait_word(place, 1, FOREVER), 0)

        def change():
            link.store(place, 7)
            if link.vectors:
                link.ring(link.peer_id)

        timer = threading.Timer(SOON, change)
        timer.start()
        self.assertEqual(link.wait_word(place, 0, FOREVER), 7)
        timer.join()

    def test_looks_are_as_rare_as_was_said(self):
        # Nothing can ring an end of a file.
        file = tempfile.NamedTemporaryFile()
        self.addCleanup(file.close)
        file.truncate(4096)
        link, place = ic.Link(file.name, interval=60), 0

        def sleeps_through_a_change():
            link.store(place, 0)
            timer = threading.Timer(SOON, link.store, (place, 1))
            begin = time.monotonic()
            timer.start()
            link.wait_word(place, 0, FOREVER)
            timer.join()
            return time.monotonic() - begin >= 0.1

        # A wait that begins late sees the change at its first look.
        self.assertTrue(any(sleeps_through_a_change() for _ in range(20)))

    def test_intervals_are_numbers(self):
        for interval in (-1, math.nan, math.inf):
            with self.assertRaises(ValueError):
                ic.Link("/nonexistent", interval)

    def test_rings_are_heard_where_there_is_a_doorbell(self):
        link = self.link
        self.assertRaises(ValueError, link.ring, 1 << 16)
        self.assertRaises(ValueError, link.wait, [64], 0)
        if not link.vectors:
            for wrong in (lambda: link.ring(0), lambda: link.wait(timeout=0), link.bell, link.heard):
                with self.assertRaises(ic.ChannelError) as raised:
                    wrong()
                self.assertEqual(raised.exception.errno, errno.EOPNOTSUPP)
            return
        with selectors.DefaultSelector() as selector:
            selector.register(link.bell(), selectors.EVENT_READ)
            self.assertFalse(selector.select(0) or link.heard())
            link.ring(link.peer_id)
            self.assertTrue(selector.select(FOREVER))
            self.assertEqual(link.wait(timeout=FOREVER), {0})
            self.assertTrue(link.heard())
            self.assertFalse(selector.select(0) or link.heard())
        self.assertRaises(ic.TimedOut, link.wait, [0], SOON)


class Messages(Case):
    def test_arrive_in_order_and_of_any_length(self):
        sender, receiver = self.pair()
        self.assertEqual(sender.longest, RING - 24)
        for length in (0, 1, 7, 8, 1000, sender.longest):
            for data in (bytes(length), bytearray(b"x" * length), memoryview(b"y" * length)):
                sender.send(data)
                self.assertEqual(receiver.receive(), bytes(data))

    def test_several_come_at_a_time(self):
        sender, receiver = self.pair()
        for number in range(10):
            sender.queue(b"%d" % number)
        with self.assertRaises(ic.WouldBlock):
            receiver.receive(0)
        sender.flush()
        self.assertEqual(receiver.receive_many(4), [b"0", b"1", b"2", b"3"])
        self.assertEqual(len(receiver.receive_many(timeout=0)), 6)
        receiver.release()

    def test_of_several_senders_tell_who_sent_them(self):
        with self.members[2].multi_receiver() as receiver:
            for slot in (0, 1):
                with self.members[slot].sender(2) as sender:
                    sender.send(b"from %d" % slot)
            found = sorted(receiver.receive() for _ in range(2))
        self.assertEqual(found, [(0, b"from 0"), (1, b"from 1")])

    def test_go_into_a_buffer(self):
        sender, receiver = self.pair()
        sender.send(b"hello")
        with self.assertRaises(ic.MessageTooLong):
            receiver.receive_into(bytearray(4))
        room = bytearray(8)
        self.assertEqual(receiver.receive_into(room), 5)
        self.assertEqual(room[:5], b"hello")
        with self.assertRaises(TypeError):
            receiver.receive_into(b"cannot be written to")

    def test_longer_than_the_first_room_arrive(self):
        layout = ic.Layout(2).ring(0, 1, 65536)
        channel = ic.Channel.create(self.link, layout, base=131072)
        with channel.join([0]) as one, channel.join([1]) as two, one.sender(1) as to, two.receiver(0) as from_:
            for take in (from_.receive, lambda: from_.receive_many()[0]):
                data = os.urandom(to.longest)
                to.send(data)
                self.assertEqual(take(), data)
                to.send(data[:9000])
                self.assertEqual(take(), data[:9000])

    def test_are_iterated_until_that_is_cancelled(self):
        sender, receiver = self.pair()
        cancel = ic.Cancel()
        receiver.set_cancel(cancel)
        for number in range(3):
            sender.send(b"%d" % number)
        timer = threading.Timer(SOON, cancel.cancel)
        timer.start()
        self.assertEqual(list(receiver), [b"0", b"1", b"2"])
        timer.join()
        with self.assertRaises(ic.Cancelled):
            receiver.receive()


class Waits(Case):
    def test_end_in_time(self):
        sender, receiver = self.pair()
        for timeout, error in ((0, BlockingIOError), (SOON, TimeoutError), (0.25, TimeoutError)):
            begin = time.monotonic()
            with self.assertRaises(error) as raised:
                receiver.receive(timeout)
            self.assertGreaterEqual(time.monotonic() - begin, timeout)
            self.assertIsInstance(raised.exception, ic.ChannelError)
        sender.send(bytes(sender.longest))
        with self.assertRaises(ic.WouldBlock):
            sender.send(b"more", 0)
        with self.assertRaises(ic.TimedOut):
            sender.send(b"more", SOON)
        with self.assertRaises(ValueError):
            receiver.receive(-1)

    def test_let_signal_handlers_run(self):
        class Heard(Exception):
            pass

        def handler(*_):
            raise Heard

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        _, receiver = self.pair()
        signal.setitimer(signal.ITIMER_REAL, SOON)
        with self.assertRaises(Heard):
            receiver.receive()
        # It is as it was.
        with self.assertRaises(ic.WouldBlock):
            receiver.receive(0)

    def test_that_is_written_and_read_in_place_is_the_same(self):
        sender, receiver = self.pair()
        data = bytes(range(256)) * 4
        # Some go over the end of the ring.
        for length in (0, 1, 1000, 999, 1024, 1024, 1024, 17):
            with sender.reserve(len(data), FOREVER) as room:
                room.write(0, data[:7])
                room.write(7, data[7:])
                for wrong in ((len(data), b"x"), (-1, b"")):
                    self.assertRaises(ValueError, room.write, *wrong)
                room.length = length
            with receiver.borrow(FOREVER) as message:
                self.assertEqual((message.sender, bytes(message)), (0, data[:length]))
                self.assertTrue(all(part.readonly for part in message.parts))
            receiver.release()
        # Neither is sent or taken after an exception.
        with self.assertRaises(ZeroDivisionError), sender.reserve(8) as room:
            room.write(0, b"not sent")
            raise ZeroDivisionError
        sender.send(b"sent")
        with self.assertRaises(ZeroDivisionError), receiver.borrow(FOREVER) as message:
            raise ZeroDivisionError
        self.assertEqual(receiver.receive(FOREVER), b"sent")
        self.assertRaises(ic.WouldBlock, receiver.borrow(0).__enter__)
        self.assertRaises(ic.MessageTooLong, sender.reserve(RING).__enter__)
        # Nothing is committed when something else was sent meanwhile.
        with self.assertRaises(ic.ChannelError), sender.reserve(8) as room:
            sender.send(b"between")
        self.assertEqual(receiver.receive(FOREVER), b"between")

    def test_whose_memory_is_in_use_keeps_its_end_open(self):
        sender, receiver = self.pair()
        sender.send(b"hello")
        with receiver.borrow(FOREVER) as message:
            kept = message.parts[0][1:3]
            self.assertRaises(BufferError, receiver.close)
        self.assertRaises(ValueError, lambda: message.parts[0][0])
        self.assertRaises(BufferError, receiver.close)
        self.assertEqual(bytes(kept), b"el")
        del kept
        receiver.close()
        # One that nobody knows any more stays open for as long.
        sender = self.members[1].sender(0)
        with sender.reserve(8) as room:
            kept = room.parts[0][:]
        ended = weakref.ref(sender)
        del sender, room
        gc.collect()
        self.assertIsNotNone(ended())
        del kept
        gc.collect()
        self.assertIsNone(ended())

    def test_of_selectors_end(self):
        sender, receiver = self.pair()
        with selectors.DefaultSelector() as selector:
            selector.register(receiver, selectors.EVENT_READ)
            for number in range(20):
                timer = threading.Timer(SOON / 10, sender.send, [b"%d" % number])
                timer.start()
                while True:
                    try:
                        self.assertEqual(receiver.receive(0), b"%d" % number)
                        break
                    except ic.WouldBlock:
                        if receiver.arm():
                            self.assertTrue(selector.select(FOREVER))
                timer.join()
            self.assertTrue(receiver.arm())
            receiver.disarm()
            sender.send(b"is not told")
            self.assertFalse(selector.select(1.2))
            self.assertFalse(receiver.arm())

    def test_of_asyncio_end(self):
        sender, receiver = self.pair()
        other, echoes = self.members[1].sender(0), self.members[0].receiver(1)
        self.addCleanup(other.close)
        self.addCleanup(echoes.close)
        count = 200
        # Three fit.
        data = [bytes([number % 256]) * 1200 for number in range(count)]

        async def send():
            for message in data:
                await sender.send_async(message)

        async def echo():
            async for message in receiver:
                await other.send_async(message[:8])
                if message == data[-1]:
                    return

        async def main():
            tasks = [asyncio.create_task(send()), asyncio.create_task(echo())]
            found = [await echoes.receive_async() for _ in range(count)]
            await asyncio.gather(*tasks)
            return found

        self.assertEqual(asyncio.run(asyncio.wait_for(main(), FOREVER)), [message[:8] for message in data])

    def test_asyncio_waits_for_room_for_bytes_not_items(self):
        sender, receiver = self.pair()
        items = memoryview(array.array("Q", range(128)))
        # Room for as many bytes as there are items, and not for all.
        sender.send(bytes(RING - 128 * 8), 0)

        async def main():
            task = asyncio.create_task(sender.send_async(items))
            await asyncio.sleep(0)
            self.assertEqual(len(receiver.receive(0)), RING - 128 * 8)
            await task
            return receiver.receive(0)

        def hangs(*_):
            raise AssertionError("the loop does not get its turn")

        before = signal.signal(signal.SIGALRM, hangs)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, FOREVER)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.assertEqual(asyncio.run(main()), items.tobytes())


    def test_of_two_tasks_for_one_end_are_refused(self):
        sender, receiver = self.pair()

        async def main():
            first = asyncio.create_task(receiver.receive_async())
            await asyncio.sleep(0)
            with self.assertRaises(RuntimeError):
                await asyncio.wait_for(receiver.receive_async(), FOREVER)
            with self.assertRaises(RuntimeError):
                receiver.close()
            sender.send(b"for the first")
            return await asyncio.wait_for(first, FOREVER)

        self.assertEqual(asyncio.run(main()), b"for the first")

    def test_may_be_without_end_and_very_short(self):
        sender, receiver = self.pair()
        sender.send(b"hello")
        self.assertEqual(receiver.receive(math.inf), b"hello")
        with self.assertRaises(ic.TimedOut):
            receiver.receive(1e-12)
        with self.assertRaises(ValueError):
            receiver.receive(math.nan)


class Arguments(Case):
    """ctypes cuts numbers to their width, and text at a NUL: what was meant is not what is done."""

    def test_that_do_not_fit_are_refused(self):
        wide = 1 << 32
        attempts = [
            lambda: ic.Layout(2 + wide),
            lambda: ic.Layout(2).ring(0, 1, wide + 64),
            lambda: ic.Layout(2).heartbeat(-1, 3),
            lambda: self.members[0].sender(wide + 1),
            lambda: self.members[2].receiver(-1),
            lambda: self.members[0].presence(-1),
            lambda: self.channel.join([wide]),
            lambda: self.channel.join([0], vector=-1),
            lambda: ic.Channel.open(self.link, base=1 << 64),
            lambda: self.link.claim_area("one", (1 << 64) + 1, 262144),
            lambda: self.link.wait_word(0, wide, 0),
        ]
        for number, attempt in enumerate(attempts):
            with self.assertRaises(ValueError, msg=f"attempt {number}"):
                attempt()
        with self.assertRaises(TypeError):
            self.members[0].sender(1.0)

    def test_with_a_nul_are_refused(self):
        for attempt in (
            lambda: ic.Link("/dev/null\0"),
            lambda: self.link.claim_area("one\0two", 4096, 262144),
            lambda: self.link.find_area("one\0two", 262144),
        ):
            with self.assertRaises(ValueError):
                attempt()

    def test_a_buffer_can_grow_after_what_did_not_fit(self):
        sender, receiver = self.pair()
        sender.send(b"x" * 100)
        room = bytearray(4)
        try:
            receiver.receive_into(room)
        except ic.MessageTooLong as error:
            self.assertIn("100 bytes do not fit", str(error))
            room.extend(bytes(96))
        self.assertEqual(receiver.receive_into(room), 100)

    def test_threads_add_to_one_layout(self):
        layout = ic.Layout(64)
        rings = [(one, two) for one in range(64) for two in range(64) if one != two]

        def add(part):
            for one, two in part:
                layout.ring(one, two, 64)

        threads = [threading.Thread(target=add, args=[rings[at::4]]) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = ic.Layout(64)
        for one, two in rings:
            whole.ring(one, two, 64)
        self.assertEqual(layout.size, whole.size)


class Processes(Case):
    def test_a_child_ends_and_leaves_all_to_its_parent(self):
        sender, receiver = self.pair()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            for end in (sender, receiver, *self.members):
                end.close()
            del self.channel, self.link
            gc.collect()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        self.assertEqual(status, 0)
        sender.send(b"hello")
        self.assertEqual(receiver.receive(FOREVER), b"hello")
        for member in self.members:
            member.beat()

    def test_another_library_is_no_library(self):
        code = "import ivshmem_channel"
        environment = os.environ | {"IVSHMEM_CHANNEL_LIBRARY": "libc.so.6"}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        self.assertIn("ImportError: libc.so.6", run.stderr)


class Topics(Case):
    def test_values_are_read_each_and_the_newest(self):
        with self.members[0].publisher() as publisher, self.members[1].subscriber() as subscriber:
            self.assertEqual(publisher.longest, subscriber.longest)
            publisher.publish(b"one")
            self.assertEqual(subscriber.next(), (b"one", 0))
            for number in range(20):
                publisher.publish(b"%d" % number)
            self.assertEqual(subscriber.newest(), (b"19", 19))
            with self.assertRaises(ic.WouldBlock):
                subscriber.newest(0)
            with self.assertRaises(ic.MessageTooLong):
                publisher.publish(bytes(65))

    def test_asyncio_gets_values(self):
        async def main(publisher, subscriber):
            numbers = []
            async for value in subscriber:
                numbers.append(int(value.data))
                if numbers[-1] == 5:
                    return numbers
                publisher.publish(b"%d" % (numbers[-1] + 1))

        with self.members[0].publisher() as publisher, self.members[1].subscriber() as subscriber:
            publisher.publish(b"1")
            self.assertEqual(asyncio.run(main(publisher, subscriber)), [1, 2, 3, 4, 5])


class Requests(Case):
    def setUp(self):
        super().setUp()
        self.rpc = ic.Channel.create(self.link, ic.Layout.rpc(2, RING, RING), base=131072)

    def test_are_answered(self):
        cancel = ic.Cancel()

        def serve():
            with ic.RpcServer(self.rpc) as server:
                server.set_cancel(cancel)
                for request in server:
                    self.assertTrue(server.reply(request, request.body.upper()))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with ic.RpcClient(self.rpc) as client:
                for text in (b"hello", b"", b"x" * 2000):
                    self.assertEqual(client.call(text, FOREVER), text.upper())
        finally:
            cancel.cancel()
            thread.join()

    def test_that_nobody_answers_end(self):
        with ic.RpcClient(self.rpc) as client:
            with self.assertRaises(ic.TimedOut):
                client.call(b"hello", SOON)

    def test_are_not_taken_over_by_another_thread(self):
        met = []

        def ask(client):
            try:
                client.call(b"another", SOON)
            except (RuntimeError, ic.TimedOut) as error:
                met.append(type(error))

        def clock():
            # The call looks at the clock before it asks, and before it waits for the answer.
            if sys._getframe(1).f_code.co_name == "call" and threading.current_thread() is threading.main_thread():
                looks.append(None)
                if len(looks) == 2:
                    thread = threading.Thread(target=ask, args=(client,))
                    thread.start()
                    thread.join()
            return monotonic()

        looks, monotonic = [], time.monotonic
        with ic.RpcClient(self.rpc) as client, mock.patch("time.monotonic", clock):
            with self.assertRaises(ic.TimedOut):
                client.call(b"one", SOON)
        self.assertEqual(met, [RuntimeError])

    def test_let_signal_handlers_run(self):
        class Heard(Exception):
            pass

        def handler(*_):
            raise Heard

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        with ic.RpcClient(self.rpc) as client:
            signal.setitimer(signal.ITIMER_REAL, SOON)
            with self.assertRaises(Heard):
                client.call(b"hello")

    def test_asyncio_answers(self):
        async def serve(server, count):
            for _ in range(count):
                request = await server.next_async()
                server.reply(request, request.body[::-1])

        with ic.RpcServer(self.rpc) as server, ic.RpcClient(self.rpc) as client:
            async def main():
                task = asyncio.create_task(serve(server, 3))
                answers = [await asyncio.to_thread(client.call, b"abc", FOREVER) for _ in range(3)]
                await task
                return answers

            self.assertEqual(asyncio.run(main()), [b"cba"] * 3)


class Areas(Case):
    def test_are_found_by_name(self):
        directory = 262144
        self.assertIsNone(self.link.find_area("one", directory))
        # Looking writes nothing: the channel that is there stays one.
        self.assertIsNone(self.link.find_area("one"))
        ic.Channel.open(self.link)
        start = self.link.claim_area("one", 5000, directory)
        self.assertEqual(self.link.claim_area("one", 5000, directory), start)
        self.assertEqual(self.link.find_area("one", directory), range(start, start + 8192))
        with self.assertRaises(ic.ChannelError) as raised:
            self.link.claim_area("two", 1 << 40, directory)
        self.assertEqual(raised.exception.errno, errno.ENOSPC)
        layout = ic.Layout(2).ring(0, 1, 64)
        with ic.Channel.create_or_join(self.link, layout, [0], base=start) as member:
            member.beat()

    def tearDown(self):
        # The next test's link may be the same memory.
        if os.environ.get("IVSHMEM_TEST_LINK"):
            ic.Channel.create(self.link, ic.Layout(2).ring(0, 1, 64), base=262144)


class Life(Case):
    def test_who_is_there_is_told(self):
        one, two, _ = self.members
        presence = one.presence(1)
        self.assertEqual((presence.state, presence.incarnation), (ic.State.PRESENT, two.incarnation))
        self.assertEqual(two.slot, 1)
        two.close()
        self.assertEqual(one.presence(1).state, ic.State.ABSENT)
        with self.assertRaises(ic.ChannelError) as raised:
            one.presence(3)
        self.assertEqual(raised.exception.errno, errno.ENXIO)

    def test_who_comes_and_goes_is_told(self):
        one, two, three = self.members
        with one.changes() as changes:
            cancel = ic.Cancel()
            changes.set_cancel(cancel)
            found = {changes.next(FOREVER) for _ in range(2)}
            joined = ic.Event.JOINED
            self.assertEqual(found, {ic.Change(joined, other.slot, other.incarnation) for other in (two, three)})
            incarnation = three.incarnation
            three.close()
            self.assertEqual(changes.next(FOREVER), ic.Change(ic.Event.LEFT, 2, incarnation))
            cancel.cancel()
            self.assertEqual(list(changes), [])

    def test_a_channel_made_anew_has_to_be_joined_again(self):
        _, receiver = self.pair()
        self.channel.reset()
        with self.assertRaises(ic.Reset):
            receiver.receive()
        with ic.Channel.create_or_join(self.link, self.layout, [0]) as member:
            member.beat()

    def test_what_is_closed_is_not_used(self):
        sender, receiver = self.pair()
        sender.close()
        sender.close()
        with self.assertRaises(ValueError):
            sender.send(b"hello")
        # What is open outlives what it was opened with.
        self.members[1].close()
        del self.channel, self.link
        gc.collect()
        with self.assertRaises(ic.WouldBlock):
            receiver.receive(0)

    def test_two_threads_do_not_use_one_end(self):
        sender, receiver = self.pair()
        thread = threading.Thread(target=receiver.receive)
        thread.start()
        raised = False
        while not raised:
            try:
                receiver.receive(0)
            except RuntimeError:
                raised = True
            except ic.WouldBlock:
                pass
        with self.assertRaises(RuntimeError):
            receiver.close()
        sender.send(b"hello")
        thread.join()

    def test_errors_say_what_to_do(self):
        with self.assertRaises(ic.ChannelError) as raised:
            ic.Link("/nonexistent/ivshmem0")
        self.assertEqual(raised.exception.errno, errno.ENOENT)
        self.assertIn("/nonexistent/ivshmem0", str(raised.exception))
        with self.assertRaises(ic.ChannelError) as raised:
            ic.Channel.create_or_join(self.link, ic.Layout(2).ring(0, 1, 64), [0])
        self.assertEqual(raised.exception.errno, errno.EEXIST)
        with self.assertRaises(ic.ChannelError):
            self.channel.join([])


if __name__ == "__main__":
    unittest.main()
