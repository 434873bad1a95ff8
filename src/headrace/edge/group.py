"""A scan group: the points of one connection that are read at one interval, their plan, what it has learnt.

A cycle runs the plan in slices, between which the line may let a write pass; slices are sized by measured
time, so that a write waits for tens of milliseconds and not for a cycle of hundreds of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from headrace.edge.plan import Bisection, Hole, Plan, make_plan, probe
from headrace.edge.report import Policy, Reporter
from headrace.edge.schedule import Grid, Ring, Spread
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock
from headrace.kernel.model import NUMPY_TYPE, Batch, Kind, Quality
from headrace.kernel.ports import Block, Driver, Limits, Reading, Span

log = structlog.get_logger(__name__)

WATCHDOG_S = 60.0
_SLICE_NS = 25 * NS_PER_MS  # what a write may have to wait for, about
_FIRST_SLICE = 16  # requests, before anything has been measured
_LONGEST_SLICE = 512
_RETEST_NS = 600 * NS_PER_S  # the first time a hole is looked at again; doubled each time it is still there
_RETEST_LONGEST_NS = 86_400 * NS_PER_S


class Member(msgspec.Struct, frozen=True):
    """A point of the group: `index` among the connection's points."""

    index: int
    tag: int
    kind: Kind
    policy: Policy


class GroupView(msgspec.Struct, frozen=True):
    """The group as the console shows it; `skips` are slots that passed while a cycle ran, `overruns` cycles
    that took longer than the interval."""

    every_ms: float
    tags: int
    requests: int
    cycle_ms: Spread
    cycles: int
    skips: int
    overruns: int


class _Slice(msgspec.Struct, frozen=True):
    blocks: tuple[Block, ...]
    compiled: Any


class _Retest(msgspec.Struct):
    due: int  # monotonic ns
    wait: int


class ScanGroup:
    """One interval of one connection."""

    def __init__(
        self,
        every: int,
        origin: int,
        members: Sequence[Member],
        spans: Sequence[Span],
        limits: Limits,
        clock: Clock,
        heartbeat: int,
    ) -> None:
        self.grid = Grid(every, origin)
        self.reporter = Reporter([(m.tag, m.kind, m.policy) for m in members])
        self.cycles = self.overruns = self.values = self.reads = self.faults = self.bad = 0
        self.last: list[Batch] = []  # what the last whole cycle read
        self._members = {m.index: m for m in members}
        self._spans = spans
        self._limits = limits
        self._clock = clock
        self._heartbeat = heartbeat
        self._ring = Ring()
        self._holes: dict[Hole, _Retest] = {}
        self._plan = self._make()
        self._slices: list[_Slice] | None = None
        self._slice = _FIRST_SLICE
        self._request_ns = 0.0  # measured time of a request, smoothed
        self._tell_isolated = 0  # monotonic ns at which the isolated points are reported again
        self._nulls: dict[Kind, npt.NDArray[np.int32]] = _by_kind(members)

    @property
    def plan(self) -> Plan:
        return self._plan

    def view(self) -> GroupView:
        return GroupView(
            every_ms=self.grid.every / NS_PER_MS,
            tags=len(self._members),
            requests=len(self._plan.blocks),
            cycle_ms=self._ring.spread(),
            cycles=self.cycles,
            skips=self.grid.skips,
            overruns=self.overruns,
        )

    def nulls(self, quality: int) -> list[Batch]:
        """Every point of the group without a value, now."""
        return [_null(kind, tags, self._clock.now(), quality) for kind, tags in self._nulls.items()]

    def resume(self) -> None:
        """The connection is back: read at once, and say again which addresses the device does not have."""
        self.grid.resume(self._clock.monotonic())
        self._tell_isolated = 0

    async def cycle(self, driver: Driver, between: Callable[[], Awaitable[None]], out: list[Batch]) -> None:
        """Read every point once into `out`, which holds what was read also where this raises. Raises what
        the driver raises."""
        begun = self._clock.monotonic()
        self.grid.begin(begun)
        refused: list[Block] = []
        for part in self._sliced(driver):
            await between()
            started = self._clock.monotonic()
            reading = await _read(driver, part.compiled)
            self._measure(len(part.blocks), self._clock.monotonic() - started)
            self.reads += len(part.blocks)
            self.faults += len(reading.faults)
            refused += [part.blocks[f.block] for f in reading.faults if f.address]
            out += reading.batches
        if refused:
            await self._survey(driver, between, refused, out)
        await self._retest(driver, between)
        bad = sum(int(np.count_nonzero(b.qualities >= Quality.BAD)) for b in out)
        self.bad = bad + len(self._plan.isolated)
        self.values += sum(map(len, out)) - bad
        now = self._clock.monotonic()
        if self._plan.isolated and now >= self._tell_isolated:
            self._tell_isolated = now + self._heartbeat
            members = [self._members[i] for i in self._plan.isolated]
            out += [
                _null(kind, tags, self._clock.now(), Quality.BAD_ADDRESS)
                for kind, tags in _by_kind(members).items()
            ]
        self.last = list(out)
        self.cycles += 1
        duration = self._clock.monotonic() - begun
        self.overruns += duration > self.grid.every
        self._ring.add(duration)

    def _make(self) -> Plan:
        return make_plan(self._spans, self._limits, points=sorted(self._members), holes=self._holes)

    def _sliced(self, driver: Driver) -> list[_Slice]:
        if self._slices is None:
            blocks = self._plan.blocks
            parts = [blocks[i : i + self._slice] for i in range(0, len(blocks), self._slice)]
            self._slices = [_Slice(part, driver.compile(part)) for part in parts]
        return self._slices

    def _measure(self, requests: int, took: int) -> None:
        """Size the slices by the time that a request takes."""
        each = took / requests
        self._request_ns = each if not self._request_ns else 0.8 * self._request_ns + 0.2 * each
        least = max(self._limits.parallel, 1)
        fit = min(max(round(_SLICE_NS / max(self._request_ns, 1.0)), least), _LONGEST_SLICE)
        wanted = min(fit, max(len(self._plan.blocks), 1))
        now = min(self._slice, max(len(self._plan.blocks), 1))
        if wanted > 2 * now or 2 * wanted < now or (wanted > now and wanted == len(self._plan.blocks)):
            self._slice = fit
            self._slices = None

    async def _survey(
        self,
        driver: Driver,
        between: Callable[[], Awaitable[None]],
        refused: list[Block],
        out: list[Batch],
    ) -> None:
        """The device refused these blocks: find out at once which of their points it has after all, put
        their values in place of the nulls, and plan around the rest from now on."""
        _drop(out, self._tags(refused))
        search = Bisection(self._spans, refused)
        while not search.done:
            await between()
            blocks = search.requests
            reading = await _read(driver, driver.compile(blocks))
            self.reads += len(blocks)
            bad = {f.block for f in reading.faults if f.address}
            batches = list(reading.batches)
            _drop(batches, self._tags([blocks[n] for n in bad]))
            out += batches
            search.learn(bad)
        now = self._clock.monotonic()
        for hole in search.holes:
            self._holes[hole] = _Retest(now + _RETEST_NS, _RETEST_NS)
        self._replan()
        log.warning(
            "addresses_refused",
            blocks=len(refused),
            holes=len(search.holes),
            isolated=len(self._plan.isolated),
        )

    async def _retest(self, driver: Driver, between: Callable[[], Awaitable[None]]) -> None:
        """Look again at the hole that is due, one a cycle."""
        if not self._holes:
            return
        hole, retest = min(self._holes.items(), key=lambda item: item[1].due)
        if retest.due > self._clock.monotonic():
            return
        await between()
        reading = await _read(driver, driver.compile([probe(hole, self._spans)]))
        self.reads += 1
        if any(f.address for f in reading.faults):
            retest.wait = min(retest.wait * 2, _RETEST_LONGEST_NS)
            retest.due = self._clock.monotonic() + retest.wait
            return
        if reading.faults:  # it said nothing about the address
            retest.due = self._clock.monotonic() + retest.wait
            return
        log.info("addresses_back", area=hole.area, start=hole.start, end=hole.end)
        del self._holes[hole]
        self._replan()

    def _replan(self) -> None:
        self._plan = self._make()
        self._slices = None
        self._tell_isolated = 0

    def _tags(self, blocks: Sequence[Block]) -> npt.NDArray[np.int32]:
        return np.array([self._members[p].tag for b in blocks for p in b.points], np.int32)


def watchdog() -> asyncio.Timeout:
    """Ends a call of a driver that does not come back; drivers have shorter time-outs of their own."""
    return asyncio.timeout(WATCHDOG_S)


async def _read(driver: Driver, compiled: Any) -> Reading:
    async with watchdog():
        return await driver.read(compiled)


def _by_kind(members: Sequence[Member]) -> dict[Kind, npt.NDArray[np.int32]]:
    tags: dict[Kind, list[int]] = {}
    for m in members:
        tags.setdefault(m.kind, []).append(m.tag)
    return {kind: np.array(ids, np.int32) for kind, ids in tags.items()}


def _null(kind: Kind, tags: npt.NDArray[np.int32], time: int, quality: int) -> Batch:
    n = len(tags)
    values: Any = [""] * n if kind is Kind.TEXT else np.zeros(n, NUMPY_TYPE[kind])
    missing = np.ones(n, np.bool_)
    return Batch.of(kind, tags, np.full(n, time), values, np.full(n, quality), missing=missing)


def _drop(batches: list[Batch], tags: npt.NDArray[np.int32]) -> None:
    """Take the rows of `tags` out of `batches`, in place."""
    if not len(tags):
        return
    for n, batch in enumerate(batches):
        rows = np.isin(batch.tags, tags)
        if rows.any():
            batches[n] = batch.take(~rows)
