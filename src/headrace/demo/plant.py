"""Starts the demo's two processes below a data folder, keeps the devices' one alive, and stops both for good.

    devices   python -m headrace.demo.devices     six Modbus servers on the models
    node      headrace up                         the plant node, with its own supervisor

Both run in sessions of their own, so that Ctrl-C reaches only the demo, which then ends them in order; and
both are told by the kernel (Linux) to end should the demo itself be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog

from headrace.demo import configuration, files
from headrace.demo.client import Api
from headrace.kernel.errors import Conflict, Unavailable

_log = structlog.get_logger(__name__)

DEFAULT_PORT = 8088
_DEVICES_READY_S = 30.0
_NODE_READY_S = 60.0
_STOP_S = 20.0
_PR_SET_PDEATHSIG = 1
Wait = Callable[[], None]


class Plant:
    """The demo's processes. Use: `start_devices`, `configure`, `start_node`, then `watch` now and again,
    and at last `stop`. `wait` is called while waiting (a display's tick)."""

    def __init__(self, data: Path, *, seed: int = 1, speed: float = 1.0, faults: bool = True) -> None:
        self.data = data
        self.seed = seed
        self.speed = speed
        self.faults = faults
        self.record: files.Record | None = None
        self.file = files.folder(data) / "headrace.toml"
        self.restarts = 0
        self._lock: IO[bytes] | None = None
        self._devices: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    def claim(self) -> None:
        """Make the data folder and take it. Raises Conflict where another demo has it."""
        files.folder(self.data).mkdir(parents=True, exist_ok=True)
        (self.data / "logs").mkdir(exist_ok=True)
        lock = (files.folder(self.data) / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Conflict("demo.in_use", data=str(self.data)) from None
        self._lock = lock

    def start_devices(self, wait: Wait) -> files.Record:
        """Start the devices and wait until all listen. Raises Unavailable where they do not."""
        before = files.read_record(self.data)
        self._devices = self._spawn_devices()
        until = time.monotonic() + _DEVICES_READY_S
        while time.monotonic() < until and self._devices.poll() is None:
            record = files.read_record(self.data)
            if record is not None and record != before and record.pid == self._devices.pid:
                self.record = record
                return record
            wait()
        raise Unavailable("demo.devices_failed", log=str(self.data / "logs" / "devices.log"))

    def configure(self, port: int | None = None) -> Path:
        """Write the configuration for the devices that listen; the console on `port`, by default on 8088
        where it is free and else on any free port."""
        assert self.record is not None
        wanted = port if port is not None else DEFAULT_PORT if _free(DEFAULT_PORT) else 0
        self.file = configuration.write(
            files.folder(self.data), self.record.ports, host=self.record.host, api_port=wanted
        )
        return self.file

    def start_node(self, wait: Wait) -> Api:
        """Start the node and wait until its API answers. Raises Unavailable where it does not."""
        address = self.data / "run" / "api.json"
        address.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "headrace.cli",
            "up",
            "-c",
            str(self.file),
            "--data",
            str(self.data),
        ]
        self._node = self._spawn(command, "node.log")
        until = time.monotonic() + _NODE_READY_S
        while time.monotonic() < until and self._node.poll() is None:
            if (api := self.api()) is not None:
                with contextlib.suppress(Unavailable):
                    api.get("/session")
                    return api
            wait()
        raise Unavailable("demo.node_failed", log=str(self.data / "logs" / "node.log"))

    def api(self) -> Api | None:
        """A client of the node, once the node has said where it listens."""
        with contextlib.suppress(OSError, msgspec.DecodeError, KeyError, TypeError):
            url = msgspec.json.decode((self.data / "run" / "api.json").read_bytes())["url"]
            return Api(url, self.token())
        return None

    def token(self) -> str:
        return (self.data / "run" / "owner.token").read_text(encoding="utf-8").strip()

    def watch(self) -> None:
        """Start the devices again should they have ended. Raises Unavailable where the node has ended."""
        if self._node is not None and self._node.poll() is not None:
            raise Unavailable("demo.node_ended", log=str(self.data / "logs" / "node.log"))
        if self._devices is not None and self._devices.poll() is not None:
            _log.warning("devices_ended", code=self._devices.returncode)
            self.restarts += 1
            self._devices = self._spawn_devices()

    def stop(self) -> None:
        """End both, the node first, politely and then by force, and everything they started. Idempotent."""
        for process in (self._node, self._devices):
            if process is not None:
                _end(process)
        self._node = self._devices = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _spawn_devices(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "headrace.demo.devices", "--data", str(self.data)]
        command += ["--seed", str(self.seed), "--speed", str(self.speed)]
        return self._spawn(command + ([] if self.faults else ["--no-faults"]), "devices.log")

    def _spawn(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.data / "logs" / log).open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, time to close, then SIGKILL to the whole session, so that no grandchild stays."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_with_parent() -> Callable[[], Any] | None:
    """On Linux, what a child calls before it execs: SIGTERM when the parent dies (prctl(2))."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
