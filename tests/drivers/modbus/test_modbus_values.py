from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.drivers.modbus import DRIVER, Order, Point, Settings, Type
from headrace.drivers.modbus.decode import Plan
from headrace.drivers.modbus.exchange import OK
from headrace.drivers.modbus.memory import Memory, answer
from headrace.drivers.modbus.values import NUMPY, REGISTERS, decode, encode
from headrace.kernel.clock import ManualClock
from headrace.kernel.model import Kind, Quality
from headrace.kernel.ports import Block, Reading, Span

ByTag = Callable[[Reading], dict[int, tuple[Any, int]]]


def points_of(*entries: dict[str, Any]) -> list[Point]:
    return [msgspec.convert(e, Point) for e in entries]


def lies_in(inner: Span, outer: Span) -> bool:
    return inner.area == outer.area and outer.start <= inner.start and inner.end <= outer.end


def plan_on(memory: Memory, points: list[Point], spans: list[Span] | None = None) -> Plan:
    """A plan whose answers are those of `memory`, without a connection."""
    driver = DRIVER.create(Settings(), list(enumerate(points, 1)), ManualClock())
    layouts = [DRIVER.layout(Settings(), p).span for p in points]
    blocks = [Block(s, (i,)) for i, s in enumerate(layouts)]
    if spans is not None:
        blocks = [Block(s, tuple(i for i, at in enumerate(layouts) if lies_in(at, s))) for s in spans]
    plan = driver.compile(blocks)
    feed(plan, memory)
    return plan


def feed(plan: Plan, memory: Memory) -> None:
    plan.exchange.reset(0)
    for i, request in enumerate(plan.exchange.requests):
        first, last = plan.exchange.places[i]
        plan.exchange.sink[first:last] = answer(memory, request)[2:]
        plan.exchange.status[i] = OK
        plan.exchange.times[i] = 1000 + i


@pytest.mark.parametrize(
    ("order", "expected"),
    [("ABCD", "0a0b0c0d"), ("CDAB", "0c0d0a0b"), ("BADC", "0b0a0d0c"), ("DCBA", "0d0c0b0a")],
)
def test_orders_of_32_bits(order: str, expected: str) -> None:
    assert encode([0x0A0B0C0D], Type.U32, Order(order)).tobytes().hex() == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("ABCDEFGH", "0102030405060708"),
        ("GHEFCDAB", "0708050603040102"),
        ("BADCFEHG", "0201040306050807"),
        ("HGFEDCBA", "0807060504030201"),
    ],
)
def test_orders_of_64_bits(order: str, expected: str) -> None:
    assert encode([0x0102030405060708], Type.U64, Order(order)).tobytes().hex() == expected


NUMERIC = sorted(REGISTERS)
FOUR = [Order.ABCD, Order.CDAB, Order.BADC, Order.DCBA]


@given(st.sampled_from(NUMERIC), st.sampled_from(FOUR), st.binary(min_size=8, max_size=64))
def test_registers_round_trip(type_: Type, order: Order, raw: bytes) -> None:
    size = 2 * REGISTERS[type_]
    if type_ in (Type.BCD16, Type.BCD32):
        raw = bytes((b % 100 // 10) << 4 | b % 10 for b in raw)
    words = np.frombuffer(raw[: len(raw) // size * size], ">u2").reshape(-1, REGISTERS[type_])
    values = decode(words, type_, order)
    assert encode(values, type_, order).tobytes() == words.tobytes()


@given(st.data())
def test_plan_decodes_what_memory_holds(data: st.DataObject) -> None:
    """Any mix of types, orders and places: the plan's vectorised gathers equal the plain decoding."""
    memory = Memory()
    raw = data.draw(st.binary(min_size=200, max_size=200))
    memory.holding[:100] = np.frombuffer(raw, ">u2")
    memory.coil[:100] = np.frombuffer(raw[:100], np.uint8) & 1
    entries: list[dict[str, Any]] = []
    expected: list[Any] = []
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from([t for t in NUMERIC if not t.startswith("bcd")] + ["bit", "coil"]))
        at = data.draw(st.integers(0, 95))
        order = data.draw(st.sampled_from(FOUR))
        if what == "coil":
            entries.append({"address": f"coil:{at}"})
            expected.append(bool(memory.coil[at]))
        elif what == "bit":
            bit = data.draw(st.integers(0, 15))
            entries.append({"address": f"holding:{at}.{bit}", "order": order.value})
            word = int(memory.get("holding", at, "u16", order)[0])
            expected.append(bool(word >> bit & 1))
        else:
            entries.append({"address": f"holding:{at}", "type": str(what), "order": order.value})
            expected.append(memory.get("holding", at, Type(what), order)[0])
    spans = [Span("holding", 0, 50), Span("holding", 50, 50), Span("coil", 0, 100)]
    layouts = [DRIVER.layout(Settings(), p).span for p in points_of(*entries)]
    inside = [any(lies_in(at, span) for span in spans) for at in layouts]
    plan = plan_on(memory, points_of(*entries), spans)
    found = {
        int(tag): value
        for batch in plan.reading(0).batches
        for tag, value in zip(batch.tags, batch.values, strict=True)
    }
    assert len(found) == sum(inside)
    for i, (value, there) in enumerate(zip(expected, inside, strict=True), 1):
        if there:
            same = found[i] == value or (value != value and found[i] != found[i])
            assert same, (entries[i - 1], value, found[i])


@pytest.mark.parametrize("order", FOUR)
def test_floats_keep_their_bits(order: Order, by_tag: ByTag) -> None:
    """-0.0, denormals, infinities and NaN payloads, quiet and signalling, through f64."""
    bits = [
        0x80000000,
        0x00000001,
        0x807FFFFF,
        0x7F800000,
        0xFF800000,
        0x7FC00001,
        0xFFC12345,
        0x7F800001,
        0xFFA00000,
    ]
    words = encode(np.array(bits, np.uint32), Type.U32, order)
    memory = Memory()
    memory.holding[: words.size] = words.ravel()
    points = points_of(
        *({"address": f"holding:{2 * i}", "type": "f32", "order": order.value} for i in range(len(bits)))
    )
    values = plan_on(memory, points).reading(0).batches[0].values
    wide = values.view(np.uint64)
    for raw, got in zip(bits, wide.tolist(), strict=True):
        if raw & 0x7F800000 == 0x7F800000:
            assert got == (raw >> 31) << 63 | 0x7FF0000000000000 | (raw & 0x7FFFFF) << 29
        else:
            narrow = np.array([got], np.uint64).view(np.float64).astype(np.float32)
            assert narrow.view(np.uint32)[0] == raw


def test_f64_is_bit_exact_and_nan_is_a_value() -> None:
    raw = np.array([0x7FF0000000000001, 0x8000000000000000, 1, 0x7FF8DEADBEEF0001], np.uint64)
    memory = Memory()
    memory.set_many("holding", 0, raw, "u64")
    points = points_of(*({"address": f"holding:{4 * i}", "type": "f64"} for i in range(4)))
    batch = plan_on(memory, points).reading(0).batches[0]
    assert batch.values.view(np.uint64).tolist() == raw.tolist()
    assert batch.data.column(2).null_count == 0


def test_kinds_scale_and_time(by_tag: ByTag) -> None:
    memory = Memory()
    memory.set("holding", 0, 2**64 - 1, "u64")
    memory.set("holding", 4, -(2**63), "i64", "DCBA")
    memory.set("holding", 8, -250, "i16")
    memory.set("holding", 9, 1234, "bcd16")
    memory.set("holding", 10, 0xFA, "u16")  # no BCD
    memory.set("holding", 11, 87654321, "bcd32", "CDAB")
    points = points_of(
        {"address": "holding:0", "type": "u64"},
        {"address": "holding:4", "type": "i64", "order": "DCBA"},
        {"address": "holding:8", "type": "i16", "scale": 0.1, "offset": 5},
        {"address": "holding:9", "type": "bcd16"},
        {"address": "holding:10", "type": "bcd16"},
        {"address": "holding:11", "type": "bcd32", "order": "CDAB"},
    )
    reading = plan_on(memory, points).reading(0)
    assert {b.kind for b in reading.batches} == {Kind.U64, Kind.I64, Kind.F64}
    assert by_tag(reading) == {
        1: (2**64 - 1, 0),
        2: (-(2**63), 0),
        3: (-20.0, 0),
        4: (1234.0, 0),
        5: (None, Quality.BAD_DECODING),
        6: (87654321.0, 0),
    }
    times = {int(t): int(ns) for b in reading.batches for t, ns in zip(b.tags, b.times, strict=True)}
    assert times == {i: 999 + i for i in range(1, 7)}  # each block's own receipt time


def test_texts_follow_their_bytes(by_tag: ByTag) -> None:
    memory = Memory()
    memory.set("holding", 0, "固化炉", length=16)
    memory.set("holding", 10, "固化炉", length=15, encoding="gb18030", order="BADC")
    memory.set("holding", 20, "PLC-7  ", length=10)
    points = points_of(
        {"address": "holding:0", "type": "string", "length": 16},
        {"address": "holding:10", "type": "string", "length": 15, "encoding": "gb18030", "order": "BADC"},
        {"address": "holding:20", "type": "string", "length": 10, "encoding": "ascii"},
    )
    plan = plan_on(memory, points)
    first = plan.reading(0)
    assert by_tag(first) == {1: ("固化炉", 0), 2: ("固化炉", 0), 3: ("PLC-7", 0)}
    memory.set("holding", 20, "温", length=10)  # not ASCII
    memory.set("holding", 0, "", length=16)
    feed(plan, memory)
    assert by_tag(plan.reading(0)) == {1: ("", 0), 2: ("固化炉", 0), 3: (None, Quality.BAD_DECODING)}
    memory.set("holding", 20, "OK", length=10)
    feed(plan, memory)
    assert by_tag(plan.reading(0))[3] == ("OK", 0)
    assert by_tag(first)[3] == ("PLC-7", 0)  # batches are immutable


def test_widening_is_exact_for_every_type() -> None:
    for type_ in NUMERIC:
        dtype = np.dtype(NUMPY[type_])
        if type_.startswith("bcd") or dtype.kind == "f":
            continue
        edge = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
        memory = Memory()
        memory.set_many("input", 7, edge, type_)
        size = REGISTERS[type_]
        points = points_of(*({"address": f"input:{7 + size * i}", "type": str(type_)} for i in range(2)))
        values = plan_on(memory, points).reading(0).batches[0].values
        assert [int(v) for v in values] == [int(e) for e in edge]


def test_a_point_outside_its_block_is_refused() -> None:
    driver = DRIVER.create(
        Settings(), [(1, points_of({"address": "holding:5", "type": "f32"})[0])], ManualClock()
    )
    with pytest.raises(ValueError):
        driver.compile([Block(Span("holding", 0, 6), (0,))])
    with pytest.raises(ValueError):
        driver.compile([Block(Span("holding", 0, 126), (0,))])


def test_an_empty_plan_reads_nothing() -> None:
    driver = DRIVER.create(Settings(), [], ManualClock())
    assert driver.compile([]).reading(0).batches == ()
