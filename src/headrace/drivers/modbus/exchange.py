"""A list of requests, made once and executed every cycle, with the bytes their answers must begin with."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from headrace.drivers.modbus import codec

# What became of a request. An exception reply has 0x80 | its code, so that any byte is one state.
PENDING: Final = 0  # not sent yet
FLYING: Final = 1  # sent, not answered yet
OK: Final = 2
TIMEOUT: Final = 3
GARBLED: Final = 4  # what came was no answer to it
LOST: Final = 5  # the connection ended before the answer
UNASKED: Final = 6  # not sent, since the device had fallen silent
EXCEPTION: Final = 0x80


class Exchange:
    """`requests` (PDUs) of one unit, framed for TCP or RTU.

    The data of the answers go to `sink`, one after the other, those of request i to `places[i]`; `status[i]`
    tells what became of it and `times[i]` when its answer came (UTC ns, 0 for none). The engine of room
    client executes it; one exchange may be executed again and again, but not twice at once.
    """

    __slots__ = (
        "_hi",
        "expect",
        "failed",
        "frames",
        "overrun",
        "places",
        "requests",
        "sink",
        "sizes",
        "starts",
        "status",
        "tcp",
        "times",
        "unit",
    )

    def __init__(
        self,
        requests: Sequence[bytes],
        unit: int,
        *,
        tcp: bool,
        sink: bytearray | None = None,
        places: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.requests = tuple(requests)
        self.unit = unit
        self.tcp = tcp
        self.expect: list[bytes] = []  # the answer's bytes: TCP from its third on, RTU from its first
        self.sizes: list[int] = []  # of the whole answer
        taken: list[tuple[int, int]] = []
        at = 0
        for request in self.requests:
            prefix, payload = codec.expected_reply(request)
            if tcp:
                length = 1 + len(prefix) + payload
                self.expect.append(struct.pack(">HHB", 0, length, unit) + prefix)
                self.sizes.append(6 + length)
            else:
                self.expect.append(bytes((unit,)) + prefix)
                self.sizes.append(1 + len(prefix) + payload + 2)
            taken.append((at, at + payload))
            at += payload
        self.places = list(places) if places is not None else taken
        self.sink = sink if sink is not None else bytearray(at)
        frames = [codec.tcp_frame(0, unit, r) if tcp else codec.rtu_frame(unit, r) for r in self.requests]
        self.frames = bytearray(b"".join(frames))
        self.starts = [0, *np.cumsum([len(f) for f in frames]).tolist()]
        self._hi = np.array(self.starts[:-1], np.intp)
        self.status = bytearray(len(self.requests))
        self.times = [0] * len(self.requests)
        self.failed = 0  # requests that did not end as OK
        self.overrun = False  # a time-out struck while several requests were in flight

    def __len__(self) -> int:
        return len(self.requests)

    def reset(self, transaction: int) -> None:
        """Before a cycle: everything pending; TCP requests numbered from `transaction` on, modulo 65536."""
        count = len(self.requests)
        self.status[:] = bytes(count)
        self.times = [0] * count
        self.failed = 0
        self.overrun = False
        if self.tcp and count:
            numbers = np.arange(transaction, transaction + count) & 0xFFFF
            view = np.frombuffer(self.frames, np.uint8)
            view[self._hi] = numbers >> 8
            view[self._hi + 1] = numbers & 0xFF

    def part(self, indexes: Sequence[int]) -> Exchange:
        """These requests only, to be asked again; their answers go where they would have gone."""
        return Exchange(
            [self.requests[i] for i in indexes],
            self.unit,
            tcp=self.tcp,
            sink=self.sink,
            places=[self.places[i] for i in indexes],
        )

    def merge(self, part: Exchange, indexes: Sequence[int]) -> None:
        """Take over what became of `part`, made by `part(indexes)`."""
        for j, i in enumerate(indexes):
            self.status[i] = part.status[j]
            self.times[i] = part.times[j]
        self.failed = sum(s != OK for s in self.status)
