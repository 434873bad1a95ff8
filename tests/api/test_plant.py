"""Machines, tags, figures: what the bus and the roles say, as the API shows it."""

from typing import Any

import pytest

from headrace.api import gateway, plant
from headrace.api.gateway import GatewayBoard
from headrace.kernel.clock import ManualClock, parse_time
from headrace.kernel.model import Quality


async def test_a_value_is_seen_within_a_second_and_exactly(node: Any, wait: Any) -> None:
    time = await node.deliver("oven/zone1/temperature", 182.25)

    async def seen() -> Any:
        view = await node.get("/tags/oven/zone1/temperature")
        return view if view["value"] is not None else None

    view = await wait(seen, 1.0)
    assert view["value"] == 182.25
    assert view["quality"] == 0
    assert parse_time(view["time"]) == time
    assert view["title"] == {"zh": "一区温度", "en": "Zone 1 temperature"}
    assert (view["unit"], view["low"], view["high"], view["writable"]) == ("Cel", 0, 300, False)
    assert view["limits"] == [{"value": 220.0, "side": "high", "priority": "high", "alarm": "oven-hot"}]
    await node.deliver("bath/pieces/total", 2**60 + 1)
    await wait(lambda: node.get("/tags/bath/pieces/total"))
    await node.deliver("bath/recipe/name", "RAL 7035 浅灰")

    async def name() -> Any:
        return (await node.get("/tags/bath/recipe/name"))["value"] == "RAL 7035 浅灰"

    await wait(name)
    assert (await node.get("/tags/bath/pieces/total"))["value"] == str(2**60 + 1)


async def test_machines_stand_in_the_order_of_the_line(node: Any, wait: Any) -> None:
    found = await node.get("/machines")
    assert [m["id"] for m in found] == ["bath", "oven"]
    assert [m["tags"] for m in found] == [2, 3]
    detail = await node.get("/machines/oven")
    assert [t["name"] for t in detail["tags"]] == [
        "oven/zone1/setpoint",
        "oven/zone1/temperature",
        "oven/fan/on",
    ], "parts with a title first, in their order"
    assert list(detail["parts"]) == ["zone2", "zone1"]
    assert detail["parts"]["zone1"] == {"zh": "一区", "en": "Zone 1"}
    assert [m["beside"] for m in found] == [True, False]
    assert detail["title"] == {"zh": "固化炉", "en": "Curing oven"}
    assert detail["updated"] is None


async def test_states_of_a_machine(node: Any, wait: Any) -> None:
    async def state(machine: str) -> str:
        return str((await node.get(f"/machines/{machine}"))["state"])

    assert await state("bath") == "stale", "nothing has come yet"
    await node.alive()
    await node.deliver("bath/pieces/total", 7)
    await node.deliver("bath/recipe/name", "x")

    async def ok() -> bool:
        return await state("bath") == "ok"

    await wait(ok)
    await node.deliver("bath/recipe/name", "x", quality=Quality.BAD_COMMUNICATION)

    async def bad() -> bool:
        return await state("bath") == "bad"

    await wait(bad)
    machine = await node.get("/machines/bath")
    assert machine["bad"] == 1


async def test_silence_of_the_edge_makes_values_stale(
    node: Any, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.alive()
    await node.deliver("oven/zone1/temperature", 20.0)

    async def quality() -> int:
        return int((await node.get("/tags/oven/zone1/temperature"))["quality"])

    async def good() -> bool:
        return await quality() == 0

    async def stale() -> bool:
        return await quality() == Quality.UNCERTAIN_LAST_USABLE

    await wait(good)
    monkeypatch.setattr(gateway, "SILENT_S", 0.05)
    await wait(stale)
    summary = await node.get("/summary")
    assert summary["stale"] == 1
    assert summary["completeness"] == 0.0
    assert (await node.get("/healthz")) == {"status": "degraded", "roles": {"edge": "silent"}}
    monkeypatch.setattr(gateway, "SILENT_S", 60.0)
    await wait(good)
    assert (await node.get("/healthz"))["status"] == "ok"


async def test_summary_adds_up(node: Any, wait: Any) -> None:
    await node.alive()
    await node.deliver("oven/zone1/temperature", 20.0, ago_s=30)
    await node.deliver("oven/zone1/setpoint", 20.0)
    await node.deliver("oven/fan/on", True, quality=Quality.UNCERTAIN_SENSOR)

    async def summary() -> Any:
        found = await node.get("/summary")
        return found if found["uncertain"] else None

    found = await wait(summary)
    assert (found["tags"], found["good"], found["uncertain"], found["bad"]) == (5, 2, 1, 2)
    assert found["completeness"] == 0.6
    assert 30_000 <= found["oldest_ms"] < 40_000
    assert found["values_per_s"] == 5.0
    assert found["alarms"] == {"active": 0, "unacknowledged": 0, "shelved": 0}
    assert sum(found["machines"].values()) == 2


async def test_tags_are_searched_and_paged(node: Any) -> None:
    found = await node.get("/tags", search="温度")
    assert [t["name"] for t in found["items"]] == ["oven/zone1/temperature"]
    found = await node.get("/tags", limit=2, offset=1)
    assert (len(found["items"]), found["total"]) == (2, 5)
    assert (await node.get("/tags", machine="bath"))["total"] == 2
    assert (await node.get("/tags", search="zone1 set", machine="oven"))["total"] == 1


async def test_gateway_tells_what_roles_say_in_both_languages(node: Any, wait: Any) -> None:
    connection = {
        "name": "plc",
        "state": "backoff",
        "error": {"code": "api.write_no_edge", "params": {"tag": "x"}},
    }
    await node.say("edge", source="edge", buffer={"depth_messages": 3}, connections=[connection])
    await node.say("ingest", values_total=12)

    async def heard() -> Any:
        found = await node.get("/gateway")
        return found if found["edges"][0]["updated"] and found["ingest"].get("values_total") else None

    found = await wait(heard)
    [edge] = found["edges"]
    assert edge["source"] == "edge"
    assert edge["buffer"] == {"depth_messages": 3}
    assert edge["silent"] is False
    assert edge["connections"][0]["error"]["zh"].startswith("没有网关负责测点 x")
    assert edge["connections"][0]["error"]["en"].startswith("no gateway serves the tag x")
    await node.bus.send("status.coating-1.edge", b"not json")

    async def bus_told() -> Any:
        return (await node.get("/gateway"))["bus"].get("streams")

    streams = await wait(bus_told)
    assert set(streams) == {"DATA", "EVENTS"}
    assert (await node.get("/gateway"))["edges"][0]["buffer"] == {"depth_messages": 3}


def test_a_role_that_never_spoke_is_silent_only_after_a_while() -> None:
    clock = ManualClock()
    board = GatewayBoard(["edge"], clock)
    assert board.roles() == {"edge": True}
    clock.advance(5.1)
    assert board.roles() == {"edge": False}
    board.hear("edge", b'{"connections": [{"name": "plc", "values_per_s": 3}, {"name": "robot"}]}')
    board.hear("rules", b"{}")
    assert board.roles() == {"edge": True, "rules": True}
    assert board.values_per_s() == 3.0
    assert board.edge_of("robot") == "edge"
    clock.advance(6)
    assert board.values_per_s() == 0.0
    assert GatewayBoard(["a", "b"], clock).edge_of("plc") is None


def test_thresholds_are_what_the_documents_say() -> None:
    assert (plant.BAD_SHARE, plant.OLDEST_S, gateway.SILENT_S) == (0.1, 300.0, 5.0)
