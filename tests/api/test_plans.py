"""The plan of a connection, with and without an edge that answers."""

from pathlib import Path

import msgspec
import pytest

from headrace.api.plans import Plans
from headrace.bus import MemoryBus
from headrace.edge import EdgeSettings, PlanReport
from headrace.edge.config import ConnectionSettings
from headrace.kernel.errors import NotFound

TAGS = [
    {"name": f"press/ram/v{n}", "address": f"holding:{address}", "type": "f32"}
    for n, address in enumerate((0, 2, 8, 4000))
]
EDGE = EdgeSettings(
    connections=[ConnectionSettings(name="press", driver="modbus", settings={"host": "127.0.0.1"}, tags=TAGS)]
)


async def test_worked_out_while_no_edge_answers(tmp_path: Path) -> None:
    plans = Plans(EDGE, tmp_path / "headrace.toml", "n", MemoryBus())
    found = await plans.of("press")
    assert [(r.start, r.length, r.tags, r.gap_units) for r in found.requests] == [
        (0, 10, 3, 4),
        (4000, 2, 1, 0),
    ]
    assert (found.tags, found.one_per_tag, found.ratio, found.isolated) == (4, 4, 2.0, [])
    assert await plans.of("press") == found


async def test_the_edge_knows_better(tmp_path: Path) -> None:
    bus = MemoryBus()
    asked: list[bytes] = []

    async def plan(payload: bytes) -> bytes:
        asked.append(payload)
        report = PlanReport("press", "modbus", 4, 0, 0, 0.0, [], ["press/ram/v3"])
        return msgspec.json.encode(report)

    await bus.serve("cmd.n.edge.plan", plan)
    found = await Plans(EDGE, tmp_path / "headrace.toml", "n", bus).of("press")
    assert found.isolated == ["press/ram/v3"]
    assert asked == [b'{"connection":"press"}']


async def test_an_answer_that_is_no_plan_is_left(tmp_path: Path) -> None:
    bus = MemoryBus()

    async def refuses(_: bytes) -> bytes:
        return b'{"error": {"code": "edge.unknown_connection", "params": {}}}'

    await bus.serve("cmd.n.edge.plan", refuses)
    assert (await Plans(EDGE, tmp_path / "headrace.toml", "n", bus).of("press")).tags == 4


@pytest.mark.parametrize("edge", [None, EDGE])
async def test_no_such_connection(edge: EdgeSettings | None, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        await Plans(edge, tmp_path / "headrace.toml", "n", MemoryBus()).of("nope")
    assert caught.value.code == "api.no_such_connection"
