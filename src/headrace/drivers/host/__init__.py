"""This computer as a machine: processor, memory, disks, network, temperatures, by psutil.

Enters: metric names. Leaves: Batches of float64, one sample's time on all of them; BAD_NOT_CONNECTED with no
value for what the computer does not have. May import: kernel, and `drivers.manifest`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import structlog

from headrace.drivers.host.metrics import (
    AREA,
    METRICS,
    UNITS,
    Sampler,
    Values,
    parse,
    quality_of,
    span,
)
from headrace.drivers.manifest import read_manifest
from headrace.kernel.clock import NS_PER_S, Clock
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Kind, Quality
from headrace.kernel.ports import Block, BlockFault, Found, Layout, Limits, Reading, Write, WriteResult

__all__ = ["DRIVER", "HostDriver", "Point", "Settings"]

_log = structlog.get_logger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`settings` of a connection with driver "host": none are needed."""


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key of a tag of this driver."""

    metric: str


class _Plan(msgspec.Struct, frozen=True):
    """What one cycle samples: per point its tag, metric and block, and the families they need."""

    tags: list[int]
    metrics: list[str]
    blocks: list[int]
    families: frozenset[str]
    block_count: int


class HostDriver:
    """Fulfils kernel.ports.Driver; there is no connection that could be lost."""

    limits: Limits

    def __init__(self, points: Sequence[tuple[int, Point]], clock: Clock) -> None:
        self.limits = _LIMITS
        self._points = [(tag, point.metric) for tag, point in points]
        self._clock = clock
        self._sampler = Sampler()

    async def connect(self) -> None:
        return

    async def close(self) -> None:
        return

    def compile(self, blocks: Sequence[Block]) -> _Plan:
        rows = [(*self._points[i], number) for number, block in enumerate(blocks) for i in block.points]
        return _Plan(
            tags=[tag for tag, _, _ in rows],
            metrics=[metric for _, metric, _ in rows],
            blocks=[number for _, _, number in rows],
            families=frozenset(parse(metric)[0].name for _, metric, _ in rows),
            block_count=len(blocks),
        )

    async def read(self, plan: _Plan) -> Reading:
        """One sample, taken in a thread because a network disk may hang. Where the operating system fails to
        answer at all, every point is BAD_DEVICE_FAILURE."""
        values: Values = {}
        waiting: set[str] = set()
        faults: tuple[BlockFault, ...] = ()
        seconds = self._clock.monotonic() / NS_PER_S
        try:
            values, waiting = await asyncio.to_thread(self._sampler.sample, plan.families, seconds)
        except (OSError, RuntimeError) as error:
            _log.warning("host_sample_failed", reason=str(error))
            failure = int(Quality.BAD_DEVICE_FAILURE)
            faults = tuple(BlockFault(i, failure, False, str(error)) for i in range(plan.block_count))
            qualities = [failure] * len(plan.metrics)
        else:
            qualities = [int(quality_of(m, values, waiting)) for m in plan.metrics]
        if not plan.metrics:
            return Reading((), faults)
        column = np.array([values.get(m, 0.0) for m in plan.metrics])
        missing = np.array([m not in values for m in plan.metrics])
        times = np.full(len(plan.metrics), self._clock.now(), np.int64)
        batch = Batch.of(Kind.F64, plan.tags, times, column, qualities, missing=missing)
        return Reading((batch,), faults)

    async def write(self, writes: Sequence[Write]) -> list[WriteResult]:
        """Refused: nothing here can be written."""
        return [WriteResult(w.tag, False, code="host.read_only") for w in writes]

    async def browse(self) -> AsyncIterator[Found]:
        """Every metric that this computer has now. A temperature is among them only where a sensor is."""
        seconds = self._clock.monotonic() / NS_PER_S
        values, waiting = await asyncio.to_thread(Sampler().sample, frozenset(METRICS), seconds)
        for metric in sorted(values.keys() | waiting):
            family, instance = parse(metric)
            title = family.title
            if instance:
                title = Text(f"{title.zh}（{instance}）", f"{title.en} ({instance})")
            yield Found(metric, family.kind, {"metric": metric}, title=title)


# One sample gives everything, so one request is always cheaper than two.
_LIMITS = Limits(max_units={AREA: UNITS}, request_cost=float(UNITS))


class _Host:
    """Fulfils kernel.ports.DriverType."""

    manifest = read_manifest(Path(__file__).parent, Settings, Point)

    def layout(self, settings: Settings, point: Point) -> Layout:
        """Raises InputError where there is no such metric."""
        return Layout(span(point.metric), parse(point.metric)[0].kind)

    def limits(self, settings: Settings) -> Limits:
        return _LIMITS

    def create(self, settings: Settings, points: Sequence[tuple[int, Point]], clock: Clock) -> HostDriver:
        return HostDriver(points, clock)


DRIVER = _Host()
