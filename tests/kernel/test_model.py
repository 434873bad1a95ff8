"""Tag, Quality and Batch: nothing changes on the way through the wire form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.kernel.errors import Corrupt, InputError
from headrace.kernel.model import (
    ARROW_TYPE,
    SCHEMA,
    Batch,
    Header,
    Kind,
    Quality,
    Tag,
    concat,
    decode,
    encode,
    is_bad,
    is_good,
    severity,
)

HEADER = Header("n", "edge", 7)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.F64: st.floats(width=64),
    Kind.I64: st.integers(-(2**63), 2**63 - 1),
    Kind.U64: st.integers(0, 2**64 - 1),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: st.text(max_size=20),
}


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    kind = draw(st.sampled_from(list(Kind)))
    rows = draw(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(-(2**63), 2**63 - 1), VALUES[kind],
                                   st.integers(0, 65535), st.booleans()), max_size=20))  # fmt: skip
    return Batch.of(
        kind,
        [r[0] for r in rows],
        [r[1] for r in rows],
        [r[2] for r in rows],
        [r[3] for r in rows],
        missing=np.array([r[4] for r in rows], np.bool_),
    )


@settings(deadline=None)
@given(batches(), st.integers(1, 2**62))
def test_the_wire_form_keeps_every_bit(batch: Batch, sequence: int) -> None:
    header, back = decode(encode(Header("node-1", "edge", sequence), batch))
    assert header == Header("node-1", "edge", sequence) and header.key == f"node-1/edge/{sequence}"
    assert back.kind is batch.kind and back.data.schema == SCHEMA[batch.kind]
    for column in range(4):
        one, other = batch.data.column(column), back.data.column(column)
        if batch.kind is Kind.F64 and column == 2:
            assert batch.values.tobytes() == back.values.tobytes()  # NaNs and -0.0 too
            assert one.is_valid().equals(other.is_valid())
        else:
            assert one.equals(other)


@pytest.mark.parametrize("kind", list(Kind))
def test_missing_is_not_a_value(kind: Kind) -> None:
    some: Any = {Kind.F64: math.nan, Kind.BOOL: True, Kind.TEXT: "x"}.get(kind, 3)
    batch = Batch.of(kind, [1, 2], [10, 20], [some, some], [0, 0x8005], missing=np.array([False, True]))
    assert batch.missing.tolist() == [False, True]
    assert len(batch.values) == len(batch) == 2
    filled = {Kind.F64: math.nan, Kind.BOOL: False, Kind.TEXT: None}.get(kind, 0)
    last = batch.values[1]
    assert last == filled or (filled != filled and last != last)
    if kind is Kind.F64:
        assert not batch.data.column(2).is_null().to_pylist()[0]  # a NaN that was sent is a value


def test_columns_in_and_out() -> None:
    batch = Batch.of(Kind.I64, [3, 4], np.array([1, 2]), pa.array([5, 6]), [0, 0x4000])
    assert batch.tags.tolist() == [3, 4] and batch.tags.dtype == np.int32
    assert batch.times.tolist() == [1, 2] and batch.times.dtype == np.int64
    assert batch.values.tolist() == [5, 6] and batch.qualities.tolist() == [0, 0x4000]
    assert batch.take(np.array([1])).tags.tolist() == [4]
    assert batch.take(np.array([True, False])).tags.tolist() == [3]
    assert batch == Batch.of(Kind.I64, [3, 4], [1, 2], [5, 6], [0, 0x4000])
    assert batch != batch.take(np.array([0])) and repr(batch) == "Batch(i64, 2 points)"
    with pytest.raises(ValueError):
        Batch.of(Kind.I64, [3], [1, 2], [5, 6], [0, 0])


def test_concat_joins_one_kind() -> None:
    one = Batch.of(Kind.BOOL, [1], [1], [True], [0])
    two = Batch.of(Kind.BOOL, [2], [2], [False], [0])
    assert concat([one]) is one
    assert concat([one, two]).tags.tolist() == [1, 2]
    empty = Batch.of(Kind.BOOL, [], [], [], [])
    assert len(concat([empty, empty])) == 0
    with pytest.raises(InputError) as caught:
        concat([one, Batch.of(Kind.F64, [1], [1], [1.0], [0])])
    assert caught.value.code == "batch.mixed_kinds"


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def test_what_decode_refuses() -> None:
    good = Batch.of(Kind.F64, [1], [1], [1.0], [0])
    whole = encode(HEADER, good)
    other = good.data.replace_schema_metadata(
        {b"headrace": b'{"node":"n","source":"e","sequence":1,"version":2}'}
    )
    nulls = pa.RecordBatch.from_arrays(
        [pa.array([None], pa.int32()), *good.data.columns[1:]],
        schema=SCHEMA[Kind.F64].with_metadata({b"headrace": b'{"node":"n","source":"e","sequence":1}'}),
    )
    strange = pa.RecordBatch.from_pydict({"a": [1]}).replace_schema_metadata(
        {b"headrace": b'{"node":"n","source":"e","sequence":1}'}
    )
    for payload, code in (
        (b"", "batch.unreadable"),
        (b"garbage" * 9, "batch.unreadable"),
        (whole[:-40], "batch.unreadable"),
        (_ipc(good.data), "batch.unreadable"),  # no header
        (_ipc(good.data.replace_schema_metadata({b"headrace": b"{}"})), "batch.unreadable"),
        (_ipc(other), "batch.unknown_schema"),
        (_ipc(strange), "batch.unknown_schema"),
        (_ipc(nulls), "batch.null_column"),
    ):
        with pytest.raises(Corrupt) as caught:
            decode(payload)
        assert caught.value.code == code
        assert caught.value.text("zh") and caught.value.text("en")


@settings(deadline=None, max_examples=150)
@example(b"\x80", 8994)
@given(st.binary(min_size=1, max_size=8), st.integers(0, 10_000))
def test_damaged_messages_are_read_or_refused_but_never_crash(noise: bytes, at: int) -> None:
    whole = bytearray(encode(HEADER, Batch.of(Kind.F64, [1, 2], [1, 2], [1.0, 2.0], [0, 0])))
    place = at % len(whole)
    whole[place : place + len(noise)] = noise
    try:
        decode(bytes(whole))
    except Corrupt:
        return


def test_quality_says_how_good_and_why() -> None:
    assert [severity(q) for q in (0, 0x0096, 0x4090, 0x8005, 0xC000)] == [
        "good",
        "good",
        "uncertain",
        "bad",
        "bad",
    ]
    q = np.array([0, 0x3FFF, 0x4000, 0x7FFF, 0x8000, 0xFFFF], np.uint16)
    assert is_good(q).tolist() == [True, True, False, False, False, False]
    assert is_bad(q).tolist() == [False, False, False, False, True, True]
    for quality in Quality:
        name = quality.name.lower()
        expected = "bad" if name.startswith("bad") else "uncertain" if name.startswith("unc") else "good"
        assert severity(quality) == expected


def test_tags_belong_to_machines() -> None:
    assert Tag(1, "oven/zone1/temperature", Kind.F64).machine == "oven"
    assert Tag(1, "alone", Kind.F64).machine == "alone"
    assert set(ARROW_TYPE) == set(Kind)
