"""A NATS server that dies, hangs or comes back elsewhere in time: nothing acknowledged is lost or doubled."""

import asyncio
import contextlib
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.bus import BusSettings, NatsBus, NatsServer
from headrace.kernel.errors import BusUnavailable

MIB = 1 << 20


async def _connect(server: NatsServer) -> NatsBus:
    assert server.address is not None
    return await NatsBus.connect(server.address.url, server.address.user, server.address.password)


async def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what another process does has no event
            await asyncio.sleep(0.02)


def _kill(server: NatsServer, how: signal.Signals = signal.SIGKILL) -> int:
    pid = server.pid
    assert pid is not None
    os.kill(pid, how)
    return pid


@pytest.mark.fault
async def test_kill_in_the_middle_of_publishing(server: NatsServer) -> None:
    """Publishers retry with their key until acknowledged; a reader follows all the time."""
    writer, follower = await _connect(server), await _connect(server)
    await writer.ensure_stream("DATA", ["data.>"], max_bytes=512 * MIB)
    acknowledged: dict[int, int] = {}
    seen: list[tuple[int, bytes]] = []
    done = asyncio.Event()
    payload = os.urandom(20_000)

    async def publish_all(lane: int) -> None:
        for n in range(lane, 600, 4):
            while n not in acknowledged:
                try:
                    acknowledged[n] = await writer.publish(
                        f"data.n.l{lane}", b"%d " % n + payload, key=f"n/{n}"
                    )
                except BusUnavailable:
                    await asyncio.sleep(0.02)

    async def follow() -> None:
        position = 1
        while not (done.is_set() and len(seen) >= len(acknowledged)):
            try:
                for message in await follower.read("DATA", position, timeout_s=0.2):
                    seen.append((message.sequence, message.payload))
                    position = message.sequence + 1
            except BusUnavailable:
                await asyncio.sleep(0.02)

    following = asyncio.create_task(follow())
    lanes = [asyncio.create_task(publish_all(lane)) for lane in range(4)]
    for share in (100, 300, 450):
        await _until(lambda share=share: len(acknowledged) >= share, 40)  # type: ignore[misc]
        dead = _kill(server)
        await _until(lambda dead=dead: server.pid not in (None, dead))  # type: ignore[misc]
    await asyncio.gather(*lanes)
    done.set()
    async with asyncio.timeout(20):
        await following

    stored = [int(body.split(b" ", 1)[0]) for _, body in seen]
    assert len(stored) == len(set(stored)) == 600, "each once"
    assert {sequence for sequence, _ in seen} == set(acknowledged.values()), "exactly what was acknowledged"
    for n, sequence in acknowledged.items():
        assert dict(seen)[sequence].startswith(b"%d " % n)
    assert [s for s, _ in seen] == sorted(s for s, _ in seen)
    assert server.restarts == 3
    await writer.close()
    await follower.close()


@pytest.mark.fault
async def test_everything_resumes_after_a_restart(server: NatsServer) -> None:
    """Subscriptions, served subjects and requests work again on the same bus object."""
    bus, other = await _connect(server), await _connect(server)

    async def echo(payload: bytes) -> bytes:
        return payload

    await bus.serve("cmd.n.echo", echo)
    live = bus.subscribe("status.n.*")
    await bus.ping()  # the subscription has reached the server
    await other.send("status.n.edge", b"before")
    assert (await anext(live)).payload == b"before"
    dead = _kill(server)
    await _until(lambda: not bus.connected)
    with pytest.raises(BusUnavailable):
        await bus.send("status.n.edge", b"lost")
    await _until(lambda: server.pid not in (None, dead) and bus.connected and other.connected)
    await other.send("status.n.edge", b"after")
    assert (await anext(live)).payload == b"after"
    assert await other.request("cmd.n.echo", b"hello") == b"hello"
    await bus.close()
    await other.close()


@pytest.mark.fault
async def test_a_hanging_server_is_restarted(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bus.server._HEALTH_EVERY_S", 0.2)
    monkeypatch.setattr("headrace.bus.server._PING_S", 0.2)
    monkeypatch.setattr("headrace.bus.server._STOP_S", 0.5)
    bus = await _connect(server)
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=MIB)
    assert await bus.publish("data.n.a", b"1") == 1
    hung = _kill(server, signal.SIGSTOP)
    await _until(lambda: server.pid not in (None, hung), 40)
    await _until(lambda: bus.connected)
    assert await bus.publish("data.n.a", b"2") == 2
    await bus.close()


async def test_while_the_server_is_away_every_call_says_so(server: NatsServer) -> None:
    bus = await _connect(server)
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=MIB)
    await server.stop()
    await _until(lambda: not bus.connected)
    with pytest.raises(BusUnavailable) as refused:
        await bus.read("DATA", 1, timeout_s=0.1)
    assert refused.value.code == "bus.unreachable"
    with pytest.raises(BusUnavailable):
        await bus.request("cmd.n.x", b"", timeout_s=0.1)
    await bus.close()


async def test_a_publish_in_flight_when_the_connection_goes_fails_at_once(server: NatsServer) -> None:
    bus = await _connect(server)
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=MIB)
    os.kill(server.pid or 0, signal.SIGSTOP)  # accepts bytes, answers nothing
    waiting = asyncio.create_task(bus.publish("data.n.a", b"x", key="n/1"))
    await asyncio.sleep(0.1)
    _kill(server)
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable) as refused:
        await waiting
    assert refused.value.code == "bus.lost"
    assert asyncio.get_running_loop().time() - began < 2
    await bus.close()


async def test_a_wrong_password_is_named(server: NatsServer) -> None:
    assert server.address is not None
    with pytest.raises(BusUnavailable) as refused:
        await NatsBus.connect(server.address.url, "headrace", "guess", timeout_s=10)
    assert refused.value.code == "bus.denied"


async def test_nobody_listening_is_named() -> None:
    with pytest.raises(BusUnavailable) as refused:
        await NatsBus.connect("nats://127.0.0.1:1", timeout_s=0.5)
    assert refused.value.code == "bus.unreachable"
    assert "127.0.0.1:1" in refused.value.text("en")


async def test_files_of_the_server_are_private_and_complete(server: NatsServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("run/bus.json", "bus/nats.conf", "bus/server.json"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name
    recorded = json.loads((data / "run/bus.json").read_text())
    assert recorded["pid"] == server.pid and recorded["url"].startswith("nats://127.0.0.1:")
    assert "sync_interval: always" in (data / "bus/nats.conf").read_text()
    assert (data / "logs/bus.log").stat().st_size > 0


async def test_an_orphan_of_an_earlier_node_is_ended(tmp_path: Path) -> None:
    first = NatsServer(tmp_path, BusSettings(port=0))
    address = await first.start()
    bus = await NatsBus.connect(address.url, address.user, address.password)
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=MIB)
    assert await bus.publish("data.n.a", b"kept") == 1
    orphan = first.pid
    second = NatsServer(tmp_path, BusSettings(port=0))
    again = await second.start()
    assert first.pid is None and second.pid not in (None, orphan)
    assert (again.url, again.password) == (address.url, address.password), "clients find it again"
    await _until(lambda: bus.connected)
    found = []
    while not found:
        with contextlib.suppress(BusUnavailable):
            found = await bus.read("DATA", 1)
    assert found[0].payload == b"kept"
    await bus.close()
    await second.stop()
    await first.stop()


async def test_a_taken_port_gives_way_to_a_free_one(tmp_path: Path) -> None:
    squatter = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    taken = squatter.sockets[0].getsockname()[1]
    server = NatsServer(tmp_path, BusSettings(port=taken))
    address = await server.start()
    assert not address.url.endswith(f":{taken}")
    await server.stop()
    squatter.close()
