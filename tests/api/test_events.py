"""GET /stream over a real connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec

from headrace.api import ApiSettings


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, msgspec.json.decode(line[6:])


async def next_event(stream: AsyncIterator[tuple[str, Any]], wanted: str) -> Any:
    async with asyncio.timeout(10):
        async for name, data in stream:
            if name == wanted:
                return data
    raise AssertionError("the stream ended")


async def test_snapshot_then_changes(node: Any) -> None:
    async with node.client.stream("GET", "/stream", params={"topics": "values"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        stream = events(answer)
        first = await next_event(stream, "values")
        assert set(first["v"]) == {t.name for t in node.tags}
        time = await node.deliver("oven/zone1/temperature", 99.5)
        changed = await next_event(stream, "values")
        assert changed["v"] == {"oven/zone1/temperature": [99.5, 0, time / 1e6]}
        assert changed["t"] >= time / 1e6


async def test_topics_and_machine_are_chosen(node: Any) -> None:
    async with node.client.stream("GET", "/stream", params={"machine": "bath", "topics": "values"}) as answer:
        first = await next_event(events(answer), "values")
        assert set(first["v"]) == {"bath/pieces/total", "bath/recipe/name"}
    async with node.client.stream("GET", "/stream", params={"topics": "gateway,summary"}) as answer:
        stream = events(answer)
        seen = {(await asyncio.wait_for(anext(stream), 10))[0] for _ in range(4)}
        assert seen == {"gateway", "summary"}


async def test_something_comes_every_second_even_when_nothing_changes(node: Any) -> None:
    async with node.client.stream("GET", "/stream", params={"topics": "summary"}) as answer:
        stream = events(answer)
        began = asyncio.get_running_loop().time()
        times = [(await next_event(stream, "summary"))["time"] for _ in range(3)]
        assert len(set(times)) == 3
        assert asyncio.get_running_loop().time() - began < 4


async def test_who_goes_away_is_forgotten(node: Any, wait: Any) -> None:
    async def streams() -> int:
        text = (await node.client.get("/metrics")).text
        return int(text.split("\nheadrace_streams ")[1].split("\n")[0])

    async with node.client.stream("GET", "/stream") as answer:
        await next_event(events(answer), "values")
        assert await streams() == 1

    async def none() -> bool:
        return await streams() == 0

    await wait(none)


async def test_sign_out_ends_the_stream(node: Any) -> None:
    async with node.connect() as browser:
        await browser.post("/session", json={"token": node.token})
        async with browser.stream("GET", "/stream") as answer:
            stream = events(answer)
            await next_event(stream, "values")
            await browser.delete("/session", headers={"x-headrace": "1"})
            async with asyncio.timeout(5):
                async for _ in stream:
                    pass


async def test_no_more_streams_than_allowed(start: Any) -> None:
    node = await start(settings=ApiSettings(port=0, max_streams=1))
    async with node.client.stream("GET", "/stream") as answer:
        await next_event(events(answer), "values")
        refused = await node.client.get("/stream")
        assert (refused.status_code, refused.json()["code"]) == (503, "api.too_many_streams")


async def test_stopping_ends_streams_at_once(start: Any) -> None:
    node = await start()
    async with node.client.stream("GET", "/stream") as answer:
        stream = events(answer)
        await next_event(stream, "values")
        began = asyncio.get_running_loop().time()
        node.stop.set()
        async with asyncio.timeout(5):
            async for _ in stream:
                pass
        await asyncio.wait_for(node.serving, 5)
        assert asyncio.get_running_loop().time() - began < 3
    await node.close()
