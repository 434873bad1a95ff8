"""Segments give back every bit, in order, and find a tag without reading the rest."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.segments import (
    SEGMENT_FORMAT,
    SegmentFile,
    SegmentMeta,
    SegmentWriter,
    order_of,
    sort_table,
)
from headrace.kernel.errors import Corrupt
from headrace.kernel.model import SCHEMA, Batch, Kind


def _write(path: Path, kind: Kind, table: pa.Table, level: int = 0) -> SegmentFile:
    writer = SegmentWriter(path, SCHEMA[kind], level=level)
    writer.write(sort_table(table))
    writer.finish(SegmentMeta(SEGMENT_FORMAT, kind, "DATA", 1, 1, level, 0, table.num_rows, {}, 0, b""))
    return SegmentFile(path)


def _bits(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint64).view(np.float64)


NANS = [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x7FF0000000000001]
ODD = [*NANS, 0x8000000000000000, 0, 1, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FEFFFFFFFFFFFFF]
VALUES = {
    Kind.F64: _bits(ODD),
    Kind.I64: np.array([-(2**63), 2**63 - 1, 0, -1, 2**53 + 1, 7, 7, 7, 8, 9]),
    Kind.U64: np.array([2**64 - 1, 0, 2**63, 2**53 + 1, 1, 2, 3, 3, 3, 4], np.uint64),
    Kind.BOOL: np.array([True, False] * 5),
    Kind.TEXT: ["", "运行", "a" * 1000, "𝄞", "null", "运行", "x", "\x00", "y", "z"],
}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("copies", [1, 400])
@pytest.mark.parametrize("level", [0, 1])
def test_every_kind_is_exact(tmp_path: Path, kind: Kind, copies: int, level: int) -> None:
    one = VALUES[kind]
    values = [*one] * copies if kind is Kind.TEXT else np.tile(one, copies)
    n = len(values)
    missing = np.arange(n) % 7 == 3
    if kind is Kind.TEXT:
        values = pa.array([None if gone else v for v, gone in zip(values, missing, strict=True)], pa.string())
    times = np.arange(n) * 1_000_003 - 5
    batch = Batch.of(kind, np.full(n, 9), times, values, np.arange(n) % 3 * 0x4001, missing=missing)
    file = _write(tmp_path / "s.parquet", kind, pa.Table.from_batches([batch.data]), level)
    back = file.tag(9)
    assert back is not None
    found = Batch(kind, back.cast(SCHEMA[kind]).combine_chunks().to_batches()[0])
    assert np.array_equal(found.times, batch.times)
    assert np.array_equal(found.qualities, batch.qualities)
    assert np.array_equal(found.missing, missing)
    if kind is Kind.F64:
        assert np.array_equal(found.values.view(np.uint64)[~missing], batch.values.view(np.uint64)[~missing])
    else:
        assert found.data.column(2).equals(batch.data.column(2))


def test_order_is_tag_time_arrival() -> None:
    tags = np.array([2, 1, 2, 1, 2, 1], np.int32)
    times = np.array([5, 9, 5, 3, 4, 3], np.int64)
    order = order_of(tags, times)
    assert order is not None
    assert order.tolist() == [3, 5, 1, 4, 0, 2]
    assert order_of(np.array([1, 1, 2], np.int32), np.array([1, 1, 0], np.int64)) is None
    wide = order_of(np.array([70_000_00, 1, 70_000_00], np.int32), np.array([2, 1, 1], np.int64))
    assert wide is not None and wide.tolist() == [1, 2, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), min_size=1, max_size=200))
def test_any_tags_can_be_read_alone(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, int]]
) -> None:
    tags = np.array([p[0] for p in points])
    times = np.array([p[1] for p in points])
    values = np.arange(len(points), dtype=float)
    batch = Batch.of(Kind.F64, tags, times, values, np.zeros(len(points)))
    path = tmp_path_factory.mktemp("s") / "s.parquet"
    file = _write(path, Kind.F64, pa.Table.from_batches([batch.data]))
    for wanted in (tags[:1], tags[::2], np.arange(15), np.array([13])):
        wanted = np.unique(wanted).astype(np.int32)
        expected = sorted((t, s, v) for t, s, v in zip(tags, times, values, strict=True) if t in wanted)
        found = file.tags(wanted)
        rows = (
            []
            if found is None
            else list(zip(*(found.column(n).to_numpy().tolist() for n in ("tag", "value")), strict=True))
        )
        assert rows == [(t, v) for t, _, v in expected]


def test_row_groups_are_cut_to_the_tags_asked_for(tmp_path: Path) -> None:
    n_tags, per = 2_000, 100
    tags = np.repeat(np.arange(n_tags), per)
    batch = Batch.of(Kind.F64, tags, np.tile(np.arange(per), n_tags), tags * 1.5, np.zeros(len(tags)))
    file = _write(tmp_path / "s.parquet", Kind.F64, pa.Table.from_batches([batch.data]), level=1)
    assert file.groups == 4
    wanted = np.array([3, 700, 701, 1999, 5000], np.int32)
    found = file.tags(wanted, ["tag", "value"])
    assert found is not None
    assert found.column("tag").to_pylist() == [t for t in (3, 700, 701, 1999) for _ in range(per)]
    assert found.column("value").to_pylist() == [t * 1.5 for t in (3, 700, 701, 1999) for _ in range(per)]
    assert file.tag(5000) is None


def test_floats_are_never_dictionary_encoded(tmp_path: Path) -> None:
    values = np.array([struct.unpack("<d", struct.pack("<Q", n))[0] for n in NANS] * 5_000)
    batch = Batch.of(Kind.F64, np.ones(len(values)), np.arange(len(values)), values, np.zeros(len(values)))
    file = _write(tmp_path / "s.parquet", Kind.F64, pa.Table.from_batches([batch.data]))
    assert "DICTIONARY" not in file.encodings["value"]


def test_a_damaged_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    batch = Batch.of(Kind.F64, [1], [1], [1.0], [0])
    _write(path, Kind.F64, pa.Table.from_batches([batch.data]))
    whole = path.read_bytes()
    for broken in (b"", whole[:50], whole[:-20], b"x" * len(whole)):
        path.write_bytes(broken)
        with pytest.raises(Corrupt) as caught:
            SegmentFile(path)
        assert caught.value.code == "history.bad_segment"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        SegmentFile(path)
