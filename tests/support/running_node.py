"""A whole node as its user starts it: `headrace up` as a process, with its roles and its bus."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
from counting_device import wait_until

from headrace.history import Reader, TagCatalog
from headrace.records import open_records


class RunningNode:
    """`config` and `data` as given to `headrace up`. Ends every process it started, whatever happens."""

    def __init__(self, config: Path, data: Path) -> None:
        self.config = config
        self.data = data
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    def start(self) -> RunningNode:
        self.log = (self.data.parent / f"{self.data.name}-up.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace.cli.main", "up", "-c", self.config, "--data", self.data],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HEADRACE_LANG": "en"},
        )
        return self

    def wait_ready(self, seconds: float = 120) -> RunningNode:
        """Until the API says that every role is up."""
        wait_until(self._ready, seconds, f"the node's start (see {self.log.name})")
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, Path(self.log.name).read_text(encoding="utf-8")
        try:
            return self.get("/healthz").get("status") == "ok"
        except (OSError, httpx.HTTPError, ValueError, KeyError):
            return False

    def run_file(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "run" / f"{name}.json").read_text(encoding="utf-8"))
        return found

    @property
    def url(self) -> str:
        return str(self.run_file("api")["url"])

    @property
    def token(self) -> str:
        return (self.data / "run" / "owner.token").read_text(encoding="utf-8").strip()

    def get(self, path: str, **params: Any) -> Any:
        answer = self._request("GET", path, params=params)
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        return self._request("POST", path, json=body).json()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = self.url.rstrip("/") + "/api/v1" + path
        answer = httpx.request(method, url, headers=headers, timeout=10, **options)
        answer.raise_for_status()
        return answer

    def pid(self, role: str) -> int:
        return int(self.run_file(role)["pid"])

    def kill(self, role: str) -> int:
        """kill -9 of one role (or "bus"), or of the supervisor ("node"); returns the process id."""
        pid = self._process.pid if role == "node" and self._process else self.pid(role)
        os.kill(pid, signal.SIGKILL)
        if role == "node" and self._process:
            self._process.wait(10)
        return pid

    def wait_restarted(self, role: str, old: int, seconds: float = 30) -> None:
        def fresh() -> bool:
            try:
                pid = self.pid(role)
            except (FileNotFoundError, ValueError, KeyError):
                return False
            return pid != old and psutil.pid_exists(pid)

        wait_until(fresh, seconds, f"the restart of {role}")

    def pids(self) -> list[int]:
        """Every process of this node that lives."""
        if self._process is None or self._process.poll() is not None:
            return []
        supervisor = psutil.Process(self._process.pid)
        return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]

    def stop(self) -> int:
        """SIGTERM, then the exit status; a node that does not end is killed and the test fails."""
        if self._process is None:
            return 0
        family = self.pids()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            status = self._process.wait(30)
        finally:
            for pid in family:
                if psutil.pid_exists(pid) and pid != self._process.pid:
                    os.kill(pid, signal.SIGKILL)
            if self._process.poll() is None:
                self._process.kill()
            self.log.close()
        return status

    def points(self, tag: str, start: int = 0, end: int = 2**63 - 1) -> list[tuple[int, Any, int]]:
        """(time ns, value, quality) of everything in history, read from the files as another process may;
        a missing value is None."""
        records = open_records(self.data / "records.sqlite")
        try:
            found = TagCatalog(records).get(tag)
        finally:
            records.close()
        assert found is not None, f"no tag {tag}"
        reader = Reader(self.data / "history")
        reader.refresh()
        series = reader.raw(found.id, start, end)
        return [
            (int(t), None if m else v.item() if hasattr(v, "item") else v, int(q))
            for t, v, q, m in zip(series.time, series.value, series.quality, series.missing, strict=True)
        ]
