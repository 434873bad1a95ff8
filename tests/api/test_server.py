"""The role as a process: its port, its file, its end."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from headrace.api import API, ApiSettings, server
from headrace.kernel.config import check
from headrace.kernel.errors import ConfigError, Unavailable


async def test_says_where_it_is_and_cleans_up(start: Any) -> None:
    node = await start()
    path = node.data / "run" / "api.json"
    facts = json.loads(path.read_text())
    assert facts["url"] == node.url == f"http://127.0.0.1:{facts['port']}"
    assert facts["pid"] == os.getpid()
    assert facts["started"].endswith("Z")
    await node.close()
    assert not path.exists()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", facts["port"])):
        pass


async def test_a_taken_port_is_an_error_that_names_it(start: Any, tmp_path: Path) -> None:
    node = await start()
    port = int(node.url.rpartition(":")[2])
    with pytest.raises(Unavailable) as caught:
        await start(data=tmp_path / "other", settings=ApiSettings(port=port))
    assert caught.value.code == "api.port_taken"
    assert str(port) in caught.value.text("zh")
    assert (await node.client.get("/healthz")).status_code == 200, "the first one goes on"


async def test_a_host_that_is_not_here(start: Any) -> None:
    with pytest.raises(Unavailable) as caught:
        await start(settings=ApiSettings(host="192.0.2.1", port=0, insecure=True))
    assert caught.value.code == "api.cannot_listen"


async def test_a_failed_background_task_ends_the_role(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the supervisor sees it and starts it anew, instead of a half-dead API."""

    async def broken(_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(server, "_looks", broken)
    node = await start()
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(node.serving, 10)
    node.stop.set()


async def test_the_bus_going_away_is_survived(start: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.kernel.errors import BusUnavailable

    node = await start()
    monkeypatch.setattr(server, "_AGAIN_S", 0.05)

    async def away(*_: Any, **__: Any) -> Any:
        raise BusUnavailable("bus.closed")

    monkeypatch.setattr(node.bus, "state", away)
    monkeypatch.setattr(node.bus, "request", away)

    async def told() -> bool:
        return (await node.get("/gateway"))["bus"].get("ok") is False

    await wait(told)
    error = (await node.get("/gateway"))["bus"]["error"]
    assert error["zh"] and error["en"]
    assert (await node.get("/machines"))[0]["id"] == "bath"


async def test_sessions_survive_a_restart(start: Any, tmp_path: Path) -> None:
    first = await start()
    async with first.connect() as browser:
        await browser.post("/session", json={"token": first.token})
        secret = next(iter(browser.cookies.values()))
    await first.close()
    second = await start(data=tmp_path)
    port = second.url.rpartition(":")[2]
    async with second.connect(cookies={f"headrace-coating-1-{port}": secret}) as browser:
        assert (await browser.get("/machines")).status_code == 200


async def test_tls(start: Any, tmp_path: Path) -> None:
    made = await asyncio.to_thread(
        subprocess.run,
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("needs the openssl command")
    node = await start(settings=ApiSettings(port=0, certificate="cert.pem", key="key.pem"))
    assert node.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with node.connect(verify=context) as browser:
        answer = await browser.post("/session", json={"token": node.token})
        assert answer.status_code == 200
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("raw", "key", "code"),
    [
        ({"host": "0.0.0.0"}, "api.host", "api.needs_certificate"),
        ({"certificate": "a.pem"}, "api.key", "api.certificate_without_key"),
        ({"certificate": "a.pem", "key": "b.pem"}, "api.certificate", "api.no_such_file"),
        ({"session": "5s"}, "api.session", "api.session_too_short"),
        ({"port": 70000}, "api.port", "config.out_of_range"),
        ({"prot": 1}, "api.prot", "config.unknown_key_near"),
    ],
)
def test_faults_of_the_section(raw: dict[str, Any], key: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check({"api": raw}, [API], file=tmp_path / "headrace.toml")
    assert (key, code) in [(p.key, p.code) for p in caught.value.problems]


def test_open_settings_are_allowed_when_they_are_meant(tmp_path: Path) -> None:
    settings = check({"api": {"host": "0.0.0.0", "insecure": True}}, [API], file=tmp_path / "headrace.toml")
    assert settings[API].host == "0.0.0.0"
    assert not settings[API].loopback
    assert ApiSettings(host="::1").loopback and ApiSettings(host="localhost").loopback


async def test_a_client_that_takes_nothing_is_dropped(
    start: Any, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("needs TCP_USER_TIMEOUT")
    monkeypatch.setattr(server, "_STUCK_MS", 300)
    monkeypatch.setattr(server, "TICK_S", 0.001)
    node = await start()
    port = int(node.url.rpartition(":")[2])
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    stuck.connect(("127.0.0.1", port))
    own = stuck.getsockname()[1]
    request = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {node.token}\r\n\r\n"
    stuck.sendall(request.encode())

    def connected() -> bool:
        return any(
            c.laddr.port == port and c.raddr and c.raddr.port == own and c.status == "ESTABLISHED"
            for c in psutil.Process().net_connections("tcp")
        )

    await wait(connected)

    async def flooded_until_dropped() -> bool:
        for n in range(200):
            await node.say("edge", connections=[], filler="x" * 4000, n=n)
        return not connected()

    await wait(flooded_until_dropped, 20.0)
    stuck.close()


SERVE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import Node

async def main():
    node = Node(Path({data!r}))
    await node.start()
    print(node.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.fault
async def test_kill_9_leaves_nothing_behind(tmp_path: Path, wait: Any) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE.format(tests=str(Path(__file__).parent), data=str(tmp_path / "data")))
    command = [sys.executable, script]
    with await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = ""
            while not url.startswith("http://"):
                url = (await asyncio.to_thread(process.stdout.readline)).strip()
            assert psutil.Process(process.pid).children(recursive=True) == [], "one process serves"
            stored = msgspec.json.decode((tmp_path / "data" / "run" / "api.json").read_bytes())
            assert stored["pid"] == process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    port = int(url.rpartition(":")[2])

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return True
        return False

    await wait(refused)
