"""Rollups against brute force: any points, split in any way, merged in any steps, give the same buckets."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.rollups import merge, rollup
from headrace.history.segments import sort_table
from headrace.kernel.model import SCHEMA, Batch, Kind

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.F64: st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0]),
    Kind.I64: st.integers(-(2**63), 2**63 - 1),
    Kind.U64: st.integers(0, 2**64 - 1),
    Kind.BOOL: st.booleans(),
    Kind.TEXT: st.text(max_size=4),
}
QUALITY = st.sampled_from([0, 0, 0, 0x4090, 0x8005])


def _points(kind: Kind) -> st.SearchStrategy[list[tuple[int, int, Any, int]]]:
    value = st.none() | VALUES[kind]
    return st.lists(
        st.tuples(st.integers(1, 3), st.integers(-50, 200), value, QUALITY), min_size=1, max_size=60
    )


def _table(kind: Kind, points: list[tuple[int, int, Any, int]]) -> pa.Table:
    arrays = [[p[i] for p in points] for i in range(4)]
    value = pa.array(arrays[2], SCHEMA[kind].field("value").type, from_pandas=False)
    batch = Batch.of(kind, arrays[0], arrays[1], value, arrays[3])
    return sort_table(pa.Table.from_batches([batch.data]))


def _brute(kind: Kind, points: list[tuple[int, int, Any, int]], every: int) -> dict[tuple[int, int], Any]:
    out: dict[tuple[int, int], Any] = {}
    for number, (tag, time, value, quality) in enumerate(points):
        usable = quality < 0x8000 and value is not None and value == value
        bucket = out.setdefault((tag, time // every * every), {"bad": 0, "good": []})
        if usable:
            bucket["good"].append((time, number, value))
        else:
            bucket["bad"] += 1
    for bucket in out.values():
        good = sorted(bucket.pop("good"), key=lambda g: g[:2])
        bucket["count"] = len(good)
        bucket["first"] = good[0][2] if good else None
        bucket["last"] = good[-1][2] if good else None
        values = [g[2] for g in good]
        ordered = kind is not Kind.TEXT and bool(good)
        bucket["min"] = min(values) if ordered else None
        bucket["max"] = max(values) if ordered else None
        bucket["sum"] = float(sum(float(v) for v in values)) if ordered else None
    return out


def _as_dict(table: pa.Table) -> dict[tuple[int, int], Any]:
    table = table.set_column(1, "time", table.column("time").combine_chunks().view(pa.int64()))
    return {(row.pop("tag"), row.pop("time")): row for row in table.to_pylist()}


def _check(found: pa.Table, expected: dict[tuple[int, int], Any]) -> None:
    have = _as_dict(found)
    assert list(have) == sorted(expected)
    for key, row in have.items():
        want = dict(expected[key])
        total = want.pop("sum")
        assert {name: row[name] for name in want} == want, key
        if total is None or math.isnan(total):
            assert row["sum"] is None or math.isnan(row["sum"])
        else:
            assert row["sum"] == pytest.approx(total, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("kind", list(Kind))
def test_equal_brute_force_in_one_piece_and_in_many(kind: Kind) -> None:
    @settings(max_examples=80, deadline=None)
    @given(_points(kind), st.lists(st.integers(0, 60), max_size=4))
    def check(points: list[tuple[int, int, Any, int]], cuts: list[int]) -> None:
        _check(rollup(kind, _table(kind, points), 10), _brute(kind, points, 10))
        edges = sorted({0, len(points), *(c for c in cuts if c < len(points))})
        pieces = [points[a:b] for a, b in pairwise(edges)]
        parts = [rollup(kind, _table(kind, piece), 10) for piece in pieces]
        once = merge(kind, pa.concat_tables(parts).combine_chunks(), 10)
        _check(once, _brute(kind, points, 10))
        stepwise = parts[0]
        for part in parts[1:]:
            stepwise = merge(kind, pa.concat_tables([stepwise, part]).combine_chunks(), 10)
        _check(merge(kind, stepwise, 60), _brute(kind, points, 60))

    check()


def test_origin_shifts_the_buckets() -> None:
    table = _table(Kind.F64, [(1, t, float(t), 0) for t in range(20)])
    found = rollup(Kind.F64, table, 10, origin=3)
    assert found.column("time").combine_chunks().view(pa.int64()).to_pylist() == [-7, 3, 13]
    assert found.column("count").to_pylist() == [3, 10, 7]
    merged = merge(Kind.F64, rollup(Kind.F64, table, 5, origin=3), 10, origin=3)
    assert merged.equals(found)


def test_first_and_last_times_are_offsets_from_the_bucket() -> None:
    found = rollup(Kind.F64, _table(Kind.F64, [(1, 12, 1.0, 0), (1, 17, 2.0, 0), (1, 19, 3.0, 0x8005)]), 10)
    assert found.column("first_time").to_pylist() == [2]
    assert found.column("last_time").to_pylist() == [7]
    assert np.asarray(found.column("bad")).tolist() == [1]
