"""The whole edge on a memory bus: values arrive, writes are audited, outages and restarts lose nothing."""

import asyncio
import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from headrace import edge
from headrace.bus import MemoryBus
from headrace.edge.config import EDGE, tag_specs
from headrace.edge.writes import typed
from headrace.kernel import config
from headrace.kernel.clock import SystemClock
from headrace.kernel.errors import BusUnavailable, InputError
from headrace.kernel.model import Kind, Tag, decode


class FlakyBus(MemoryBus):
    """Publishes only while `working`; notes the order of what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.working = True
        self.taken: list[str] = []

    async def publish(self, subject, payload, *, key=""):
        await asyncio.sleep(0.001)
        if not self.working:
            raise BusUnavailable("bus.closed")
        self.taken.append(key)
        return await super().publish(subject, payload, key=key)


async def make_bus() -> FlakyBus:
    bus = FlakyBus()
    await bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 30)
    await bus.ensure_stream("EVENTS", ["event.>"], max_bytes=1 << 24, discard_old=True)
    return bus


class Plant:
    """An edge that runs on `bus`."""

    def __init__(self, folder: Path, bus: FlakyBus, connections, **edge_keys) -> None:
        self.file = folder / "headrace.toml"
        raw = {"edge": {"linger": "20ms", "connections": connections, **edge_keys}}
        self.settings = config.check(raw, [EDGE], file=self.file)[EDGE]
        specs = tag_specs(self.settings, self.file)
        self.tags = {
            s.name: Tag(n + 1, s.name, s.kind, source=s.source, writable=s.writable, low=s.low, high=s.high)
            for n, s in enumerate(specs)
        }
        self.bus, self.folder = bus, folder
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        await edge.run(
            node="n",
            settings=self.settings,
            file=self.file,
            tags=self.tags,
            bus=self.bus,
            data_dir=self.folder,
            clock=SystemClock(),
            stop=self.stop,
        )

    async def end(self):
        self.stop.set()
        await asyncio.wait_for(self.task, 10)

    async def cancel(self):
        """Cancelled in the middle of whatever it does."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not await condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def rows(self):
        """(sequence, tag name, value, quality, time) of every row on the bus."""
        names = {t.id: name for name, t in self.tags.items()}
        out = []
        for message in await self.bus.read("DATA", 1, limit=100_000, timeout_s=0.01):
            header, batch = decode(message.payload)
            for t, at, value, quality in zip(
                batch.tags.tolist(), batch.times.tolist(), batch.data.column(2).to_pylist(),
                batch.qualities.tolist(), strict=True,
            ):  # fmt: skip
                out.append((header.sequence, names[t], value, quality, at))
        return out

    async def events(self, subject):
        messages = await self.bus.read("EVENTS", 1, limit=10_000, timeout_s=0.01, filter=subject)
        return [json.loads(m.payload) for m in messages]


def connection(name="oven", n=20, **keys):
    tags = [
        {"name": f"{name}/t{i}", "address": i * 2, "writable": True, "low": -100, "high": 1e6}
        for i in range(n)
    ]
    return {
        "name": name,
        "driver": "fake",
        "every": "50ms",
        "settings": {"device": name},
        "tags": tags,
    } | keys


@pytest.fixture
async def bus():
    made = await make_bus()
    yield made
    await made.close()


@pytest.mark.usefixtures("fake")
async def test_values_of_all_connections_share_messages(tmp_path, bus):
    plant = Plant(tmp_path, bus, [connection("a", every="100ms"), connection("b", every="100ms")])

    async def enough():
        return len(await plant.rows()) >= 400

    await plant.until(enough)
    await plant.end()
    rows = await plant.rows()
    sequences = sorted({r[0] for r in rows})
    assert {r[1].split("/")[0] for r in rows if r[0] == sequences[1]} == {"a", "b"}
    assert len(rows) / len(sequences) >= 30
    assert {r[3] for r in rows} == {0}
    stamps = [(r[1], r[4]) for r in rows]
    assert len(stamps) == len(set(stamps))  # none twice


@pytest.mark.usefixtures("fake")
async def test_status_has_the_fields_of_the_gateway_view(tmp_path, bus):
    live = bus.subscribe("status.n.edge")
    plant = Plant(tmp_path, bus, [connection("a"), connection("b")])
    await asyncio.wait_for(anext(live), 5)
    status = json.loads((await asyncio.wait_for(anext(live), 5)).payload)
    await plant.end()
    assert set(status) >= {"source", "updated", "buffer", "published", "lag_ms", "connections"}
    assert set(status["buffer"]) >= {
        "depth_messages", "depth_bytes", "quota_bytes", "oldest_ms", "dropped",
    }  # fmt: skip
    first = status["connections"][0]
    assert set(first) == {
        "name", "title", "driver", "state", "endpoint", "error", "since", "groups", "values_per_s", "reads",
        "faults", "bad_tags", "isolated", "reconnects", "writes", "requests_saved_ratio",
    }  # fmt: skip
    assert set(first["groups"][0]) == {
        "every_ms", "tags", "requests", "cycle_ms", "cycles", "skips", "overruns",
    }  # fmt: skip
    assert set(first["groups"][0]["cycle_ms"]) == {"last", "p50", "p95", "max"}
    assert first["state"] == "connected" and first["requests_saved_ratio"] == 20.0
    assert 200 <= first["values_per_s"] <= 600 and status["published"] > 0


async def test_writes_are_read_back_told_and_idempotent(tmp_path, bus, fake):
    plant = Plant(tmp_path, bus, [connection("one")])

    async def first():
        return bool(await plant.rows())

    await plant.until(first)
    writes = [
        {"tag": "one/t3", "value": 5.5},
        {"tag": "one/nothing", "value": 1},
        {"tag": "one/t4", "value": "x"},
        {"tag": "one/t5", "value": 2e6},
    ]
    ask = json.dumps({"id": "w1", "by": "li", "writes": writes, "reason": "test"}).encode()
    replies = await asyncio.gather(*(bus.request("cmd.n.edge.write", ask) for _ in range(3)))
    replies.append(await bus.request("cmd.n.edge.write", ask))
    assert len(set(replies)) == 1 and len(fake.written) == 1
    results = json.loads(replies[0])["results"]
    assert [(r["tag"], r["ok"], r["code"]) for r in results] == [
        ("one/t3", True, ""),
        ("one/nothing", False, "edge.write_unknown_tag"),
        ("one/t4", False, "edge.write_wrong_type"),
        ("one/t5", False, "edge.write_out_of_range"),
    ]
    assert results[0]["readback"] == 5.5 and results[0]["time"] > 0

    async def told():
        return len(await plant.events("event.n.write")) == 4

    await plant.until(told)
    event = next(e for e in await plant.events("event.n.write") if e["tag"] == "one/t3")
    assert event["before"] == 0.0 and event["value"] == event["readback"] == 5.5 and event["ok"]
    assert (event["id"], event["by"], event["reason"], event["code"]) == ("w1", "li", "test", "")

    async def arrived():
        return any(r[1] == "one/t3" and r[2] == 5.5 for r in await plant.rows())

    await plant.until(arrived)
    bad = json.loads(await bus.request("cmd.n.edge.write", b"{}"))
    assert bad["error"]["code"] == "edge.bad_request"
    await plant.end()


@pytest.mark.usefixtures("fake")
async def test_plan_is_served(tmp_path, bus):
    plant = Plant(tmp_path, bus, [connection("a", n=200)])

    async def first():
        return bool(await plant.rows())

    await plant.until(first)
    plan = json.loads(await bus.request("cmd.n.edge.plan", b'{"connection": "a"}'))
    assert (plan["tags"], plan["one_per_tag"], plan["count"], plan["ratio"]) == (200, 200, 4, 50.0)
    assert sum(r["tags"] for r in plan["requests"]) == 200
    assert all(r["length"] <= 124 and r["gap_units"] == 0 for r in plan["requests"])
    assert set(plan["requests"][0]) == {"area", "start", "length", "tags", "gap_units", "every_ms"}
    wrong = json.loads(await bus.request("cmd.n.edge.plan", b'{"connection": "x"}'))
    assert wrong["error"]["code"] == "edge.unknown_connection"
    await plant.end()


async def count_up(device):
    """A counter in the device; each value is served until the next."""
    n = 0
    while True:
        n += 1
        device.values[0] = float(n)
        await asyncio.sleep(0.02)


@pytest.mark.fault
async def test_bus_outage_loses_nothing_and_live_data_goes_first(tmp_path, bus, fake):
    plant = Plant(tmp_path, bus, [connection("one", every="10ms")], linger="5ms")

    async def first():
        return bool(bus.taken)

    await plant.until(first)
    bus.working = False
    await asyncio.sleep(0.2)
    statuses = bus.subscribe("status.n.edge")
    status = json.loads((await asyncio.wait_for(anext(statuses), 5)).payload)
    assert status["bus"] == "down" and status["buffer"]["depth_messages"] > 10
    before = len(bus.taken)
    bus.working = True

    async def drained():
        last = json.loads((await asyncio.wait_for(anext(statuses), 5)).payload)
        return last["bus"] == "up" and last["buffer"]["depth_messages"] <= 3

    await plant.until(drained)
    await plant.end()
    order = [int(k.rsplit("/", 1)[1]) for k in bus.taken[before:]]
    assert order[0] > min(order)  # the newest first
    sequences = [r[0] for r in await plant.rows()]
    unique = sorted(set(sequences))
    assert unique == list(range(unique[0], unique[-1] + 1))
    rows = await plant.rows()
    assert len({(r[1], r[4]) for r in rows}) == len(rows)


@pytest.mark.fault
async def test_restarts_keep_what_the_bus_had_not_taken(tmp_path, bus, fake):
    counting = asyncio.create_task(count_up(fake))
    for working in (True, False, False, True):
        bus.working = working
        plant = Plant(tmp_path, bus, [connection("one", n=1, every="10ms")])
        await asyncio.sleep(0.19)
        await (plant.end() if working else plant.cancel())
    counting.cancel()
    rows = sorted(await plant.rows(), key=lambda r: r[4])
    values = [r[2] for r in rows]
    assert values == sorted(values) and len({r[4] for r in rows}) == len(rows)
    # read every 10 ms, a counter that rises every 20 ms leaves no hole except while no edge ran
    holes = [b - a for a, b in pairwise(values) if b - a > 2]
    assert len(holes) <= 3


async def test_a_dead_device_does_not_touch_the_others(tmp_path, bus, fake):
    import fake_device

    fake_device.device("b").up = False
    plant = Plant(tmp_path, bus, [connection("a"), connection("b")])

    async def enough():
        return len({r[4] for r in await plant.rows() if r[1] == "a/t0"}) >= 8

    await plant.until(enough)
    await plant.end()
    rows = await plant.rows()
    assert {r[3] for r in rows if r[1].startswith("a/")} == {0}
    assert [(r[2], r[3]) for r in rows if r[1] == "b/t0"] == [(None, 0x8031)]


def test_values_are_typed_before_they_are_written():
    def tag(kind, **keys):
        return Tag(1, "a/b", kind, writable=True, **keys)

    assert typed(tag(Kind.F64), 3) == 3.0 and isinstance(typed(tag(Kind.F64), 3), float)
    assert typed(tag(Kind.U64), str(2**64 - 1)) == 2**64 - 1 and typed(tag(Kind.I64), 5.0) == 5
    assert typed(tag(Kind.BOOL), True) is True and typed(tag(Kind.TEXT), "a") == "a"
    for kind, value in [
        (Kind.F64, True), (Kind.F64, "1"), (Kind.F64, float("nan")), (Kind.BOOL, 1), (Kind.TEXT, 1),
        (Kind.U64, -1), (Kind.U64, 1.5), (Kind.I64, 2**63), (Kind.I64, "x"), (Kind.I64, float("inf")),
    ]:  # fmt: skip
        with pytest.raises(InputError) as caught:
            typed(tag(kind), value)
        assert caught.value.code == "edge.write_wrong_type"
    with pytest.raises(InputError) as caught:
        typed(Tag(1, "a/b", Kind.F64), 1.0)
    assert caught.value.code == "edge.write_not_writable"
    with pytest.raises(InputError):
        typed(tag(Kind.F64, low=0), -1.0)


@pytest.mark.usefixtures("fake")
async def test_ten_thousand_tags_cost_little(tmp_path, bus):
    tags = [{"name": f"a/t{i}", "address": i * 2} for i in range(10_000)]
    plant = Plant(tmp_path, bus, [connection("a", every="1s", tags=tags)])

    async def first():
        return bool(bus.taken)

    await plant.until(first, 30)
    begun, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(0.2)
    while time.monotonic() - wall < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    spent = (time.process_time() - begun) / (time.monotonic() - wall)
    await plant.end()
    assert spent < 0.06  # of one core, driver and test included, on a busy machine
