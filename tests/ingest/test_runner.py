"""The ingest role on a bus in memory: what is published is history, once, whatever happens in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from headrace import ingest
from headrace.bus import MemoryBus
from headrace.history import HistorySettings, Reader
from headrace.history.log import LogWriter
from headrace.ingest import IngestStatus, Quarantine
from headrace.kernel.clock import NS_PER_S, SystemClock
from headrace.kernel.config import Duration
from headrace.kernel.errors import BusUnavailable, Unavailable
from headrace.kernel.model import Batch, Header, Kind, encode
from headrace.kernel.ports import Message, StreamState

FOREVER = (-(2**63), 2**63 - 1)
SETTINGS = HistorySettings(seal_every=Duration(NS_PER_S // 5), seal_rows=1_000, fan_out=4)


def payload(number: int, source: str = "edge", tags: tuple[int, ...] = (1, 2, 3)) -> bytes:
    n = len(tags)
    batch = Batch.of(Kind.F64, tags, np.full(n, number), np.full(n, float(number)), np.zeros(n))
    return encode(Header("plant", source, number), batch)


@contextlib.asynccontextmanager
async def running(bus: MemoryBus, root: Path, settings: HistorySettings = SETTINGS) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        ingest.run(node="plant", bus=bus, store_dir=root, settings=settings, clock=SystemClock(), stop=stop)
    )
    try:
        yield
    finally:
        stop.set()
        await task


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus()
    await made.ensure_stream("DATA", ["data.>"], max_bytes=1 << 30)
    yield made
    await made.close()


async def until(true: Callable[[], object], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for is in files
            await asyncio.sleep(0.02)


async def until_there_are(root: Path, count: int) -> None:
    await until(lambda: len(values(root)) == count)


def values(root: Path, tag: int = 1) -> list[float]:
    with Reader(root) as reader:
        return reader.raw(tag, *FOREVER).value.tolist()


async def test_published_is_history_and_then_purged(bus: MemoryBus, tmp_path: Path) -> None:
    heard: list[IngestStatus] = []

    async def listen() -> None:
        async for message in bus.subscribe("status.plant.ingest"):
            heard.append(msgspec.json.decode(message.payload, type=IngestStatus))

    listener = asyncio.create_task(listen())
    async with running(bus, tmp_path):
        for number in range(1, 51):
            await bus.publish("data.plant.edge", payload(number), key=f"plant/edge/{number}")
        await until(lambda: values(tmp_path) == [float(n) for n in range(1, 51)])
        await until(lambda: heard and heard[-1].position == 50 and heard[-1].segments > 0)
        await until(lambda: heard[-1].head_rows == 0)
        async with asyncio.timeout(5):
            while (await bus.state("DATA")).messages:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    listener.cancel()
    last = heard[-1]
    assert (last.values_total, last.messages_total, last.duplicates) == (150, 50, 0)
    assert (last.lag_messages, last.quarantine, last.error, last.points) == (0, 0, None, 150)
    assert last.append_ms >= 0 and last.bytes > 0 and last.updated > 0


async def test_it_goes_on_where_it_stopped(bus: MemoryBus, tmp_path: Path) -> None:
    number = 0
    for _ in range(4):
        async with running(bus, tmp_path):
            for _ in range(10):
                number += 1
                await bus.publish("data.plant.edge", payload(number))
            await until_there_are(tmp_path, number)
    assert values(tmp_path) == [float(n) for n in range(1, number + 1)]


async def test_what_the_edge_sends_again_counts_once(bus: MemoryBus, tmp_path: Path) -> None:
    async with running(bus, tmp_path):
        for number in (1, 2, 3, 2, 1, 4, 3):
            await bus.publish("data.plant.edge", payload(number))
        await bus.publish("data.plant.edge2", payload(5, source="edge2"))
        await until(lambda: len(values(tmp_path)) == 5)
    assert values(tmp_path) == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_unreadable_messages_are_quarantined_and_block_nothing(bus: MemoryBus, tmp_path: Path) -> None:
    good = payload(1)
    bad = [b"", b"not arrow", good[:-30], good[:60], payload(9, tags=(-5,)), payload(9, tags=(1 << 30,))]
    async with running(bus, tmp_path):
        for one in bad:
            await bus.publish("data.plant.edge", one)
        await bus.publish("data.plant.edge", good)
        await until(lambda: values(tmp_path) == [1.0])
    found = list(Quarantine(tmp_path / "quarantine").entries())
    assert [e.sequence for e in found] == [1, 2, 3, 4, 5, 6]
    assert {e.code for e in found} == {"batch.unreadable", "history.bad_tag"}
    assert all(e.reason for e in found)
    async with running(bus, tmp_path):
        await bus.publish("data.plant.edge", payload(2))
        await until(lambda: values(tmp_path) == [1.0, 2.0])
    assert len(Quarantine(tmp_path / "quarantine")) == 6


@pytest.mark.fault
async def test_a_full_disk_stops_and_resumes(
    bus: MemoryBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [False]
    append = LogWriter.append

    def writes(self: LogWriter, data: list[bytes]) -> None:
        if full[0]:
            raise Unavailable("history.disk_full", path="x", reason="No space left on device")
        append(self, data)

    monkeypatch.setattr(LogWriter, "append", writes)
    heard: list[IngestStatus] = []

    async def listen() -> None:
        async for message in bus.subscribe("status.plant.ingest"):
            heard.append(msgspec.json.decode(message.payload, type=IngestStatus))

    listener = asyncio.create_task(listen())
    async with running(bus, tmp_path):
        await bus.publish("data.plant.edge", payload(1))
        await until(lambda: len(values(tmp_path)) == 1)
        full[0] = True
        for number in range(2, 12):
            await bus.publish("data.plant.edge", payload(number))
        await until(lambda: heard and heard[-1].error == "history.disk_full" and heard[-1].lag_messages == 10)
        assert values(tmp_path) == [1.0]
        full[0] = False
        await until(lambda: len(values(tmp_path)) == 11)
        await until(lambda: heard[-1].error is None)
    listener.cancel()
    assert values(tmp_path) == [float(n) for n in range(1, 12)]


class FlakyBus(MemoryBus):
    """A memory bus that can be down."""

    down = False

    def _check(self) -> None:
        if self.down:
            raise BusUnavailable("bus.down")

    async def read(self, stream: str, start: int, **options: object) -> list[Message]:
        self._check()
        found = await super().read(stream, start, **options)  # type: ignore[arg-type]
        self._check()
        return found

    async def state(self, stream: str) -> StreamState:
        self._check()
        return await super().state(stream)

    async def purge(self, stream: str, before: int) -> None:
        self._check()
        await super().purge(stream, before)

    async def send(self, subject: str, data: bytes) -> None:
        self._check()
        await super().send(subject, data)


@pytest.mark.fault
async def test_it_outlives_a_bus_that_is_down(tmp_path: Path) -> None:
    bus = FlakyBus()
    bus.down = True
    async with running(bus, tmp_path):
        await asyncio.sleep(0.1)
        bus.down = False
        await bus.ensure_stream("DATA", ["data.>"], max_bytes=1 << 30)
        number = 0
        for _ in range(3):
            for _ in range(5):
                number += 1
                await bus.publish("data.plant.edge", payload(number))
            await until_there_are(tmp_path, number)
            bus.down = True
            await asyncio.sleep(0.15)
            number += 1
            await bus.publish("data.plant.edge", payload(number))
            bus.down = False
        await until(lambda: len(values(tmp_path)) == number)
    assert values(tmp_path) == [float(n) for n in range(1, number + 1)]


@pytest.mark.fault
async def test_a_bus_set_up_anew_is_read_from_its_start(bus: MemoryBus, tmp_path: Path) -> None:
    async with running(bus, tmp_path):
        for number in range(1, 21):
            await bus.publish("data.plant.edge", payload(number))
        await until(lambda: len(values(tmp_path)) == 20)
    fresh = MemoryBus()
    await fresh.ensure_stream("DATA", ["data.>"], max_bytes=1 << 30)
    for number in range(18, 24):  # the edge sends again what it has, then goes on
        await fresh.publish("data.plant.edge", payload(number))
    async with running(fresh, tmp_path):
        await until(lambda: len(values(tmp_path)) == 23)
        await fresh.publish("data.plant.edge", payload(24))
        await until(lambda: len(values(tmp_path)) == 24)
    async with running(fresh, tmp_path):
        await fresh.publish("data.plant.edge", payload(25))
        await until(lambda: len(values(tmp_path)) == 25)
    assert values(tmp_path) == [float(n) for n in range(1, 26)]
    await fresh.close()
