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

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
    sizes = np.diff(starts, append=n)
    if usable.all():  # the common case, and much the cheaper one
        first_rows, last_rows, counts = starts, starts + sizes - 1, sizes
    else:
        rows = np.arange(n)
        first_rows = np.minimum.reduceat(np.where(usable, rows, n), starts)
        last_rows = np.maximum.reduceat(np.where(usable, rows, -1), starts)
        counts = np.add.reduceat(usable, starts, dtype=np.int64)
    out = _Columns(kind, tags[starts], buckets[starts], counts, sizes - counts)
    if kind is not Kind.TEXT:
        numbers = _numbers(values)
        out.extremes(numbers, numbers, usable, starts)
        out.sums(numbers.astype(np.float64, copy=False), usable, starts)
    offsets = times - buckets
    out.take("first", values, "first_time", offsets, first_rows)
    out.take("last", values, "last_time", offsets, last_rows)
    return out.table(ROLLUP_SCHEMA[kind])


def columns_for(kind: Kind, aggregates: Sequence[str]) -> list[str]:
    """The columns that a query for these aggregates has to read and merge."""
    names = ["tag", "time", "count", "bad"]
    wanted = {"sum" if name == "mean" else name for name in aggregates}
    for name in ("min", "max", "sum", "first", "last"):
        if name in wanted:
            names.append(name)
    names += [f"{name}_time" for name in ("first", "last") if name in wanted]
    return names


def merge(kind: Kind, parts: pa.Table, every: int, origin: int = 0) -> pa.Table:
    """One row per (tag, bucket of `every` ns) from rollup rows in arrival order, of any smaller or equal
    bucket size that divides `every`. Columns beyond tag, time, count and bad may be left out (see
    `columns_for`), and then are left out of the result."""
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
    has = set(parts.schema.names)
    n = len(tags)
    counts = column(parts, "count").astype(np.int64)
    usable = counts > 0
    bad = np.add.reduceat(column(parts, "bad").astype(np.int64), starts)
    out = _Columns(kind, tags[starts], buckets[starts], np.add.reduceat(counts, starts), bad)
    if kind is not Kind.TEXT:
        low, high = (_part(parts, name) if name in has else None for name in ("min", "max"))
        out.extremes(low, high, usable, starts)
        if "sum" in has:
            out.sums(_part(parts, "sum"), usable, starts)
    sizes = np.diff(starts, append=n)
    rows = np.arange(n)
    shift = times - buckets
    if "first" in has:
        at = np.where(usable, _part(parts, "first_time") + shift, _NOTHING)
        mine = usable & (at == np.repeat(np.minimum.reduceat(at, starts), sizes))
        first_rows = np.minimum.reduceat(np.where(mine, rows, n), starts)
        out.take("first", parts.column("first").combine_chunks(), "first_time", at, first_rows)
    if "last" in has:
        at = np.where(usable, _part(parts, "last_time") + shift, -_NOTHING)
        mine = usable & (at == np.repeat(np.maximum.reduceat(at, starts), sizes))
        last_rows = np.maximum.reduceat(np.where(mine, rows, -1), starts)
        out.take("last", parts.column("last").combine_chunks(), "last_time", at, last_rows)
    return out.table(parts.schema)


class _Columns:
    """The columns of a rollup in the making; those of a bucket without usable points are null."""

    def __init__(self, kind: Kind, tags: Int32s, buckets: Int64s, counts: Int64s, bad: Int64s) -> None:
        self._kind = kind
        self._type = ARROW_TYPE[kind]
        self._empty = counts == 0
        self._mask = self._empty if self._empty.any() else None
        self._columns: dict[str, pa.Array] = {
            "tag": pa.array(tags),
            "time": pa.array(buckets).view(pa.timestamp("ns", tz="UTC")),
            "count": pa.array(counts.astype(np.uint32)),
            "bad": pa.array(bad.astype(np.uint32)),
        }

    def extremes(
        self,
        low: npt.NDArray[Any] | None,
        high: npt.NDArray[Any] | None,
        usable: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.intp],
    ) -> None:
        """min of `low` and max of `high`, each where it is given."""
        most, least = _BOUNDS[self._kind]
        boolean = self._kind is Kind.BOOL
        least_of: Any = np.logical_and.reduceat if boolean else np.minimum.reduceat
        most_of: Any = np.logical_or.reduceat if boolean else np.maximum.reduceat
        for name, values, reduce, other in (("min", low, least_of, most), ("max", high, most_of, least)):
            if values is not None:
                found = reduce(
                    values if self._mask is None and usable.all() else np.where(usable, values, other), starts
                )
                self._columns[name] = pa.array(found, self._type, mask=self._mask, from_pandas=False)

    def sums(
        self, values: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp]
    ) -> None:
        # as IEEE 754 has it: infinities of both signs sum to NaN, and what is too great to infinity
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.add.reduceat(values if usable.all() else np.where(usable, values, 0.0), starts)
        self._columns["sum"] = pa.array(found, mask=self._mask, from_pandas=False)

    def take(
        self, name: str, values: pa.Array, time_name: str, offsets: Int64s, rows: npt.NDArray[np.intp]
    ) -> None:
        """`values` and their `offsets` at one row for each bucket."""
        at = pa.array(np.where(self._empty, 0, rows), mask=self._mask)
        self._columns[name] = values.take(at)
        self._columns[time_name] = pa.array(offsets).take(at)

    def table(self, schema: pa.Schema) -> pa.Table:
        """Columns that nobody gave (min, max and sum of texts) are null."""
        n = len(self._empty)
        return pa.Table.from_arrays(
            [self._columns[f.name] if f.name in self._columns else pa.nulls(n, f.type) for f in schema],
            schema=schema,
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


def _part(parts: pa.Table, name: str) -> npt.NDArray[Any]:
    return _numbers(parts.column(name).combine_chunks())


_BOUNDS: dict[Kind, tuple[Any, Any]] = {
    Kind.F64: (np.inf, -np.inf),
    Kind.I64: (np.iinfo(np.int64).max, np.iinfo(np.int64).min),
    Kind.U64: (np.iinfo(np.uint64).max, np.uint64(0)),
    Kind.BOOL: (True, False),
}
