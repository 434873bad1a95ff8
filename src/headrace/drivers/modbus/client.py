"""The engines that execute an Exchange on a connection: all work is done in `data_received`, one callback per
chunk of bytes, with no task, future or timer per request.

An answer counts only where transaction id (TCP), unit, function and byte count are those of a request in
flight. Anything else is dropped and counted; where a TCP stream has lost step it is closed, since no later
byte could be trusted. A device that pipelining overruns is noticed by its time-outs (`Exchange.overrun`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Protocol

import msgspec
import structlog

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.exchange import (
    EXCEPTION,
    FLYING,
    GARBLED,
    LOST,
    OK,
    PENDING,
    TIMEOUT,
    UNASKED,
    Exchange,
)
from headrace.kernel.clock import Clock
from headrace.kernel.messages import Text, both, os_reason

_log = structlog.get_logger(__name__)

_GIVE_UP: Final = 2  # time-outs in a row after which the rest of a cycle is not asked any more
_STRAY_LIMIT: Final = 1 << 20  # bytes nobody asked for between two answers, then the connection is closed
_RTU_KEEP: Final = 512  # bytes of a garbled line that may still hold the begin of an answer
_RTU_SETTLE_S: Final = 0.02  # silence after which a line that answered nonsense is taken to be done


class Wire(Protocol):
    """What an engine asks of a transport; asyncio's, a serial port's, or a test's."""

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class Counters(msgspec.Struct):
    """Since the driver was made."""

    requests: int = 0
    answers: int = 0
    exceptions: int = 0
    timeouts: int = 0
    late: int = 0  # answers to requests no longer waited for, or to none
    garbled: int = 0
    reconnects: int = 0


class Engine(asyncio.Protocol, ABC):
    """Common to both framings: one exchange at a time, its end, time-outs, and the loss of the connection."""

    def __init__(self, clock: Clock, timeout_s: float, counters: Counters) -> None:
        self.lost: Text | None = None  # why the connection ended
        self.lost_idle = False  # it ended while nothing was asked
        self._now = clock.now
        self._timeout_s = timeout_s
        self._counters = counters
        self._wire: Wire | None = None
        self._closed: asyncio.Future[None] | None = None
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._next = 0  # the request to be sent next
        self._left = 0  # requests without an end
        self._silent = 0  # time-outs in a row
        self._stray = 0

    # --- the driver's side

    async def run(self, exchange: Exchange, parallel: int = 1) -> None:
        """Execute `exchange`; returns when each request has ended one way or another, the connection's loss
        included. Raises ConnectionError where the connection was lost before."""
        if self.lost is not None or self._wire is None:
            raise ConnectionError((self.lost or both("modbus.not_open")).en)
        if self._exchange is not None:
            raise RuntimeError("an exchange is being executed")
        if not len(exchange):
            return
        exchange.reset(self._number(len(exchange)))
        self._exchange = exchange
        self._done = self._loop.create_future()
        self._next = 0
        self._left = len(exchange)
        self._silent = 0
        self._counters.requests += len(exchange)
        try:
            self._begin(parallel)
            await self._done
        finally:
            self._stop_timer()
            self._exchange = None
            self._done = None

    async def close(self) -> None:
        """Idempotent; returns when the transport is gone."""
        if self._wire is not None and self.lost is None:
            self._abort(both("modbus.lost_here"))
        if self._closed is not None:
            await self._closed

    # --- the transport's side

    def connection_made(self, transport: object) -> None:
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        self._wire = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost is None:
            self.lost = os_reason(exc) if isinstance(exc, OSError) else both("modbus.lost_there")
            self.lost_idle = self._exchange is None
        self._end_all(LOST)
        self._wire = None
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    # --- inner

    def _number(self, count: int) -> int:
        return 0

    @abstractmethod
    def _begin(self, parallel: int) -> None:
        """Send the exchange's first requests, up to `parallel` at once."""

    def _abort(self, reason: Text) -> None:
        """End the connection from this side. The wire reports connection_lost later."""
        if self.lost is None:
            self.lost = reason
        if self._wire is not None:
            self._wire.abort()

    def _end(self, index: int, status: int, when: int = 0) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.status[index] = status
        exchange.times[index] = when
        exchange.failed += 1
        self._left -= 1
        if status == TIMEOUT:
            self._counters.timeouts += 1
        elif status == GARBLED:
            self._counters.garbled += 1
        elif status & EXCEPTION:
            self._counters.exceptions += 1

    def _end_all(self, flying: int, pending: int | None = None) -> None:
        """End what has no end yet: requests in flight with `flying`, the others with `pending`."""
        exchange = self._exchange
        if exchange is None:
            return
        for index, status in enumerate(exchange.status):
            if status == FLYING:
                self._end(index, flying)
            elif status == PENDING:
                self._end(index, flying if pending is None else pending)
        self._finish()

    def _finish(self) -> None:
        self._stop_timer()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _strayed(self, size: int) -> None:
        """Bytes that answer nothing have come: a late answer, or noise."""
        self._counters.late += 1
        self._stray += size
        if self._stray > _STRAY_LIMIT:
            _log.warning("modbus_flooded", bytes=self._stray)
            self._stray = 0
            self._end_all(GARBLED, LOST)
            self._abort(both("modbus.lost_flood"))


def _garbled(error: codec.FrameError) -> Text:
    if error.length is None:
        return both("modbus.frame_protocol")
    return both("modbus.frame_length", length=error.length)


class TcpEngine(Engine):
    """Modbus TCP: up to `parallel` requests in flight, told apart by their transaction ids (TG §4.2.2)."""

    def __init__(self, clock: Clock, timeout_s: float, counters: Counters) -> None:
        super().__init__(clock, timeout_s, counters)
        self._rest = b""
        self._base = 0
        self._upcoming = 0
        self._parallel = 1
        self._flying = 0
        self._first = 0  # no request before this one is in flight
        self._sent: list[float] = []
        self._heard = 0.0
        self._newest = -1  # the request answered by the newest frame of the stream

    def _number(self, count: int) -> int:
        self._base = self._upcoming
        self._upcoming = (self._base + count) & 0xFFFF
        return self._base

    def _begin(self, parallel: int) -> None:
        self._parallel = parallel
        self._flying = 0
        self._first = 0
        self._newest = -1
        self._sent = []
        self._send()
        self._timer = self._loop.call_later(self._timeout_s, self._expired)

    def _send(self) -> None:
        exchange = self._exchange
        assert exchange is not None and self._wire is not None
        first = self._next
        count = min(self._parallel - self._flying, len(exchange) - first)
        if count <= 0:
            return
        after = first + count
        exchange.status[first:after] = b"\x01" * count  # FLYING
        self._sent += [self._loop.time()] * count
        self._next = after
        self._flying += count
        self._wire.write(bytes(exchange.frames[exchange.starts[first] : exchange.starts[after]]))

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return
        now = self._now()
        if self._rest:
            data = self._rest + data
            self._rest = b""
        exchange = self._exchange
        if exchange is None:
            self._cut(data, 0, now)
            return
        expect, sizes, status, times = exchange.expect, exchange.sizes, exchange.status, exchange.times
        places, sink = exchange.places, exchange.sink
        count, base = len(expect), self._base
        at, end = 0, len(data)
        answered = 0
        while end - at > 9:
            index = ((data[at] << 8 | data[at + 1]) - base) & 0xFFFF
            stop = -1
            if index < count and status[index] == FLYING:
                want = expect[index]
                if data[at + 2 : at + 2 + len(want)] == want:
                    stop = at + sizes[index]
            if stop < 0:
                break
            if stop > end:
                break
            first, last = places[index]
            sink[first:last] = data[stop - last + first : stop]
            status[index] = OK
            times[index] = now
            answered += 1
            self._newest = index
            at = stop
        if answered:
            self._answered(answered)
        if at < end:
            self._cut(data, at, now)
        if self._exchange is not None:
            if self._left == 0:
                self._finish()
            else:
                self._send()

    def _answered(self, count: int) -> None:
        self._left -= count
        self._flying -= count
        self._counters.answers += count
        self._silent = 0
        self._stray = 0
        if self._flying == 0:
            self._newest = -1  # no other answer's bytes can have filled it up

    def _cut(self, data: bytes, at: int, now: int) -> None:
        """The frames from `at` on, one by one, whatever they are; keeps the unfinished rest."""
        self._heard = self._loop.time()
        while True:
            try:
                frame, size = codec.tcp_parse(data[at : at + codec.MBAP_SIZE + codec.MAX_PDU])
            except codec.FrameError as error:
                self._lost_step(_garbled(error))
                return
            if frame is None:
                self._rest = data[at:]
                return
            self._one(frame, data[at : at + size], now)
            if self.lost is not None:
                return
            at += size

    def _one(self, frame: codec.Frame, raw: bytes, now: int) -> None:
        exchange = self._exchange
        index = (frame.transaction - self._base) & 0xFFFF
        if exchange is None or index >= len(exchange) or exchange.status[index] != FLYING:
            self._strayed(len(raw))
            return
        self._newest = index
        request = exchange.requests[index]
        want = exchange.expect[index]
        if raw[2 : 2 + len(want)] == want:
            first, last = exchange.places[index]
            exchange.sink[first:last] = raw[len(raw) - last + first :]
            exchange.status[index] = OK
            exchange.times[index] = now
            self._answered(1)
            return
        self._flying -= 1
        self._silent = 0
        if frame.unit == exchange.unit and len(frame.pdu) == 2 and frame.pdu[0] == request[0] | 0x80:
            self._end(index, EXCEPTION | (frame.pdu[1] & 0x7F), now)
        else:
            self._end(index, GARBLED, now)

    def _lost_step(self, what: Text) -> None:
        """The stream cannot be followed. The frame before this point may have been cut short by the device
        and filled up with the next one's bytes, so it is not trusted either."""
        _log.warning("modbus_stream_lost_step", reason=what.en)
        exchange = self._exchange
        if exchange is not None:
            if self._newest >= 0 and exchange.status[self._newest] == OK:
                self._left += 1
                self._end(self._newest, GARBLED)
            self._end_all(GARBLED, LOST)
        self._rest = b""
        self._abort(both("modbus.lost_step", what=what))

    def _expired(self) -> None:
        """The oldest request may have run out of time."""
        self._timer = None
        exchange = self._exchange
        if exchange is None:
            return
        now = self._loop.time()
        status = exchange.status
        while self._first < self._next and status[self._first] != FLYING:
            self._first += 1
        if self._first < self._next and now + 1e-4 >= self._sent[self._first] + self._timeout_s:
            if self._rest and now - self._heard >= self._timeout_s / 2:
                self._lost_step(both("modbus.frame_half"))
                return
            exchange.overrun |= self._flying > 1
            for index in range(self._first, self._next):
                if status[index] == FLYING and now + 1e-4 >= self._sent[index] + self._timeout_s:
                    self._end(index, TIMEOUT)
                    self._flying -= 1
            self._silent += 1
            self._parallel = 1
            if self._silent >= _GIVE_UP:
                self._end_all(TIMEOUT, UNASKED)
                return
            if self._left == 0:
                self._finish()
                return
            self._send()
        while self._first < self._next and status[self._first] != FLYING:
            self._first += 1
        oldest = self._sent[self._first] if self._first < self._next else now
        self._timer = self._loop.call_later(max(oldest + self._timeout_s - now, 0.001), self._expired)


class RtuEngine(Engine):
    """RTU on a line or through TCP: one request at a time, `gap_s` of silence between frames (SL §2.5.1.1).

    RTU has no transaction id: an answer that comes after its time-out could be taken for the next one's. So
    after a time-out the line is left alone for as long again, or until the late answer has come.
    """

    def __init__(self, clock: Clock, timeout_s: float, counters: Counters, gap_s: float = 0.0) -> None:
        super().__init__(clock, timeout_s, counters)
        self._gap_s = gap_s
        self._buffer = bytearray()
        self._asked = False  # a request is on the line
        self._quiet_until = 0.0
        self._deadline = 0.0

    async def run(self, exchange: Exchange, parallel: int = 1) -> None:
        try:
            await super().run(exchange, 1)
        finally:
            if self._asked:  # cancelled: its answer may still come
                self._asked = False
                self._quiet_until = self._loop.time() + self._timeout_s

    def _begin(self, parallel: int) -> None:
        self._send()

    def _send(self) -> None:
        self._timer = None
        exchange = self._exchange
        assert exchange is not None and self._wire is not None
        if self._next == len(exchange):
            self._finish()
            return
        now = self._loop.time()
        if self._quiet_until - now > 1e-4:
            self._timer = self._loop.call_at(self._quiet_until, self._send)
            return
        index = self._next
        exchange.status[index] = FLYING
        self._buffer.clear()
        self._asked = True
        self._deadline = now + self._timeout_s
        self._timer = self._loop.call_at(self._deadline, self._expired)
        self._wire.write(bytes(exchange.frames[exchange.starts[index] : exchange.starts[index + 1]]))

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return
        exchange = self._exchange
        if exchange is None or not self._asked:
            self._quiet_until = min(self._quiet_until, self._loop.time() + self._gap_s + _RTU_SETTLE_S)
            self._strayed(len(data))
            return
        self._buffer += data
        index = self._next
        if not self._search(exchange, index):
            if len(self._buffer) >= exchange.sizes[index]:
                self._stray += len(data)
                if len(self._buffer) > 2 * _RTU_KEEP:
                    del self._buffer[:-_RTU_KEEP]
                self._stop_timer()
                settled = min(self._deadline, self._loop.time() + self._gap_s + _RTU_SETTLE_S)
                self._timer = self._loop.call_at(settled, self._expired)
            return
        self._silent = 0
        self._stray = 0
        self._onward(self._gap_s)

    def _onward(self, quiet_s: float) -> None:
        self._stop_timer()
        self._asked = False
        self._next += 1
        self._quiet_until = self._loop.time() + quiet_s
        if self._next == len(self._exchange or ()):
            self._finish()
        else:
            self._send()

    def _search(self, exchange: Exchange, index: int) -> bool:
        """An answer to request `index` anywhere in the buffer (noise may precede it); ends the request."""
        buffer = self._buffer
        unit, want, size = exchange.unit, exchange.expect[index], exchange.sizes[index]
        refusal = exchange.requests[index][0] | 0x80
        at = buffer.find(unit)
        while 0 <= at <= len(buffer) - 5:
            if buffer[at : at + len(want)] == want and at + size <= len(buffer):
                frame = bytes(buffer[at : at + size])
                if codec.crc16(frame[:-2]) == frame[-2] | frame[-1] << 8:
                    first, last = exchange.places[index]
                    exchange.sink[first:last] = frame[len(want) : len(want) + last - first]
                    exchange.status[index] = OK
                    exchange.times[index] = self._now()
                    self._left -= 1
                    self._counters.answers += 1
                    return True
            elif buffer[at + 1] == refusal:
                frame = bytes(buffer[at : at + 5])
                if codec.crc16(frame[:-2]) == frame[-2] | frame[-1] << 8:
                    self._end(index, EXCEPTION | (frame[2] & 0x7F), self._now())
                    return True
            at = buffer.find(unit, at + 1)
        return False

    def _expired(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None or self._left == 0:
            return
        garbled = bool(self._buffer)
        self._end(self._next, GARBLED if garbled else TIMEOUT)
        if self._stray > _STRAY_LIMIT:
            self._strayed(0)
            return
        if garbled:
            self._silent = 0
            self._onward(self._gap_s + _RTU_SETTLE_S)
            return
        self._silent += 1
        if self._silent >= _GIVE_UP:
            self._asked = False
            self._quiet_until = self._loop.time() + self._timeout_s
            self._end_all(TIMEOUT, UNASKED)
            return
        self._onward(self._timeout_s)
