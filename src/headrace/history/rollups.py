"""Rollups: what happened to a tag in one minute or one hour, as parts that add up.

Each segment of raw points has its own rollup, made of exactly its points. A bucket is therefore spread over
as many parts as there are files with points of that minute, and a query merges them. So late, replayed and
out-of-order points need no recomputation: they bring their own part, and each point counts once because each
message is in one file. Compaction merges the parts for good.

A point counts as usable where its quality is not bad, its value is there and is not NaN. Columns:

    tag:int32 · time: bucket start · count:uint32 usable points · bad:uint32 all others
    min, max, first, last: of the usable values, in the tag's own kind · sum: float64
    first_time, last_time: ns from the bucket's start to the first and last usable point

Texts have no min, max and sum (null). first and last go by time; where times are equal, by arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.history.segments import Int32s, Int64s, column, order_of, take
from headrace.kernel.model import ARROW_TYPE, Kind

_NOTHING = np.iinfo(np.int64).max


def _schema(kind: Kind) -> pa.Schema:
    value = ARROW_TYPE[kind]
    return pa.schema(
        [
            pa.field("tag", pa.int32(), nullable=False),
            pa.field("time", pa.timestamp("ns", tz="UTC"), nullable=False),
            pa.field("count", pa.uint32(), nullable=False),
            pa.field("bad", pa.uint32(), nullable=False),
            pa.field("min", value),
            pa.field("max", value),
            pa.field("sum", pa.float64()),
            pa.field("first", value),
            pa.field("last", value),
            pa.field("first_time", pa.int64()),
            pa.field("last_time", pa.int64()),
        ]
    )


ROLLUP_SCHEMA: dict[Kind, pa.Schema] = {kind: _schema(kind) for kind in Kind}


def rollup(kind: Kind, table: pa.Table, every: int, origin: int = 0) -> pa.Table:
    """The buckets of `every` ns (one starts at `origin`) of raw rows sorted by (tag, time, arrival)."""
    if not table.num_rows:
        return ROLLUP_SCHEMA[kind].empty_table()
    tags, times = column(table, "tag"), column(table, "time")
    buckets = _floor(times, every, origin)
    starts = _starts(tags, buckets)
    values = table.column("value").combine_chunks()
    usable = column(table, "quality") < 0x8000
    if values.null_count:
        usable &= values.is_valid().to_numpy(zero_copy_only=False)
    if kind is Kind.F64:
        usable &= ~np.isnan(_numbers(values))
    n = len(tags)
    rows = np.arange(n)
    firsts = np.minimum.reduceat(np.where(usable, rows, n), starts)
    lasts = np.maximum.reduceat(np.where(usable, rows, -1), starts)
    counts = np.add.reduceat(usable, starts, dtype=np.int64)
    sizes = np.diff(starts, append=n)
    return _table(
        kind,
        tags[starts],
        buckets[starts],
        counts,
        sizes - counts,
        _extremes(kind, values, values, usable, starts),
        _sums(kind, values, usable, starts),
        values,
        values,
        firsts,
        lasts,
        times - buckets,
        times - buckets,
    )


def merge(kind: Kind, parts: pa.Table, every: int, origin: int = 0) -> pa.Table:
    """One row per (tag, bucket of `every` ns) from rollup rows in arrival order, of any smaller or equal
    bucket size that divides `every`."""
    if not parts.num_rows:
        return parts
    order = order_of(column(parts, "tag"), column(parts, "time"))
    if order is not None:
        parts = take(parts, order)
    tags, times = column(parts, "tag"), column(parts, "time")
    buckets = _floor(times, every, origin)
    starts = _starts(tags, buckets)
    if len(starts) == len(tags) and np.array_equal(buckets, times):
        return parts
    n = len(tags)
    counts = column(parts, "count").astype(np.int64)
    usable = counts > 0
    low, high = (parts.column(name).combine_chunks() for name in ("min", "max"))
    shift = times - buckets
    first_times = np.where(usable, _offsets(parts, "first_time") + shift, _NOTHING)
    last_times = np.where(usable, _offsets(parts, "last_time") + shift, -_NOTHING)
    sizes = np.diff(starts, append=n)
    rows = np.arange(n)
    is_first = usable & (first_times == np.repeat(np.minimum.reduceat(first_times, starts), sizes))
    is_last = usable & (last_times == np.repeat(np.maximum.reduceat(last_times, starts), sizes))
    sums = np.where(usable, _numbers(parts.column("sum").combine_chunks()), 0.0)
    return _table(
        kind,
        tags[starts],
        buckets[starts],
        np.add.reduceat(counts, starts),
        np.add.reduceat(column(parts, "bad").astype(np.int64), starts),
        _extremes(kind, low, high, usable, starts),
        np.add.reduceat(sums, starts),
        parts.column("first").combine_chunks(),
        parts.column("last").combine_chunks(),
        np.minimum.reduceat(np.where(is_first, rows, n), starts),
        np.maximum.reduceat(np.where(is_last, rows, -1), starts),
        first_times,
        last_times,
    )


def _floor(times: Int64s, every: int, origin: int) -> Int64s:
    return (times - origin) // every * every + origin


def _starts(tags: Int32s, buckets: Int64s) -> npt.NDArray[np.intp]:
    new = np.concatenate(([True], (tags[1:] != tags[:-1]) | (buckets[1:] != buckets[:-1])))
    return np.flatnonzero(new)


def _numbers(values: pa.Array) -> npt.NDArray[Any]:
    """Float, integer or boolean values as numpy; nulls are filled with zero."""
    if values.null_count:
        values = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    return values.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _offsets(parts: pa.Table, name: str) -> Int64s:
    return _numbers(parts.column(name).combine_chunks())


_BOUNDS: dict[Kind, tuple[Any, Any]] = {
    Kind.F64: (np.inf, -np.inf),
    Kind.I64: (np.iinfo(np.int64).max, np.iinfo(np.int64).min),
    Kind.U64: (np.iinfo(np.uint64).max, np.uint64(0)),
    Kind.BOOL: (True, False),
}


def _extremes(
    kind: Kind,
    low: pa.Array,
    high: pa.Array,
    usable: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    if kind is Kind.TEXT:
        return None
    most, least = _BOUNDS[kind]
    least_of: Callable[..., Any] = np.logical_and.reduceat if kind is Kind.BOOL else np.minimum.reduceat
    most_of: Callable[..., Any] = np.logical_or.reduceat if kind is Kind.BOOL else np.maximum.reduceat
    lows, highs = _numbers(low), _numbers(high)
    if not usable.all():
        lows, highs = np.where(usable, lows, most), np.where(usable, highs, least)
    return least_of(lows, starts), most_of(highs, starts)


def _sums(
    kind: Kind, values: pa.Array, usable: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64] | None:
    if kind is Kind.TEXT:
        return None
    numbers = _numbers(values).astype(np.float64, copy=False)
    return np.add.reduceat(np.where(usable, numbers, 0.0), starts)


def _table(
    kind: Kind,
    tags: Int32s,
    buckets: Int64s,
    counts: Int64s,
    bad: Int64s,
    extremes: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None,
    sums: npt.NDArray[np.float64] | None,
    firsts: pa.Array,
    lasts: pa.Array,
    first_rows: npt.NDArray[np.intp],
    last_rows: npt.NDArray[np.intp],
    first_times: Int64s,
    last_times: Int64s,
) -> pa.Table:
    empty = counts == 0
    type_ = ARROW_TYPE[kind]
    nothing = pa.nulls(len(tags), type_)
    first_at = pa.array(np.where(empty, 0, first_rows), mask=empty)
    last_at = pa.array(np.where(empty, 0, last_rows), mask=empty)
    if extremes is None or kind is Kind.TEXT:
        low = high = nothing
    else:
        low, high = (pa.array(e, type_, mask=empty, from_pandas=False) for e in extremes)
    return pa.Table.from_arrays(
        [
            pa.array(tags),
            pa.array(buckets).view(pa.timestamp("ns", tz="UTC")),
            pa.array(counts.astype(np.uint32)),
            pa.array(bad.astype(np.uint32)),
            low,
            high,
            pa.nulls(len(tags), pa.float64())
            if sums is None or kind is Kind.TEXT
            else pa.array(sums, mask=empty, from_pandas=False),
            pc.take(firsts, first_at),
            pc.take(lasts, last_at),
            pc.take(pa.array(first_times), first_at),
            pc.take(pa.array(last_times), last_at),
        ],
        schema=ROLLUP_SCHEMA[kind],
    )
