"""The newest value of every tag, in columns, and what changed since when.

One row a tag. A row takes a batch's point only where that is not older than what it has, so a replayed buffer
never turns the clock back. Each change gets the number of the tick in which it came; "what changed since
tick t" is one comparison over a column, so a client that fell behind costs no memory: it simply asks from an
older tick on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.api.values import JsonValue, to_json
from headrace.history import LastValues
from headrace.kernel.clock import NS_PER_MS
from headrace.kernel.model import Batch, Kind, Quality, Tag

_NUMERIC = (Kind.F64, Kind.BOOL)
_json = msgspec.json.Encoder()


class LiveValues:
    """The table. Not thread-safe: the event loop owns it."""

    def __init__(self, tags: Sequence[Tag], active: Iterable[str]) -> None:
        self.tags = sorted(tags, key=lambda t: t.name)
        n = len(self.tags)
        configured = set(active)
        self.by_name = {tag.name: row for row, tag in enumerate(self.tags)}
        self.active = np.array([tag.name in configured for tag in self.tags], np.bool_)
        self.tick = 1
        self.points = 0  # taken since start
        self.unknown = 0  # points of tags that the catalogue did not have at start
        highest = max((tag.id for tag in self.tags), default=-1)
        self._row = np.full(highest + 2, -1, np.int64)  # tag id → row; the last element is for unknown ids
        for row, tag in enumerate(self.tags):
            self._row[tag.id] = row
        self._time = np.zeros(n, np.int64)  # UTC ns; 0 where there is no point yet
        self._number = np.full(n, np.nan)
        self._other: list[int | str | None] = [None] * n  # kinds that a double cannot hold
        self._missing = np.ones(n, np.bool_)
        self._quality = np.full(n, Quality.BAD_WAITING, np.uint16)
        self._changed = np.zeros(n, np.int64)
        self._stale = np.zeros(n, np.bool_)
        self._machines: dict[str, npt.NDArray[np.int64]] = {}
        rows_of: dict[str, list[int]] = {}
        for row, tag in enumerate(self.tags):
            rows_of.setdefault(tag.machine, []).append(row)
        self._machines = {machine: np.array(rows, np.int64) for machine, rows in rows_of.items()}
        self._all = np.arange(n)

    def __len__(self) -> int:
        return len(self.tags)

    # --- in ---

    def seed(self, last: LastValues) -> None:
        """Take what history has newer; live points that came first stay."""
        rows = self._row[np.minimum(last.tag, len(self._row) - 1)]
        for i in np.flatnonzero((rows >= 0) & (last.time > self._time[rows])).tolist():
            self._set(int(rows[i]), int(last.time[i]), last.value[i], int(last.quality[i]))

    def _set(self, row: int, time: int, value: Any, quality: int) -> None:
        self._time[row] = time
        self._quality[row] = quality
        self._missing[row] = value is None
        if self.tags[row].kind in _NUMERIC:
            self._number[row] = math.nan if value is None else float(value)
        else:
            self._other[row] = value
        self._changed[row] = self.tick

    def take(self, batch: Batch) -> None:
        """The newest point of each tag of `batch`, in whatever order its points are."""
        ids, times = batch.tags, batch.times
        self.points += len(ids)
        known = (ids >= 0) & (ids < len(self._row) - 1)
        rows = self._row[np.where(known, ids, len(self._row) - 1)]
        self.unknown += int(np.count_nonzero(rows < 0))
        keep = np.flatnonzero(rows >= 0)
        keep = keep[times[keep] >= self._time[rows[keep]]]
        if len(keep) == 0:
            return
        if np.any(np.diff(times[keep]) < 0):
            keep = keep[np.argsort(times[keep], kind="stable")]
        rows = rows[keep]
        # Of repeated rows NumPy keeps the last assignment, which is the newest point.
        self._time[rows] = times[keep]
        self._quality[rows] = batch.qualities[keep]
        self._missing[rows] = batch.missing[keep]
        self._changed[rows] = self.tick
        values = batch.values[keep]
        if batch.kind in _NUMERIC:
            self._number[rows] = values
        else:
            for row, value in zip(rows.tolist(), values.tolist(), strict=True):
                self._other[row] = value

    def mark_stale(self, rows: npt.NDArray[np.bool_]) -> None:
        """Say for which rows nothing can be coming in, shape (n,): their good values read as stale."""
        changed = rows != self._stale
        self._changed[changed] = self.tick
        self._stale = rows.copy()

    def next_tick(self) -> int:
        """Close the present tick: all that changed until now belongs to it. Gives its number."""
        self.tick += 1
        return self.tick - 1

    # --- out ---

    def qualities(self) -> npt.NDArray[np.uint16]:
        """As shown: a value that was not bad reads `UNCERTAIN_LAST_USABLE` where it is stale. Shape (n,)."""
        stale = self._stale & (self._quality < 0x8000)
        return np.where(stale, np.uint16(Quality.UNCERTAIN_LAST_USABLE), self._quality)

    def quality(self, row: int) -> int:
        """The same for one row."""
        quality = int(self._quality[row])
        return int(Quality.UNCERTAIN_LAST_USABLE) if self._stale[row] and quality < 0x8000 else quality

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """UTC ns of the newest point, 0 where there is none. Shape (n,)."""
        return self._time

    @property
    def stale(self) -> npt.NDArray[np.bool_]:
        return self._stale

    def rows(self, machine: str | None = None) -> npt.NDArray[np.int64]:
        """The rows of one machine, or all."""
        if machine is None:
            return self._all
        return self._machines.get(machine, self._all[:0])

    def value(self, row: int) -> JsonValue:
        """Ready for JSON."""
        if self._missing[row]:
            return None
        kind = self.tags[row].kind
        if kind is Kind.F64:
            return to_json(float(self._number[row]))
        if kind is Kind.BOOL:
            return bool(self._number[row])
        return to_json(self._other[row])

    def number(self, name: str) -> float | None:
        """For logs and comparisons: the value of a numeric tag, None where there is none."""
        row = self.by_name.get(name)
        if row is None or self._missing[row] or self.tags[row].kind not in _NUMERIC:
            return None
        return float(self._number[row])

    def frame(self, t_ms: float, *, since: int, machine: str | None = None) -> bytes | None:
        """The `values` event: what changed after tick `since` (0: everything), None where nothing did."""
        rows = self.rows(machine)
        if since > 0:
            rows = rows[self._changed[rows] > since]
            if len(rows) == 0:
                return None
        quality = self.qualities()[rows].tolist()
        times = self._time[rows]
        stamps = (times / NS_PER_MS).tolist()
        seen = (times > 0).tolist()
        values = {
            self.tags[row].name: (self.value(row), q, ms if here else None)
            for row, q, ms, here in zip(rows.tolist(), quality, stamps, seen, strict=True)
        }
        return b"event: values\ndata: " + _json.encode({"t": t_ms, "v": values}) + b"\n\n"
