"""A line: the one task that talks to one device.

It connects (with back-off), runs the cycles of the scan groups on their grids, one at a time, and lets writes
pass between the slices of a cycle. What the device does wrong stays on this line: its tags say why they have
no values, all other tags never notice.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import structlog

from headrace.edge.config import Connection, policy
from headrace.edge.explain import PlanReport, groups, report, spans
from headrace.edge.group import WATCHDOG_S, Member, ScanGroup, watchdog
from headrace.edge.schedule import Backoff
from headrace.edge.views import ConnectionView, ErrorView
from headrace.kernel.clock import NS_PER_S, Clock, iso
from headrace.kernel.errors import DeviceUnavailable, HeadraceError
from headrace.kernel.messages import render
from headrace.kernel.model import Batch, Quality, Tag
from headrace.kernel.ports import Write, WriteResult

log = structlog.get_logger(__name__)

_NO_ANSWER = (
    Quality.BAD_TIMEOUT,
    Quality.BAD_DECODING,
    Quality.BAD_COMMUNICATION,
    Quality.BAD_NO_COMMUNICATION,
)
_OFFLINE_AFTER = 5  # failed attempts in a row, then the line says "offline" instead of "backoff"


class Line:
    """One connection of the edge. `emit` gets what is to be reported, at the end of each cycle.

    `phase`: where on the grid its scan groups begin, ns. `heartbeat`: how often the tags of a device that is
    gone are reported again, ns.
    """

    def __init__(
        self,
        connection: Connection,
        tags: Mapping[str, Tag],
        *,
        clock: Clock,
        emit: Callable[[Sequence[Batch]], None],
        heartbeat: int,
        phase: int = 0,
        rng: random.Random | None = None,
    ) -> None:
        self.connection = connection
        self.reconnects = 0
        self.writes = 0
        self._clock = clock
        self._emit = emit
        self._heartbeat = heartbeat
        self._backoff = Backoff(rng or random.Random())
        ids = {name: tag.id for name, tag in tags.items()}
        self._ids = [ids[p.tag.name] for p in connection.points]
        where = spans(connection)
        origin = clock.monotonic() + phase
        self._groups = [
            ScanGroup(
                every,
                origin,
                [
                    Member(i, self._ids[i], p.layout.kind, policy(p.tag, ids))
                    for i in members
                    for p in (connection.points[i],)
                ],
                where,
                connection.limits,
                clock,
                heartbeat,
            )
            for every, members in groups(connection)
        ]
        self._driver = connection.driver.create(
            connection.driver_settings,
            [(tag, p.point) for tag, p in zip(self._ids, connection.points, strict=True)],
            clock,
        )
        self._state = "connecting"
        self._since = clock.now()
        self._error: HeadraceError | None = None
        self._met = False  # the device has answered once
        self._fruitless: int | None = None  # why the newest cycle had no answer at all; None: it had one
        self._told = -1  # monotonic ns at which its absence was last reported; -1: present
        self._stopping = False
        self._wake = asyncio.Event()
        self._writes: deque[tuple[Sequence[Write], asyncio.Future[list[WriteResult]]]] = deque()
        self._running: set[int] = set()  # groups in a cycle: one, and shorter ones it has let pass

    # --- the task ---

    async def run(self) -> None:
        """Until `stop`. Never raises for what a device or driver does."""
        try:
            while not self._stopping:
                try:
                    await self._connect()
                    await self._scan()
                except Exception as error:
                    if not isinstance(error, HeadraceError):
                        log.exception("driver_failed", connection=self.connection.name)
                        error = DeviceUnavailable("edge.driver_failed", reason=_reason(error))
                    await self._lose(error)
        finally:
            self._refuse_writes()
            held = [b for g in self._groups for b in g.reporter.flush()]
            if held:
                self._emit(held)
            await self._driver.close()

    def stop(self) -> None:
        """End after the cycle that is under way."""
        self._stopping = True
        self._wake.set()

    async def _connect(self) -> None:
        """A connection alone proves nothing: many a gateway accepts for a machine that is off. So the
        back-off goes on, and what was told of the device stands, until it has answered."""
        self._fruitless = None
        async with watchdog():
            await self._driver.connect()
        self.reconnects += self._met
        self._turn("connected")
        for group in self._groups:
            group.resume()
        if not self._groups:
            self._answered()

    def _answered(self) -> None:
        if self._told >= 0 or not self._met:
            log.info("connected", connection=self.connection.name)
        self._met = True
        self._told = -1
        self._error = None
        self._backoff.reset()

    async def _scan(self) -> None:
        while not self._stopping:
            await self._pass_writes()
            group = min(self._groups, key=lambda g: g.grid.due, default=None)
            wait = NS_PER_S if group is None else group.grid.due - self._clock.monotonic()
            if wait > 0 or group is None:
                await self._sleep(wait)
            else:
                await self._cycle(group)

    async def _cycle(self, group: ScanGroup) -> None:
        out: list[Batch] = []
        self._running.add(group.grid.every)
        try:
            await group.cycle(self._driver, lambda: self._between(group), out)
        finally:
            self._running.discard(group.grid.every)
            self._judge(out)
            if out and (reported := group.reporter.filter(out)):
                self._emit(reported)

    def _judge(self, out: Sequence[Batch]) -> None:
        """Whether what a cycle brought holds any answer of the device."""
        if not out:
            return
        qualities = np.concatenate([b.qualities for b in out])
        silent = np.isin(qualities, _NO_ANSWER)
        if silent.all():
            self._fruitless = int(qualities[0])
            return
        self._fruitless = None
        self._answered()

    async def _between(self, group: ScanGroup) -> None:
        """Between two slices of a group's cycle: writes pass, and so do shorter groups that are due."""
        await self._pass_writes()
        for other in self._groups:  # the shortest interval first
            if other.grid.every >= group.grid.every:
                return
            if other.grid.every not in self._running and other.grid.due <= self._clock.monotonic():
                await self._cycle(other)

    async def _sleep(self, wait: int) -> None:
        """`wait` ns, or until there is something to do."""
        if self._stopping or self._writes:
            return
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(wait / NS_PER_S, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    async def _lose(self, error: HeadraceError) -> None:
        """Say once that the device is gone, wait, and say it again at each heartbeat."""
        self._error = error
        self._refuse_writes()
        wait = self._backoff.next()
        self._turn("backoff" if self._backoff.failures < _OFFLINE_AFTER else "offline")
        if self._told < 0:
            log.warning("connection_lost", connection=self.connection.name, reason=str(error))
            self._tell_absence(filtered=True)
        until = self._clock.monotonic() + wait
        while not self._stopping and (now := self._clock.monotonic()) < until:
            if now - self._told >= self._heartbeat:
                self._tell_absence(filtered=False)
            self._refuse_writes()
            await self._sleep(min(until, self._told + self._heartbeat) - now)

    def _tell_absence(self, *, filtered: bool) -> None:
        """A batch of nulls. The first one passes through the reporters, which then know that the values
        are gone; the heartbeats pass them by, since nothing has changed."""
        quality = self._fruitless or (
            Quality.BAD_COMMUNICATION if self._met else Quality.BAD_NO_COMMUNICATION
        )
        for group in self._groups:
            nulls = group.nulls(quality)
            self._emit(group.reporter.filter(nulls) if filtered else nulls)
            group.bad = sum(map(len, nulls))
        self._told = self._clock.monotonic()

    def _turn(self, state: str) -> None:
        if state == "connected" or self._state in ("connected", "connecting"):
            self._since = self._clock.now()
        self._state = state

    # --- writes ---

    async def write(self, writes: Sequence[Write], *, timeout_s: float) -> list[WriteResult]:
        """Write in the priority lane: before the next slice. One result per write, in order; a line that is
        down refuses at once."""
        if self._state != "connected" or self._stopping:
            return self._failed(writes, "edge.write_offline")
        done: asyncio.Future[list[WriteResult]] = asyncio.get_running_loop().create_future()
        self._writes.append((writes, done))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            return self._failed(writes, "edge.write_timeout")

    async def _pass_writes(self) -> None:
        while self._writes:
            writes, done = self._writes.popleft()
            if done.done():  # its giver no longer waits: it must not come as a surprise later
                continue
            try:
                async with watchdog():
                    results = await self._driver.write(writes)
            except BaseException:
                if not done.done():
                    done.set_result(self._failed(writes, "edge.write_lost"))
                raise
            self.writes += len(writes)
            if not done.done():
                done.set_result(results)

    def _refuse_writes(self) -> None:
        while self._writes:
            writes, done = self._writes.popleft()
            if not done.done():
                done.set_result(self._failed(writes, "edge.write_offline"))

    def _failed(self, writes: Sequence[Write], code: str) -> list[WriteResult]:
        params = {"connection": self.connection.name}
        return [WriteResult(w.tag, False, time=self._clock.now(), code=code, params=params) for w in writes]

    # --- state ---

    def last_value(self, tag: int) -> float | int | bool | str | None:
        """What the last cycle read of the tag; None where it read nothing."""
        for group in self._groups:
            for batch in group.last:
                at = (batch.tags == tag).nonzero()[0]
                if len(at):
                    value: float | int | bool | str | None = batch.data.column(2)[int(at[-1])].as_py()
                    return value
        return None

    @property
    def values(self) -> int:
        """Values read so far."""
        return sum(g.values for g in self._groups)

    def plan_report(self) -> PlanReport:
        """The plan as it is now, with what has been learnt of the device."""
        return report(
            self.connection,
            [(g.grid.every, g.plan.blocks) for g in self._groups],
            [i for g in self._groups for i in g.plan.isolated],
        )

    def view(self, values_per_s: float) -> ConnectionView:
        """The line as the console shows it."""
        requests = sum(len(g.plan.blocks) for g in self._groups)
        isolated = [i for g in self._groups for i in g.plan.isolated]
        read = len(self._ids) - len(isolated)
        return ConnectionView(
            name=self.connection.name,
            title=self.connection.settings.title,
            driver=self.connection.settings.driver,
            state=self._state,
            endpoint=_endpoint(self.connection.driver_settings),
            error=_told(self._error),
            since=iso(self._since),
            groups=[g.view() for g in self._groups],
            values_per_s=values_per_s,
            reads=sum(g.reads for g in self._groups),
            faults=sum(g.faults for g in self._groups),
            bad_tags=sum(g.bad for g in self._groups),
            isolated=[self.connection.points[i].tag.name for i in isolated],
            reconnects=self.reconnects,
            writes=self.writes,
            requests_saved_ratio=round(read / requests, 2) if requests else 0.0,
        )


def _told(error: HeadraceError | None) -> ErrorView | None:
    if error is None:
        return None
    zh, en = (render(error.code, lang, **error.params) for lang in ("zh", "en"))
    return ErrorView(error.code, zh, en)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {WATCHDOG_S:g} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _endpoint(settings: object) -> str:
    """Where the device is: the settings' own `endpoint`, else of whatever they have."""
    if own := getattr(settings, "endpoint", ""):
        return str(own)
    host, port = getattr(settings, "host", ""), getattr(settings, "port", "")
    if host:
        return f"{host}:{port}" if port else str(host)
    return str(port or getattr(settings, "url", "") or getattr(settings, "device", ""))
