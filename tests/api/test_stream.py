"""Fan-out: encoded once, a slow client gets larger answers, no alarm is dropped in silence."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from headrace.api.live import LiveValues
from headrace.api.stream import HEARTBEAT_S, Latest, Log, Streams
from headrace.kernel.clock import ManualClock
from headrace.kernel.model import Batch, Kind, Tag

TAGS = [Tag(id=i, name=f"m{i % 3}/t{i}", kind=Kind.F64) for i in range(30)]


def parse(data: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line)
        if "data" in lines:
            found.append((lines["event"], msgspec.json.decode(lines["data"])))
    return found


class Bench:
    def __init__(self, most: int = 10) -> None:
        self.clock = ManualClock()
        self.live = LiveValues(TAGS, [t.name for t in TAGS])
        self.streams = Streams(self.live, self.clock, max_streams=most)

    def put(self, *ids: int, value: float = 1.0) -> None:
        now = [self.clock.now()] * len(ids)
        self.live.take(Batch.of(Kind.F64, ids, now, [value] * len(ids), [0] * len(ids)))

    def listen(self, *topics: str, machine: str | None = None) -> AsyncIterator[bytes]:
        return self.streams.listen(topics, machine, lambda: True)


async def test_first_everything_then_changes_only() -> None:
    bench = Bench()
    stream = bench.listen("values")
    assert await anext(stream) == b"retry: 2000\n\n"
    [(name, data)] = parse(await anext(stream))
    assert name == "values"
    assert len(data["v"]) == len(TAGS)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    bench.put(4, 5)
    bench.streams.tick()
    [(_, data)] = parse(await waiting)
    assert set(data["v"]) == {"m1/t4", "m2/t5"}


async def test_a_change_between_snapshot_and_tick_is_not_lost() -> None:
    bench = Bench()
    stream = bench.listen("values")
    await anext(stream)
    await anext(stream)
    bench.put(1)
    bench.streams.tick()
    [(_, data)] = parse(await anext(stream))
    assert set(data["v"]) == {"m1/t1"}


async def test_everyone_gets_the_same_bytes_encoded_once() -> None:
    bench = Bench()
    streams = [bench.listen("values") for _ in range(5)]
    for stream in streams:
        await anext(stream)
        await anext(stream)
    encoded = bench.streams.encoded
    assert encoded == 1
    for n in range(3):
        waiting = [asyncio.ensure_future(anext(s)) for s in streams]
        await asyncio.sleep(0)
        bench.put(n)
        bench.streams.tick()
        frames = await asyncio.gather(*waiting)
        assert len({id(frame) for frame in frames}) <= len(frames)
        assert len(set(frames)) == 1
    assert bench.streams.encoded == encoded + 3


async def test_a_slow_client_gets_all_newest_values_at_once() -> None:
    bench = Bench()
    stream = bench.listen("values")
    await anext(stream)
    await anext(stream)
    for n in range(200):  # nobody reads meanwhile
        bench.clock.advance(0.5)
        bench.put(n % 10, value=float(n))
        bench.streams.tick()
    [(_, data)] = parse(await anext(stream))
    assert {name: v[0] for name, v in data["v"].items()} == {
        f"m{i % 3}/t{i}": float(190 + i) for i in range(10)
    }


async def test_one_machine_only() -> None:
    bench = Bench()
    stream = bench.listen("values", machine="m1")
    await anext(stream)
    [(_, data)] = parse(await anext(stream))
    assert len(data["v"]) == 10
    waiting = asyncio.ensure_future(anext(stream))
    bench.put(0)
    bench.streams.tick()
    await asyncio.sleep(0)
    bench.put(1)
    bench.streams.tick()
    [(_, data)] = parse(await waiting)
    assert set(data["v"]) == {"m1/t1"}


async def test_states_come_at_once_and_when_they_change() -> None:
    bench = Bench()
    bench.streams.gateway.put({"n": 1})
    stream = bench.listen("gateway", "summary")
    await anext(stream)
    assert parse(await anext(stream)) == [("gateway", {"n": 1})]
    bench.streams.gateway.put({"n": 1})
    bench.streams.summary.put({"s": 1})
    bench.streams.tick()
    assert parse(await anext(stream)) == [("summary", {"s": 1})]


async def test_alarms_each_count_and_a_gap_is_said() -> None:
    bench = Bench()
    bench.streams.alarms.put({"id": "before"}, name="alarm")
    stream = bench.listen("alarms")
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for n in range(3):
        bench.streams.alarms.put({"id": n}, name="alarm")
    bench.streams.tick()
    assert parse(await waiting) == [("alarm", {"id": n}) for n in range(3)]
    for n in range(600):
        bench.streams.alarms.put({"id": n}, name="alarm")
    bench.streams.tick()
    assert parse(await anext(stream)) == [("reset", {"topic": "alarms"})]


async def test_heartbeat_when_nothing_happens() -> None:
    bench = Bench()
    stream = bench.listen("alarms")
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    bench.clock.advance(HEARTBEAT_S - 1)
    bench.streams.tick()
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.clock.advance(1)
    bench.streams.tick()
    assert await waiting == b": keep-alive\n\n"


async def test_ends_with_the_session_and_with_the_api() -> None:
    bench = Bench(most=2)
    allowed = [True]
    by_session = bench.streams.listen(["values"], None, lambda: allowed[0])
    by_stop = bench.listen("values")
    for stream in (by_session, by_stop):
        await anext(stream)
        await anext(stream)
    assert bench.streams.full
    allowed[0] = False
    bench.streams.tick()
    assert [part async for part in by_session] == []
    assert not bench.streams.full
    bench.streams.close()
    assert [part async for part in by_stop] == []
    assert bench.streams.clients == 0


def test_latest_and_log_by_themselves() -> None:
    latest = Latest("x")
    assert latest.since(0) == b""
    latest.put({"a": 1})
    assert latest.since(0) == b'event: x\ndata: {"a":1}\n\n'
    assert latest.since(latest.version) == b""
    log = Log("x", keep=2)
    for n in range(3):
        log.put(n, name="e")
    assert log.since(1) == b"event: e\ndata: 1\n\nevent: e\ndata: 2\n\n"
    assert log.since(0) == b'event: reset\ndata: {"topic":"x"}\n\n'
