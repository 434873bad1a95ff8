"""A driver and its device in memory: registers with illegal ranges, latency and faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from headrace.kernel.clock import Clock
from headrace.kernel.errors import DeviceUnavailable, InputError
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Kind, Quality
from headrace.kernel.ports import (
    Block,
    BlockFault,
    Found,
    Layout,
    Limits,
    Manifest,
    Reading,
    Span,
    Write,
    WriteResult,
)


class FakeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device: str = "one"
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 1


class FakePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: int
    length: int = 2
    kind: Kind = Kind.F64
    writable: bool = False
    area: str = "r"


class Device:
    """What the connections named by `settings.device` reach."""

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.illegal: set[int] = set()
        self.up = True
        self.latency = 0.0  # seconds a request
        self.requests = 0
        self.connects = 0
        self.written: list[tuple[float, int, Any]] = []
        self.crash: Exception | None = None
        self.mute = False  # it accepts connections, and one read in each; nothing is ever answered
        self.garbled: set[int] = set()  # addresses whose answer makes no sense


DEVICES: dict[str, Device] = {}


def device(name: str = "one") -> Device:
    return DEVICES.setdefault(name, Device())


class FakeDriver:
    def __init__(self, settings: FakeSettings, points: Sequence[tuple[int, FakePoint]], clock: Clock) -> None:
        self.limits = LIMITS
        self._device = device(settings.device)
        self._points = list(points)
        self._by_tag = dict(points)
        self._clock = clock
        self._deaf = 0

    async def connect(self) -> None:
        self._device.connects += 1
        self._deaf = 0
        await asyncio.sleep(0)
        self._alive()

    def _alive(self) -> None:
        if self._device.crash:
            raise self._device.crash
        if not self._device.up:
            raise DeviceUnavailable("edge.unknown_connection", name="fake")

    def compile(self, blocks: Sequence[Block]) -> Any:
        plan = []
        for n, block in enumerate(blocks):
            by_kind: dict[Kind, list[int]] = {}
            for p in block.points:
                by_kind.setdefault(self._points[p][1].kind, []).append(p)
            columns = [
                (
                    kind,
                    np.array([self._points[p][0] for p in members], np.int32),
                    [self._points[p][1].address for p in members],
                )
                for kind, members in by_kind.items()
            ]
            plan.append((n, block.span, columns))
        return plan

    async def read(self, plan: Any) -> Reading:
        batches, faults = [], []
        if self._device.mute:
            self._deaf += 1
            if self._deaf > 1:
                raise DeviceUnavailable("edge.unknown_connection", name="fake")
        for n, span, columns in plan:
            self._device.requests += 1
            if self._device.latency:
                await asyncio.sleep(self._device.latency)
            self._alive()
            used = range(span.start, span.end)
            address = bool(self._device.illegal) and any(u in self._device.illegal for u in used)
            garbled = bool(self._device.garbled) and any(u in self._device.garbled for u in used)
            quality = Quality.BAD_ADDRESS if address else Quality.BAD_DECODING if garbled else Quality.GOOD
            if self._device.mute:
                quality = Quality.BAD_TIMEOUT
            if quality is not Quality.GOOD:
                faults.append(BlockFault(n, quality, address=address))
            for kind, tags, addresses in columns:
                batches.append(self._batch(kind, tags, addresses, quality))
        await asyncio.sleep(0)
        return Reading(tuple(batches), tuple(faults))

    def _batch(self, kind: Kind, tags: Any, addresses: list[int], quality: int) -> Batch:
        n = len(tags)
        default = "" if kind is Kind.TEXT else 0
        values = [self._device.values.get(a, default) for a in addresses]
        column = values if kind is Kind.TEXT else np.array(values, dtype=_DTYPE[kind])
        missing = np.full(n, quality != Quality.GOOD)
        times = np.full(n, self._clock.now())
        return Batch.of(kind, tags, times, column, np.full(n, quality), missing=missing)

    async def write(self, writes: Sequence[Write]) -> list[WriteResult]:
        self._alive()
        out = []
        for w in writes:
            point = self._by_tag[w.tag]
            self._device.values[point.address] = w.value
            self._device.written.append((asyncio.get_running_loop().time(), w.tag, w.value))
            out.append(WriteResult(w.tag, True, w.value, self._clock.now()))
        return out

    async def browse(self) -> AsyncIterator[Found]:
        for found in ():
            yield found

    async def close(self) -> None:
        pass


_DTYPE = {Kind.F64: np.float64, Kind.I64: np.int64, Kind.U64: np.uint64, Kind.BOOL: np.bool_}
LIMITS = Limits(max_units={"r": 124}, request_cost=20.0, parallel=4)


class FakeType:
    manifest = Manifest(
        id="fake",
        title=Text(zh="假", en="Fake"),
        summary=Text(zh="测试用", en="For tests"),
        settings=FakeSettings,
        point=FakePoint,
    )

    def layout(self, settings: FakeSettings, point: FakePoint) -> Layout:
        if point.address < 0:
            raise InputError("edge.empty_point", area=point.area)
        return Layout(Span(point.area, point.address, point.length), point.kind, point.writable)

    def limits(self, settings: FakeSettings) -> Limits:
        return LIMITS

    def create(
        self, settings: FakeSettings, points: Sequence[tuple[int, FakePoint]], clock: Clock
    ) -> FakeDriver:
        return FakeDriver(settings, points, clock)
