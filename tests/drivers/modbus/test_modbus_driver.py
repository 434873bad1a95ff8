"""Reading and writing over real connections in all three framings."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace.drivers.modbus import ModbusDriver, Point, Type
from headrace.drivers.modbus.decode import Plan
from headrace.drivers.modbus.simulator import Fault, Memory, Simulator
from headrace.kernel.errors import DeviceUnavailable
from headrace.kernel.ports import Block, Reading, Span, Write

Connect = Callable[..., Awaitable[ModbusDriver]]
PlanOf = Callable[..., Plan]
ByTag = Callable[[Reading], dict[int, tuple[Any, int]]]
FRAMINGS = ["tcp", "rtu-tcp", "rtu"]


def points_of(*entries: dict[str, Any]) -> list[Point]:
    return [msgspec.convert(e | {"writable": True}, Point) for e in entries]


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_reads_all_areas(connect: Connect, plan_of: PlanOf, by_tag: ByTag, framing: str) -> None:
    memory = Memory()
    memory.set("holding", 10, 3.5, "f32", "CDAB")
    memory.set("input", 65534, -7, "i32")
    memory.set("coil", 1999, True)
    memory.set("discrete", 3, True)
    memory.set("holding", 20, 1 << 9)
    points = [
        Point(address="holding:10", type=Type.F32, order="CDAB"),  # type: ignore[arg-type]
        Point(address="input:65534", type=Type.I32),
        Point(address="coil:1999"),
        Point(address="coil:0"),
        Point(address="discrete:3"),
        Point(address="40021.9"),
    ]
    points = [msgspec.convert(msgspec.to_builtins(p), Point) for p in points]
    driver = await connect(Simulator({1: memory}), points, framing, timeout="1s")
    spans = [("holding", 0, 125), ("input", 65500, 36), ("coil", 0, 2000), ("discrete", 0, 9)]
    before = time.time_ns()
    reading = await driver.read(plan_of(driver, points, spans))
    assert by_tag(reading) == {
        1: (3.5, 0),
        2: (-7.0, 0),
        3: (True, 0),
        4: (False, 0),
        5: (True, 0),
        6: (True, 0),
    }
    for batch in reading.batches:
        assert (batch.times >= before).all() and (batch.times <= time.time_ns()).all()


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_writes_are_read_back(connect: Connect, framing: str) -> None:
    points = points_of(
        {"address": "holding:0", "type": "i16", "scale": 0.1},
        {"address": "holding:1", "type": "f32", "order": "DCBA"},
        {"address": "holding:3", "type": "u64"},
        {"address": "holding:7.3"},
        {"address": "coil:0"},
        {"address": "coil:1"},
        {"address": "holding:10", "type": "string", "length": 12, "encoding": "gb18030"},
        {"address": "holding:20", "type": "f64"},
        {"address": "holding:30", "type": "bcd32"},
        {"address": "holding:40.9", "order": "BADC"},
    )
    simulator = Simulator()
    seen: list[tuple[int, str, int, int]] = []
    simulator.on_write = lambda *where: seen.append(where)
    driver = await connect(simulator, points, framing, timeout="1s")
    simulator.units[1].set("holding", 7, 0xF0F0)
    values = [-12.34, 0.1, 2**64 - 1, True, True, False, "固化炉", -0.0, 12345678, True]
    results = await driver.write([Write(i, v) for i, v in enumerate(values, 1)])
    assert [r.ok for r in results] == [True] * 10
    assert [r.tag for r in results] == list(range(1, 11))
    assert results[0].readback == pytest.approx(-12.3)
    assert results[1].readback == float(np.float32(0.1))
    assert [r.readback for r in results[2:7]] == [2**64 - 1, True, True, False, "固化炉"]
    assert results[8].readback == 12345678 and results[9].readback is True
    memory = simulator.units[1]
    assert memory.holding[0] == 65536 - 123
    assert memory.holding[7] == 0xF0F8  # the other bits stay
    assert memory.holding[40] == 0x0002  # bit 9 of a byte-swapped register
    assert memory.coil[:2].tolist() == [1, 0]
    assert (1, "coil", 0, 2) in seen
    # Neighbours share a request: holding 0-6, a bit, coils 0-1, the text, the double, the BCD, a bit.
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("entry", "value", "code"),
    [
        ({"type": "u16"}, 65536, "modbus.value_out_of_range"),
        ({"type": "u16"}, -1, "modbus.value_out_of_range"),
        ({"type": "u16"}, float("nan"), "modbus.value_out_of_range"),
        ({"type": "i16", "scale": 0.1, "offset": 10}, 3286.8, "modbus.value_out_of_range"),
        ({"type": "u64"}, 2**64, "modbus.value_out_of_range"),
        ({"type": "f32"}, 1e39, "modbus.value_out_of_range"),
        ({"type": "bcd16"}, 10000, "modbus.value_out_of_range"),
        ({"type": "f32"}, "12", "modbus.write_needs_number"),
        ({"type": "f32"}, True, "modbus.write_needs_number"),
        ({"address": "coil:3"}, 2, "modbus.write_needs_bool"),
        ({"address": "coil:3"}, "on", "modbus.write_needs_bool"),
        ({"type": "string", "length": 4}, 5, "modbus.write_needs_text"),
        ({"type": "string", "length": 4}, "five5", "modbus.text_too_long"),
        ({"type": "string", "length": 4, "encoding": "ascii"}, "炉", "modbus.text_not_in_encoding"),
        ({"writable": False}, 1, "modbus.not_writable"),
    ],
)
async def test_values_that_cannot_be_written(
    connect: Connect, entry: dict[str, Any], value: Any, code: str
) -> None:
    simulator = Simulator()
    points = [msgspec.convert({"address": "holding:0", "writable": True} | entry, Point)]
    driver = await connect(simulator, points)
    (result,) = await driver.write([Write(1, value)])
    assert (result.ok, result.code) == (False, code)
    assert simulator.requests == 0
    if code == "modbus.value_out_of_range":
        assert result.params["low"] < result.params["high"]


async def test_range_error_names_the_scaled_range(connect: Connect) -> None:
    points = points_of({"address": "holding:0", "type": "i16", "scale": -0.5, "offset": 10})
    driver = await connect(Simulator(), points)
    (result,) = await driver.write([Write(1, 1e6)])
    assert (result.params["low"], result.params["high"]) == (-16373.5, 16394.0)


async def test_an_unknown_tag_and_a_refused_write_do_not_stop_the_others(connect: Connect) -> None:
    points = points_of({"address": "holding:0"}, {"address": "holding:5"}, {"address": "holding:9"})
    driver = await connect(Simulator(illegal=[("holding", 5, 5)]), points)
    results = await driver.write([Write(1, 11), Write(99, 1), Write(2, 22), Write(3, 33)])
    assert [(r.ok, r.code) for r in results] == [
        (True, ""),
        (False, "modbus.no_such_tag"),
        (False, "modbus.write_refused"),
        (True, ""),
    ]
    assert "illegal data address" in results[2].params["reason"].en


async def test_older_devices_without_newer_functions(connect: Connect) -> None:
    entries = [
        {"address": "holding:0.4"},
        {"address": "holding:2"},
        {"address": "holding:3"},
        {"address": "coil:0"},
    ]
    for unsupported in ([22], [22, 6, 5], [16, 15, 22]):
        simulator = Simulator(unsupported=unsupported)
        driver = await connect(simulator, points_of(*entries))
        simulator.units[1].set("holding", 0, 0x8001)
        results = await driver.write([Write(1, True), Write(2, 7), Write(3, 8), Write(4, True)])
        assert [r.ok for r in results] == [True] * 4, unsupported
        assert simulator.units[1].holding[:4].tolist() == [0x8011, 0, 7, 8]


async def test_a_device_that_limits_what_is_written(connect: Connect) -> None:
    simulator = Simulator()
    memory = simulator.units[1]

    def limit(unit: int, area: str, start: int, count: int) -> None:
        memory.holding[0] = min(int(memory.holding[0]), 100)

    simulator.on_write = limit
    driver = await connect(simulator, points_of({"address": "holding:0"}))
    (result,) = await driver.write([Write(1, 250)])
    assert (result.ok, result.code, result.readback) == (False, "modbus.readback_differs", 100.0)


async def test_a_write_whose_answer_is_lost_is_judged_by_reading_back(connect: Connect) -> None:
    simulator = Simulator(faults=[Fault("drop", writes=True)])
    driver = await connect(simulator, points_of({"address": "holding:0"}), timeout="40ms")
    (result,) = await driver.write([Write(1, 250)])
    assert (result.ok, result.readback) == (True, 250.0)


async def test_reading_and_writing_before_connect() -> None:
    from headrace.drivers.modbus import DRIVER, Settings
    from headrace.kernel.clock import SystemClock

    driver = DRIVER.create(Settings(), [(1, Point(address="holding:0"))], SystemClock())
    with pytest.raises(DeviceUnavailable):
        await driver.read(driver.compile([Block(Span("holding", 0, 1), (0,))]))
    with pytest.raises(DeviceUnavailable):
        await driver.write([Write(1, 1)])
    assert [f async for f in driver.browse()] == []
    await driver.close()


async def test_an_unknown_unit_behind_a_gateway(connect: Connect, plan_of: PlanOf, by_tag: ByTag) -> None:
    points = points_of({"address": "holding:0"})
    driver = await connect(Simulator({5: Memory()}), points, unit=6)
    reading = await driver.read(plan_of(driver, points))
    assert by_tag(reading) == {1: (None, 0x8005)}


async def test_ten_thousand_tags_cost_little(connect: Connect) -> None:
    """162 requests for 10,000 f32. Aim: 4 ms of processor time a cycle for the driver alone; the simulator of
    this test shares the process, so the bound is wider."""
    memory = Memory()
    values = np.random.default_rng(7).random(10_000).astype(np.float32)
    memory.set_many("holding", 0, values, "f32")
    points = [Point(address=f"holding:{2 * i}", type=Type.F32) for i in range(10_000)]
    simulator = Simulator({1: memory})
    driver = await connect(simulator, points, timeout="5s", parallel=8)
    starts = range(0, 10_000, 62)
    blocks = [
        Block(Span("holding", 2 * i, 2 * min(62, 10_000 - i)), tuple(range(i, min(i + 62, 10_000))))
        for i in starts
    ]
    plan = driver.compile(blocks)
    await driver.read(plan)
    began = time.process_time()
    cycles = 20
    for _ in range(cycles):
        reading = await driver.read(plan)
    cost = (time.process_time() - began) / cycles
    assert len(blocks) == 162
    assert np.array_equal(reading.batches[0].values, values.astype(np.float64))
    assert cost < 0.020
