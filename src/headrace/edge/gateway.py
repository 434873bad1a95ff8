"""The edge process: lines, outbox, writes and status put together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from headrace.edge.buffer import Buffer
from headrace.edge.config import Connection, EdgeSettings, resolve
from headrace.edge.line import Line
from headrace.edge.outbox import Outbox
from headrace.edge.schedule import phases
from headrace.edge.views import BufferView, EdgeView
from headrace.edge.writes import WriteEvent, Writes, error_reply
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, Clock, iso
from headrace.kernel.errors import HeadraceError, InputError, NotFound
from headrace.kernel.model import Tag
from headrace.kernel.ports import Bus

log = structlog.get_logger(__name__)

_STATUS_S = 1.0
_RATE_TICKS = 10  # values per second are told over so many status ticks
_GRACE_S = 2.0  # for cycles under way, and again for messages under way, at the end


class SystemEvent(msgspec.Struct, frozen=True):
    """Something that happened to the edge itself, on `event.<node>.system`: `kind` is "edge-gap" where
    messages were lost for `reason` (quota, memory, corrupt). Times are UTC ns."""

    kind: str
    source: str
    time: int
    reason: str
    count: int
    first_time: int
    last_time: int


class PlanRequest(msgspec.Struct, frozen=True):
    """Asks for the plan of one connection, as it is now."""

    connection: str


async def run(
    *,
    node: str,
    settings: EdgeSettings,
    file: Path,
    tags: Mapping[str, Tag],
    bus: Bus,
    data_dir: Path,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Read the devices of `settings` (which stand in `file`) until `stop`. `tags`: the node's tags by name.
    Keeps its state under `data_dir`/edge/<source>/buffer. Raises ConfigError, and Conflict where another
    process runs this edge; nothing that a device, the bus or the disk does ends it."""
    connections = resolve(settings, file)
    folder = data_dir / "edge" / settings.name / "buffer"
    buffer = Buffer.open(folder, settings.buffer, clock)
    gateway = _Gateway(node, settings, connections, tags, bus, clock, buffer)
    try:
        await gateway.run(stop)
    finally:
        await buffer.close()


class _Gateway:
    def __init__(
        self,
        node: str,
        settings: EdgeSettings,
        connections: Sequence[Connection],
        tags: Mapping[str, Tag],
        bus: Bus,
        clock: Clock,
        buffer: Buffer,
    ) -> None:
        self._node = node
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._buffer = buffer
        self._outbox = Outbox(
            node=node,
            source=settings.name,
            buffer=buffer,
            bus=bus,
            clock=clock,
            linger=settings.linger,
            replay_rate=settings.buffer.replay_rate,
        )
        loads = [sum(NS_PER_S / p.every for p in c.points) for c in connections]
        self._lines = {
            c.name: Line(
                c, tags, clock=clock, emit=self._outbox.add, heartbeat=settings.heartbeat, phase=phase
            )
            for c, phase in zip(connections, phases(loads, settings.linger), strict=True)
        }
        by_tag = {p.tag.name: line for c in connections for p in c.points for line in (self._lines[c.name],)}
        self._writes = Writes(by_tag, tags, clock, self._tell_write)
        self._history: dict[str, deque[tuple[int, int]]] = {
            name: deque([(clock.monotonic(), 0)], maxlen=_RATE_TICKS + 1) for name in self._lines
        }

    async def run(self, stop: asyncio.Event) -> None:
        reading = [asyncio.create_task(line.run(), name=f"line {name}") for name, line in self._lines.items()]
        others = [
            asyncio.create_task(self._outbox.run()),
            asyncio.create_task(self._status()),
            asyncio.create_task(self._serve()),
        ]
        ending = asyncio.create_task(stop.wait())
        try:
            running: set[asyncio.Task[None]] = {*reading, *others}
            while running and not stop.is_set():
                done, _ = await asyncio.wait({ending, *running}, return_when=asyncio.FIRST_COMPLETED)
                for task in done & running:
                    running.discard(task)
                    task.result()  # a fault of our own ends the process, which is then started again
            await ending
        finally:
            ending.cancel()
            for line in self._lines.values():
                line.stop()
            if reading:
                _, late = await asyncio.wait(reading, timeout=_GRACE_S)
                await _end(late)
            self._outbox.flush()
            await self._outbox.drain(_GRACE_S)
            await _end(others)

    async def _serve(self) -> None:
        """Offer writes and plans; the bus may not be there yet."""
        prefix = f"cmd.{self._node}.{self._settings.name}"
        for subject, handler in ((f"{prefix}.write", self._writes.handle), (f"{prefix}.plan", self._plan)):
            while True:
                try:
                    await self._bus.serve(subject, handler)
                    break
                except HeadraceError as error:
                    log.warning("cannot_serve", subject=subject, reason=str(error))
                    await asyncio.sleep(1.0)

    async def _plan(self, payload: bytes) -> bytes:
        try:
            name = msgspec.json.decode(payload, type=PlanRequest).connection
            if name not in self._lines:
                raise NotFound("edge.unknown_connection", name=name)
        except msgspec.DecodeError as error:
            return error_reply(InputError("edge.bad_request", reason=str(error)))
        except NotFound as error:
            return error_reply(error)
        return msgspec.json.encode(self._lines[name].plan_report())

    async def _tell_write(self, event: WriteEvent) -> None:
        await self._outbox.event(f"event.{self._node}.write", msgspec.json.encode(event))

    async def _status(self) -> None:
        subject = f"status.{self._node}.{self._settings.name}"
        while True:
            await asyncio.sleep(_STATUS_S)
            if self._outbox.up:
                await self._tell_gaps()
            try:
                await self._bus.send(subject, msgspec.json.encode(self._view()))
            except HeadraceError as error:
                log.debug("status_not_sent", reason=str(error))

    async def _tell_gaps(self) -> None:
        for gap in self._buffer.take_gaps():
            event = SystemEvent(
                "edge-gap", self._settings.name, self._clock.now(), gap.reason, gap.count,
                gap.first_time, gap.last_time,
            )  # fmt: skip
            await self._outbox.event(f"event.{self._node}.system", msgspec.json.encode(event))

    def _view(self) -> EdgeView:
        now = self._clock.now()
        depth = self._buffer.depth()
        return EdgeView(
            source=self._settings.name,
            updated=iso(now),
            buffer=BufferView(
                depth_messages=depth.messages,
                depth_bytes=depth.bytes,
                quota_bytes=self._settings.buffer.quota,
                oldest_ms=max((now - depth.oldest) // NS_PER_MS, 0) if depth.oldest else 0,
                dropped=self._buffer.dropped,
                held_messages=depth.held,
                fault=self._buffer.fault,
            ),
            published=self._outbox.published,
            lag_ms=self._outbox.lag_ms,
            connections=[line.view(self._rate(name, line)) for name, line in self._lines.items()],
            bus="up" if self._outbox.up else "down",
        )

    def _rate(self, name: str, line: Line) -> float:
        history = self._history[name]
        history.append((self._clock.monotonic(), line.values))
        (then, before), (now, values) = history[0], history[-1]
        return round((values - before) * NS_PER_S / max(now - then, 1), 1)


async def _end(tasks: Sequence[asyncio.Task[None]] | set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("task_failed", reason=repr(result))
