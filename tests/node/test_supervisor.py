"""A whole node as its user starts it, and what happens when parts of it are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

CONFIG = """
[node]
name = "test"
[bus]
port = 0
[api]
port = 0
[[edge.connections]]
name = "host"
driver = "host"
every = "1s"
[[edge.connections.tags]]
name = "computer/cpu/usage"
metric = "cpu.percent"
"""

ROLES = ("ingest", "rules", "edge", "api")


def _until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
    return found


class Node:
    """`headrace up --json` and what it says."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "headrace.toml"
        self.data = folder / "data"
        self.output = folder / "up.jsonl"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, environ: dict[str, str] | None = None) -> "Node":
        command = [
            sys.executable,
            "-m",
            "headrace.cli",
            "up",
            "-c",
            self.config,
            "--data",
            self.data,
            "--json",
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environ or {})}
            )
        return self

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]

    def wait_ready(self, seconds: float = 60) -> dict[str, Any]:
        def ready() -> Any:
            assert self.process is not None
            assert self.process.poll() is None, self.output.read_text()
            return next((e for e in self.events() if e["event"] == "ready"), None)

        found: dict[str, Any] = _until(ready, seconds, f"readiness ({self.output.read_text()})")
        return found

    def file(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "run" / "node.json").read_text())
        return found

    def pid(self, role: str) -> int:
        return int(self.file()["bus"]["pid"] if role == "bus" else self.file()["roles"][role]["pid"] or 0)

    def family(self) -> list[psutil.Process]:
        """Every process that works on this node's data, whoever its parent is."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.data) in part for part in process.info["cmdline"] or []):
                found.append(process)
        return found

    def end(self) -> None:
        for process in self.family():
            try:
                process.kill()
                process.wait(10)
            except psutil.NoSuchProcess:
                continue
        if self.process is not None:
            self.process.wait(10)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path)
    found.config.write_text(CONFIG, encoding="utf-8")
    yield found
    found.end()


def test_the_life_of_a_node(node: Node) -> None:
    """Start, look, kill -9 each role and the bus, kill -9 the supervisor, start at once, stop cleanly."""
    ready = node.start().wait_ready()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{43}", ready["url"])
    assert node.data.stat().st_mode & 0o777 == 0o700
    assert (node.data / "run" / "owner.token").stat().st_mode & 0o777 == 0o600
    recorded = node.file()
    assert recorded["pid"] == node.process.pid  # type: ignore[union-attr]
    assert set(recorded["roles"]) == set(ROLES)
    assert all(psutil.pid_exists(node.pid(role)) for role in (*ROLES, "bus"))

    second = subprocess.run(
        [sys.executable, "-m", "headrace.cli", "up", "-c", node.config, "--data", node.data, "--json"],
        capture_output=True,
        timeout=60,
    )
    refusal = json.loads(second.stderr)["error"]
    assert second.returncode == 1 and refusal["code"] == "node.in_use"
    assert refusal["params"]["pid"] == str(recorded["pid"])

    old = {role: node.pid(role) for role in ROLES}
    for role in ROLES:
        os.kill(old[role], signal.SIGKILL)
    for role in ROLES:
        _until(lambda role=role: node.pid(role) not in (0, old[role]), 20, f"the restart of {role}")
    ended = {e["role"]: e for e in node.events() if e["event"] == "role_ended"}
    assert set(ended) == set(ROLES) and all(e["seconds"] == 0.1 for e in ended.values())
    assert all("signal 9" in e["reason"] for e in ended.values())

    bus = json.loads((node.data / "run" / "bus.json").read_text())
    os.kill(bus["pid"], signal.SIGKILL)

    def bus_again() -> bool:
        now = json.loads((node.data / "run" / "bus.json").read_text())
        return bool(now["pid"] != bus["pid"]) and now["url"] == bus["url"]

    _until(bus_again, 20, "the restart of the bus")

    family = node.family()
    assert len(family) >= 6
    os.kill(node.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    node.process.wait(10)  # type: ignore[union-attr]
    _until(lambda: not node.family(), 5, "the end of everything under a killed supervisor")
    node.start().wait_ready()

    family = node.family()
    began = time.monotonic()
    node.process.terminate()  # type: ignore[union-attr]
    assert node.process.wait(15) == 0  # type: ignore[union-attr]
    assert time.monotonic() - began < 10
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert node.events()[-1]["event"] == "stopped"
    left = {p.name for p in (node.data / "run").iterdir()}
    assert left == {"lock", "owner.token"}


def test_a_taken_console_port_gives_way(node: Node) -> None:
    import socket

    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        node.config.write_text(CONFIG.replace("[api]\nport = 0", f"[api]\nport = {taken}"), encoding="utf-8")
        ready = node.start().wait_ready()
        assert f":{taken}/" not in ready["url"]
        told = next(e for e in node.events() if e["event"] == "port_taken")
        assert told["wanted"] == taken and f":{told['taken']}/" in ready["url"]
    node.process.terminate()  # type: ignore[union-attr]
    assert node.process.wait(15) == 0  # type: ignore[union-attr]


def test_a_wrong_configuration_starts_nothing(node: Node) -> None:
    node.config.write_text(CONFIG.replace('driver = "host"', 'driver = "hots"'), encoding="utf-8")
    process = node.start().process
    assert process is not None and process.wait(60) == 1
    told = json.loads(node.output.read_text().splitlines()[-1])
    assert told["problems"][0]["key"] == "edge.connections[0].driver"
    assert not node.data.exists() or not list((node.data / "run").glob("*.json"))


def test_a_data_directory_that_cannot_be(node: Node) -> None:
    node.data.write_text("a file")
    process = node.start().process
    assert process is not None and process.wait(60) == 1
    assert "node.bad_data_dir" in node.output.read_text()
