"""fsck: is the history in this folder whole? Reads everything, changes nothing, needs no writer.

While a node writes, it checks the snapshot it took; a file that a merge replaced meanwhile is passed over
with its successor unchecked, and the report says so (`moved`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from headrace.history import manifest as manifests
from headrace.history._intervals import IntervalSet
from headrace.history.files import TEMPORARY, checksum
from headrace.history.lastvalues import LastTable
from headrace.history.log import CommitWord, generations, log_path, read_log
from headrace.history.manifest import HOUR, MINUTE, RAW, FileInfo, Manifest
from headrace.history.rollups import merge, rollup
from headrace.history.segments import SegmentFile, SegmentMeta, column, order_of, sort_table
from headrace.kernel.errors import Corrupt, NotFound
from headrace.kernel.model import SCHEMA, Kind, decode

_SAMPLE = 8  # tags per stream and kind whose rollups are computed again


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: the file, a row of the message table, what fills it."""

    file: str
    code: str
    params: dict[str, str | int] = {}


class Report(msgspec.Struct, frozen=True):
    """What was checked and what was found. `ok` where nothing is wrong; `notes` are leavings of a crash,
    harmless and removed when the node next starts."""

    ok: bool
    segments: int
    rollups: int
    points: int
    head_points: int
    messages: int
    bytes: int
    moved: int
    findings: list[Finding]
    notes: list[Finding]


def fsck(dir: Path | str, *, sample: int = _SAMPLE) -> Report:
    """Check checksums, order, ranges, dedupe state, rollups (on `sample` tags of each stream and kind, or all
    with a negative number), the log and the last values. Raises NotFound (`history.no_store`)."""
    root = Path(dir)
    try:
        manifest = manifests.load(root)
    except Corrupt as error:
        return _hopeless(root, error)
    if manifest is None:
        if any(root.glob("segments/*.parquet")):
            return _hopeless(root, Corrupt("history.no_manifest", path=str(root)))
        raise NotFound("history.no_store", path=str(root))
    return _Check(root, manifest, sample).run()


def _hopeless(root: Path, error: Corrupt) -> Report:
    finding = Finding(str(root / manifests.NAME), error.code, error.params)
    return Report(False, 0, 0, 0, 0, 0, 0, 0, [finding], [])


class _Check:
    def __init__(self, root: Path, manifest: Manifest, sample: int) -> None:
        self.root = root
        self.manifest = manifest
        self.sample = sample
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.moved: set[str] = set()
        self.open: dict[str, SegmentFile] = {}
        self.damaged: set[str] = set()

    def run(self) -> Report:
        for info in self.manifest.files:
            self._file(info)
        self._ranges()
        self._seen()
        self._rollups()
        head_points = self._log()
        self._last()
        self._strays()
        raw = [info for info in self.manifest.files if info.every == RAW]
        return Report(
            ok=not self.findings,
            segments=len(raw),
            rollups=len(self.manifest.files) - len(raw),
            points=sum(info.points for info in raw),
            head_points=head_points,
            messages=sum(IntervalSet(some).count() for some in self.manifest.seen.values()),
            bytes=sum(info.bytes for info in self.manifest.files),
            moved=len(self.moved),
            findings=self.findings,
            notes=self.notes,
        )

    def _found(self, path: Path | str, code: str, /, **params: str | int) -> None:
        self.findings.append(Finding(str(path), code, params))

    def _file(self, info: FileInfo) -> None:
        """Checksum, size, footer, order and count of one file."""
        path = info.path(self.root)
        try:
            if path.stat().st_size != info.bytes or checksum(path) != info.crc:
                self.damaged.add(info.name)
                self._found(path, "history.fsck_checksum")
                return
            file = SegmentFile(path)
            if not _says(file.meta, info):
                self._found(path, "history.fsck_footer")
            self.open[info.name] = file
            self._rows(info, file, path)
        except FileNotFoundError:
            self.damaged.add(info.name)
            now = manifests.load(self.root)
            if now is not None and all(info.name != one.name for one in now.files):
                self.moved.add(info.name)
            else:
                self._found(path, "history.fsck_missing")
        except Corrupt as error:
            self.damaged.add(info.name)
            self._found(path, error.code, **error.params)

    def _rows(self, info: FileInfo, file: SegmentFile, path: Path) -> None:
        rows = points = 0
        before: tuple[int, int] | None = None
        ordered = indexed = True
        for number in range(file.groups):
            names = ["tag", "time"] + (["count", "bad"] if info.every else [])
            table = file.group(number, names)
            tags, times = column(table, "tag"), column(table, "time")
            if info.every:
                points += int(column(table, "count").sum(dtype=np.int64))
                points += int(column(table, "bad").sum(dtype=np.int64))
                ordered &= not (times % info.every).any()
            else:
                points += len(tags)
            ordered &= order_of(tags, times) is None
            first = (int(tags[0]), int(times[0]))
            ordered &= before is None or before <= first
            before = (int(tags[-1]), int(times[-1]))
            at = np.searchsorted(file.index.starts, np.arange(rows, rows + len(tags)), side="right") - 1
            indexed &= np.array_equal(file.index.tags[np.minimum(at, len(file.index.tags) - 1)], tags)
            rows += len(tags)
        if not ordered:
            self._found(path, "history.fsck_order")
        if not indexed:
            self._found(path, "history.fsck_index")
        if (rows, points) != (info.rows, info.points):
            self._found(path, "history.fsck_count", expected=info.points, found=points)

    def _ranges(self) -> None:
        """Files of one stream, kind and resolution must not overlap in stream sequence."""
        for group in _grouped(self.manifest.files).values():
            for one, two in pairwise(group):
                if two.first <= one.last:
                    self._found(two.path(self.root), "history.fsck_overlap", other=one.name)
        for info in self.manifest.files:
            if info.last > self.manifest.streams.get(info.stream, 0):
                self._found(info.path(self.root), "history.fsck_beyond", stream=info.stream)

    def _seen(self) -> None:
        """Each message in one segment at most, and every one of them known to the manifest."""
        known = {source: IntervalSet(some) for source, some in self.manifest.seen.items()}
        counted: dict[str, IntervalSet] = {}
        for info in self.manifest.files:
            file = self.open.get(info.name)
            if info.every != RAW or file is None:
                continue
            for source, some in file.meta.seen.items():
                mine = IntervalSet(some)
                total = counted.setdefault(source, IntervalSet())
                if total.overlaps(mine):
                    self._found(file.path, "history.fsck_twice", source=source)
                for first, last in some:
                    total.add(first, last)
                    if not known.get(source, IntervalSet()).covers(first, last):
                        self._found(file.path, "history.fsck_unseen", source=source)

    def _rollups(self) -> None:
        """Rollups against raw points, where no segment has been dropped or damaged."""
        groups = _grouped(self.manifest.files)
        for (every, stream, kind), minutes in groups.items():
            raw = groups.get((RAW, stream, kind), [])
            if every != MINUTE or self.damaged & {i.name for i in (*raw, *minutes)}:
                continue
            if not self.manifest.dropped and _points(raw) != _points(minutes):
                self._found(
                    minutes[0].path(self.root),
                    "history.fsck_rollup_count",
                    expected=_points(raw),
                    found=_points(minutes),
                )
                continue
            if _points(raw) == _points(minutes):
                hours = groups.get((HOUR, stream, kind), [])
                self._recompute(kind, raw, minutes, hours)

    def _recompute(
        self, kind: Kind, raw: Sequence[FileInfo], minutes: Sequence[FileInfo], hours: Sequence[FileInfo]
    ) -> None:
        for tag in self._sampled(raw):
            points = _tag_rows([self.open[i.name] for i in raw], tag, SCHEMA[kind])
            wanted = rollup(kind, sort_table(points), MINUTE)
            parts = _tag_rows([self.open[i.name] for i in minutes], tag, wanted.schema)
            if not _alike(merge(kind, parts, MINUTE), wanted):
                self._found(minutes[0].path(self.root), "history.fsck_rollup", tag=tag)
            for info in hours:
                twin = next((m for m in minutes if (m.first, m.last) == (info.first, info.last)), None)
                if twin is None or info.name in self.damaged:
                    continue
                have = _tag_rows([self.open[info.name]], tag, wanted.schema)
                want = merge(kind, _tag_rows([self.open[twin.name]], tag, wanted.schema), HOUR)
                if not _alike(have, want):
                    self._found(info.path(self.root), "history.fsck_rollup", tag=tag)

    def _sampled(self, raw: Sequence[FileInfo]) -> list[int]:
        tags = np.unique(np.concatenate([self.open[info.name].index.tags for info in raw]))
        if self.sample >= 0 and len(tags) > self.sample:
            tags = tags[np.linspace(0, len(tags) - 1, self.sample).astype(np.int64)]
        return [int(tag) for tag in tags]

    def _log(self) -> int:
        """Every frame of the log whole, but for a torn end of the newest generation beyond what the committed
        word, read first, vouches for."""
        folder = self.root / "log"
        generation, committed = _committed(folder)
        numbers = [n for n in generations(folder) if n >= self.manifest.log_from]
        points = 0
        for number in numbers:
            path = log_path(folder, number)
            try:
                found, end, size = read_log(path)
                points += sum(len(decode(pa.py_buffer(one.payload))[1]) for one in found)
                if number == generation and end < committed:
                    self._found(path, "history.fsck_log", at=end, bytes=committed - end)
                elif end < size:
                    place = self.notes if number == numbers[-1] else self.findings
                    place.append(Finding(str(path), "history.fsck_torn", {"bytes": size - end}))
            except FileNotFoundError:
                self.moved.add(path.name)
            except Corrupt as error:
                self._found(path, error.code, **error.params)
        return points

    def _last(self) -> None:
        if self.manifest.last:
            path = self.root / "last" / self.manifest.last
            try:
                LastTable.load(path)
            except FileNotFoundError:
                now = manifests.load(self.root)
                if now is not None and now.last == self.manifest.last:
                    self._found(path, "history.fsck_missing")
            except Corrupt as error:
                self._found(path, error.code, **error.params)

    def _strays(self) -> None:
        now = manifests.load(self.root)
        if now is None or now.version != self.manifest.version:
            return  # a writer is at work: what no manifest names may be in the making
        named = {info.name for info in now.files} | {now.last}
        for folder in ("segments", "rollups", "last"):
            for path in (self.root / folder).glob("*"):
                if path.name not in named and path.suffix != TEMPORARY:
                    self.notes.append(Finding(str(path), "history.fsck_stray"))


def _says(meta: SegmentMeta, info: FileInfo) -> bool:
    names = ("kind", "stream", "first", "last", "level", "every", "points")
    return all(getattr(meta, name) == getattr(info, name) for name in names)


def _grouped(files: Sequence[FileInfo]) -> dict[tuple[int, str, Kind], list[FileInfo]]:
    groups: dict[tuple[int, str, Kind], list[FileInfo]] = {}
    for info in sorted(files, key=lambda i: i.first):
        groups.setdefault((info.every, info.stream, info.kind), []).append(info)
    return groups


def _points(files: Sequence[FileInfo]) -> int:
    return sum(info.points for info in files)


def _tag_rows(files: Sequence[SegmentFile], tag: int, schema: pa.Schema) -> pa.Table:
    found: Iterator[pa.Table | None] = (file.tag(tag) for file in files)
    tables = [table.cast(schema) for table in found if table is not None]
    return pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()


def _alike(one: pa.Table, two: pa.Table) -> bool:
    """Equal, sums up to the rounding of another order of addition."""
    names = [name for name in one.schema.names if name != "sum"]
    if not one.select(names).equals(two.select(names)):
        return False
    first, second = (t.column("sum").fill_null(0).to_numpy() for t in (one, two))
    return bool(np.allclose(first, second, rtol=1e-9, atol=1e-300, equal_nan=True))


def _committed(folder: Path) -> tuple[int, int]:
    """Generation and length that were promised to be on disk; (0, 0) where no writer has been here."""
    try:
        word = CommitWord(folder, write=False)
    except (OSError, ValueError):  # none, or an empty one
        return 0, 0
    try:
        return word.get()
    finally:
        word.close()
