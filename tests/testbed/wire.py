"""A slow wire in user space: two taps, and everything that enters one leaves the other, later, twice or in disorder.

    python wire.py TAP TAP DELAY_MS JITTER_MS DUPLICATES_PERCENT

For kernels without netem. Started by path inside a network namespace; makes the taps there and ends, removing them,
when its standard input ends.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_FRAME_BYTES_MAX = 65_536
_FRAMES_AT_ONCE = 64


def tap(name: str) -> int:
    """A new tap device."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    return descriptor


def frames(descriptor: int) -> list[bytes]:
    """What has arrived, a bounded number of frames."""
    found = []
    for _ in range(_FRAMES_AT_ONCE):
        try:
            found.append(os.read(descriptor, _FRAME_BYTES_MAX))
        except BlockingIOError:
            break
    return found


def main(left: str, right: str, delay_ms: str, jitter_ms: str, duplicates_percent: str) -> None:
    """Carry frames until standard input ends."""
    delay_s, jitter_s = float(delay_ms) / 1_000, float(jitter_ms) / 1_000
    ends = tap(left), tap(right)
    other = dict(zip(ends, reversed(ends), strict=True))
    under_way: list[tuple[float, int, int, bytes]] = []
    number = 0
    poll = select.epoll()
    for descriptor in (*ends, sys.stdin.fileno()):
        poll.register(descriptor, select.EPOLLIN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else -1
        for descriptor, _ in poll.poll(wait_s):
            if descriptor not in other:
                return
            for frame in frames(descriptor):
                for _ in range(2 if random.uniform(0, 100) < float(duplicates_percent) else 1):
                    number += 1
                    due = time.monotonic() + delay_s + random.uniform(-jitter_s, jitter_s)
                    heapq.heappush(under_way, (due, number, other[descriptor], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, descriptor, frame = heapq.heappop(under_way)
            try:
                os.write(descriptor, frame)
            except OSError:  # its end is down, or its queue is full: a wire loses frames
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
