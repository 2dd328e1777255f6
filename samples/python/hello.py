#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Says hello to another guest, with nothing but Python's standard library.

    hello.py          waits to be rung, and prints what was written
    hello.py PEER     writes a line, and rings the guest that waits as PEER

The class is free to copy: the calls and structures of include/uapi/linux/ivshmem_rs.h, as far as this needs them.
"""

import fcntl
import mmap
import os
import struct
import sys

# struct ivshmem_info: abi_version, flags, shm_size, peer_id, vectors, and what is not used here.
INFO = struct.Struct("=IIQII104x")
RING = struct.Struct("=II")  # struct ivshmem_ring: peer, vector
EVENT = struct.Struct("=IIQ")  # struct ivshmem_event: vector, reserved, count


def request(direction, number, size):
    """As _IOR (2) and _IOW (1) with the letter 'i' make it."""
    return direction << 30 | size << 16 | ord("i") << 8 | number


GET_INFO = request(2, 0xA0, INFO.size)
RING_PEER = request(1, 0xA1, RING.size)


class Ivshmem:
    """An open device and its shared memory. Failed calls raise OSError, with the driver's errno."""

    def __init__(self, path="/dev/ivshmem0"):
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        version, _, size, self.peer_id, self.vectors = INFO.unpack(
            fcntl.ioctl(self.fd, GET_INFO, bytes(INFO.size))
        )
        if version != 1:
            raise OSError(f"{path}: the driver's interface is version {version}, and this program knows 1")
        # When the device is unplugged, touching this ends the program by SIGBUS.
        self.memory = mmap.mmap(self.fd, size)

    def ring(self, peer, vector=0):
        """Interrupts a peer. What was written to the memory before is visible to who wakes."""
        fcntl.ioctl(self.fd, RING_PEER, RING.pack(peer, vector))

    def events(self):
        """Sleeps until this guest is rung; returns pairs of a vector and how many interrupts it had."""
        data = os.read(self.fd, self.vectors * EVENT.size)
        return [(vector, count) for vector, _, count in EVENT.iter_unpack(data)]


def main():
    if len(sys.argv) > 2 or not all(word.isdecimal() for word in sys.argv[1:]):
        print("usage: hello.py [PEER]", file=sys.stderr)
        sys.exit(2)
    device = Ivshmem()
    if len(sys.argv) > 1:
        line = f"hello from peer {device.peer_id}".encode()
        device.memory[:64] = line.ljust(64, b"\0")
        device.ring(int(sys.argv[1]))
        return
    print(f'waiting: run "hello.py {device.peer_id}" in another guest', flush=True)
    for vector, _ in device.events():
        # A copy: another guest can write at any time.
        text = bytes(device.memory[:64]).split(b"\0")[0].decode(errors="replace")
        print(f"vector {vector}: {text}")


if __name__ == "__main__":
    main()
