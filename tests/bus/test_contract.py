"""What kernel.ports.Bus promises, asked of every bus."""

import asyncio
import gc
import json

import pytest

from headrace.bus import MemoryBus
from headrace.bus._common import MAX_PAYLOAD
from headrace.kernel.errors import BusUnavailable, InputError
from headrace.kernel.ports import Bus, Message, StreamState

MIB = 1 << 20


async def _fill(bus: Bus, token: str, count: int, *, size: int = 10, max_bytes: int = 64 * MIB) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=max_bytes)
    for n in range(1, count + 1):
        assert await bus.publish(f"{token}.a", b"%d" % n + b"." * size, key=f"k{n}") == n


async def _read(bus: Bus, token: str, start: int, count: int, *, filter: str = "") -> list[Message]:
    """`count` messages from `start` on: one read gives those that have arrived, which may be fewer."""
    found: list[Message] = []
    while len(found) < count:
        batch = await bus.read(token, start, limit=count - len(found), timeout_s=5, filter=filter)
        assert batch, f"{count - len(found)} messages did not come"
        found += batch
        start = batch[-1].sequence + 1
    return found


async def test_publish_numbers_from_one_and_read_returns_in_order(bus: Bus, token: str) -> None:
    await _fill(bus, token, 30)
    found = await _read(bus, token, 1, 30)
    assert [m.sequence for m in found] == list(range(1, 31))
    assert [m.payload for m in found] == [b"%d" % n + b"." * 10 for n in range(1, 31)]
    assert {m.subject for m in found} == {f"{token}.a"}
    assert all(m.time > 1_600_000_000_000_000_000 for m in found)


async def test_read_by_small_steps_from_any_start(bus: Bus, token: str) -> None:
    await _fill(bus, token, 50)
    seen, start = [], 8
    while batch := await bus.read(token, start, limit=7, timeout_s=0.2):
        assert len(batch) <= 7
        seen += [m.sequence for m in batch]
        start = batch[-1].sequence + 1
    assert seen == list(range(8, 51))
    assert [m.sequence for m in await _read(bus, token, 3, 2)] == [3, 4], "going back is allowed"


async def test_two_readers_at_different_positions(bus: Bus, token: str) -> None:
    await _fill(bus, token, 40)

    async def all_from(start: int) -> list[int]:
        seen: list[int] = []
        while batch := await bus.read(token, start, limit=3, timeout_s=0.2):
            seen += [m.sequence for m in batch]
            start = batch[-1].sequence + 1
        return seen

    first, second = await asyncio.gather(all_from(1), all_from(11))
    assert first == list(range(1, 41)) and second == list(range(11, 41))


async def test_read_waits_for_what_is_published_meanwhile(bus: Bus, token: str) -> None:
    await _fill(bus, token, 1)
    waiting = asyncio.create_task(bus.read(token, 2, timeout_s=5))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await bus.publish(f"{token}.a", b"late")
    assert [m.payload for m in await waiting] == [b"late"]


async def test_read_returns_empty_after_its_timeout(bus: Bus, token: str) -> None:
    await _fill(bus, token, 1)
    began = asyncio.get_running_loop().time()
    assert await bus.read(token, 2, timeout_s=0.15) == []
    assert 0.1 < asyncio.get_running_loop().time() - began < 2


async def test_a_cancelled_read_loses_nothing(bus: Bus, token: str) -> None:
    await _fill(bus, token, 3)
    assert len(await _read(bus, token, 1, 3)) == 3
    waiting = asyncio.create_task(bus.read(token, 4, timeout_s=5))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await bus.publish(f"{token}.a", b"4")
    assert [m.sequence for m in await bus.read(token, 4)] == [4]


async def test_filter_passes_over_other_subjects(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB)
    for n in range(10):
        await bus.publish(f"{token}.{'even' if n % 2 == 0 else 'odd'}.x", b"%d" % n)
    odd = await _read(bus, token, 1, 5, filter=f"{token}.odd.*")
    assert [m.sequence for m in odd] == [2, 4, 6, 8, 10]
    assert [m.sequence for m in await _read(bus, token, 5, 3, filter=f"{token}.even.>")] == [5, 7, 9]


async def test_a_key_is_stored_once(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB)
    first = await bus.publish(f"{token}.a", b"one", key="n/s/1")
    assert await bus.publish(f"{token}.a", b"one again", key="n/s/1") == first
    assert await bus.publish(f"{token}.a", b"two", key="n/s/2") == first + 1
    assert [m.payload for m in await _read(bus, token, 1, 2)] == [b"one", b"two"]


async def test_concurrent_publishes_keep_the_order_of_the_calls(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=64 * MIB)
    sequences = await asyncio.gather(
        *(bus.publish(f"{token}.a", b"x" * 100_000, key=f"{n}") for n in range(100))
    )
    assert sequences == list(range(1, 101))


async def test_a_full_stream_refuses_and_keeps_what_it_has(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB)
    stored = 0
    with pytest.raises(BusUnavailable) as refused:
        for _ in range(20):
            await bus.publish(f"{token}.a", b"x" * 100_000)
            stored += 1
    assert refused.value.code == "bus.full"
    assert stored == 10
    state = await bus.state(token)
    assert (state.first, state.last, state.messages) == (1, 10, 10) and state.bytes <= MIB
    await bus.purge(token, 6)
    assert await bus.publish(f"{token}.a", b"fits again") == 11


async def test_discard_old_drops_the_oldest(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB, discard_old=True)
    for _ in range(30):
        await bus.publish(f"{token}.a", b"x" * 100_000)
    state = await bus.state(token)
    assert state.last == 30 and state.first == 21
    found = await bus.read(token, 1, limit=3)
    assert found[0].sequence == 21, "reading starts at what is still held"
    assert (await bus.read(token, found[-1].sequence + 1))[0].sequence == found[-1].sequence + 1


async def test_purge_forgets_a_prefix_only(bus: Bus, token: str) -> None:
    await _fill(bus, token, 10)
    assert (await bus.state(token)).messages == 10
    await bus.purge(token, 1)
    assert (await bus.state(token)).first == 1
    await bus.purge(token, 5)
    state = await bus.state(token)
    assert (state.first, state.last, state.messages) == (5, 10, 6)
    assert [m.sequence for m in await _read(bus, token, 1, 6)] == [5, 6, 7, 8, 9, 10]
    await bus.purge(token, 1000)
    assert await bus.state(token) == StreamState(first=11, last=10, messages=0, bytes=0)
    assert await bus.publish(f"{token}.a", b"next") == 11, "a purge beyond the end does not move the end"


async def test_an_empty_stream(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB)
    assert await bus.state(token) == StreamState(first=1, last=0, messages=0, bytes=0)
    await bus.purge(token, 5)
    assert await bus.read(token, 1, timeout_s=0.05) == []


async def test_ensure_stream_again_changes_its_limits(bus: Bus, token: str) -> None:
    await _fill(bus, token, 3)
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=2 * MIB)
    assert (await bus.state(token)).last == 3
    with pytest.raises(BusUnavailable):
        for _ in range(30):
            await bus.publish(f"{token}.a", b"x" * 100_000)


async def test_large_payloads_and_the_limit(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=64 * MIB)
    big = bytes(range(256)) * 4096 * 7
    await bus.publish(f"{token}.a", big)
    await bus.publish(f"{token}.a", big)
    await bus.publish(f"{token}.a", big)
    found = await bus.read(token, 1)
    while len(found) < 3:
        found += await bus.read(token, found[-1].sequence + 1)
    assert [m.payload == big for m in found] == [True, True, True]
    with pytest.raises(InputError) as refused:
        await bus.publish(f"{token}.a", bytes(MAX_PAYLOAD + 1))
    assert refused.value.code == "bus.payload_too_large"


async def test_a_subject_without_a_stream_is_refused(bus: Bus, token: str) -> None:
    with pytest.raises(BusUnavailable) as refused:
        await bus.publish(f"{token}.a", b"x")
    assert refused.value.code == "bus.no_stream"
    for call in (bus.read(token, 1), bus.state(token), bus.purge(token, 1)):
        with pytest.raises(BusUnavailable) as refused:
            await call
        assert refused.value.code == "bus.no_stream"


@pytest.mark.parametrize("subject", ["", "a b", "a..b", "a.*", "a.>", "A.b", "a.b\r\nPUB x 0"])
async def test_bad_subjects_are_input_errors(bus: Bus, subject: str) -> None:
    for call in (bus.publish(subject, b""), bus.send(subject, b""), bus.request(subject, b"")):
        with pytest.raises(InputError) as refused:
            await call
        assert refused.value.code == "bus.bad_subject"


@pytest.mark.parametrize("pattern", ["", "a.>.b", "a*", "a.b*", ">.a"])
async def test_bad_filters_are_input_errors(bus: Bus, pattern: str) -> None:
    with pytest.raises(InputError):
        bus.subscribe(pattern)


@pytest.mark.parametrize(("start", "limit"), [(0, 1), (-1, 1), (1, 0)])
async def test_read_starts_at_one(bus: Bus, token: str, start: int, limit: int) -> None:
    await _fill(bus, token, 1)
    with pytest.raises(InputError) as refused:
        await bus.read(token, start, limit=limit)
    assert refused.value.code == "bus.bad_start"


async def test_subscribe_matches_wildcards(bus: Bus, token: str) -> None:
    one, rest, exact = (bus.subscribe(f"{token}.{tail}") for tail in ("*.status", ">", "n.status"))
    await bus.send(f"{token}.n.status", b"1")
    await bus.send(f"{token}.m.status", b"2")
    await bus.send(f"{token}.n.status.deep", b"3")
    await bus.send(f"{token}.n.other", b"4")
    assert [(await anext(one)).payload for _ in range(2)] == [b"1", b"2"]
    assert [(await anext(rest)).payload for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    assert (await anext(exact)).payload == b"1"


async def test_subscribe_sees_durable_publishes(bus: Bus, token: str) -> None:
    await bus.ensure_stream(token, [f"{token}.>"], max_bytes=MIB)
    live = bus.subscribe(f"{token}.*")
    await bus.publish(f"{token}.a", b"x", key="1")
    message = await anext(live)
    assert (message.subject, message.payload) == (f"{token}.a", b"x")


async def test_a_slow_subscriber_loses_the_oldest(bus: Bus, token: str) -> None:
    live = bus.subscribe(f"{token}.a", pending=3)
    after = bus.subscribe(f"{token}.a")
    for n in range(10):
        await bus.send(f"{token}.a", b"%d" % n)
    for _ in range(10):
        await anext(after)
    assert [(await anext(live)).payload for _ in range(3)] == [b"7", b"8", b"9"]


async def test_an_abandoned_subscription_is_forgotten(bus: Bus, token: str) -> None:
    live = bus.subscribe(f"{token}.a")
    await bus.send(f"{token}.a", b"1")
    assert (await anext(live)).payload == b"1"
    del live
    gc.collect()
    await bus.send(f"{token}.a", b"2")
    again = bus.subscribe(f"{token}.a")
    await bus.send(f"{token}.a", b"3")
    assert (await anext(again)).payload == b"3"
    if isinstance(bus, MemoryBus):
        assert len(bus._live) == 1


async def test_close_ends_iteration(bus: Bus, token: str) -> None:
    live = bus.subscribe(f"{token}.a")
    await bus.send(f"{token}.a", b"1")
    assert (await anext(live)).payload == b"1"
    await bus.close()
    assert [m async for m in live] == []
    with pytest.raises(BusUnavailable) as refused:
        await bus.send(f"{token}.a", b"2")
    assert refused.value.code == "bus.closed"


async def test_request_and_serve(bus: Bus, token: str) -> None:
    async def double(payload: bytes) -> bytes:
        return payload * 2

    await bus.serve(f"{token}.double", double)
    assert await bus.request(f"{token}.double", b"ab") == b"abab"
    answers = await asyncio.gather(*(bus.request(f"{token}.double", b"%d" % n) for n in range(50)))
    assert answers == [b"%d%d" % (n, n) for n in range(50)]


async def test_a_slow_request_does_not_hold_up_others(bus: Bus, token: str) -> None:
    gate = asyncio.Event()

    async def handler(payload: bytes) -> bytes:
        if payload == b"slow":
            await gate.wait()
        return payload

    await bus.serve(f"{token}.x", handler)
    slow = asyncio.create_task(bus.request(f"{token}.x", b"slow"))
    assert await bus.request(f"{token}.x", b"fast") == b"fast"
    gate.set()
    assert await slow == b"slow"


async def test_request_without_a_server_fails_at_once(bus: Bus, token: str) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnavailable) as refused:
        await bus.request(f"{token}.nobody", b"", timeout_s=5)
    assert refused.value.code == "bus.no_responder"
    assert asyncio.get_running_loop().time() - began < 2


async def test_request_times_out(bus: Bus, token: str) -> None:
    async def never(payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return payload

    await bus.serve(f"{token}.never", never)
    with pytest.raises(BusUnavailable) as refused:
        await bus.request(f"{token}.never", b"", timeout_s=0.1)
    assert refused.value.code == "bus.no_answer"


async def test_what_a_handler_raises_becomes_an_error_reply(bus: Bus, token: str) -> None:
    async def known(payload: bytes) -> bytes:
        raise InputError("bus.bad_subject", subject="x")

    async def bug(payload: bytes) -> bytes:
        return payload[b"no"]  # type: ignore[call-overload, no-any-return]

    await bus.serve(f"{token}.known", known)
    await bus.serve(f"{token}.bug", bug)
    reply = json.loads(await bus.request(f"{token}.known", b""))
    assert reply == {"error": {"code": "bus.bad_subject", "params": {"subject": "x"}}}
    reply = json.loads(await bus.request(f"{token}.bug", b""))
    assert reply["error"]["code"] == "bus.handler_failed"
