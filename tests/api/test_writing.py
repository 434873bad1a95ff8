"""Writes: checked whole, noted before and after, never claimed to be what they are not."""

import asyncio
from typing import Any

import msgspec

from headrace.api import writing
from headrace.api.audit import Audit, Intent


class Edge:
    """Stands for the edge: keeps what it is told, answers by reading back."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.told: list[dict[str, Any]] = []
        self.audited: list[int] = []

    async def serve(self) -> None:
        await self.node.bus.serve("cmd.coating-1.edge.write", self.answer)

    async def answer(self, payload: bytes) -> bytes:
        command = msgspec.json.decode(payload)
        self.told.append(command)
        items, _ = await asyncio.to_thread(Audit(self.node.records).page, limit=10, offset=0)
        self.audited.append(sum(item.code == "api.write_unfinished" for item in items))
        results = [
            {"tag": w["tag"], "ok": True, "readback": w["value"], "time": self.node.clock.now()}
            for w in command["writes"]
        ]
        return msgspec.json.encode({"results": results})


async def test_a_write_is_noted_done_and_noted(node: Any, wait: Any) -> None:
    edge = Edge(node)
    await edge.serve()
    await node.deliver("oven/zone1/setpoint", 180.0)

    async def there() -> bool:
        return (await node.get("/tags/oven/zone1/setpoint"))["value"] == 180.0

    await wait(there)
    body = {
        "writes": [{"tag": "oven/zone1/setpoint", "value": 200}, {"tag": "oven/fan/on", "value": True}],
        "reason": "换粉",
    }
    answer = await node.client.post("/writes", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert [(r["tag"], r["ok"], r["readback"]) for r in said["results"]] == [
        ("oven/zone1/setpoint", True, 200.0),
        ("oven/fan/on", True, True),
    ]
    assert all(r["code"] is None and r["time"] for r in said["results"])
    assert edge.audited == [2], "both were in the audit before the edge was told"
    [command] = edge.told
    assert command["id"] == said["id"]
    assert command["by"] == "owner"
    assert command["writes"] == [
        {"tag": "oven/zone1/setpoint", "value": 200.0},
        {"tag": "oven/fan/on", "value": True},
    ]
    audit = await node.get("/writes")
    assert audit["total"] == 2
    newest = audit["items"][1]
    assert (newest["tag"], newest["value"], newest["before"], newest["ok"], newest["readback"]) == (
        "oven/zone1/setpoint",
        200.0,
        180.0,
        True,
        200.0,
    )
    assert (newest["by"], newest["reason"], newest["request"]) == ("owner", "换粉", said["id"])
    assert (await node.get("/writes", tag="oven/fan/on"))["total"] == 1
    assert (await node.get("/writes", machine="bath"))["total"] == 0
    assert len((await node.get("/writes", limit=1, offset=1))["items"]) == 1


async def test_one_fault_and_nothing_is_written(node: Any) -> None:
    edge = Edge(node)
    await edge.serve()
    body = {
        "writes": [
            {"tag": "oven/zone1/setpoint", "value": 200},
            {"tag": "oven/zone1/temperature", "value": 1},
            {"tag": "no/such/tag", "value": 1},
            {"tag": "oven/zone1/setpoint", "value": 201},
            {"tag": "oven/fan/on", "value": "on"},
        ]
    }
    answer = await node.client.post("/writes", json=body)
    assert answer.status_code == 400
    assert [(e["at"], e["code"]) for e in answer.json()["errors"]] == [
        ("writes[1].tag", "api.write_not_allowed"),
        ("writes[2].tag", "api.no_such_tag"),
        ("writes[3].tag", "api.write_twice"),
        ("writes[4].value", "api.write_type"),
    ]
    out_of_range = {"writes": [{"tag": "oven/zone1/setpoint", "value": 251}]}
    answer = await node.client.post("/writes", json=out_of_range)
    assert answer.json()["errors"][0]["code"] == "api.write_range"
    many = {"writes": [{"tag": "oven/fan/on", "value": True}] * 101}
    assert (await node.client.post("/writes", json=many)).json()["code"] == "api.too_many_writes"
    assert edge.told == []
    assert (await node.get("/writes"))["total"] == 0


async def test_an_edge_that_says_no_is_quoted(node: Any) -> None:
    async def refuses(_: bytes) -> bytes:
        result = {
            "tag": "oven/fan/on",
            "ok": False,
            "code": "api.write_type",
            "params": {"tag": "t", "expected": "e"},
        }
        return msgspec.json.encode({"results": [result]})

    await node.bus.serve("cmd.coating-1.edge.write", refuses)
    writes = [{"tag": "oven/fan/on", "value": True}, {"tag": "oven/zone1/setpoint", "value": 100}]
    said = (await node.client.post("/writes", json={"writes": writes})).json()
    assert said["results"][0]["code"] == "api.write_type"
    assert said["results"][0]["en"].startswith("the value for t has the wrong type")
    assert said["results"][1]["code"] == "api.write_unanswered", "it said nothing of this one"


async def test_an_edge_that_fails_as_a_whole_is_quoted_for_each(node: Any) -> None:
    async def fails(_: bytes) -> bytes:
        return msgspec.json.encode({"error": {"code": "api.busy", "params": {}}})

    await node.bus.serve("cmd.coating-1.edge.write", fails)
    body = {"writes": [{"tag": "oven/fan/on", "value": True}]}
    said = (await node.client.post("/writes", json=body)).json()
    assert said["results"][0]["code"] == "api.busy"
    assert (await node.get("/writes"))["items"][0]["code"] == "api.busy"


async def test_silence_is_not_taken_for_failure(node: Any) -> None:
    body = {"writes": [{"tag": "oven/fan/on", "value": True}]}
    said = (await node.client.post("/writes", json=body)).json()
    assert said["results"][0]["ok"] is False
    assert said["results"][0]["code"] == "api.write_unanswered"
    assert "not known" in said["results"][0]["en"]
    [noted] = (await node.get("/writes"))["items"]
    assert (noted["ok"], noted["code"]) == (False, "api.write_unanswered")


async def test_a_write_that_a_crash_cut_short_says_so(node: Any) -> None:
    Audit(node.records).intend(
        "r1", [Intent("oven/fan/on", "oven", True, None)], by="owner", address="127.0.0.1", reason="", time=1
    )
    [noted] = (await node.get("/writes"))["items"]
    assert (noted["ok"], noted["code"]) == (False, "api.write_unfinished")
    assert noted["zh"] and noted["en"]


def test_limits() -> None:
    assert (writing.MOST, writing.TIMEOUT_S) == (100, 6.0)
