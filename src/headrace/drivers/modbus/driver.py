"""The Modbus driver: one connection to one unit of one device."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import structlog

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.client import Counters, Engine, RtuEngine, TcpEngine
from headrace.drivers.modbus.codec import ExceptionCode
from headrace.drivers.modbus.decode import Plan, fate
from headrace.drivers.modbus.exchange import EXCEPTION, LOST, OK, TIMEOUT, Exchange
from headrace.drivers.modbus.points import Framing, Place, Point, Settings, limits, resolve
from headrace.drivers.modbus.serial_port import frame_gap_s, open_serial
from headrace.drivers.modbus.values import Type
from headrace.drivers.modbus.writing import Encoded, encode_value, merge, merged_request, requests_for
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.errors import DeviceUnavailable, InputError
from headrace.kernel.messages import both, os_reason
from headrace.kernel.ports import Block, Found, Limits, Reading, Write, WriteResult

_log = structlog.get_logger(__name__)

_BUSY: Final = (EXCEPTION | ExceptionCode.ACKNOWLEDGE, EXCEPTION | ExceptionCode.SERVER_DEVICE_BUSY)
_BUSY_PAUSE_S: Final = 0.05  # before a busy device is asked again, once a cycle
_DEAF_CYCLES: Final = 2  # cycles in a row without any answer, then the connection is given up
_NO_FUNCTION: Final = EXCEPTION | ExceptionCode.ILLEGAL_FUNCTION


class ModbusDriver:
    """Fulfils kernel.ports.Driver.

    `counters` tells what has happened on the line. `parallel` is the number of requests in flight: the
    setting's, and 1 once the device has shown that it cannot take more.
    """

    limits: Limits

    def __init__(self, settings: Settings, points: Sequence[tuple[int, Point]], clock: Clock) -> None:
        self.limits = limits(settings)
        self.counters = Counters()
        self.parallel = self.limits.parallel
        self._settings = settings
        self._clock = clock
        self._timeout_s = settings.timeout / NS_PER_S
        self._points: list[tuple[int, Point, Place]] = [(t, p, resolve(p)) for t, p in points]
        self._by_tag = {tag: i for i, (tag, _, _) in enumerate(self._points)}
        self._tcp = settings.framing is Framing.TCP
        self._engine: Engine | None = None
        self._deaf = 0
        self._connected_before = False

    async def connect(self) -> None:
        """Raises DeviceUnavailable. A connection that is open is closed first."""
        await self.close()
        settings = self._settings
        loop = asyncio.get_running_loop()
        engine: Engine
        if self._tcp:
            engine = TcpEngine(self._clock, self._timeout_s, self.counters)
        else:
            gap_s = frame_gap_s(settings.baudrate) if settings.framing is Framing.RTU else 0.0
            engine = RtuEngine(self._clock, self._timeout_s, self.counters, gap_s)
        try:
            if settings.framing is Framing.RTU:
                open_serial(settings, engine, loop)
            else:
                async with asyncio.timeout(self._timeout_s):
                    transport, _ = await loop.create_connection(lambda: engine, settings.host, settings.port)
                raw = transport.get_extra_info("socket")
                if raw is not None:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except TimeoutError:
            raise self._unavailable("modbus.connect_timeout", timeout=f"{self._timeout_s:g}") from None
        except OSError as error:
            raise self._unavailable("modbus.cannot_connect", reason=os_reason(error)) from error
        self._engine = engine
        self._deaf = 0
        if self._connected_before:
            self.counters.reconnects += 1
        self._connected_before = True

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    def compile(self, blocks: Sequence[Block]) -> Plan:
        """Raises ValueError where a block is longer than a request may be, or misses a point of its own."""
        return Plan(blocks, self._points, self._settings.unit, tcp=self._tcp)

    async def read(self, plan: Plan) -> Reading:
        """One cycle.

        A busy device (exceptions 5 and 6) is asked again once, and so are requests that timed out in company,
        one at a time. Where the connection ends within the cycle, what was answered before is delivered and
        the next call raises. After two cycles in a row without any answer the connection is given up too.
        """
        engine = await self._ready()
        exchange = plan.exchange
        try:
            await engine.run(exchange, self.parallel)
            if exchange.failed:
                await self._again(engine, exchange)
        except ConnectionError as error:
            raise self._unavailable(
                "modbus.connection_lost", reason=engine.lost or both("modbus.not_open")
            ) from error
        if exchange.failed:
            self._judge(engine, exchange)
        elif self._deaf:
            self._deaf = 0
        return plan.reading(self._clock.now())

    async def _again(self, engine: Engine, exchange: Exchange) -> None:
        busy = [i for i, status in enumerate(exchange.status) if status in _BUSY]
        overrun: list[int] = []
        if exchange.overrun and self.parallel > 1:
            self.parallel = 1
            _log.warning("modbus_pipelining_off", endpoint=self._settings.endpoint)
            overrun = [i for i, status in enumerate(exchange.status) if status == TIMEOUT]
        if (not busy and not overrun) or engine.lost is not None:
            return
        if busy:
            await asyncio.sleep(_BUSY_PAUSE_S)
        indexes = busy + overrun
        part = exchange.part(indexes)
        if engine.lost is None:
            await engine.run(part)
            exchange.merge(part, indexes)

    def _judge(self, engine: Engine, exchange: Exchange) -> None:
        """Is anyone there? Raises DeviceUnavailable where the connection ended before any answer came."""
        answered = any(status == OK or status & EXCEPTION for status in exchange.status)
        if answered:
            self._deaf = 0
            return
        if engine.lost is not None:
            if all(status == LOST for status in exchange.status):
                raise self._unavailable("modbus.connection_lost", reason=engine.lost)
            return
        self._deaf += 1

    async def _ready(self) -> Engine:
        engine = self._engine
        if engine is None:
            raise self._unavailable("modbus.not_connected")
        if self._deaf >= _DEAF_CYCLES:
            await self.close()
            raise self._unavailable("modbus.no_answer", timeout=f"{self._timeout_s:g}")
        if engine.lost is None:
            return engine
        if engine.lost_idle:
            # Many devices close a connection they have not heard from for a while; that is no fault.
            _log.info("modbus_reconnect_after_idle", endpoint=self._settings.endpoint)
            await self.connect()
            engine = self._engine
            assert engine is not None
            return engine
        reason = engine.lost
        await self.close()
        raise self._unavailable("modbus.connection_lost", reason=reason)

    # --- writing

    async def write(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Writes in their order; neighbours that follow each other share a request, so that they change in
        one go. Whether a write took is judged by reading back, also where its answer was lost."""
        engine = await self._ready()
        results: list[WriteResult | None] = [None] * len(writes)
        items: list[Encoded] = []
        slots: list[int] = []
        for slot, write in enumerate(writes):
            index = self._by_tag.get(write.tag)
            if index is None:
                results[slot] = WriteResult(
                    write.tag, False, code="modbus.no_such_tag", params={"tag": write.tag}
                )
                continue
            _, point, place = self._points[index]
            try:
                items.append(encode_value(point, place, write.value))
                slots.append(slot)
            except InputError as error:
                results[slot] = WriteResult(write.tag, False, code=error.code, params=error.params)
        try:
            for run in merge(items):
                status = await self._write_run(engine, [items[i] for i in run])
                for i in run:
                    tag = writes[slots[i]].tag
                    results[slots[i]] = await self._read_back(engine, tag, items[i], status)
        except ConnectionError as error:
            reason = engine.lost or both("modbus.not_open")
            raise self._unavailable("modbus.connection_lost", reason=reason) from error
        return [r for r in results if r is not None]

    async def _write_run(self, engine: Engine, items: list[Encoded]) -> int:
        """The status the write ended with; a refused joint write is repeated one by one."""
        if len(items) > 1:
            status = await self._ask(engine, merged_request(items))
            if status != _NO_FUNCTION:
                return status
            for item in items:
                status = await self._write_run(engine, [item])
            return status
        first, second = requests_for(items[0])
        status = await self._ask(engine, first)
        if status == _NO_FUNCTION:
            if second is not None:
                return await self._ask(engine, second)
            if items[0].place.bit is not None:
                return await self._write_bit(engine, items[0])
        return status

    async def _write_bit(self, engine: Engine, item: Encoded) -> int:
        """For devices without function 22: read the register, change the bit, write it."""
        assert item.place.bit is not None
        exchange = self._exchange(codec.read_request("holding", item.place.start, 1))
        await engine.run(exchange)
        if exchange.status[0] != OK:
            return exchange.status[0]
        mask = 1 << item.place.bit
        word = int.from_bytes(exchange.sink, "big") & ~mask
        word |= mask if item.data == b"\x01" else 0
        status = await self._ask(engine, codec.write_register_request(item.place.start, word))
        if status != _NO_FUNCTION:
            return status
        return await self._ask(
            engine, codec.write_registers_request(item.place.start, word.to_bytes(2, "big"))
        )

    async def _read_back(self, engine: Engine, tag: int, item: Encoded, status: int) -> WriteResult:
        index = self._by_tag[tag]
        plan = self.compile([Block(item.place.span, (index,))])
        await engine.run(plan.exchange)
        if plan.exchange.status[0] != OK:
            if status != OK:
                return WriteResult(
                    tag, False, code="modbus.write_refused", params={"reason": fate(status)[1]}
                )
            reason = fate(plan.exchange.status[0])[1]
            return WriteResult(tag, False, code="modbus.no_readback", params={"reason": reason})
        batch = plan.reading(self._clock.now()).batches[0]
        value = batch.data.column(2)[0].as_py()
        time = int(batch.times[0])
        if _holds(item, bytes(plan.sink)):
            return WriteResult(tag, True, value, time)
        if status != OK:
            params = {"reason": fate(status)[1]}
            return WriteResult(tag, False, value, time, "modbus.write_refused", params)
        return WriteResult(tag, False, value, time, "modbus.readback_differs", {"readback": value})

    def _exchange(self, request: bytes) -> Exchange:
        return Exchange([request], self._settings.unit, tcp=self._tcp)

    async def _ask(self, engine: Engine, request: bytes) -> int:
        exchange = self._exchange(request)
        await engine.run(exchange)
        return exchange.status[0]

    async def browse(self) -> AsyncIterator[Found]:
        """Nothing: Modbus has no means to say which registers a device has or what they mean."""
        nothing: tuple[Found, ...] = ()
        for found in nothing:
            yield found

    def _unavailable(self, code: str, **params: Any) -> DeviceUnavailable:
        return DeviceUnavailable(code, endpoint=self._settings.endpoint, **params)


def _holds(item: Encoded, sink: bytes) -> bool:
    """Whether the register data read back are what was written, in the encoding's own resolution."""
    if item.place.type is not Type.BOOL:
        return sink[: len(item.data)] == item.data
    if item.place.bit is None:
        return (sink[0] & 1) == item.data[0]
    return (int.from_bytes(sink[:2], "big") >> item.place.bit & 1) == item.data[0]
