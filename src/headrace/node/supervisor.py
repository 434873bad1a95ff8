"""The supervisor of one node: bus first, then one process per role; whatever ends is started again.

Every child is killed by the kernel when the supervisor dies (see `bus.child`), and what slipped through is
found by its pid file at the next start, so that `headrace up` works at once after a `kill -9`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from headrace.bus import BUS, NatsServer, child
from headrace.bus.server import BusAddress
from headrace.kernel.clock import Clock, SystemClock
from headrace.kernel.config import Settings
from headrace.node import logs
from headrace.node.config import NODE, load
from headrace.node.files import Layout, Lock, read_json, write_json
from headrace.node.roles import HEARTBEAT_S, PROFILES, connect_bus, open_migrated

log = structlog.get_logger(__name__)

_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 30.0  # a role that ran this long starts its back-off anew
_ROLE_STOP_S = 6.0  # of the ten that a stop may take; the rest is the bus's
_HEARTBEAT_LATE_S = 30.0
_WATCH_EVERY_S = 2.0
_API_LATE_S = 20.0


class Progress(msgspec.Struct, frozen=True):
    """One step of the node's life for whoever watches; `code` is a row of the message table below
    `node.step` (or node.port_taken), `params` fill it and are what --json shows."""

    code: str
    params: dict[str, Any]


class _Child:
    """A role's process over its restarts."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.state = "starting"
        self.reason = ""


class Supervisor:
    """`run` until `stop` is set. One object per run.

    `observer` is told each step; `log_files` sends this process's log to logs/node.log; `environ` is laid
    over the configuration and given to the roles.
    """

    def __init__(
        self,
        config: Path,
        data_dir: Path,
        *,
        observer: Callable[[Progress], None] | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        log_files: bool = False,
    ) -> None:
        self._config = config.resolve()
        self._layout = Layout(data_dir)
        self._observer = observer
        self._environ = dict(os.environ if environ is None else environ)
        self._clock = clock or SystemClock()
        self._log_files = log_files
        self._children: dict[str, _Child] = {}
        self._server: NatsServer | None = None
        self._address: BusAddress | None = None
        self._started = 0
        self._url = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, keep it running, end it cleanly within ten seconds of `stop`.

        Raises ConfigError, Conflict (node.in_use), InputError or Unavailable where it cannot start; nothing
        is left running then.
        """
        settings = load(self._config, self._environ)
        self._layout.create()
        lock = Lock(self._layout)
        lock.acquire()
        if self._log_files:
            logs.configure("node", self._layout.logs, human=False)
        tasks: list[asyncio.Task[None]] = []
        try:
            self._started = self._clock.now()
            await asyncio.to_thread(self._end_orphans, settings)
            await asyncio.to_thread(self._prepare, settings)
            await self._start_bus(settings, stop, tasks)
            if not stop.is_set():
                self._choose_api_port(settings)
                for role in settings[NODE].roles or PROFILES[settings[NODE].profile]:
                    self._children[role] = _Child(role)
                    tasks.append(asyncio.create_task(self._keep(self._children[role]), name=role))
                tasks.append(asyncio.create_task(self._watch(), name="watch"))
                if "api" in self._children:
                    tasks.append(asyncio.create_task(self._announce(), name="announce"))
                await self._until(stop, tasks)
        finally:
            await self._stop(tasks)
            lock.release()

    # --- starting ---

    def _end_orphans(self, settings: Settings) -> None:
        for role in PROFILES[settings[NODE].profile]:
            path = self._layout.role_file(role)
            found = read_json(path)
            if found is not None:
                child.end_orphan(int(found.get("pid", 0)), str(self._layout.root))
                path.unlink(missing_ok=True)
        self._layout.api_file.unlink(missing_ok=True)
        self._layout.node_file.unlink(missing_ok=True)

    def _prepare(self, settings: Settings) -> None:
        """Records to their newest, every configured tag in the catalogue."""
        from headrace.edge import EDGE, tag_specs
        from headrace.history import TagCatalog
        from headrace.rules import ALARMS

        specs = tag_specs(settings[EDGE], settings.file)
        records = open_migrated(self._layout)
        try:
            TagCatalog(records).sync(specs)
        finally:
            records.close()
        connections = len(settings[EDGE].connections)
        self._tell(
            "node.step.checked", tags=len(specs), connections=connections, alarms=len(settings[ALARMS])
        )

    async def _start_bus(
        self, settings: Settings, stop: asyncio.Event, tasks: list[asyncio.Task[None]]
    ) -> None:
        bus = settings[BUS]
        if not bus.url:
            self._server = NatsServer(self._layout.root, bus)
            self._address = await self._server.start()
            wanted, taken = bus.port, int(self._address.url.rpartition(":")[2])
            if wanted and wanted != taken:
                self._tell("node.port_taken", wanted=wanted, taken=taken)
            tasks.append(asyncio.create_task(self._server.watch(), name="bus"))
        connection = await connect_bus(settings, self._layout, stop, name="headrace-setup")
        if connection is None:
            return
        try:
            await connection.ensure_stream("DATA", ["data.>"], max_bytes=bus.max_bytes)
            await connection.ensure_stream(
                "EVENTS", ["event.>"], max_bytes=bus.events_max_bytes, discard_old=True
            )
        finally:
            await connection.close()
        self._tell("node.step.bus", url=self._address.url if self._address else bus.url)

    def _choose_api_port(self, settings: Settings) -> None:
        """Where the wanted port is taken the API gets a free one, which run/api.json names."""
        from headrace.api import API

        api = settings[API]
        if api.port and not _can_bind(api.host, api.port):
            with socket.socket(socket.AF_INET6 if ":" in api.host else socket.AF_INET) as probe:
                probe.bind((api.host, 0))
                taken = probe.getsockname()[1]
            self._environ["HEADRACE_API__PORT"] = str(taken)
            self._tell("node.port_taken", wanted=api.port, taken=taken)

    # --- keeping ---

    async def _keep(self, kept: _Child) -> None:
        """Start the role again whenever its process ends."""
        attempt = 0
        while True:
            began = time.monotonic()
            await self._spawn(kept)
            assert kept.process is not None
            code = await kept.process.wait()
            self._layout.role_file(kept.role).unlink(missing_ok=True)
            attempt = 1 if time.monotonic() - began > _STEADY_S else attempt + 1
            delay = _BACKOFF_S[min(attempt, len(_BACKOFF_S)) - 1]
            reason = kept.reason or (f"signal {-code}" if code < 0 else f"exit code {code}")
            kept.reason = ""
            kept.state = "backoff"
            kept.restarts += 1
            self._tell("node.step.role_ended", role=kept.role, reason=reason, seconds=delay)
            self._write_node_file()
            await asyncio.sleep(delay)

    async def _spawn(self, kept: _Child) -> None:
        command = [sys.executable, "-m", "headrace.cli", "run", kept.role]
        command += ["--config", str(self._config), "--data", str(self._layout.root)]
        # what a role prints before its log is open, or when the interpreter itself fails
        with (self._layout.logs / f"{kept.role}.out").open("ab") as output:
            kept.process = await child.spawn(command, output=output, environ=self._environ)
        kept.state = "running"
        self._tell("node.step.role", role=kept.role, pid=kept.process.pid)
        self._write_node_file()

    async def _watch(self) -> None:
        """Kill a role whose event loop has stood still: its heartbeat file has grown old."""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            for kept in self._children.values():
                try:
                    age = time.time() - self._layout.role_file(kept.role).stat().st_mtime
                except FileNotFoundError:
                    continue
                late = _HEARTBEAT_LATE_S + HEARTBEAT_S
                if age > late and kept.process is not None and kept.process.returncode is None:
                    kept.reason = f"no heartbeat for {age:.0f} s"
                    kept.process.kill()

    async def _announce(self) -> None:
        """Wait for the API to say where it listens, then tell the owner's address of the console."""
        from headrace.api import owner_token

        began, late = time.monotonic(), False
        while True:
            found = read_json(self._layout.api_file)
            if found is not None:
                self._url = str(found["url"])
                token = await asyncio.to_thread(owner_token, self._layout.root)
                self._write_node_file()
                self._tell("node.step.ready", url=f"{self._url}/#token={token}")
                return
            if not late and time.monotonic() - began > _API_LATE_S:
                late = True
                log_file = str(self._layout.logs / "api.log")
                self._tell("node.step.api_late", seconds=round(_API_LATE_S), log=log_file)
            await asyncio.sleep(0.05)

    @staticmethod
    async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
        """Until told to stop; a fault of the supervisor itself ends it too, loudly."""
        stopping = asyncio.create_task(stop.wait())
        try:
            pending: set[asyncio.Task[Any]] = {stopping, *tasks}
            while not stopping.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopping.cancel()

    # --- stopping and telling ---

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        began = time.monotonic()
        if self._children:
            self._tell("node.step.stopping")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        running = [c.process for c in self._children.values() if c.process is not None]
        await asyncio.gather(*(child.end(process, _ROLE_STOP_S) for process in running))
        if self._server is not None:
            await self._server.stop()
        for path in (self._layout.node_file, self._layout.api_file):
            path.unlink(missing_ok=True)
        if self._children:
            self._tell("node.step.stopped", seconds=round(time.monotonic() - began, 1))

    def _write_node_file(self) -> None:
        server = self._server
        roles = {
            c.role: {
                "pid": c.process.pid if c.process is not None and c.process.returncode is None else None,
                "state": c.state,
                "restarts": c.restarts,
            }
            for c in self._children.values()
        }
        bus = {
            "url": self._address.url if self._address else "",
            "pid": server.pid if server else None,
            "restarts": server.restarts if server else 0,
        }
        node = {
            "pid": os.getpid(),
            "started": self._started,
            "config": str(self._config),
            "data": str(self._layout.root),
            "url": self._url,
            "bus": bus,
            "roles": roles,
        }
        try:
            write_json(self._layout.node_file, node)
        except OSError as error:  # a full disk must not end the node
            log.error("node_file_failed", error=str(error))

    def _tell(self, code: str, **params: Any) -> None:
        log.info(code.replace(".", "_"), **{k: v for k, v in params.items() if code != "node.step.ready"})
        if self._observer is not None:
            self._observer(Progress(code, params))


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
