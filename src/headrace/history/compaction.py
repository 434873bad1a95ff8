"""Compaction: many small files of one kind and stream become one, a chunk of tags at a time.

Inputs are consecutive in stream sequence and each sorted by (tag, time, arrival), so a stable merge by
(tag, time) in file order keeps arrival order. Memory is bounded by the chunk and one row group per input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.history._intervals import IntervalSet
from headrace.history.manifest import HOUR, MINUTE, RAW, FileInfo, file_name
from headrace.history.rollups import ROLLUP_SCHEMA, merge
from headrace.history.segments import (
    SEGMENT_FORMAT,
    SegmentFile,
    SegmentMeta,
    SegmentWriter,
    bad_segment,
    column,
    sort_table,
)
from headrace.history.settings import HistorySettings
from headrace.kernel.model import SCHEMA, Kind

_CHUNK = 1_000_000  # rows merged at once


def plan(files: Sequence[FileInfo], settings: HistorySettings) -> list[FileInfo]:
    """The next files to merge, in sequence order; [] where nothing is due.

    Of one stream, kind and resolution: the oldest run of neighbours on the same level that is `fan_out` long
    or, by number of rows, all that fits into one segment.
    """
    for group in _groups(files):
        run: list[FileInfo] = []
        for info in group:
            if run and run[-1].level != info.level:
                run = []
            if run and _rows(run) + info.rows > settings.max_rows:
                if len(run) > 1 and 2 * _rows(run) >= settings.max_rows:
                    return run
                run = []
            run.append(info)
            if len(run) == settings.fan_out:
                return run
    return []


def plan_all(files: Sequence[FileInfo], settings: HistorySettings) -> list[FileInfo]:
    """The next files to merge so that in the end nothing more can be merged."""
    for group in _groups(files):
        run: list[FileInfo] = []
        for info in group:
            if run and _rows(run) + info.rows > settings.max_rows:
                if len(run) > 1:
                    return run
                run = []
            run.append(info)
        if len(run) > 1:
            return run
    return []


def _groups(files: Sequence[FileInfo]) -> Iterator[list[FileInfo]]:
    """Raw and minute files by (every, stream, kind), each in sequence order. Hour files follow their
    minutes and are not merged by themselves."""
    groups: dict[tuple[int, str, str], list[FileInfo]] = {}
    for info in files:
        if info.every != HOUR:
            groups.setdefault((info.every, info.stream, info.kind), []).append(info)
    for key in sorted(groups):
        yield sorted(groups[key], key=lambda info: info.first)


def _rows(files: Sequence[FileInfo]) -> int:
    return sum(info.rows for info in files)


def superseded(files: Sequence[FileInfo], merged: Sequence[FileInfo]) -> set[str]:
    """The names in `files` that go when `merged` are replaced: they and, for minutes, their hours."""
    gone = {info.name for info in merged}
    if merged[0].every == MINUTE:
        first, last = merged[0].first, merged[-1].last
        gone |= {
            info.name
            for info in files
            if info.every == HOUR
            and (info.stream, info.kind) == (merged[0].stream, merged[0].kind)
            and first <= info.first
            and info.last <= last
        }
    return gone


class Output:
    """One file being written; `info` after `finish` is what the manifest shall say of it."""

    def __init__(
        self,
        root: Path,
        *,
        kind: Kind,
        stream: str,
        first: int,
        last: int,
        level: int,
        every: int,
    ) -> None:
        self._name = file_name(kind, every, stream, first, last, level)
        schema = ROLLUP_SCHEMA[kind] if every else SCHEMA[kind]
        folder = "rollups" if every else "segments"
        self._writer = SegmentWriter(root / folder / self._name, schema, level=level)
        self._kind, self._stream, self._first, self._last = kind, stream, first, last
        self._level, self._every = level, every
        self.points = 0
        self.rows = 0

    def write(self, table: pa.Table, points: int) -> None:
        self._writer.write(table)
        self.points += points
        self.rows += table.num_rows

    def finish(self, seen: dict[str, IntervalSet]) -> FileInfo:
        meta = SegmentMeta(
            format=SEGMENT_FORMAT,
            kind=self._kind,
            stream=self._stream,
            first=self._first,
            last=self._last,
            level=self._level,
            every=self._every,
            points=self.points,
            seen={source: some.intervals() for source, some in seen.items()},
            tags=0,
            index=b"",
        )
        rows, size, crc = self._writer.finish(meta)
        return FileInfo(
            name=self._name,
            kind=self._kind,
            stream=self._stream,
            first=self._first,
            last=self._last,
            level=self._level,
            every=self._every,
            rows=rows,
            points=self.points,
            bytes=size,
            crc=crc,
            min_time=self._writer.min_time,
            max_time=self._writer.max_time,
        )

    def discard(self) -> None:
        self._writer.discard()


class Merge:
    """One merge in progress: call `step` until it returns the new files. On any failure or to give up,
    `discard`; the inputs are never touched."""

    def __init__(self, root: Path, inputs: Sequence[FileInfo]) -> None:
        self.inputs = list(inputs)
        head = inputs[0]
        self._kind, self._every = head.kind, head.every
        self._files = [SegmentFile(info.path(root)) for info in inputs]
        self._cursors = [_Cursor(file) for file in self._files]
        level = max(info.level for info in inputs) + 1

        def output(every: int) -> Output:
            first, last = head.first, inputs[-1].last
            return Output(
                root, kind=head.kind, stream=head.stream, first=first, last=last, level=level, every=every
            )

        self._output = output(head.every)
        self._hours = output(HOUR) if head.every == MINUTE else None
        self._bounds = _bounds(self._files)
        self._next = 0

    def step(self) -> list[FileInfo] | None:
        """Merge one chunk; the files made once all are done.

        Raises OSError (the disk), Corrupt, FileNotFoundError."""
        if self._next < len(self._bounds):
            bound = self._bounds[self._next]
            self._next += 1
            parts = [part for cursor in self._cursors for part in cursor.upto(bound)]
            self._write(pa.concat_tables(parts).combine_chunks())
            return None
        return self._finish()

    def discard(self) -> None:
        """Idempotent."""
        self._output.discard()
        if self._hours is not None:
            self._hours.discard()

    def _write(self, table: pa.Table) -> None:
        kind = self._kind
        if self._every == RAW:
            self._output.write(sort_table(table), table.num_rows)
            return
        points = int(column(table, "count").sum(dtype=np.int64) + column(table, "bad").sum(dtype=np.int64))
        minutes = merge(kind, table, self._every)
        self._output.write(minutes, points)
        if self._hours is not None:
            self._hours.write(merge(kind, minutes, HOUR), points)

    def _finish(self) -> list[FileInfo]:
        points = sum(info.points for info in self.inputs)
        if self._output.points != points:
            raise bad_segment(self._files[0].path, f"{points} points to merge, {self._output.points} merged")
        seen: dict[str, IntervalSet] = {}
        for file in self._files:
            for source, intervals in file.meta.seen.items():
                for first, last in intervals:
                    seen.setdefault(source, IntervalSet()).add(first, last)
        made = [self._output.finish(seen)]
        if self._hours is not None:
            made.append(self._hours.finish(seen))
        return made


class _Cursor:
    """Reads one sorted file front to back, each row group once."""

    def __init__(self, file: SegmentFile) -> None:
        self._file = file
        self._next = 0
        self._rest: pa.Table | None = None

    def upto(self, tag: int) -> list[pa.Table]:
        """The next rows, up to and including those of `tag`."""
        out: list[pa.Table] = []
        while True:
            if self._rest is None:
                if self._next == self._file.groups:
                    return out
                self._rest = self._file.group(self._next)
                self._next += 1
            tags = column(self._rest, "tag")
            cut = int(np.searchsorted(tags, tag, side="right"))
            if cut:
                out.append(self._rest.slice(0, cut))
            if cut < len(tags):
                self._rest = self._rest.slice(cut)
                return out
            self._rest = None


def _bounds(files: Sequence[SegmentFile]) -> list[int]:
    """Tags at which to cut, so that each piece has about `_CHUNK` rows of all files together."""
    tags = np.concatenate([file.index.tags for file in files])
    counts = np.concatenate([np.diff(file.index.starts) for file in files])
    distinct, at = np.unique(tags, return_inverse=True)
    total = np.cumsum(np.bincount(at, counts))
    piece = total // _CHUNK
    last_of_piece = np.flatnonzero(np.concatenate((piece[1:] != piece[:-1], [True])))
    return [int(tag) for tag in distinct[last_of_piece]]
