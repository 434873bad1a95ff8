"""The last value of every tag: dense arrays by tag id, updated a batch at a time.

The last point is the one with the greatest time; of equal times the one that arrived later. A late point
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headrace.history.files import NewFile
from headrace.history.manifest import RAW, FileInfo
from headrace.history.segments import SegmentFile
from headrace.kernel.errors import Corrupt
from headrace.kernel.model import Batch, Kind

_KINDS = tuple(Kind)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_NEVER = np.iinfo(np.int64).min
_SCHEMA = pa.schema(
    [
        pa.field("tag", pa.int32()),
        pa.field("time", pa.int64()),
        pa.field("quality", pa.uint16()),
        pa.field("kind", pa.uint8()),
        pa.field("missing", pa.bool_()),
        pa.field("bits", pa.uint64()),
        pa.field("text", pa.string()),
    ]
)


class LastValues(msgspec.Struct, frozen=True):
    """The last points of n tags, columnar. `value[i]` is a float, int, bool or str, None where the point
    has no value. Tags that never had a point are not in it."""

    tag: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]
    quality: npt.NDArray[np.uint16]
    kind: list[Kind]
    value: list[Any]


class LastTable:
    """Not thread-safe: one updates, and readers take `get` under the owner's lock."""

    def __init__(self) -> None:
        self._time = np.full(1024, _NEVER, np.int64)
        self._quality = np.zeros(1024, np.uint16)
        self._kind = np.zeros(1024, np.uint8)
        self._missing = np.zeros(1024, np.bool_)
        self._bits = np.zeros(1024, np.uint64)
        self._text: dict[int, str | None] = {}

    def update(self, batch: Batch) -> None:
        """Take in a batch that arrived after all that were taken in before."""
        if not len(batch):
            return
        tags, times = batch.tags, batch.times
        self._grow(int(tags.max()))
        rows: Any = slice(None)
        at: Any = tags
        if (tags[1:] > tags[:-1]).all():  # each tag once; without gaps between them a slice does
            if int(tags[-1]) - int(tags[0]) + 1 == len(tags):
                at = slice(int(tags[0]), int(tags[-1]) + 1)
            newer = times >= self._time[at]
            if not newer.all():
                rows = np.flatnonzero(newer)
                at = tags[rows]
        else:
            rows = np.flatnonzero(times >= self._time[tags])
            picked = times[rows]
            if (picked[1:] < picked[:-1]).any():  # of one tag's points the latest must be assigned last
                rows = rows[np.argsort(picked, kind="stable")]
            at = tags[rows]
        self._time[at] = times[rows]
        self._quality[at] = batch.qualities[rows]
        self._kind[at] = _NUMBER[batch.kind]
        self._missing[at] = batch.missing[rows]
        values = batch.values
        if batch.kind is Kind.TEXT:
            self._text.update(zip(tags[rows].tolist(), values[rows].tolist(), strict=True))
        elif batch.kind is Kind.BOOL:
            self._bits[at] = values[rows]
        else:
            self._bits[at] = values.view(np.uint64)[rows]

    def get(self, tags: Sequence[int] | npt.NDArray[np.int32] | None = None) -> LastValues:
        """The last points of these tags, or of all, by tag id."""
        if tags is None:
            at = np.flatnonzero(self._time != _NEVER)
        else:
            at = np.unique(np.asarray(tags, np.int64))
            at = at[(at >= 0) & (at < len(self._time))]
            at = at[self._time[at] != _NEVER]
        kinds = self._kind[at]
        missing = self._missing[at]
        bits = self._bits[at]
        value: list[Any] = [None] * len(at)
        for number, kind in enumerate(_KINDS):
            rows = np.flatnonzero((kinds == number) & ~missing)
            if not len(rows):
                continue
            if kind is Kind.TEXT:
                found: list[Any] = [self._text.get(int(tag)) for tag in at[rows]]
            elif kind is Kind.BOOL:
                found = (bits[rows] != 0).tolist()
            else:
                found = bits[rows].view(_DTYPE[kind]).tolist()
            if len(rows) == len(at):
                value = found
            else:
                for row, one in zip(rows.tolist(), found, strict=True):
                    value[row] = one
        return LastValues(
            tag=at.astype(np.int32),
            time=self._time[at],
            quality=self._quality[at],
            kind=[_KINDS[n] for n in kinds.tolist()],
            value=value,
        )

    def kind(self, tag: int) -> Kind | None:
        """The kind of the tag's last point, None where it has none."""
        if 0 <= tag < len(self._time) and self._time[tag] != _NEVER:
            return _KINDS[int(self._kind[tag])]
        return None

    def snapshot(self) -> pa.RecordBatch:
        """A copy of the whole table, for `save_last`."""
        at = np.flatnonzero(self._time != _NEVER).astype(np.int32)
        texts: list[str | None] = [None] * len(at)
        for row in np.flatnonzero(self._kind[at] == _NUMBER[Kind.TEXT]).tolist():
            texts[row] = self._text.get(int(at[row]))
        columns = [at, self._time[at], self._quality[at], self._kind[at], self._missing[at], self._bits[at]]
        arrays = [*(pa.array(c) for c in columns), pa.array(texts, pa.string())]
        return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)

    @classmethod
    def load(cls, path: Path) -> LastTable:
        """Raises FileNotFoundError, Corrupt (`history.bad_last_values`)."""
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                data = reader.read_next_batch()
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, StopIteration) as error:
            raise Corrupt("history.bad_last_values", path=str(path), reason=str(error)) from error
        table = cls()
        at, time, quality, kind, missing, bits = (
            data.column(i).to_numpy(zero_copy_only=False) for i in range(6)
        )
        if len(at):
            table._grow(int(at.max()))
            table._time[at] = time
            table._quality[at] = quality
            table._kind[at] = kind
            table._missing[at] = missing
            table._bits[at] = bits
            rows = np.flatnonzero(kind == _NUMBER[Kind.TEXT])
            texts = data.column(6).take(pa.array(rows)).to_pylist()
            table._text = dict(zip(at[rows].tolist(), texts, strict=True))
        return table

    def _grow(self, tag: int) -> None:
        size = len(self._time)
        if tag < size:
            return
        more = max(tag + 1, 2 * size) - size
        self._time = np.concatenate((self._time, np.full(more, _NEVER, np.int64)))
        self._quality = np.concatenate((self._quality, np.zeros(more, np.uint16)))
        self._kind = np.concatenate((self._kind, np.zeros(more, np.uint8)))
        self._missing = np.concatenate((self._missing, np.zeros(more, np.bool_)))
        self._bits = np.concatenate((self._bits, np.zeros(more, np.uint64)))


def save_last(snapshot: pa.RecordBatch, path: Path) -> None:
    """Write a snapshot as one file, durable once the caller has synced the folder."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(snapshot)
    file = NewFile(path)
    try:
        file.write(memoryview(sink.getvalue()))
        file.publish()
    finally:
        file.discard()


def rebuild_last(root: Path, files: Sequence[FileInfo]) -> LastTable:
    """The last values of all segments, from the segments themselves. Raises Corrupt."""
    table = LastTable()
    for info in sorted(files, key=lambda i: (i.stream, i.first)):
        if info.every != RAW:
            continue
        segment = SegmentFile(info.path(root))
        for number in range(segment.groups):
            for data in segment.group(number).to_batches():
                table.update(Batch(info.kind, data))
    return table


_DTYPE: dict[Kind, Any] = {Kind.F64: np.float64, Kind.I64: np.int64, Kind.U64: np.uint64}
