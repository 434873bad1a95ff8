import asyncio
from typing import Any

import psutil
import pytest

from headrace.drivers.host import DRIVER, HostDriver, Point, Settings
from headrace.drivers.host.metrics import METRICS, Sampler, parse, span
from headrace.kernel.clock import ManualClock
from headrace.kernel.errors import InputError
from headrace.kernel.model import Quality
from headrace.kernel.ports import Block, Reading, Span, Write


def make(*metrics: str) -> tuple[HostDriver, Any, ManualClock]:
    clock = ManualClock()
    driver = DRIVER.create(Settings(), [(i, Point(metric=m)) for i, m in enumerate(metrics, 1)], clock)
    plan = driver.compile([Block(Span("host", 0, 1), tuple(range(len(metrics))))])
    return driver, plan, clock


def rows(reading: Reading) -> list[tuple[float | None, int]]:
    (batch,) = reading.batches
    return list(zip(batch.data.column(2).to_pylist(), batch.qualities.tolist(), strict=True))


async def test_values_are_those_of_the_operating_system() -> None:
    driver, plan, clock = make("memory.total", "cpu.count", "boot.time", "disk.percent[/]", "process.count")
    await driver.connect()
    reading = await driver.read(plan)
    found = rows(reading)
    assert [q for _, q in found] == [0] * 5
    assert found[0][0] == psutil.virtual_memory().total
    assert found[1][0] == psutil.cpu_count()
    assert found[2][0] == pytest.approx(psutil.boot_time(), abs=2)
    assert found[3][0] == pytest.approx(psutil.disk_usage("/").percent, abs=5)
    assert found[4][0] is not None and found[4][0] >= 1
    assert set(reading.batches[0].times.tolist()) == {clock.now()}
    await driver.close()


async def test_rates_and_loads_need_two_samples() -> None:
    driver, plan, clock = make("cpu.percent", "cpu.percent[0]", "network.receive")
    assert rows(await driver.read(plan)) == [(None, Quality.BAD_WAITING)] * 3
    await asyncio.sleep(0.05)
    clock.advance(1)
    found = rows(await driver.read(plan))
    assert all(value is not None and quality == 0 and value >= 0 for value, quality in found)
    assert found[0][0] <= 100  # type: ignore[operator]


async def test_what_this_computer_lacks_is_not_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    driver, plan, _ = make(
        "temperature", "temperature[coretemp/Core 9]", "disk.free[/no/such]", "network.send[none0]"
    )
    assert rows(await driver.read(plan)) == [(None, Quality.BAD_NOT_CONNECTED)] * 4


def test_temperatures_by_sensor_and_the_hottest(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = type("Sensor", (), {})
    made = []
    for label, current in (("Core 0", 41.0), ("", 55.5)):
        one = sensor()
        one.label, one.current = label, current
        made.append(one)
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"coretemp": made}, raising=False)
    values, _ = Sampler().sample(frozenset(["temperature"]), 0)
    assert values == {
        "temperature": 55.5,
        "temperature[coretemp/Core 0]": 41.0,
        "temperature[coretemp/1]": 55.5,
    }


def test_rates_come_from_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler()
    values: dict[str, float] = {}
    waiting: set[str] = set()
    for counter, seconds in ((1000, 1.0), (5000, 3.0), (10, 4.0)):
        values.clear()
        waiting.clear()
        sampler._rate("network.send", counter, seconds, values, waiting)
        if seconds == 3.0:
            assert values == {"network.send": 2000.0}
    assert waiting == {"network.send"}  # the counter began anew


async def test_an_operating_system_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    driver, plan, _ = make("memory.percent")
    reading = await driver.read(plan)
    assert rows(reading) == [(None, Quality.BAD_DEVICE_FAILURE)]
    assert reading.faults[0].detail == "no /proc"


async def test_browse_lists_what_can_be_read() -> None:
    driver, _, _ = make()
    found = [f async for f in driver.browse()]
    names = [f.name for f in found]
    assert {"cpu.percent", "memory.percent", "disk.percent[/]", "boot.time"} <= set(names)
    assert len(names) == len(set(names))
    for f in found:
        DRIVER.layout(Settings(), Point(metric=f.options["metric"]))
        assert f.title is not None and f.title.zh and not f.writable


async def test_nothing_can_be_written() -> None:
    driver, _, _ = make("cpu.percent")
    (result,) = await driver.write([Write(1, 0)])
    assert (result.ok, result.code) == (False, "host.read_only")


@pytest.mark.parametrize(
    ("metric", "code"),
    [
        ("cpu.procent", "host.unknown_metric_near"),
        ("???", "host.unknown_metric"),
        ("boot.time[1]", "host.no_instance"),
        ("disk.free", "host.needs_instance"),
    ],
)
def test_metrics_that_do_not_exist(metric: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        DRIVER.layout(Settings(), Point(metric=metric))
    assert caught.value.code == code and caught.value.params["key"] == "metric"
    assert "{" not in caught.value.text("zh") + caught.value.text("en")


def test_one_request_reads_all() -> None:
    limits = DRIVER.limits(Settings())
    spans = [span(f"{name}[x]" if m.instances == "must" else name) for name, m in METRICS.items()]
    assert max(s.end for s in spans) <= limits.max_units["host"] <= limits.request_cost
    assert len({s.start for s in spans}) == len(spans)
    assert parse("disk.free[/a b]")[1] == "/a b"
