"""Every fault a device has, over real connections: contained to its own points, the quality says why."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from headrace.drivers.modbus import DRIVER, ModbusDriver, Point, Settings, Type
from headrace.drivers.modbus.decode import Plan
from headrace.drivers.modbus.simulator import Fault, Memory, Simulator
from headrace.kernel.clock import SystemClock
from headrace.kernel.config import duration
from headrace.kernel.errors import DeviceUnavailable
from headrace.kernel.model import Quality
from headrace.kernel.ports import Block, Reading, Span

Connect = Callable[..., Awaitable[ModbusDriver]]
PlanOf = Callable[..., Plan]
ByTag = Callable[[Reading], dict[int, tuple[Any, int]]]

pytestmark = pytest.mark.fault

POINTS = [Point(address=f"holding:{100 * i}", type=Type.F32) for i in range(5)]
GOOD = {tag: (float(tag), 0) for tag in range(1, 6)}
BAD = 3  # the tag whose request is struck


def device(*faults: Fault, **keys: Any) -> Simulator:
    memory = Memory()
    for i in range(5):
        memory.set("holding", 100 * i, float(i + 1), "f32")
    return Simulator({1: memory}, faults=faults, **keys)


def strike(action: Any, **keys: Any) -> Fault:
    return Fault(action, area="holding", first=200, last=201, **keys)


@pytest.mark.parametrize("framing", ["tcp", "rtu-tcp", "rtu"])
@pytest.mark.parametrize(
    ("fault", "quality"),
    [
        (strike("drop"), Quality.BAD_TIMEOUT),
        (strike("wrong_unit"), Quality.BAD_DECODING),
        (strike("wrong_function"), Quality.BAD_DECODING),
        (strike("wrong_count"), Quality.BAD_DECODING),
        (strike("exception", code=1), Quality.BAD_NOT_SUPPORTED),
        (strike("exception", code=2), Quality.BAD_ADDRESS),
        (strike("exception", code=3), Quality.BAD_ADDRESS),
        (strike("exception", code=4), Quality.BAD_DEVICE_FAILURE),
        (strike("exception", code=6), Quality.BAD_WAITING),
        (strike("exception", code=8), Quality.BAD_DEVICE_FAILURE),
        (strike("exception", code=10), Quality.BAD_NO_COMMUNICATION),
        (strike("exception", code=11), Quality.BAD_COMMUNICATION),
        (strike("exception", code=0x55), Quality.BAD_DEVICE_FAILURE),
    ],
    ids=lambda value: value.action if isinstance(value, Fault) else getattr(value, "name", None),
)
async def test_a_fault_spoils_its_own_points_only(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag, framing: str, fault: Fault, quality: Quality
) -> None:
    fault = Fault(fault.action, fault.area, fault.first, fault.last, code=fault.code)
    simulator = device(fault)
    driver = await connect(simulator, POINTS, framing, timeout="250ms")
    plan = plan_of(driver, POINTS)
    reading = await driver.read(plan)
    assert by_tag(reading) == GOOD | {BAD: (None, quality)}
    (found,) = reading.faults
    assert (found.block, found.quality) == (BAD - 1, quality)
    assert found.address == (fault.code in (2, 3) and fault.action == "exception")
    assert found.detail
    simulator.faults.clear()
    assert by_tag(await driver.read(plan)) == GOOD


@pytest.mark.parametrize("action", ["garbage", "half", "wrong_transaction", "delay", "flood", "close"])
@pytest.mark.parametrize("framing", ["tcp", "rtu-tcp"])
async def test_faults_that_may_cost_the_connection(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag, framing: str, action: Any
) -> None:
    """Every point comes all the same, no value is wrong, and one reconnect mends everything."""
    simulator = device(strike(action, limit=1, seconds=0.06))
    driver = await connect(simulator, POINTS, framing, timeout="40ms", parallel=1)
    plan = plan_of(driver, POINTS)
    found = by_tag(await driver.read(plan))
    assert found.keys() == GOOD.keys()
    assert found[1] == GOOD[1] and found[2] == GOOD[2]
    for tag, (value, quality) in found.items():
        assert (value, quality) == GOOD[tag] if quality == 0 else value is None and quality >= 0x8000
    try:
        again = await driver.read(plan)
    except DeviceUnavailable as error:
        assert error.code == "modbus.connection_lost"
        await driver.connect()
        again = await driver.read(plan)
    assert by_tag(again) == GOOD


async def test_illegal_addresses_ask_for_bisection(connect: Connect, plan_of: PlanOf, by_tag: ByTag) -> None:
    simulator = device(illegal=[("holding", 150, 160)])
    driver = await connect(simulator, POINTS)
    spans = [("holding", 0, 102), ("holding", 102, 100), ("holding", 300, 102)]
    reading = await driver.read(plan_of(driver, POINTS, spans))
    assert by_tag(reading) == {
        1: (1.0, 0),
        2: (2.0, 0),
        3: (None, Quality.BAD_ADDRESS),
        4: (4.0, 0),
        5: (5.0, 0),
    }
    assert [(f.block, f.address) for f in reading.faults] == [(1, True)]


async def test_a_busy_device_is_asked_again_in_the_same_cycle(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag
) -> None:
    simulator = device(strike("exception", code=6, limit=1))
    driver = await connect(simulator, POINTS)
    reading = await driver.read(plan_of(driver, POINTS))
    assert by_tag(reading) == GOOD and not reading.faults
    assert simulator.requests == 6


async def test_a_device_that_drops_pipelined_requests(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag
) -> None:
    """It takes one request at a time; the driver notices and still delivers every value of that cycle."""
    simulator = device(latency_s=0.005, parallel=1)
    driver = await connect(simulator, POINTS, timeout="60ms", parallel=4)
    plan = plan_of(driver, POINTS)
    assert by_tag(await driver.read(plan)) == GOOD
    assert driver.parallel == 1
    dropped = simulator.dropped
    assert dropped > 0
    assert by_tag(await driver.read(plan)) == GOOD
    assert simulator.dropped == dropped


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_a_silent_device(connect: Connect, plan_of: PlanOf, by_tag: ByTag, framing: str) -> None:
    simulator = device(Fault("drop"))
    driver = await connect(simulator, POINTS, framing, timeout="30ms")
    plan = plan_of(driver, POINTS)
    for _ in range(2):
        found = by_tag(await driver.read(plan))
        assert found == dict.fromkeys(range(1, 6), (None, Quality.BAD_TIMEOUT))
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.read(plan)
    assert caught.value.code == "modbus.no_answer"
    simulator.faults.clear()
    await driver.connect()
    assert by_tag(await driver.read(plan)) == GOOD


async def test_a_point_that_never_answers_does_not_cost_the_others_their_connection(
    connect: Connect, plan_of: PlanOf
) -> None:
    simulator = device(strike("drop"))
    driver = await connect(simulator, POINTS, timeout="20ms")
    silent, fine = (
        plan_of(driver, POINTS, [("holding", 200, 2)]),
        plan_of(driver, POINTS, [("holding", 0, 2)]),
    )
    for _ in range(4):
        assert len((await driver.read(silent)).faults) == 1
        assert not (await driver.read(fine)).faults
    assert simulator.accepted == 1


async def test_connection_loss(connect: Connect, plan_of: PlanOf, by_tag: ByTag) -> None:
    simulator = device(strike("close", limit=1))
    driver = await connect(simulator, POINTS, parallel=1)
    plan = plan_of(driver, POINTS)
    found = by_tag(await driver.read(plan))
    lost = (None, int(Quality.BAD_COMMUNICATION))
    assert found == {1: (1.0, 0), 2: (2.0, 0), 3: lost, 4: lost, 5: lost}
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.read(plan)
    assert caught.value.code == "modbus.connection_lost"
    assert "127.0.0.1" in caught.value.text("zh")
    with pytest.raises(DeviceUnavailable):
        await driver.read(plan)
    await driver.connect()
    assert by_tag(await driver.read(plan)) == GOOD


async def test_a_device_that_closes_idle_connections_is_met_again(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag
) -> None:
    simulator = device()
    driver = await connect(simulator, POINTS)
    plan = plan_of(driver, POINTS)
    for _ in range(3):
        assert by_tag(await driver.read(plan)) == GOOD
        simulator.disconnect()
        await asyncio.sleep(0.02)
    assert driver.counters.reconnects == 2


async def test_a_device_that_is_gone(connect: Connect, plan_of: PlanOf) -> None:
    simulator = device()
    driver = await connect(simulator, POINTS)
    plan = plan_of(driver, POINTS)
    await simulator.stop()
    await asyncio.sleep(0.02)
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.read(plan)
    assert caught.value.code == "modbus.cannot_connect"
    with pytest.raises(DeviceUnavailable):
        await driver.connect()


async def test_a_host_that_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    driver = DRIVER.create(Settings(timeout=duration("50ms")), [], SystemClock())
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.connect()
    assert caught.value.code == "modbus.connect_timeout"
    await driver.close()


async def test_a_serial_device_that_does_not_exist() -> None:
    from headrace.drivers.modbus import Framing

    driver = DRIVER.create(Settings(framing=Framing.RTU, device="/dev/no-such-tty"), [], SystemClock())
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.connect()
    assert "/dev/no-such-tty" in caught.value.text("en")


async def _reconnect(driver: ModbusDriver, plan: Plan, times: int) -> tuple[int, int]:
    for _ in range(times):
        await driver.connect()
        assert not (await driver.read(plan)).faults
        await driver.close()
        await driver.close()
    return psutil.Process().num_fds(), len(asyncio.all_tasks())


@pytest.mark.parametrize(("framing", "times"), [("tcp", 1000), ("rtu", 200)])
async def test_reconnects_leave_nothing_behind(
    connect: Connect, plan_of: PlanOf, framing: str, times: int
) -> None:
    simulator = device()
    driver = await connect(simulator, POINTS, framing)
    plan = plan_of(driver, POINTS, [("holding", 0, 2)])
    before = await _reconnect(driver, plan, 5)
    after = await _reconnect(driver, plan, times)
    assert after[0] <= before[0] + 1 and after[1] <= before[1]
    assert simulator.connections <= 1


async def test_failed_connects_leave_nothing_behind() -> None:
    simulator = device()
    port = await simulator.start()
    await simulator.stop()
    driver = DRIVER.create(Settings(port=port, timeout=duration("200ms")), [], SystemClock())

    async def fail(times: int) -> int:
        for _ in range(times):
            with pytest.raises(DeviceUnavailable):
                await driver.connect()
        return psutil.Process().num_fds()

    assert await fail(3) == await fail(300)


@pytest.mark.parametrize("seed", range(4))
async def test_no_wrong_value_ever_comes_of_chaos(
    connect: Connect, plan_of: PlanOf, by_tag: ByTag, seed: int
) -> None:
    actions: Any = (
        "drop",
        "delay",
        "garbage",
        "half",
        "exception",
        "wrong_transaction",
        "wrong_unit",
        "close",
        "flood",
    )
    faults = [Fault(a, probability=0.03, seconds=0.03) for a in actions]
    simulator = Simulator(device().units, faults=faults, jitter_s=0.001, seed=seed)
    driver = await connect(simulator, POINTS, timeout="20ms")
    plan = plan_of(driver, POINTS)
    good = 0
    for _ in range(60):
        try:
            found = by_tag(await driver.read(plan))
        except DeviceUnavailable:
            await driver.connect()
            continue
        assert found.keys() == GOOD.keys()
        for tag, (value, quality) in found.items():
            assert (value, quality) == GOOD[tag] or (value is None and quality >= 0x8000)
            good += quality == 0
    assert good > 100


async def test_compile_makes_one_request_per_block() -> None:
    driver = DRIVER.create(Settings(), [(1, Point(address="coil:5"))], SystemClock())
    plan = driver.compile([Block(Span("coil", 0, 2000), (0,))])
    assert len(plan.exchange) == 1
