"""The role: boards filled from the bus, streams ticked, HTTP served, all in one process and one loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from headrace.api import alarms as alarm_board
from headrace.api import queries
from headrace.api.app import build
from headrace.api.audit import Audit
from headrace.api.auth import Brake, Gate, owner_token
from headrace.api.config import ApiSettings
from headrace.api.context import Context, NodeInfo
from headrace.api.gateway import GatewayBoard
from headrace.api.live import LiveValues
from headrace.api.metrics import Metrics
from headrace.api.plans import Plans
from headrace.api.plant import Plant
from headrace.api.screens import SCREENS
from headrace.api.static import CONSOLE, Console
from headrace.api.stream import TICK_S, Streams
from headrace.api.writing import Writing
from headrace.edge import EdgeSettings
from headrace.history import TagCatalog
from headrace.kernel.clock import NS_PER_S, Clock, iso
from headrace.kernel.errors import BusUnavailable, Corrupt, HeadraceError, Unavailable
from headrace.kernel.messages import os_reason
from headrace.kernel.model import Tag, decode
from headrace.kernel.ports import Bus
from headrace.records import Records
from headrace.rules import Alarm
from headrace.twin import Machine

_log = structlog.get_logger(__name__)

_STOP_S = 5  # for answers under way, once told to stop
_STUCK_MS = 60_000  # for a client that takes nothing of what was sent
_AGAIN_S = 1.0  # between tries, while the bus is away
_LOOK_S = 2.0
_RESEED_S = 3.0
_STATS_S = 10.0


async def run(
    *,
    settings: ApiSettings,
    node: NodeInfo,
    data_dir: Path,
    bus: Bus,
    records: Records,
    tags: Sequence[Tag],
    machines: Mapping[str, Machine],
    alarms: Sequence[Alarm],
    edge: EdgeSettings | None,
    config_file: Path,
    stop: asyncio.Event,
    clock: Clock,
    console: Path = CONSOLE,
) -> None:
    """Serve until `stop` is set; then end streams, finish what is under way (at most 5 s) and return.

    `settings`: the `[api]` section; its files are relative to `config_file`. `data_dir`: the node's data
    directory; history is read from `history/` below it, the owner's token made or read in `run/owner.token`,
    and `run/api.json` says {pid, url, host, port, started} while this serves. `records` are open and are
    migrated here (rooms history, rules, api). `tags`: those that are configured, with their ids; the
    catalogue's others stay searchable. `machines`: in the order of the line (`twin.machines_of`). `edge`: the
    `[edge]` section, or None for a node without one.

    The signals stay the caller's. Raises Unavailable (`api.port_taken`, `api.cannot_listen`).
    """
    await asyncio.to_thread(records.migrate, ["history", "rules", "api"])
    ctx = await _context(
        settings, node, data_dir, bus, records, tags, machines, alarms, edge, config_file, clock, console
    )
    listener = await asyncio.to_thread(_listen, settings)
    host, port = listener.getsockname()[:2]
    ctx.cookie = f"headrace-{node.name}-{port}"  # cookies do not tell ports apart, so their names must
    ctx.tls = bool(settings.certificate)
    try:
        await asyncio.to_thread(ctx.gate.load)
        server = _Server(_config(settings, ctx, config_file))
        tasks = [asyncio.create_task(work) for work in _background(ctx)]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            shown = _shown_host(settings.host, str(host))
            url = f"{'https' if ctx.tls else 'http'}://{shown}:{port}"
            facts = {"pid": os.getpid(), "url": url, "host": str(host), "port": port}
            with _announced(data_dir / "run" / "api.json", {**facts, "started": iso(clock.now())}):
                _log.info("serving", url=url, tags=len(ctx.live), machines=len(machines))
                await _until(stop, [serving, *tasks])
        finally:
            ctx.streams.close()
            server.should_exit = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(serving, *tasks, return_exceptions=True)
    finally:
        listener.close()
        ctx.queries.close()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the role decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(settings: ApiSettings, ctx: Context, config_file: Path) -> uvicorn.Config:
    folder = config_file.parent
    return uvicorn.Config(
        build(ctx),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_S,
        limit_concurrency=settings.max_streams + 256,
        ssl_certfile=folder / settings.certificate if settings.certificate else None,
        ssl_keyfile=folder / settings.key if settings.key else None,
    )


def _listen(settings: ApiSettings) -> socket.socket:
    """The bound socket. Without SO_REUSEPORT, so that a port belongs to one node."""
    where = {"host": settings.host, "port": settings.port}
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise Unavailable("api.cannot_listen", **where, reason=os_reason(error)) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit it: a client that is stuck is dropped
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable("api.port_taken", **where) from None
        raise Unavailable("api.cannot_listen", **where, reason=os_reason(error)) from None
    return listener


def _shown_host(configured: str, bound: str) -> str:
    """What a browser on this machine opens."""
    if bound in ("0.0.0.0", "::"):
        return "127.0.0.1"
    name = configured if configured == "localhost" else bound
    return f"[{name}]" if ":" in name else name


@contextlib.contextmanager
def _announced(path: Path, facts: Mapping[str, Any]) -> Iterator[None]:
    """`facts` stand in `path` as long as this lasts, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_bytes(msgspec.json.encode(facts))
    draft.replace(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Until told to stop; a task that ends before that has failed, and its error is raised."""
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
    finally:
        stopping.cancel()


async def _context(
    settings: ApiSettings,
    node: NodeInfo,
    data_dir: Path,
    bus: Bus,
    records: Records,
    tags: Sequence[Tag],
    machines: Mapping[str, Machine],
    alarms: Sequence[Alarm],
    edge: EdgeSettings | None,
    config_file: Path,
    clock: Clock,
    console: Path,
) -> Context:
    ctx = Context()
    ctx.settings, ctx.node, ctx.clock, ctx.bus = settings, node, clock, bus
    ctx.catalog = TagCatalog(records)
    ctx.screens = SCREENS
    ctx.console = Console(console)
    ctx.metrics = Metrics()
    ctx.gate = Gate(owner_token(data_dir), records, clock, session_ns=settings.session)
    ctx.brake = Brake(clock)
    known = await asyncio.to_thread(ctx.catalog.all)
    ctx.live = LiveValues(known, {tag.name for tag in tags})
    ctx.queries = queries.Queries(
        data_dir / "history", max_points=settings.max_points, max_rows=settings.max_rows
    )
    ctx.live.seed(await ctx.queries.run(lambda reader, _: reader.last()))
    ctx.gateway = GatewayBoard([edge.name] if edge is not None else [], clock)
    ctx.alarms = alarm_board.AlarmBoard(node.name, records, bus, clock)
    await ctx.alarms.refresh()
    ctx.plant = Plant(machines, ctx.live, ctx.alarms, ctx.gateway, alarm_board.limits(alarms, known), clock)
    ctx.plans = Plans(edge, config_file, node.name, bus)
    ctx.audit = Audit(records)
    ctx.writing = Writing(node.name, bus, ctx.live, ctx.gateway, ctx.audit, clock)
    ctx.streams = Streams(ctx.live, clock, max_streams=settings.max_streams)
    return ctx


# --- what runs beside the requests -----------------------------------------------------------------------


def _background(ctx: Context) -> Iterator[Coroutine[Any, Any, None]]:
    yield _values(ctx)
    yield _statuses(ctx)
    yield _alarm_events(ctx)
    yield _ticks(ctx)
    yield _looks(ctx)
    yield _reseeded(ctx)


async def _subscribed(bus: Bus, subject: str, pending: int) -> AsyncIterator[tuple[str, bytes]]:
    """Live messages, for ever: where the bus goes away, from its return on."""
    while True:
        try:
            async for message in bus.subscribe(subject, pending=pending):
                yield message.subject, message.payload
        except BusUnavailable as error:
            _log.warning("subscription_lost", subject=subject, reason=str(error))
        await asyncio.sleep(_AGAIN_S)


async def _values(ctx: Context) -> None:
    async for subject, payload in _subscribed(ctx.bus, f"data.{ctx.node.name}.*", 4096):
        try:
            _, batch = decode(payload)
        except Corrupt as error:
            _log.warning("batch_unreadable", subject=subject, reason=str(error))
            continue
        ctx.live.take(batch)


async def _reseeded(ctx: Context) -> None:
    """What the live subscription missed (before it stood, or while the bus was away) is in history."""
    while True:
        await asyncio.sleep(_RESEED_S)
        try:
            ctx.live.seed(await ctx.queries.run(lambda reader, _: reader.last()))
        except HeadraceError as error:
            _log.warning("last_values_unread", code=error.code, reason=str(error))


async def _statuses(ctx: Context) -> None:
    async for subject, payload in _subscribed(ctx.bus, f"status.{ctx.node.name}.*", 256):
        ctx.gateway.hear(subject.rpartition(".")[2], payload)


async def _alarm_events(ctx: Context) -> None:
    async for _ in _subscribed(ctx.bus, f"event.{ctx.node.name}.alarm", 4096):
        ctx.alarm_changed.set()


async def _ticks(ctx: Context) -> None:
    """Twice a second: close a tick, so that whoever listens gets what changed."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    odd = False
    alarms_read = ctx.clock.monotonic()
    while True:
        odd = not odd
        if odd:
            ctx.plant.mark_stale()
            ctx.streams.summary.put(ctx.plant.summary())
            ctx.streams.gateway.put(ctx.gateway.view())
        old = ctx.clock.monotonic() - alarms_read > alarm_board.REFRESH_S * NS_PER_S
        if ctx.alarm_changed.is_set() or old:
            alarms_read = ctx.clock.monotonic()
            ctx.alarm_changed.clear()
            await ctx.refresh_alarms()
        ctx.streams.tick()
        due = max(due + TICK_S, loop.time())
        await asyncio.sleep(due - loop.time())


async def _looks(ctx: Context) -> None:
    """Every few seconds: how full the bus is, how much history holds."""
    stats_at: int | None = None
    while True:
        await ctx.gateway.look(ctx.bus, ("DATA", "EVENTS"))
        now = ctx.clock.monotonic()
        if stats_at is None or now - stats_at >= _STATS_S * NS_PER_S:
            stats_at = now
            try:
                ctx.gateway.history = await ctx.queries.run(queries.stats)
            except HeadraceError as error:
                _log.warning("history_stats_failed", code=error.code, reason=str(error))
        await asyncio.sleep(_LOOK_S)
