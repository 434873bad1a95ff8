"""The store: the one process that writes history.

`append` makes messages durable in the log and returns; `maintain` turns the log into segments and merges
segments, in another thread, without holding `append` up for longer than a swap of two references. What the
store knows is in the manifest and in the log behind it; opening it after a crash reads just those.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from headrace.history import manifest as manifests
from headrace.history._intervals import IntervalSet
from headrace.history.compaction import Merge, Output, plan, plan_all, superseded
from headrace.history.files import TEMPORARY, sync_folder, translated
from headrace.history.lastvalues import LastTable, rebuild_last, save_last
from headrace.history.log import (
    CommitWord,
    Frame,
    FrameMeta,
    LogWriter,
    frame,
    generations,
    log_path,
    read_log,
)
from headrace.history.manifest import MINUTE, RAW, FileInfo, Manifest
from headrace.history.rollups import rollup
from headrace.history.segments import bad_segment, sort_table
from headrace.history.settings import HistorySettings
from headrace.kernel.clock import NS_PER_S, Clock, SystemClock
from headrace.kernel.errors import Conflict, Corrupt, InputError, NotFound, Unavailable
from headrace.kernel.model import SCHEMA, Batch, Header, Kind, decode, encode

_log = structlog.get_logger(__name__)

MAX_TAG = 1 << 24
_LOCK_TRIES = 10
_LOCK_PAUSE_S = 0.02
_MERGE_PAUSE_NS = 60 * NS_PER_S
_STREAM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")


class Appended(msgspec.Struct, frozen=True):
    """What an append added; `duplicates` are the messages that history had already."""

    messages: int
    points: int
    duplicates: int


class StoreState(msgspec.Struct, frozen=True):
    """For the status: points and messages not yet sealed, files, bytes of segments, rollups and log."""

    head_rows: int
    head_messages: int
    segments: int
    rollups: int
    bytes: int
    points: int


class _Generation:
    """One log file and what it holds, decoded, waiting to be sealed."""

    def __init__(self, writer: LogWriter, since: int) -> None:
        self.writer = writer
        self.since = since  # monotonic ns of its first message
        self.items: list[tuple[str, int, Header, Batch]] = []
        self.rows = 0
        self.positions: dict[str, int] = {}

    def add(self, stream: str, position: int, header: Header, batch: Batch) -> None:
        self.items.append((stream, position, header, batch))
        self.rows += len(batch)
        self.positions[stream] = position


class Store:
    """History open for writing. `append` and `maintain` may run in two threads at once."""

    def __init__(
        self, root: Path, clock: Clock, settings: HistorySettings, lock: int, word: CommitWord
    ) -> None:
        """Use `Store.open`."""
        self.root = root
        self._clock = clock
        self._settings = settings
        self._lock_fd = lock
        self._word = word
        self._mutex = threading.Lock()  # the head: generations, positions, seen, last
        self._maintenance = threading.Lock()  # sealing, merging, the manifest
        self._manifest = Manifest()
        self._generations: list[_Generation] = []
        self._positions: dict[str, int] = {}
        self._seen: dict[str, IntervalSet] = {}
        self._last = LastTable()
        self._spare: LogWriter | None = None
        self._merge: Merge | None = None
        self._merge_not_before = 0  # monotonic ns; after a failed merge there is a pause
        self._closed = False

    @classmethod
    def open(
        cls,
        dir: Path | str,
        *,
        clock: Clock | None = None,
        settings: HistorySettings | None = None,
    ) -> Store:
        """Open (or create) the store in `dir` and recover what a crash left.

        Raises Conflict (`history.in_use`) where another process writes it, Corrupt, Unavailable.
        """
        root = Path(dir)
        with translated(root):
            for folder in ("log", "segments", "rollups", "last"):
                (root / folder).mkdir(parents=True, exist_ok=True)
        lock = _take_lock(root)
        try:
            word = CommitWord(root / "log", write=True)
            store = cls(root, clock or SystemClock(), settings or HistorySettings(), lock, word)
            store._recover()
        except BaseException:
            os.close(lock)
            raise
        return store

    # --- appending -----------------------------------------------------------------------------------------

    def append(
        self,
        stream: str,
        items: Sequence[tuple[int, Header, Batch]],
        payloads: Sequence[bytes] | None = None,
        *,
        upto: int = 0,
    ) -> Appended:
        """Make these messages part of history; durable when it returns.

        `items` are (stream sequence, Header, Batch) in stream order; `payloads` their wire form, so that it
        need not be made again. Where it succeeds, the position moves to `upto` at least, past messages that
        are no part of history. A message whose stream sequence is not beyond `position`, or whose header has
        been seen from the same node and source, is passed over. Raises Unavailable (`history.disk_full`,
        `history.io_error`): then none of `items` is in history and the call may be repeated. Raises
        InputError (`history.bad_stream`, `history.bad_tag`).
        """
        if not stream or not _STREAM.issuperset(stream):
            raise InputError("history.bad_stream", stream=stream)
        data: list[bytes] = []
        fresh: list[tuple[int, Header, Batch]] = []
        added: dict[str, IntervalSet] = {}
        with self._mutex:
            if self._closed:
                raise Unavailable("history.closed", path=str(self.root))
            position = self._positions.get(stream, 0)
            for number, (at, header, batch) in enumerate(items):
                if at <= position:
                    continue
                position = at
                source = f"{header.node}/{header.source}"
                if header.sequence in self._seen.get(source, ()) or header.sequence in added.get(source, ()):
                    continue
                check_tags(batch)
                added.setdefault(source, IntervalSet()).add(header.sequence)
                fresh.append((at, header, batch))
                payload = payloads[number] if payloads is not None else encode(header, batch)
                meta = FrameMeta(stream, at, header.node, header.source, header.sequence, batch.kind.value)
                data.append(frame(meta, payload))
            active = self._generations[-1]
            if data:
                active.writer.append(data)
                if not active.items:
                    active.since = self._clock.monotonic()
            for at, header, batch in fresh:
                self._take(active, stream, at, header, batch)
            position = max(position, upto)
            if position > self._positions.get(stream, 0):
                self._positions[stream] = active.positions[stream] = position
        points = sum(len(batch) for _, _, batch in fresh)
        return Appended(len(fresh), points, len(items) - len(fresh))

    def position(self, stream: str) -> int:
        """The last stream sequence that is in history; 0 before the first. Reading goes on behind it."""
        return self._positions.get(stream, 0)

    def purgeable(self, stream: str) -> int:
        """The last stream sequence that is in sealed segments: the bus may forget it and all before."""
        return self._manifest.streams.get(stream, 0)

    def streams(self) -> list[str]:
        """The streams that history has positions for."""
        return sorted(self._positions)

    def state(self) -> StoreState:
        """Counts for the status, cheap."""
        with self._mutex:
            head = sum(g.rows for g in self._generations)
            messages = sum(len(g.items) for g in self._generations)
            log = sum(g.writer.size for g in self._generations)
        files = self._manifest.files
        raw = [info for info in files if info.every == RAW]
        return StoreState(
            head_rows=head,
            head_messages=messages,
            segments=len(raw),
            rollups=len(files) - len(raw),
            bytes=sum(info.bytes for info in files) + log,
            points=sum(info.points for info in raw) + head,
        )

    def _take(self, into: _Generation, stream: str, at: int, header: Header, batch: Batch) -> None:
        into.add(stream, at, header, batch)
        self._positions[stream] = at
        self._seen.setdefault(f"{header.node}/{header.source}", IntervalSet()).add(header.sequence)
        self._last.update(batch)

    # --- maintenance ---------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether `maintain` has something to do now."""
        files = self._manifest.files
        return self._seal_due() or self._merge_due() or bool(self._expired(files))

    def maintain(self) -> bool:
        """One bounded step: seal the head, or merge about a million rows, or drop what is out of retention.

        True where there is more to do at once. Raises Unavailable (then nothing has changed and the step is
        tried again next time) and Corrupt.
        """
        with self._maintenance:
            if self._closed:
                return False
            if self._seal_due():
                self._seal()
            elif self._expired(self._manifest.files):
                self._drop()
            elif self._merge_due():
                self._merge_step()
            else:
                return False
        return self.due()

    def seal(self) -> None:
        """Seal everything in the log now."""
        with self._maintenance:
            self._seal()

    def compact(self) -> None:
        """Seal, then merge until nothing can be merged any more."""
        with self._maintenance:
            self._seal()
            while self._merge is not None:
                self._merge_step()
            while files := plan_all(self._manifest.files, self._settings):
                self._merge_step(files)
                while self._merge is not None:
                    self._merge_step()

    def close(self) -> None:
        """Release the store. What is in the log stays there, to be sealed later. Idempotent."""
        with self._maintenance, self._mutex:
            if self._closed:
                return
            self._closed = True
            if self._merge is not None:
                self._merge.discard()
            for generation in self._generations:
                generation.writer.close()
            if self._spare is not None:
                self._spare.close()
            self._word.close()
            os.close(self._lock_fd)

    def _seal_due(self) -> bool:
        head = self._generations
        if len(head) > 1:
            return True
        active = head[-1]
        if not active.items:
            return False
        age = self._clock.monotonic() - active.since
        return active.rows >= self._settings.seal_rows or age >= self._settings.seal_every

    def _seal(self) -> None:
        """Log to segments: rotate, write, commit, forget. A failure after the rotation leaves the rotated
        generations in the log, to be sealed together the next time."""
        if self._generations[-1].items:
            self._rotate()
        sealed = self._generations[:-1]
        if not sealed:
            return
        before = self._manifest
        positions = dict(before.streams)
        seen = {source: IntervalSet(some) for source, some in before.seen.items()}
        groups: dict[tuple[str, Kind], list[tuple[Header, Batch]]] = {}
        for generation in sealed:
            positions.update(generation.positions)
            for stream, _, header, batch in generation.items:
                groups.setdefault((stream, batch.kind), []).append((header, batch))
                seen.setdefault(f"{header.node}/{header.source}", IntervalSet()).add(header.sequence)
        made: list[FileInfo] = []
        version = before.version + 1
        last = f"last-{version:010d}.arrow"
        with translated(self.root):
            for (stream, kind), messages in groups.items():
                span = (stream, before.streams.get(stream, 0) + 1, positions[stream])
                made += _write_level0(self.root, kind, span, messages)
            with self._mutex:
                snapshot = self._last.snapshot()
            save_last(snapshot, self.root / "last" / last)
            for folder in ("segments", "rollups", "last"):
                sync_folder(self.root / folder)
        self._commit(
            msgspec.structs.replace(
                before,
                version=version,
                log_from=self._generations[-1].writer.generation,
                streams=positions,
                seen={source: some.intervals() for source, some in seen.items()},
                files=(*before.files, *made),
                last=last,
            )
        )
        with self._mutex:
            del self._generations[: len(sealed)]
        for generation in sealed:
            generation.writer.close()
            log_path(self.root / "log", generation.writer.generation).unlink(missing_ok=True)
        if before.last:
            (self.root / "last" / before.last).unlink(missing_ok=True)

    def _rotate(self) -> None:
        """Begin a new generation. Its file is made before the head is locked."""
        if self._spare is None:
            number = self._generations[-1].writer.generation + 1
            self._spare = LogWriter.create(self.root / "log", number, self._word)
        with self._mutex:
            with translated(self.root):
                self._generations[-1].writer.settle()
            self._spare.publish()
            self._generations.append(_Generation(self._spare, self._clock.monotonic()))
            self._spare = None

    def _merge_due(self) -> bool:
        if self._merge is not None:
            return True
        if self._clock.monotonic() < self._merge_not_before:
            return False
        return bool(plan(self._manifest.files, self._settings))

    def _merge_step(self, files: Sequence[FileInfo] = ()) -> None:
        """One step of the merge under way, or the first of a new one (of `files`, or what is due)."""
        try:
            with translated(self.root):
                if self._merge is None:
                    self._merge = Merge(self.root, files or plan(self._manifest.files, self._settings))
                merge = self._merge
                made = merge.step()
                if made is None:
                    return
                for folder in {info.folder for info in made}:
                    sync_folder(self.root / folder)
            self._replace(superseded(self._manifest.files, merge.inputs), made)
        except BaseException as error:
            if self._merge is not None:
                self._merge.discard()
                self._merge = None
            self._merge_not_before = self._clock.monotonic() + _MERGE_PAUSE_NS
            if isinstance(error, FileNotFoundError):
                raise bad_segment(self.root, error) from error
            raise
        self._merge = None

    def _expired(self, files: Sequence[FileInfo]) -> list[FileInfo]:
        if not self._settings.retention:
            return []
        limit = self._clock.now() - self._settings.retention
        held = {info.name for info in self._merge.inputs} if self._merge is not None else set()
        return [i for i in files if i.every == RAW and i.max_time < limit and i.name not in held]

    def _drop(self) -> None:
        gone = self._expired(self._manifest.files)
        points = sum(info.points for info in gone)
        _log.info("history_expired", segments=len(gone), points=points)
        self._replace({info.name for info in gone}, [], dropped=points)

    def _replace(self, gone: set[str], made: Sequence[FileInfo], dropped: int = 0) -> None:
        """Commit `made` in the place of `gone`, then remove the files; who still reads them looks again."""
        before = self._manifest
        kept = [info for info in before.files if info.name not in gone]
        removed = [info for info in before.files if info.name in gone]
        self._commit(
            msgspec.structs.replace(
                before,
                version=before.version + 1,
                files=tuple(sorted([*kept, *made], key=lambda i: (i.every, i.stream, i.kind, i.first))),
                dropped=before.dropped + dropped,
            )
        )
        for info in removed:
            info.path(self.root).unlink(missing_ok=True)

    def _commit(self, manifest: Manifest) -> None:
        manifests.save(self.root, manifest)
        self._manifest = manifest

    # --- recovery ------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        found = manifests.load(self.root)
        if found is None:
            if any((self.root / "segments").glob("*.parquet")):
                raise Corrupt("history.no_manifest", path=str(self.root))
            found = Manifest()
            manifests.save(self.root, found)
        self._manifest = found
        self._tidy()
        self._positions = dict(found.streams)
        self._seen = {source: IntervalSet(some) for source, some in found.seen.items()}
        self._last = self._load_last()
        self._replay()
        self._generations[-1].writer.publish()

    def _tidy(self) -> None:
        """Remove what no manifest names: files of a step that a crash cut short."""
        named = {info.name for info in self._manifest.files} | {self._manifest.last}
        removed = 0
        for folder in ("segments", "rollups", "last"):
            for path in (self.root / folder).iterdir():
                if path.name not in named:
                    path.unlink()
                    removed += 1
        for path in self.root.glob(f"*{TEMPORARY}"):
            path.unlink()
        for number in generations(self.root / "log"):
            if number < self._manifest.log_from:
                log_path(self.root / "log", number).unlink()
        if removed:
            _log.info("history_tidied", files=removed)

    def _replay(self) -> None:
        """Read the log. Damage in the middle ends it there: what follows is moved aside and comes again from
        the bus, which keeps every message until it is sealed."""
        folder = self.root / "log"
        committed = self._word.get()
        expected = self._manifest.log_from
        numbers = [n for n in generations(folder) if n >= expected]
        damaged = False
        for number in numbers:
            path = log_path(folder, number)
            if damaged or number != expected:
                damaged = True
                self._set_aside(path)
                path.unlink()
                continue
            found, end, size = read_log(path)
            torn = end < size
            if (torn and number != numbers[-1]) or (committed[0] == number and committed[1] > end):
                damaged = True
                self._set_aside(path)
                _log.error("history_log_damaged", file=str(path), size=size, readable=end)
            elif torn:
                _log.info("history_log_torn_tail", file=str(path), bytes=size - end)
            writer = LogWriter.recover(folder, number, self._word, end)
            generation = _Generation(writer, self._clock.monotonic())
            self._generations.append(generation)
            self._take_frames(generation, found)
            expected += 1
        if not self._generations:
            writer = LogWriter.create(folder, expected, self._word)
            self._generations.append(_Generation(writer, self._clock.monotonic()))

    def _take_frames(self, generation: _Generation, found: Sequence[Frame]) -> None:
        for one in found:
            header, batch = decode(pa.py_buffer(one.payload))
            self._take(generation, one.meta.stream, one.meta.position, header, batch)

    def _set_aside(self, path: Path) -> None:
        folder = self.root / "damaged"
        folder.mkdir(exist_ok=True)
        shutil.copy2(path, folder / f"{path.stem}-{self._clock.now()}.log")

    def _load_last(self) -> LastTable:
        if not self._manifest.last:
            return LastTable()
        try:
            return LastTable.load(self.root / "last" / self._manifest.last)
        except (FileNotFoundError, Corrupt) as error:
            _log.warning("history_last_values_rebuilt", reason=str(error))
            return rebuild_last(self.root, self._manifest.files)


def compact(dir: Path | str, *, settings: HistorySettings | None = None) -> None:
    """Seal and merge everything in a store that no node has open. Raises NotFound (`history.no_store`),
    Conflict (`history.in_use`), Corrupt, Unavailable."""
    if manifests.load(Path(dir)) is None:
        raise NotFound("history.no_store", path=str(dir))
    store = Store.open(dir, settings=settings)
    try:
        store.compact()
    finally:
        store.close()


def check_tags(batch: Batch) -> None:
    """Raises InputError (`history.bad_tag`) where a tag id is not one that a catalogue gives out."""
    if len(batch):
        low, high = int(batch.tags.min()), int(batch.tags.max())
        if low < 0 or high >= MAX_TAG:
            raise InputError("history.bad_tag", tag=low if low < 0 else high, most=MAX_TAG - 1)


def _write_level0(
    root: Path, kind: Kind, span: tuple[str, int, int], messages: Sequence[tuple[Header, Batch]]
) -> list[FileInfo]:
    """The segment and the minute rollup of these messages; [] where they have no points."""
    table = pa.Table.from_batches([batch.data for _, batch in messages], schema=SCHEMA[kind])
    if not table.num_rows:
        return []
    stream, first, last = span
    seen: dict[str, IntervalSet] = {}
    for header, _ in messages:
        seen.setdefault(f"{header.node}/{header.source}", IntervalSet()).add(header.sequence)
    table = sort_table(table.combine_chunks())
    made: list[FileInfo] = []
    for every in (RAW, MINUTE):
        rows = table if every == RAW else rollup(kind, table, every)
        output = Output(root, kind=kind, stream=stream, first=first, last=last, level=0, every=every)
        try:
            output.write(rows, table.num_rows)
            made.append(output.finish(seen))
        finally:
            output.discard()
    return made


def _take_lock(root: Path) -> int:
    """The writer's lock, given up when its descriptor closes. It belongs to the open file, not the process,
    so a reader in the same process neither shares nor breaks it. A reader may hold it for a moment to see
    whether there is a writer, hence the few tries. Raises Conflict (`history.in_use`)."""
    path = root / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    os.close(fd)
    raise Conflict("history.in_use", path=str(root))
