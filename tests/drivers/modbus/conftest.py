"""A simulator and a driver on it, taken down after the test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from headrace.drivers.modbus import DRIVER, ModbusDriver, Point, Settings
from headrace.drivers.modbus.decode import Plan
from headrace.drivers.modbus.simulator import Simulator
from headrace.kernel.clock import SystemClock
from headrace.kernel.config import duration
from headrace.kernel.ports import Block, Reading, Span

Connect = Callable[..., Awaitable[ModbusDriver]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(simulator, points, framing="tcp", **settings)`: a connected driver; tag ids from 1."""
    opened: list[tuple[ModbusDriver, Simulator]] = []

    async def connect_(
        simulator: Simulator, points: Sequence[Point], framing: str = "tcp", **settings: Any
    ) -> ModbusDriver:
        if framing == "rtu":
            settings["device"] = await simulator.start_serial()
            settings.setdefault("parity", "none")
        else:
            settings["port"] = await simulator.start("127.0.0.1", 0, framing)  # type: ignore[arg-type]
        settings.setdefault("timeout", "200ms")
        settings["timeout"] = duration(settings["timeout"])
        driver = DRIVER.create(
            Settings(framing=_framing(framing), **_enums(settings)),
            list(enumerate(points, 1)),
            SystemClock(),
        )
        opened.append((driver, simulator))
        await driver.connect()
        return driver

    yield connect_
    for driver, simulator in opened:
        await driver.close()
        await simulator.stop()


def _framing(name: str) -> Any:
    from headrace.drivers.modbus import Framing

    return Framing(name)


def _enums(settings: dict[str, Any]) -> dict[str, Any]:
    from headrace.drivers.modbus import Parity

    return settings | ({"parity": Parity(settings["parity"])} if "parity" in settings else {})


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """`plan_of(driver, points)`: one block per point; `plan_of(driver, points, [(area, start, length), …])`:
    these blocks, each with the points that lie in it."""

    def plan(
        driver: ModbusDriver, points: Sequence[Point], spans: Sequence[tuple[str, int, int]] = ()
    ) -> Plan:
        layouts = [DRIVER.layout(Settings(), p).span for p in points]
        if not spans:
            return driver.compile([Block(span, (i,)) for i, span in enumerate(layouts)])
        blocks = []
        for area, start, length in spans:
            inside = [
                i
                for i, s in enumerate(layouts)
                if s.area == area and start <= s.start and s.end <= start + length
            ]
            blocks.append(Block(Span(area, start, length), tuple(inside)))
        return driver.compile(blocks)

    return plan


@pytest.fixture
def by_tag() -> Callable[[Reading], dict[int, tuple[Any, int]]]:
    """Value (None where missing) and quality by tag id; asserts that no tag comes twice."""

    def rows(reading: Reading) -> dict[int, tuple[Any, int]]:
        out: dict[int, tuple[Any, int]] = {}
        for batch in reading.batches:
            values = batch.data.column(2).to_pylist()
            for tag, value, quality in zip(
                batch.tags.tolist(), values, batch.qualities.tolist(), strict=True
            ):
                assert tag not in out
                out[tag] = (value, quality)
        return out

    return rows
