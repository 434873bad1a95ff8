"""The engines on a fake transport: no sockets, bytes in and out by hand."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.drivers.modbus import codec
from headrace.drivers.modbus.client import Counters, Engine, RtuEngine, TcpEngine
from headrace.drivers.modbus.exchange import EXCEPTION, GARBLED, LOST, OK, TIMEOUT, UNASKED, Exchange
from headrace.drivers.modbus.memory import Memory, answer
from headrace.kernel.clock import ManualClock
from headrace.kernel.messages import both


class FakeWire:
    """Keeps what is written; `abort` reports the loss at once, as a transport does a moment later."""

    def __init__(self, engine: Engine) -> None:
        self.sent = bytearray()
        self.engine = engine
        self.aborted = False
        engine.connection_made(self)

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self.engine.connection_lost, None)

    def requests(self) -> list[codec.Frame]:
        frames, at = [], 0
        while at < len(self.sent):
            frame, size = codec.tcp_parse(bytes(self.sent[at:]))
            assert frame is not None
            frames.append(frame)
            at += size
        del self.sent[:]
        return frames


MEMORY = Memory()
MEMORY.set_many("holding", 0, range(1000))
UNIT = 7


def tcp(
    count: int, *, size: int = 2, timeout_s: float = 0.05
) -> tuple[TcpEngine, FakeWire, Exchange, Counters]:
    counters = Counters()
    engine = TcpEngine(ManualClock(5_000), timeout_s, counters)
    requests = [codec.read_request("holding", size * i, size) for i in range(count)]
    return engine, FakeWire(engine), Exchange(requests, UNIT, tcp=True), counters


def reply(frame: codec.Frame) -> bytes:
    return codec.tcp_frame(frame.transaction, frame.unit, answer(MEMORY, frame.pdu))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came true")


async def start(engine: Engine, exchange: Exchange, parallel: int = 1) -> asyncio.Task[None]:
    task = asyncio.create_task(engine.run(exchange, parallel))
    await asyncio.sleep(0)
    return task


async def test_requests_are_pipelined_and_answers_may_come_in_any_order_and_any_pieces() -> None:
    engine, wire, exchange, counters = tcp(10)
    task = await start(engine, exchange, 4)
    seen = 0
    while not task.done():
        frames = wire.requests()
        assert len(frames) <= 4
        seen += len(frames)
        stream = b"".join(reply(f) for f in reversed(frames))
        for i in range(0, len(stream), 5):
            engine.data_received(stream[i : i + 5])
        await asyncio.sleep(0)
    await task
    assert seen == 10
    assert bytes(exchange.sink) == MEMORY.holding[:20].tobytes()
    assert set(exchange.status) == {OK} and exchange.failed == 0
    assert exchange.times == [5_000] * 10
    assert counters.answers == 10 and counters.late == 0


async def test_the_window_is_kept() -> None:
    engine, wire, exchange, _ = tcp(5)
    task = await start(engine, exchange, 2)
    first, second = wire.requests()
    engine.data_received(reply(second))
    (third,) = wire.requests()
    engine.data_received(reply(first) + reply(third))
    assert len(wire.requests()) == 2
    task.cancel()


async def test_transaction_ids_wrap_around() -> None:
    engine, wire, exchange, _ = tcp(3)
    engine._upcoming = 65534
    task = await start(engine, exchange, 3)
    frames = wire.requests()
    assert [f.transaction for f in frames] == [65534, 65535, 0]
    engine.data_received(b"".join(map(reply, frames)))
    await task
    assert exchange.failed == 0


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda f: codec.tcp_frame(f.transaction, f.unit ^ 1, answer(MEMORY, f.pdu)), GARBLED),
        (lambda f: codec.tcp_frame(f.transaction, f.unit, b"\x04" + answer(MEMORY, f.pdu)[1:]), GARBLED),
        (lambda f: codec.tcp_frame(f.transaction, f.unit, b"\x03\x02\x00\x00"), GARBLED),
        (lambda f: codec.tcp_frame(f.transaction, f.unit, b"\x83\x02"), EXCEPTION | 2),
        (lambda f: codec.tcp_frame(f.transaction, f.unit, b"\x84\x02"), GARBLED),
        (lambda f: codec.tcp_frame(f.transaction + 9, f.unit, answer(MEMORY, f.pdu)), TIMEOUT),
        (lambda f: b"", TIMEOUT),
    ],
)
async def test_a_wrong_answer_spoils_its_own_request_only(
    spoil: Callable[[codec.Frame], bytes], status: int
) -> None:
    engine, wire, exchange, _ = tcp(3)
    task = await start(engine, exchange, 3)
    one, two, three = wire.requests()
    engine.data_received(reply(one) + spoil(two) + reply(three))
    await task
    assert list(exchange.status) == [OK, status, OK]
    assert exchange.sink[:4] == MEMORY.holding[:2].tobytes()
    assert exchange.sink[8:] == MEMORY.holding[4:6].tobytes()
    assert not wire.aborted and engine.lost is None


async def test_a_late_answer_is_dropped_and_counted() -> None:
    engine, wire, exchange, counters = tcp(1)
    task = await start(engine, exchange)
    (late,) = wire.requests()
    await task
    assert exchange.status[0] == TIMEOUT
    task = await start(engine, exchange)
    (now,) = wire.requests()
    stale = codec.tcp_frame(late.transaction, UNIT, b"\x03\x04\xde\xad\xbe\xef")
    engine.data_received(stale + reply(now))
    await task
    assert counters.late == 1
    assert bytes(exchange.sink) == MEMORY.holding[:2].tobytes()


async def test_a_silent_device_is_given_up_after_two_timeouts() -> None:
    engine, wire, exchange, counters = tcp(6)
    await engine.run(exchange, 2)
    assert list(exchange.status) == [TIMEOUT, TIMEOUT, TIMEOUT, UNASKED, UNASKED, UNASKED]
    assert exchange.overrun and len(wire.requests()) == 3 and counters.timeouts == 3


async def test_a_half_answer_filled_by_the_next_is_not_trusted() -> None:
    """The device sends half of an answer and then the next one: the stream has lost step. The half answer was
    filled up by the bytes of the next one and looks right; it must not be delivered."""
    engine, wire, exchange, _ = tcp(3)
    task = await start(engine, exchange, 3)
    one, two, three = wire.requests()
    engine.data_received(reply(one) + reply(two)[:-3] + reply(three))
    await task
    assert list(exchange.status) == [OK, GARBLED, GARBLED]
    assert wire.aborted and engine.lost is not None
    with pytest.raises(ConnectionError):
        await engine.run(exchange)


async def test_half_an_answer_and_then_nothing() -> None:
    engine, wire, exchange, _ = tcp(2)
    task = await start(engine, exchange)
    (one,) = wire.requests()
    engine.data_received(reply(one)[:-1])
    await task
    assert list(exchange.status) == [GARBLED, LOST]
    assert wire.aborted


async def test_the_connection_ends_within_a_cycle() -> None:
    engine, wire, exchange, _ = tcp(3)
    task = await start(engine, exchange)
    engine.data_received(reply(wire.requests()[0]))
    engine.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    await task
    assert list(exchange.status) == [OK, LOST, LOST]
    assert engine.lost == both("os.reset") and not engine.lost_idle
    await engine.close()


async def test_a_flood_ends_the_connection() -> None:
    engine, wire, exchange, counters = tcp(1)
    task = await start(engine, exchange)
    stray = codec.tcp_frame(40_000, UNIT, b"\x03\xfa" + bytes(250)) * 1000
    for _ in range(8):
        engine.data_received(stray)
    await task
    assert exchange.status[0] == GARBLED and wire.aborted
    assert counters.late > 4000


async def test_a_cancelled_cycle_leaves_nothing_behind() -> None:
    engine, wire, exchange, counters = tcp(2)
    task = await start(engine, exchange, 2)
    old = wire.requests()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    task = await start(engine, exchange, 2)
    engine.data_received(b"".join(reply(f) for f in old))
    assert not task.done()
    engine.data_received(b"".join(reply(f) for f in wire.requests()))
    await task
    assert exchange.failed == 0 and counters.late == 2


@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_bytes_end_the_cycle_without_a_crash(chunks: list[bytes], over_tcp: bool) -> None:
    async def go() -> None:
        counters = Counters()
        engine: Engine = (
            TcpEngine(ManualClock(), 0.005, counters)
            if over_tcp
            else RtuEngine(ManualClock(), 0.005, counters)
        )
        FakeWire(engine)
        exchange = Exchange([codec.read_request("holding", 0, 2)] * 3, UNIT, tcp=over_tcp)
        task = await start(engine, exchange, 2)
        for chunk in chunks:
            engine.data_received(chunk)
            await asyncio.sleep(0)
        await asyncio.wait_for(task, 2)
        assert all(s >= OK for s in exchange.status)
        assert exchange.failed == sum(s != OK for s in exchange.status)
        await engine.close()

    asyncio.run(go())


# --- RTU ----------------------------------------------------------------------------------------------------


async def rtu_cycle(
    count: int, device: Callable[[int, bytes], list[bytes]], timeout_s: float = 0.05
) -> tuple[Exchange, Counters, RtuEngine, FakeWire]:
    """Run a cycle; `device(i, right answer)` gives the chunks sent for the i-th request."""
    counters = Counters()
    engine = RtuEngine(ManualClock(), timeout_s, counters)
    wire = FakeWire(engine)
    exchange = Exchange([codec.read_request("holding", i, 2) for i in range(count)], UNIT, tcp=False)
    task = await start(engine, exchange)
    number = 0
    while not task.done():
        if wire.sent:
            frame = codec.rtu_check(bytes(wire.sent))
            del wire.sent[:]
            right = codec.rtu_frame(UNIT, answer(MEMORY, frame.pdu))
            for chunk in device(number, right):
                engine.data_received(chunk)
            number += 1
        await asyncio.sleep(0)
    await task
    return exchange, counters, engine, wire


async def test_rtu_answers_in_pieces_and_after_noise() -> None:
    exchange, counters, _, _ = await rtu_cycle(
        3, lambda i, right: [b"\x00\x07\x03"[:i], right[:4], right[4:]]
    )
    assert exchange.failed == 0 and counters.answers == 3
    assert bytes(exchange.sink) == b"".join(MEMORY.holding[i : i + 2].tobytes() for i in range(3))


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (lambda right: right[:-1] + bytes((right[-1] ^ 1,)), GARBLED),
        (lambda right: codec.rtu_frame(UNIT ^ 1, right[1:-2]), GARBLED),
        (lambda right: right[:4], GARBLED),
        (lambda right: codec.rtu_frame(UNIT, b"\x83\x06"), EXCEPTION | 6),
        (lambda right: b"", TIMEOUT),
    ],
)
async def test_rtu_wrong_answers(bad: Callable[[bytes], bytes], status: int) -> None:
    exchange, _, engine, _ = await rtu_cycle(3, lambda i, right: [bad(right)] if i == 1 else [right])
    assert list(exchange.status) == [OK, status, OK]
    assert engine.lost is None


async def test_rtu_waits_out_a_late_answer() -> None:
    """RTU has no transaction id; the answer to request 0 comes after its time-out and must not become the
    value of request 1, which asks for as many registers."""
    counters = Counters()
    engine = RtuEngine(ManualClock(), 0.04, counters)
    wire = FakeWire(engine)
    exchange = Exchange([codec.read_request("holding", i, 2) for i in (0, 500)], UNIT, tcp=False)
    task = await start(engine, exchange)
    del wire.sent[:]
    await until(lambda: exchange.status[0] == TIMEOUT)
    assert not wire.sent
    engine.data_received(codec.rtu_frame(UNIT, answer(MEMORY, exchange.requests[0])))
    await until(lambda: bool(wire.sent))
    engine.data_received(codec.rtu_frame(UNIT, answer(MEMORY, exchange.requests[1])))
    await task
    assert list(exchange.status) == [TIMEOUT, OK] and counters.late == 1
    assert exchange.sink[4:] == MEMORY.holding[500:502].tobytes()


async def test_rtu_flood() -> None:
    """Noise without an end does not stretch a request beyond its time-out."""
    engine = RtuEngine(ManualClock(), 0.05, Counters())
    FakeWire(engine)
    exchange = Exchange([codec.read_request("holding", 0, 2)], UNIT, tcp=False)
    task = await start(engine, exchange)
    began = asyncio.get_running_loop().time()
    while not task.done():
        engine.data_received(b"\x55" * 300)
        await asyncio.sleep(0.001)
    assert asyncio.get_running_loop().time() - began < 0.15
    assert exchange.status[0] == GARBLED
