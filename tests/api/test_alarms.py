"""Alarms with real rules behind them: from a value on the bus to the list, the stream and back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest


@pytest.fixture
async def watched(start: Any, wait: Any) -> AsyncIterator[Any]:
    node = await start(with_rules=True)

    async def there() -> bool:
        return bool((await node.get("/alarms"))["total"])

    await wait(there, 15.0)
    yield node


async def state(node: Any) -> str:
    return str((await node.get("/alarms/oven-hot"))["state"])


async def raise_alarm(node: Any, wait: Any) -> None:
    await node.deliver("oven/zone1/temperature", 230.0)

    async def active() -> bool:
        return await state(node) == "active-unack"

    await wait(active)


async def test_life_of_an_alarm(watched: Any, wait: Any) -> None:
    node = watched
    await node.alive()
    [alarm] = (await node.get("/alarms"))["items"]
    assert alarm["state"] == "normal"
    assert alarm["when"] == "oven/zone1/temperature > 220"
    assert alarm["machine"] == "oven"
    await raise_alarm(node, wait)
    [alarm] = (await node.get("/alarms"))["items"]
    assert (alarm["value"], alarm["unit"], alarm["active"], alarm["priority"]) == (230.0, "Cel", True, "high")
    assert (await node.get("/machines/oven"))["state"] == "alarm"
    assert (await node.get("/machines"))[1]["worst_priority"] == "high"
    assert (await node.get("/summary"))["alarms"] == {"active": 1, "unacknowledged": 1, "shelved": 0}

    answer = await node.client.post("/alarms/oven-hot/acknowledge", json={"note": "看到了"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["state"], said["acknowledged_by"], said["note"]) == ("active-ack", "owner", "看到了")
    assert await state(node) == "active-ack", "in force when the answer came"
    again = await node.client.post("/alarms/oven-hot/acknowledge", json={})
    assert (again.status_code, again.json()["code"]) == (409, "alarm.nothing_to_acknowledge")

    shelved = (await node.client.post("/alarms/oven-hot/shelve", json={"minutes": 30, "note": "检修"})).json()
    assert (shelved["state"], shelved["shelved_by"]) == ("shelved", "owner")
    assert shelved["shelved_until"]
    assert (await node.get("/summary"))["alarms"] == {"active": 0, "unacknowledged": 0, "shelved": 1}
    back = await node.client.post("/alarms/oven-hot/unshelve")
    assert back.status_code == 200, back.text

    history = await node.get("/alarms/oven-hot/history")
    assert history["total"] >= 4
    assert [m["after"] for m in reversed(history["items"])][:3] == ["active-unack", "active-ack", "shelved"]
    assert len((await node.get("/alarms/oven-hot/history", limit=1))["items"]) == 1
    why = await node.get("/alarms/oven-hot/explanation")
    assert why["because"]
    assert "230" in why["en"]
    assert "炉温过高" in why["zh"]


async def test_lists_are_chosen_and_paged(watched: Any, wait: Any) -> None:
    node = watched
    await raise_alarm(node, wait)
    assert (await node.get("/alarms", state="active-unack,active-ack"))["total"] == 1
    assert (await node.get("/alarms", state="normal"))["total"] == 0
    assert (await node.get("/alarms", priority="urgent"))["total"] == 0
    assert (await node.get("/alarms", machine="bath"))["total"] == 0
    assert (await node.get("/alarms", machine="oven", priority="high,low"))["total"] == 1
    page = await node.get("/alarms", offset=1)
    assert (page["items"], page["total"]) == ([], 1)
    assert page["counts"]["active"] == 1


async def test_who_listens_is_told(watched: Any) -> None:
    node = watched
    async with node.client.stream("GET", "/stream", params={"topics": "alarms"}) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        await node.deliver("oven/zone1/temperature", 240.0)
        async with asyncio.timeout(10):
            seen = [line async for line in _until_data(lines)]
    assert "event: alarm" in seen
    alarm = msgspec.json.decode(seen[-1].removeprefix("data: "))
    assert (alarm["id"], alarm["state"], alarm["value"]) == ("oven-hot", "active-unack", 240.0)


async def _until_data(lines: Any) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith("data: "):
            return


@pytest.mark.parametrize(("minutes", "status"), [(0, 400), (0.5, 400), (1e9, 400), (-1, 400)])
async def test_shelving_has_an_end(watched: Any, minutes: float, status: int) -> None:
    answer = await watched.client.post("/alarms/oven-hot/shelve", json={"minutes": minutes})
    assert (answer.status_code, answer.json()["code"]) == (status, "api.bad_shelving")


async def test_without_rules_nobody_claims_that_it_was_done(node: Any) -> None:
    assert (await node.get("/alarms"))["items"] == []
    answer = await node.client.post("/alarms/oven-hot/acknowledge", json={})
    assert answer.status_code == 404
