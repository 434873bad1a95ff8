"""What a query gives: series, buckets and gaps as columns; and the pure functions that make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.history.segments import column, take
from headrace.kernel.errors import InputError
from headrace.kernel.model import NUMPY_TYPE, SCHEMA, Batch, Kind

AGGREGATES = ("count", "bad", "min", "max", "sum", "mean", "first", "last")
"""What `buckets` can be asked for."""


class Series(msgspec.Struct, frozen=True):
    """Points of one tag in order of time (of equal times, of arrival). `value` is numpy of the kind (object
    array of str for texts); where `missing` it holds NaN, 0, False or None."""

    tag: int
    kind: Kind
    time: npt.NDArray[np.int64]
    value: npt.NDArray[Any]
    quality: npt.NDArray[np.uint16]
    missing: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)


class Buckets(msgspec.Struct, frozen=True):
    """Buckets of one tag, those with points only, in order of time. `time` is the bucket's start, `count` the
    usable points (quality not bad, value there, not NaN), `bad` all others. Columns that were not asked for
    are None; where `count` is 0 (and for min, max, sum, mean of texts) the others have None entries in object
    arrays, NaN in float ones, and 0 or False else."""

    tag: int
    kind: Kind
    every: int
    time: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    bad: npt.NDArray[np.int64]
    min: npt.NDArray[Any] | None = None
    max: npt.NDArray[Any] | None = None
    sum: npt.NDArray[np.float64] | None = None
    first: npt.NDArray[Any] | None = None
    last: npt.NDArray[Any] | None = None

    @property
    def mean(self) -> npt.NDArray[np.float64] | None:
        """Sample mean of the usable points, NaN where there is none."""
        if self.sum is None:
            return None
        return np.where(self.count > 0, self.sum / np.maximum(self.count, 1), np.nan)

    def __len__(self) -> int:
        return len(self.time)


class Gap(msgspec.Struct, frozen=True):
    """A time [start, end) in ns without a usable point. `quality` is that of the last bad point in it, None
    where nothing came at all."""

    start: int
    end: int
    quality: int | None


def check_range(start: int, end: int, every: int = 1) -> None:
    """Raises InputError (`history.bad_range`, `history.bad_every`)."""
    if start > end:
        raise InputError("history.bad_range", start=start, end=end)
    if every <= 0:
        raise InputError("history.bad_every", every=every)


def clip(table: pa.Table, start: int, end: int, *, ordered: bool = True) -> pa.Table:
    """The rows with start <= time < end; `ordered` where they are of one tag and sorted by time."""
    times = column(table, "time")
    if ordered:
        low, high = np.searchsorted(times, [start, end])
        return table.slice(int(low), int(high - low))
    inside = (times >= start) & (times < end)
    return table if inside.all() else take(table, np.flatnonzero(inside))


def series(tag: int, kind: Kind, parts: Sequence[pa.Table], limit: int | None) -> Series:
    """Parts of one tag, in order of arrival, as one Series."""
    table = pa.concat_tables(parts) if parts else SCHEMA[kind].empty_table()
    table = table.select(["time", "value", "quality"]).combine_chunks()
    times = column(table, "time")
    if (times[1:] < times[:-1]).any():
        table = take(table, np.argsort(times, kind="stable"))
    if limit is not None:
        table = table.slice(0, limit).combine_chunks()
    count = table.num_rows
    zeros = pa.array(np.full(count, tag, np.int32))
    batches = table.add_column(0, SCHEMA[kind].field("tag"), zeros).cast(SCHEMA[kind]).to_batches()
    batch = Batch(kind, batches[0]) if batches else Batch.of(kind, [], [], _empty(kind), [])
    return Series(tag, kind, batch.times, batch.values, batch.qualities, batch.missing)


def _empty(kind: Kind) -> npt.NDArray[Any]:
    return np.empty(0, NUMPY_TYPE[kind])


def buckets(kind: Kind, merged: pa.Table, every: int, wanted: Sequence[str]) -> dict[int, Buckets]:
    """A merged rollup table as Buckets by tag; `wanted` out of AGGREGATES."""
    tags = column(merged, "tag")
    if not len(tags):
        return {}
    starts = np.flatnonzero(np.concatenate(([True], tags[1:] != tags[:-1])))
    stops = np.append(starts[1:], len(tags))
    columns: dict[str, Any] = {"time": column(merged, "time")}
    for name in ("count", "bad"):
        columns[name] = column(merged, name).astype(np.int64)
    for name in ("min", "max", "sum", "first", "last"):
        if name in wanted or (name == "sum" and "mean" in wanted):
            columns[name] = _filled(merged.column(name).combine_chunks())
    return {
        int(tags[a]): Buckets(int(tags[a]), kind, every, **{k: v[a:b] for k, v in columns.items()})
        for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    }


def _filled(values: pa.Array) -> npt.NDArray[Any]:
    if values.null_count and not pa.types.is_string(values.type):
        floating, boolean = pa.types.is_floating(values.type), pa.types.is_boolean(values.type)
        values = values.fill_null(float("nan") if floating else False if boolean else 0)
    return values.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def check_aggregates(wanted: Sequence[str]) -> None:
    """Raises InputError (`history.bad_aggregate`)."""
    for name in wanted:
        if name not in AGGREGATES:
            raise InputError("history.bad_aggregate", aggregate=name, choices=", ".join(AGGREGATES))


def gaps(points: Series, start: int, end: int, longer_than: int) -> list[Gap]:
    """The times in [start, end) of more than `longer_than` ns between usable points, its edges included."""
    usable = _usable(points)
    bad_times, bad_quality = points.time[~usable], points.quality[~usable]
    found: list[Gap] = []
    for gap in gaps_between(points.time[usable], start, end, longer_than):
        at = int(np.searchsorted(bad_times, gap.end)) - 1
        inside = at >= 0 and bad_times[at] >= gap.start
        found.append(Gap(gap.start, gap.end, int(bad_quality[at]) if inside else None))
    return found


def gaps_between(usable: npt.NDArray[np.int64], start: int, end: int, longer_than: int) -> list[Gap]:
    """The same from the sorted times of usable points alone."""
    edges = [start, *usable.tolist(), end] if len(usable) < 2 else np.concatenate(([start], usable, [end]))
    edges = np.asarray(edges, object if end - start > np.iinfo(np.int64).max else np.int64)
    return [
        Gap(int(edges[at]), int(edges[at + 1]), None)
        for at in np.flatnonzero(np.diff(edges) > longer_than).tolist()
    ]


def usable_times(minutes: pa.Table) -> npt.NDArray[np.int64]:
    """The first and last usable times of each bucket of one tag's merged rollup rows, sorted."""
    has = column(minutes, "count") > 0
    starts = column(minutes, "time")[has]
    both = [starts + _filled(minutes.column(n).combine_chunks())[has] for n in ("first_time", "last_time")]
    return np.sort(np.concatenate(both))


def last_bad(points: Series) -> int | None:
    """The quality of the last point that is not usable."""
    rows = np.flatnonzero(~_usable(points))
    return int(points.quality[rows[-1]]) if len(rows) else None


def _usable(points: Series) -> npt.NDArray[np.bool_]:
    usable = (points.quality < 0x8000) & ~points.missing
    if points.kind is Kind.F64:
        usable &= ~np.isnan(points.value)
    return usable
