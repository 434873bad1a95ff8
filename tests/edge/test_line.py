"""A line against the fake device: losses, writes, containment, isolation, and nothing that leaks."""

import asyncio
import gc
import random
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from headrace.edge import group as group_module
from headrace.edge.config import EDGE, resolve
from headrace.edge.line import Line
from headrace.edge.schedule import Backoff
from headrace.kernel import config
from headrace.kernel.clock import NS_PER_MS, NS_PER_S, SystemClock
from headrace.kernel.model import Quality, Tag
from headrace.kernel.ports import Write


def tag(n: int, **keys):
    return {"name": f"oven/t{n}", "address": n * 2, "writable": True} | keys


class Bench:
    """A line and what it emitted: (tag id, value or None, quality, loop time)."""

    def __init__(self, tags, *, every="20ms", heartbeat=60 * NS_PER_S, device="one"):
        entry = {
            "name": "oven",
            "driver": "fake",
            "every": every,
            "settings": {"device": device},
            "tags": tags,
        }
        file = Path("headrace.toml")
        edge = config.check({"edge": {"connections": [entry]}}, [EDGE], file=file)[EDGE]
        (connection,) = resolve(edge, file)
        self.tags = {
            p.tag.name: Tag(n + 1, p.tag.name, p.layout.kind, writable=True)
            for n, p in enumerate(connection.points)
        }
        self.rows = []
        self.batches = 0
        self.line = Line(
            connection,
            self.tags,
            clock=SystemClock(),
            emit=self._emit,
            heartbeat=heartbeat,
            rng=random.Random(1),
        )
        self.line._backoff = Backoff(random.Random(1), first=5 * NS_PER_MS, longest=20 * NS_PER_MS)
        self.task = asyncio.create_task(self.line.run())

    def _emit(self, batches):
        now = asyncio.get_running_loop().time()
        self.batches += len(batches)
        for b in batches:
            for row in zip(b.tags.tolist(), b.data.column(2).to_pylist(), b.qualities.tolist(), strict=True):
                self.rows.append((*row, now))

    def of(self, n):
        return [(value, quality) for t, value, quality, _ in self.rows if t == n]

    async def until(self, condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    async def end(self):
        self.line.stop()
        await asyncio.wait_for(self.task, 5)


async def test_cycles_keep_to_the_grid(fake):
    bench = Bench([tag(0)], every="20ms")
    await bench.until(lambda: len(bench.rows) >= 20)
    times = [r[3] for r in bench.rows]
    phase = [(t - times[0]) % 0.02 for t in times]
    late = [min(p, 0.02 - p) for p in phase]
    assert sorted(late)[len(late) // 2] < 0.008
    view = bench.line.view(0.0)
    assert view.state == "connected" and view.groups[0].cycles >= 20 and view.error is None
    await bench.end()


async def test_a_slow_device_skips_and_never_queues(fake):
    fake.latency = 0.05
    bench = Bench([tag(0)], every="10ms")
    await bench.until(lambda: len(bench.rows) >= 5)
    await bench.end()
    (view,) = bench.line.view(0.0).groups
    assert view.skips >= 3 * (view.cycles - 1) and view.overruns == view.cycles
    assert fake.requests == view.cycles


async def test_loss_is_told_once_and_recovery_brings_fresh_values(fake):
    fake.values[0] = 7.0
    bench = Bench([tag(0), tag(1, report={"absolute": 1.0})])
    await bench.until(lambda: bench.of(1) and bench.of(2))
    assert bench.of(2) == [(0.0, 0)]
    fake.up = False
    await bench.until(lambda: bench.line.view(0.0).state == "offline")
    await asyncio.sleep(0.1)
    assert bench.of(1).count((None, Quality.BAD_COMMUNICATION)) == 1
    assert bench.of(2)[1:] == [(None, Quality.BAD_COMMUNICATION)]
    view = bench.line.view(0.0)
    assert view.error is not None and view.error.zh != view.error.en and view.bad_tags == 2
    fake.values[0] = 8.0
    fake.up = True
    await bench.until(lambda: bench.of(1)[-1] == (8.0, 0))
    assert bench.of(2)[2:] == [(0.0, 0)] and bench.line.reconnects == 1
    await bench.end()


async def test_a_device_that_never_answered_says_so_at_each_heartbeat(fake):
    fake.up = False
    bench = Bench([tag(0)], heartbeat=50 * NS_PER_MS)
    await bench.until(lambda: len(bench.rows) >= 4)
    await bench.end()
    assert set(bench.of(1)) == {(None, Quality.BAD_NO_COMMUNICATION)}
    times = [r[3] for r in bench.rows]
    assert min(b - a for a, b in pairwise(times)) >= 0.045


async def test_a_write_passes_between_slices(fake, monkeypatch):
    monkeypatch.setattr(group_module, "_FIRST_SLICE", 4)
    fake.latency = 0.005
    # 120 requests of one tag each: a cycle of 0.6 s
    bench = Bench([tag(n, address=n * 1000) for n in range(120)], every="1s")
    await bench.until(lambda: fake.requests > 20)
    begun = time.perf_counter()
    (result,) = await bench.line.write([Write(3, 42.0)], timeout_s=5)
    took = time.perf_counter() - begun
    assert result.ok and result.readback == 42.0 and fake.values[2000] == 42.0
    assert took < 0.15 and bench.line.view(0.0).groups[0].cycles == 0
    await bench.end()


async def test_a_short_interval_is_kept_while_a_long_cycle_runs(fake):
    fake.latency = 0.005
    slow = [tag(n, address=n * 1000, every="5s") for n in range(1, 100)]
    bench = Bench([tag(0), *slow], every="50ms")
    await bench.until(lambda: bench.line.view(0.0).groups[1].cycles == 1)
    fast, _ = bench.line.view(0.0).groups
    assert fast.cycles >= 4
    await bench.end()


async def test_writes_to_a_line_that_is_down_fail_at_once(fake):
    bench = Bench([tag(0)])
    await bench.until(lambda: bench.rows)
    fake.up = False
    (result,) = await bench.line.write([Write(1, 1.0)], timeout_s=5)
    assert not result.ok and result.code in ("edge.write_lost", "edge.write_offline")
    await bench.until(lambda: bench.line.view(0.0).state != "connected")
    (result,) = await bench.line.write([Write(1, 1.0)], timeout_s=5)
    assert result.code == "edge.write_offline" and not fake.written
    await bench.end()


async def test_a_write_that_nobody_waits_for_any_more_is_not_made(fake):
    fake.latency = 0.15
    bench = Bench([tag(0)])
    await bench.until(lambda: fake.requests)
    (result,) = await bench.line.write([Write(1, 5.0)], timeout_s=0.01)
    assert result.code == "edge.write_timeout"
    before = fake.requests
    await bench.until(lambda: fake.requests > before + 1)
    assert not fake.written
    await bench.end()


async def test_illegal_addresses_are_isolated_in_the_first_cycle(fake):
    fake.illegal = {20, 21, 66}
    fake.values = {n: float(n) for n in range(400)}
    bench = Bench([tag(n) for n in range(200)], heartbeat=80 * NS_PER_MS)
    await bench.until(lambda: bench.line.view(0.0).groups[0].cycles >= 2)
    first = {}
    for t, value, quality, _ in bench.rows:
        first.setdefault(t, (value, quality))
    for n in range(200):
        expected = (None, Quality.BAD_ADDRESS) if n in (10, 33) else (float(n * 2), 0)
        assert first[n + 1] == expected
    view = bench.line.view(0.0)
    assert sorted(view.isolated) == ["oven/t10", "oven/t33"] and view.bad_tags == 2
    cycles = view.groups[0].cycles
    await bench.until(lambda: bench.line.view(0.0).groups[0].cycles >= cycles + 12)
    told = len(bench.of(11))
    assert 2 <= told <= bench.line.view(0.0).groups[0].cycles / 2  # at heartbeats, not each cycle
    report = bench.line.plan_report()
    assert report.isolated == view.isolated and report.count <= 6
    await bench.end()


async def test_an_address_that_comes_back_is_found_again(fake, monkeypatch):
    monkeypatch.setattr(group_module, "_RETEST_NS", 50 * NS_PER_MS)
    fake.illegal = {4}
    bench = Bench([tag(n) for n in range(20)])
    await bench.until(lambda: bench.line.view(0.0).isolated)
    fake.illegal = set()
    await bench.until(lambda: not bench.line.view(0.0).isolated)
    await bench.until(lambda: bench.of(3)[-1] == (0.0, 0))
    assert len(bench.line.plan_report().requests) == 1
    await bench.end()


async def test_garbage_is_contained_to_its_own_tags(fake):
    fake.garbled = {1000}
    bench = Bench([tag(0), tag(500)])
    await bench.until(lambda: len(bench.rows) >= 6)
    assert set(bench.of(1)) == {(0.0, 0)} and set(bench.of(2)) == {(None, Quality.BAD_DECODING)}
    assert bench.line.view(0.0).bad_tags == 1
    await bench.end()


async def test_a_driver_that_crashes_is_tried_again(fake):
    bench = Bench([tag(0)])
    await bench.until(lambda: bench.rows)
    fake.crash = ZeroDivisionError("oops")
    await bench.until(lambda: bench.line.view(0.0).state != "connected")
    error = bench.line.view(0.0).error
    assert error is not None and error.code == "edge.driver_failed" and "oops" in error.en
    fake.crash = None
    await bench.until(lambda: bench.line.view(0.0).state == "connected")
    await bench.end()


async def test_a_driver_that_hangs_is_let_go(fake, monkeypatch):
    monkeypatch.setattr(group_module, "WATCHDOG_S", 0.05)
    bench = Bench([tag(0)])
    await bench.until(lambda: bench.rows)
    fake.latency = 30.0
    await bench.until(lambda: bench.line.view(0.0).error is not None)
    fake.latency = 0.0
    rows = len(bench.of(1))
    await bench.until(lambda: len(bench.of(1)) > rows + 2 and bench.of(1)[-1] == (0.0, 0))
    await bench.end()


@pytest.mark.parametrize("attempts", [10_000])
async def test_nothing_leaks_while_a_device_is_dead(fake, attempts):
    fake.up = False
    bench = Bench([tag(n) for n in range(50)])
    bench.line._backoff = Backoff(random.Random(1), first=2, longest=2)
    await bench.until(lambda: fake.connects >= attempts / 4, 60)
    gc.collect()
    tracemalloc.start()
    tasks, before = len(asyncio.all_tasks()), tracemalloc.get_traced_memory()[0]
    await bench.until(lambda: fake.connects >= attempts, 60)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(asyncio.all_tasks()) == tasks and grown < 64_000
    await bench.end()


async def test_a_device_that_accepts_but_never_answers_is_left_alone_longer_and_longer(fake):
    fake.mute = True
    bench = Bench([tag(0), tag(1, report={"absolute": 1.0})])
    await bench.until(lambda: bench.line.view(0.0).state == "offline")
    assert fake.connects >= 5  # each attempt connected, and none of them counted as a return
    assert set(bench.of(1)) == {(None, Quality.BAD_TIMEOUT)}  # the reason, not only that it is gone
    assert bench.of(2) == [(None, Quality.BAD_TIMEOUT)]
    assert bench.line.reconnects == 0 and bench.line.view(0.0).error is not None
    fake.mute = False
    await bench.until(lambda: bench.of(1)[-1] == (0.0, 0))
    view = bench.line.view(0.0)
    assert view.state == "connected" and view.error is None and bench.line._backoff.failures == 0
    await bench.end()
