"""The roles of a node and how each process of one is run.

A role keeps its state in its files below DIR, on the bus, in history and in records, and nowhere else, so
any of them may be killed at any moment and started again. Each role's room gives an async `run` that ends
when its `stop` event is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from headrace.bus import BUS, NatsBus
from headrace.kernel.clock import Clock, SystemClock
from headrace.kernel.config import Settings
from headrace.kernel.errors import BusUnavailable, HeadraceError, InputError, Unavailable
from headrace.kernel.messages import Text
from headrace.node import logs
from headrace.node.config import NODE, load
from headrace.node.files import Layout, read_json, write_json

log = structlog.get_logger(__name__)

HEARTBEAT_S = 2.0
_CONNECT_S = 5.0
_FREEZE_AFTER_S = 10.0

RECORD_ROOMS = ("history", "rules", "edge", "api")
"""Rooms that own tables. Those without a migrations folder have none yet and are passed over."""


class Role(msgspec.Struct, frozen=True):
    """What a running role is given."""

    name: str
    settings: Settings
    layout: Layout
    bus: NatsBus
    clock: Clock
    stop: asyncio.Event

    @property
    def node(self) -> str:
        return self.settings[NODE].name


async def _edge(role: Role) -> None:
    from headrace import edge

    tags = {tag.name: tag for tag in await asyncio.to_thread(_tags, role)}
    await edge.run(
        node=role.node,
        settings=role.settings[edge.EDGE],
        file=role.settings.file,
        tags=tags,
        bus=role.bus,
        data_dir=role.layout.root,
        clock=role.clock,
        stop=role.stop,
    )


async def _ingest(role: Role) -> None:
    from headrace import history, ingest

    await ingest.run(
        node=role.node,
        bus=role.bus,
        store_dir=role.layout.history,
        settings=role.settings[history.HISTORY],
        clock=role.clock,
        stop=role.stop,
    )


async def _rules(role: Role) -> None:
    from headrace import rules

    definitions = role.settings[rules.ALARMS]
    tags = await asyncio.to_thread(_tags, role)
    records = await asyncio.to_thread(open_migrated, role.layout)
    try:
        await rules.run(
            node=role.node,
            definitions=definitions,
            tags=tags,
            bus=role.bus,
            records=records,
            clock=role.clock,
            stop=role.stop,
        )
    finally:
        records.close()


async def _api(role: Role) -> None:
    from headrace import __version__, api, rules, twin
    from headrace.edge import EDGE, tag_specs

    settings = role.settings
    info, alarms, declared = settings[NODE], settings[rules.ALARMS], settings[twin.MACHINES]
    configured = {spec.name for spec in tag_specs(settings[EDGE], settings.file)}
    tags = [tag for tag in await asyncio.to_thread(_tags, role) if tag.name in configured]
    records = await asyncio.to_thread(open_migrated, role.layout)
    try:
        await api.run(
            settings=settings[api.API],
            node=api.NodeInfo(
                name=info.name,
                profile=info.profile,
                title=info.title or Text(zh=info.name, en=info.name),
                timezone=info.timezone,
                version=__version__,
            ),
            data_dir=role.layout.root,
            bus=role.bus,
            records=records,
            tags=tags,
            machines=twin.machines_of(declared, tags),
            alarms=alarms,
            edge=settings[EDGE],
            config_file=settings.file,
            stop=role.stop,
            clock=role.clock,
        )
    finally:
        records.close()


ROLES: dict[str, Callable[[Role], Awaitable[None]]] = {
    "edge": _edge,
    "ingest": _ingest,
    "rules": _rules,
    "api": _api,
}
"""In the order in which they start."""

PROFILES: dict[str, tuple[str, ...]] = {"plant": ("ingest", "rules", "edge", "api")}


def open_migrated(layout: Layout) -> Any:
    """The node's records with every room's tables at their newest."""
    from headrace.records import open_records

    records = open_records(layout.records)
    root = Path(__file__).resolve().parent.parent
    records.migrate([room for room in RECORD_ROOMS if (root / room / "migrations").is_dir()])
    return records


def _tags(role: Role) -> list[Any]:
    from headrace.history import TagCatalog

    records = open_migrated(role.layout)
    try:
        return list(TagCatalog(records).all())
    finally:
        records.close()


def run_role(name: str, config: Path, data_dir: Path) -> int:
    """Run one role until SIGTERM or SIGINT; the process's exit code. Raises ConfigError and InputError
    before anything has started."""
    if name not in ROLES:
        raise InputError("node.unknown_role", role=name, known=", ".join(ROLES))
    settings = load(config)
    layout = Layout(data_dir)
    layout.create()
    logs.configure(name, layout.logs, human=sys.stderr.isatty())
    structlog.contextvars.bind_contextvars(role=name, node=settings[NODE].name)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_main(name, settings, layout))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _main(name: str, settings: Settings, layout: Layout) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    clock = SystemClock()
    heart = asyncio.create_task(_beat(name, layout, clock))
    bus: NatsBus | None = None
    try:
        bus = await connect_bus(settings, layout, stop, name=f"headrace-{name}")
        if bus is None:
            return 0
        log.info("role_started", pid=os.getpid())
        role = Role(name, settings, layout, bus, clock, stop)
        await _until_stopped(ROLES[name](role), stop)
        log.info("role_stopped")
        return 0
    except HeadraceError as error:
        log.error("role_failed", code=error.code, error=error.text())
        return 1
    except Exception:
        log.exception("role_crashed")
        return 1
    finally:
        heart.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heart
        if bus is not None:
            await bus.close()
        layout.role_file(name).unlink(missing_ok=True)


async def _until_stopped(work: Awaitable[None], stop: asyncio.Event) -> None:
    """A role that returns before it was told to stop has failed."""
    await work
    if not stop.is_set():
        raise Unavailable("node.role_returned")


async def connect_bus(
    settings: Settings, layout: Layout, stop: asyncio.Event, *, name: str
) -> NatsBus | None:
    """The node's bus, waited for until it answers; None where `stop` was set first."""
    said = ""
    while not stop.is_set():
        try:
            return await _connect_once(settings, layout, name)
        except (BusUnavailable, Unavailable) as error:
            if error.code != said:
                log.warning("bus_awaited", code=error.code, error=error.text())
                said = error.code
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await stop.wait()
    return None


async def _connect_once(settings: Settings, layout: Layout, name: str) -> NatsBus:
    bus = settings[BUS]
    if bus.url:
        return await NatsBus.connect(bus.url, bus.user, bus.password, name=name, timeout_s=_CONNECT_S)
    found = read_json(layout.bus_file)
    if found is None:
        raise Unavailable("node.no_bus", path=str(layout.bus_file))
    return await NatsBus.connect(
        found["url"], found["user"], found["password"], name=name, timeout_s=_CONNECT_S
    )


async def _beat(name: str, layout: Layout, clock: Clock) -> None:
    """Say every two seconds that the event loop turns; once all is loaded, spare the collector what stays."""
    path = layout.role_file(name)
    write_json(path, {"role": name, "pid": os.getpid(), "started": clock.now()})
    frozen = False
    began = clock.monotonic()
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        try:
            os.utime(path)
        except OSError as error:
            log.warning("heartbeat_failed", error=str(error))
        if not frozen and clock.monotonic() - began > _FREEZE_AFTER_S * 1e9:
            frozen = True
            gc.collect()
            gc.freeze()
            gc.set_threshold(20_000, 20, 50)
