"""Reading history from any process, while another one writes it.

A Reader works on a snapshot: one manifest and the log behind it. `refresh` moves to a newer one. Because
sealing is one rename of the manifest, a snapshot holds exactly the messages that were committed when it was
taken, each once. Files that a merge has replaced meanwhile are looked up anew in the next snapshot, which
holds at least the same messages.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import structlog

from headrace.history import manifest as manifests
from headrace.history import query
from headrace.history._head import Chunk, HeadFollower
from headrace.history.lastvalues import LastTable, LastValues, rebuild_last
from headrace.history.manifest import HOUR, MINUTE, RAW, FileInfo, Manifest
from headrace.history.query import AGGREGATES, Buckets, Gap, Series
from headrace.history.rollups import ROLLUP_SCHEMA, columns_for, merge, rollup
from headrace.history.segments import Int32s, SegmentFile, bad_segment, sort_table
from headrace.kernel.errors import Corrupt
from headrace.kernel.model import SCHEMA, Kind

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_COLUMNS = ["time", "value", "quality"]
_TRIES = 20
_OPEN_FILES = 1024
_LOW, _HIGH = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class LevelStats(msgspec.Struct, frozen=True):
    """What one kind of file on one level adds up to. `every`: 0 raw, else ns per bucket."""

    every: int
    kind: Kind
    level: int
    files: int
    rows: int
    points: int
    bytes: int


class Stats(msgspec.Struct, frozen=True):
    """`points` are all raw points, sealed and in the head; `bytes` all segments and rollups.
    `bytes_per_point` is for sealed points, rollups included."""

    points: int
    head_points: int
    segment_bytes: int
    rollup_bytes: int
    bytes_per_point: float
    dropped: int
    first_time: int | None
    last_time: int | None
    streams: dict[str, int]
    levels: list[LevelStats]


class _Snapshot:
    def __init__(self, manifest: Manifest, head: Sequence[Chunk]) -> None:
        self.manifest = manifest
        self.head = head

    def files(self, kind: Kind, every: int, start: int, end: int) -> list[FileInfo]:
        """The files with something in [start, end), in order of arrival. A rollup's times are those of its
        buckets, so one that began before `start` counts as overlapping."""
        found = [
            info
            for info in self.manifest.files
            if info.kind == kind and info.every == every and info.max_time >= start and info.min_time < end
        ]
        return sorted(found, key=lambda info: (info.stream, info.first))


class Reader:
    """History open for reading. Threads may share it. A folder without history reads as an empty one."""

    def __init__(self, dir: Path | str) -> None:
        self.root = Path(dir)
        self._lock = threading.Lock()
        self._follower = HeadFollower(self.root)
        self._stamp: tuple[int, int, int] | None = None
        self._last_name = ""
        self._last = LastTable()
        self._snapshot = _Snapshot(Manifest(), [])
        self._files: OrderedDict[str, SegmentFile] = OrderedDict()
        self.refresh()

    def refresh(self) -> None:
        """See all that is committed by now. Costs the new messages, so call it as often as you like.

        Raises Corrupt.
        """
        with self._lock:
            for _ in range(_TRIES):
                manifest = self._load()
                try:
                    head, new = self._follower.follow(manifest.log_from)
                    if manifest.last and manifest.last != self._last_name:
                        self._last = self._load_last(manifest)
                        self._last_name = manifest.last
                        new = head
                except FileNotFoundError:
                    self._stamp = None
                    continue
                for chunk in new:
                    self._last.update(chunk.batch)
                self._snapshot = _Snapshot(manifest, head)
                return
        raise bad_segment(self.root, "files named by the manifest are missing")

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._follower.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- queries -------------------------------------------------------------------------------------------

    def raw(
        self, tag: int, start: int, end: int, *, limit: int | None = None, kind: Kind | None = None
    ) -> Series:
        """The points of `tag` in [start, end) ns, exact, ordered by time, of equal times by arrival; at most
        the first `limit`. Raises InputError (`history.bad_range`), Corrupt."""
        query.check_range(start, end)
        start, end = _clamp(start), _clamp(end)

        def read(snapshot: _Snapshot) -> Series:
            which = kind or self._kind(tag)
            parts = self._raw_parts(snapshot, which, tag, start, end, limit)
            return query.series(tag, which, parts, limit)

        return self._consistent(read)

    def buckets(
        self,
        tags: Iterable[int],
        start: int,
        end: int,
        every_ns: int,
        aggs: Sequence[str] = AGGREGATES,
        *,
        origin: int = 0,
    ) -> dict[int, Buckets]:
        """Per tag the buckets of `every_ns` over the points in [start, end); one bucket starts at `origin`.

        Whole minutes and hours come from rollups where `every_ns` and `origin` are multiples of them, the
        rest and the head from raw points; the answer is the same. Tags without points are left out. Raises
        InputError (`history.bad_range`, `history.bad_every`, `history.bad_aggregate`), Corrupt.
        """
        query.check_range(start, end, every_ns)
        query.check_aggregates(aggs)
        start, end = _clamp(start), _clamp(end)
        wanted = np.unique(np.fromiter(tags, np.int32))

        def read(snapshot: _Snapshot) -> dict[int, Buckets]:
            found: dict[int, Buckets] = {}
            for kind, some in self._by_kind(wanted):
                merged = self._merged(snapshot, kind, some, start, end, every_ns, origin, aggs)
                found.update(query.buckets(kind, merged, every_ns, aggs))
            return found

        return self._consistent(read)

    def gaps(self, tag: int, start: int, end: int, longer_than_ns: int) -> list[Gap]:
        """The times in [start, end) of more than `longer_than_ns` without a usable point.

        Gaps of a minute and more are found in the rollups: each bucket knows when its first and last usable
        point came, and inside one nothing can be longer.
        """
        query.check_range(start, end, longer_than_ns)
        start, end = _clamp(start), _clamp(end)
        if longer_than_ns < MINUTE:
            return query.gaps(self.raw(tag, start, end), start, end, longer_than_ns)

        def read(snapshot: _Snapshot) -> list[Gap]:
            kind = self._kind(tag)
            merged = self._merged(
                snapshot, kind, np.asarray([tag], np.int32), start, end, MINUTE, 0, ("first", "last")
            )
            found = query.gaps_between(query.usable_times(merged), start, end, longer_than_ns)
            return [
                Gap(gap.start, gap.end, query.last_bad(self._series(snapshot, kind, tag, gap)))
                for gap in found
            ]

        return self._consistent(read)

    def last(self, tags: Sequence[int] | npt.NDArray[np.int32] | None = None) -> LastValues:
        """The last point of these tags (all by default), by tag id; tags without any are left out."""
        with self._lock:
            return self._last.get(tags)

    def position(self, stream: str) -> int:
        """The last stream sequence that this snapshot holds points of; 0 where none."""
        snapshot = self._snapshot
        sealed = snapshot.manifest.streams.get(stream, 0)
        return max([sealed, *(c.position for c in snapshot.head if c.stream == stream)])

    def stats(self) -> Stats:
        """Rows, bytes and bytes per point, by level."""
        snapshot = self._snapshot
        levels: dict[tuple[int, Kind, int], list[FileInfo]] = {}
        for info in snapshot.manifest.files:
            levels.setdefault((info.every, info.kind, info.level), []).append(info)
        raw = [info for info in snapshot.manifest.files if info.every == RAW]
        head = sum(len(chunk.batch) for chunk in snapshot.head)
        sealed = sum(info.points for info in raw)
        segment_bytes = sum(info.bytes for info in raw)
        rollup_bytes = sum(info.bytes for info in snapshot.manifest.files) - segment_bytes
        times = [chunk.batch.times for chunk in snapshot.head if len(chunk.batch)]
        firsts = [info.min_time for info in raw] + [int(t.min()) for t in times]
        lasts = [info.max_time for info in raw] + [int(t.max()) for t in times]
        return Stats(
            points=sealed + head,
            head_points=head,
            segment_bytes=segment_bytes,
            rollup_bytes=rollup_bytes,
            bytes_per_point=(segment_bytes + rollup_bytes) / sealed if sealed else 0.0,
            dropped=snapshot.manifest.dropped,
            first_time=min(firsts, default=None),
            last_time=max(lasts, default=None),
            streams={stream: self.position(stream) for stream in self._streams(snapshot)},
            levels=[
                LevelStats(
                    every=every,
                    kind=kind,
                    level=level,
                    files=len(some),
                    rows=sum(i.rows for i in some),
                    points=sum(i.points for i in some),
                    bytes=sum(i.bytes for i in some),
                )
                for (every, kind, level), some in sorted(levels.items())
            ],
        )

    # --- inside --------------------------------------------------------------------------------------------

    def _load(self) -> Manifest:
        try:
            stat = (self.root / manifests.NAME).stat()
        except FileNotFoundError:
            return Manifest()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if stamp == self._stamp:
            return self._snapshot.manifest
        found = manifests.load(self.root) or Manifest()
        # Stamped from before the read: if the file was replaced in between, the next refresh reads it again.
        self._stamp = stamp
        return found

    def _load_last(self, manifest: Manifest) -> LastTable:
        try:
            return LastTable.load(self.root / "last" / manifest.last)
        except Corrupt as error:
            _log.warning("history_last_values_rebuilt", reason=error.text())
            return rebuild_last(self.root, manifest.files)

    def _consistent(self, read: Callable[[_Snapshot], T]) -> T:
        """Run `read` on one snapshot; where a merge took a file away meanwhile, on a newer one."""
        for _ in range(_TRIES):
            try:
                return read(self._snapshot)
            except FileNotFoundError as error:
                before, missing = self._snapshot.manifest.version, error
                self.refresh()
                if self._snapshot.manifest.version == before:
                    break
        raise bad_segment(self.root, missing)

    def _file(self, info: FileInfo) -> SegmentFile:
        with self._lock:
            found = self._files.get(info.name)
            if found is not None:
                self._files.move_to_end(info.name)
                return found
        found = SegmentFile(info.path(self.root))
        with self._lock:
            self._files[info.name] = found
            while len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
        return found

    def _kind(self, tag: int) -> Kind:
        """The kind of the tag's points, by its last one; F64 where it has none."""
        with self._lock:
            return self._last.kind(tag) or Kind.F64

    def _by_kind(self, tags: Int32s) -> Iterator[tuple[Kind, Int32s]]:
        kinds = [self._kind(tag) for tag in tags.tolist()]
        for kind in Kind:
            some = tags[[k is kind for k in kinds]]
            if len(some):
                yield kind, some

    def _streams(self, snapshot: _Snapshot) -> list[str]:
        return sorted({*snapshot.manifest.streams, *(chunk.stream for chunk in snapshot.head)})

    def _raw_parts(
        self, snapshot: _Snapshot, kind: Kind, tag: int, start: int, end: int, limit: int | None
    ) -> list[pa.Table]:
        files = snapshot.files(kind, RAW, start, end)
        if limit is not None:
            files = self._first_files(files, tag, start, end, limit)
        parts: list[pa.Table] = []
        for info in files:
            table = self._file(info).tag(tag, _COLUMNS)
            if table is not None:
                parts.append(query.clip(table, start, end))
        for chunk in snapshot.head:
            if chunk.batch.kind is kind:
                rows = np.flatnonzero(chunk.batch.tags == tag)
                if len(rows):
                    table = pa.Table.from_batches([chunk.batch.take(rows).data]).select(_COLUMNS)
                    parts.append(query.clip(table, start, end, ordered=False))
        return [part for part in parts if part.num_rows]

    def _first_files(
        self, files: list[FileInfo], tag: int, start: int, end: int, limit: int
    ) -> list[FileInfo]:
        """Those of `files` that can hold one of the first `limit` points, in the order given."""
        enough: list[FileInfo] = []
        times = np.empty(0, np.int64)
        for info in sorted(files, key=lambda i: i.min_time):
            if np.count_nonzero(times < info.min_time) >= limit:
                break
            enough.append(info)
            table = self._file(info).tag(tag, ["time"])
            if table is not None:
                found = query.clip(table, start, end).column(0).combine_chunks().view(pa.int64())
                times = np.concatenate((times, found.to_numpy()))
        chosen = {info.name for info in enough}
        return [info for info in files if info.name in chosen]

    def _series(self, snapshot: _Snapshot, kind: Kind, tag: int, gap: Gap) -> Series:
        parts = self._raw_parts(snapshot, kind, tag, gap.start, gap.end, None)
        return query.series(tag, kind, parts, None)

    def _merged(
        self,
        snapshot: _Snapshot,
        kind: Kind,
        tags: Int32s,
        start: int,
        end: int,
        every: int,
        origin: int,
        aggs: Sequence[str],
    ) -> pa.Table:
        """Rollup rows of `tags` over [start, end), one per (tag, bucket), with the columns `aggs` need."""
        inner = (start, start)  # what whole minutes cover
        if every % MINUTE == 0 and origin % MINUTE == 0:
            inner = _whole(start, end, MINUTE)
        hours = (inner[0], inner[0])
        if every % HOUR == 0 and origin % HOUR == 0:
            hours = _whole(*inner, HOUR)
        names = columns_for(kind, aggs)
        parts: list[pa.Table] = []
        for table in self._edges(snapshot, kind, tags, start, end, inner):
            parts.append(rollup(kind, table, every, origin).select(names))
        if inner[0] < inner[1]:
            parts += self._rolled(snapshot, kind, tags, inner, hours, names)
        for table in self._head_tables(snapshot, kind, tags, start, end):
            parts.append(rollup(kind, table, every, origin).select(names))
        if not parts:
            return ROLLUP_SCHEMA[kind].empty_table().select(names)
        return merge(kind, pa.concat_tables(parts).combine_chunks(), every, origin)

    def _edges(
        self, snapshot: _Snapshot, kind: Kind, tags: Int32s, start: int, end: int, inner: tuple[int, int]
    ) -> Iterator[pa.Table]:
        """Raw sealed rows in [start, end) and not in `inner`, file by file, each read once."""
        ranges = [(low, high) for low, high in ((start, inner[0]), (inner[1], end)) if low < high]
        files = {i.name: i for low, high in ranges for i in snapshot.files(kind, RAW, low, high)}
        for info in sorted(files.values(), key=lambda i: (i.stream, i.first)):
            table = self._file(info).tags(tags)
            if table is not None:
                for low, high in ranges:
                    piece = query.clip(table, low, high, ordered=len(tags) == 1)
                    if piece.num_rows:
                        yield piece

    def _rolled(
        self,
        snapshot: _Snapshot,
        kind: Kind,
        tags: Int32s,
        inner: tuple[int, int],
        hours: tuple[int, int],
        names: list[str],
    ) -> Iterator[pa.Table]:
        """Rows of rollup files, hours where there are some, in order of arrival."""
        by_range = {(i.stream, i.first, i.last): i for i in snapshot.files(kind, HOUR, _LOW, _HIGH)}
        for info in snapshot.files(kind, MINUTE, *inner):
            hour = by_range.get((info.stream, info.first, info.last)) if hours[0] < hours[1] else None
            if hour is None:
                yield from self._rows(info, tags, *inner, names)
            else:
                yield from self._rows(hour, tags, *hours, names)
                yield from self._rows(info, tags, inner[0], hours[0], names)
                yield from self._rows(info, tags, hours[1], inner[1], names)

    def _rows(
        self, info: FileInfo, tags: Int32s, start: int, end: int, names: list[str]
    ) -> Iterator[pa.Table]:
        if start < end and info.min_time < end and info.max_time >= start:
            table = self._file(info).tags(tags, names)
            if table is not None:
                table = query.clip(table, start, end, ordered=len(tags) == 1)
                if table.num_rows:
                    yield table

    def _head_tables(
        self, snapshot: _Snapshot, kind: Kind, tags: Int32s, start: int, end: int
    ) -> Iterator[pa.Table]:
        """The head's points of `tags` in [start, end) as one sorted table."""
        if start >= end or not len(tags):
            return
        wanted = np.zeros(int(tags[-1]) + 2, np.bool_)
        wanted[tags] = True
        picked: list[pa.RecordBatch] = []
        for chunk in snapshot.head:
            if chunk.batch.kind is not kind:
                continue
            times = chunk.batch.times
            inside = wanted[np.minimum(chunk.batch.tags, len(wanted) - 1)] & (times >= start) & (times < end)
            if inside.any():
                picked.append(chunk.batch.take(inside).data)
        if picked:
            yield sort_table(pa.Table.from_batches(picked, schema=SCHEMA[kind]).combine_chunks())


def _clamp(moment: int) -> int:
    return min(max(moment, _LOW), _HIGH)


def _whole(start: int, end: int, every: int) -> tuple[int, int]:
    """The part of [start, end) that whole multiples of `every` cover."""
    low, high = -(-start // every) * every, end // every * every
    return (low, high) if low < high else (start, start)
