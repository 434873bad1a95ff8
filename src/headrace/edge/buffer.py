"""The store-and-forward buffer: what the edge has read is safe here until the bus has it.

Every message is written ahead: framed, checksummed and made durable (fdatasync, shared by all messages that
wait) before it is published, and forgotten once the bus has acknowledged it. Guarantees:

- A message whose `append` came to True survives kill -9 and power loss until it is acked.
- Sequences strictly increase over restarts and crashes and are never used twice: a durable floor lies ahead
  of every sequence that has been given out.
- Disk use is bounded by the quota. At the quota either the oldest segment goes, or new messages are refused;
  both are counted and told as a Gap. While the disk takes nothing at all, messages are held in memory
  (bounded too), may be published from there, and go to disk by themselves as soon as it takes them.
- Acks are remembered lazily: after a crash some messages are published again, with the same dedupe key.

The folder: `<first sequence>.seg`, `floor` (durable), `acks` (lazy), `quarantine/`, `lock`.
One process at a time has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import structlog

from headrace.edge.config import BufferSettings
from headrace.edge.segment import Damage, Disk, Record, Segment, scan, write_frames
from headrace.kernel.clock import Clock
from headrace.kernel.errors import Conflict, Corrupt

log = structlog.get_logger(__name__)

_RESERVE = 1 << 20  # sequences between the floor on disk and the next one at most
_RETRY_S = 1.0
_ACKS_S = 2.0
_LIVE_BYTES = 16 << 20  # payloads kept in memory for the live lane
_LIVE_WHILE_DOWN = 8  # messages: what goes first when the bus is back
_QUARANTINED = 16  # damaged ranges kept for inspection
_NUMBER = struct.Struct("<QI")


class Gap(msgspec.Struct, frozen=True):
    """Messages that will never be published. Times are UTC ns, of the first and the last of them."""

    reason: str  # "quota", "memory" or "corrupt"
    count: int
    first_time: int
    last_time: int


class Depth(msgspec.Struct, frozen=True):
    """What is not yet acknowledged by the bus."""

    messages: int
    bytes: int
    oldest: int  # UTC ns; 0 where there is nothing
    held: int  # of these, messages that are in memory only


class _Waiting:
    """A record on its way to disk; `durable` is what its `append` came to, or will come to."""

    __slots__ = ("durable", "record", "size")

    def __init__(self, record: Record, durable: asyncio.Future[bool]) -> None:
        self.record = record
        self.durable = durable
        self.size = len(record.payload) + len(record.subject) + 32


class Buffer:
    """Made by `open`; all methods belong to one event loop. `ready` is called whenever there may be something
    new to take."""

    def __init__(self, path: Path, settings: BufferSettings, clock: Clock, disk: Disk) -> None:
        self._path = path
        self._settings = settings
        self._clock = clock
        self._disk = disk
        self.ready: Callable[[], None] = lambda: None
        self.dropped = 0
        self.fault = ""  # why the disk takes nothing; empty while it does
        self._segments: list[Segment] = []  # by first sequence; the last may be the active one
        self._active: Segment | None = None
        self._fd = -1
        self._lock = self._floor_fd = self._acks_fd = -1
        self._next = 1
        self._floor = 1
        self._queue: list[_Waiting] = []
        self._writing: set[int] = set()
        self._early: set[int] = set()  # acked (out of memory) while being written
        self._held: dict[int, _Waiting] = {}
        self._held_bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._saver: asyncio.TimerHandle | None = None
        self._live: dict[int, Record] = {}
        self._live_bytes = 0
        self._down = False  # the bus, as far as known
        self._out: set[int] = set()  # taken and neither acked nor released
        self._unacked = 0
        self._unacked_bytes = 0
        self._cursor: tuple[int, int] = (0, 0)  # (first sequence of a segment, index): backlog read so far
        self._gaps: list[Gap] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="edge-buffer")

    # --- opening ---

    @classmethod
    def open(cls, path: Path, settings: BufferSettings, clock: Clock, *, disk: Disk | None = None) -> Buffer:
        """The buffer in the folder `path`, with everything that was left in it. Raises Conflict where another
        process has it, OSError where the folder cannot be used at all."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self = cls(path, settings, clock, disk or Disk())
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise Conflict("edge.buffer_locked", path=str(path)) from None
        self._floor_fd = os.open(path / "floor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._acks_fd = os.open(path / "acks", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        acked = _load(self._acks_fd)
        files = sorted(path.glob("*.seg"))
        for n, file in enumerate(files):
            self._recover(file, acked, last=n == len(files) - 1)
        top = max((s.sequences[-1] for s in self._segments), default=0)
        self._next = max(_load(self._floor_fd), top + 1, acked + 1, 1)
        self._save_floor(self._next + _RESERVE)
        self._disk.sync_folder(path)
        return self

    def _recover(self, file: Path, acked: int, *, last: bool) -> None:
        segment, damage = scan(file)
        for hurt in damage:
            tail = hurt.end == file.stat().st_size
            if not (tail and last):
                self._quarantine(file, hurt, segment)
            if tail:
                os.truncate(file, hurt.start)  # what a crash tore was never acknowledged
        for sequence in list(segment.sequences):
            if sequence > acked:
                break
            segment.ack(sequence)
        if not segment.unacked:
            file.unlink()
            return
        self._segments.append(segment)
        self._unacked += segment.unacked
        self._unacked_bytes += segment.unacked_bytes

    def _quarantine(self, file: Path, hurt: Damage, segment: Segment) -> None:
        log.error("buffer_record_corrupt", segment=file.name, start=hurt.start, end=hurt.end)
        folder = self._path / "quarantine"
        folder.mkdir(exist_ok=True)
        if len(list(folder.iterdir())) < _QUARANTINED:
            with contextlib.suppress(OSError), file.open("rb") as source:  # a copy for inspection, no more
                source.seek(hurt.start)
                (folder / f"{file.stem}-{hurt.start}.bin").write_bytes(source.read(hurt.end - hurt.start))
        times = segment.times or [self._clock.now()]
        self._lost("corrupt", 1, times[0], times[-1])

    # --- writing ---

    def sequence(self) -> int:
        """The next sequence; never given out before, by any process that had this folder."""
        if self._next >= self._floor:
            self._raise_floor()
        value = self._next
        self._next += 1
        return value

    def append(
        self, sequence: int, subject: str, payload: bytes, *, urgent: bool = False
    ) -> asyncio.Future[bool]:
        """Comes to True when the message is durable, to False where it is not: held in memory because the
        disk takes nothing, or dropped by the policy. `urgent` passes over the quota (audit and gap events).
        Sequences must come in order."""
        record = Record(sequence, self._clock.now(), subject, payload)
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        if not urgent and not self._admit(waiting):
            waiting.durable.set_result(False)
            return waiting.durable
        if self.fault:
            self._hold([waiting])
        else:
            self._queue.append(waiting)
            if self._flushing is None:
                self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return waiting.durable

    def _admit(self, waiting: _Waiting) -> bool:
        """Make room under the quota, or refuse."""
        queued = sum(w.size for w in self._queue)
        used = sum(s.size for s in self._segments) + queued + waiting.size
        while used > self._settings.quota:
            if self._settings.on_full == "refuse-new":
                self._lost("quota", 1, waiting.record.time, waiting.record.time)
                return False
            victim = self._segments[0] if self._segments else None
            if victim is None or victim is self._active:
                break
            used -= victim.size
            self._drop(victim)
        return True

    def _drop(self, segment: Segment) -> None:
        """Give up the segment, except for what is out just now."""
        left = [
            i
            for i in range(segment.low, len(segment.sequences))
            if not segment.is_acked(i) and segment.sequences[i] not in self._out
        ]
        for i in left:
            self._unlive(segment.sequences[i])
        if left:
            self._lost("quota", len(left), segment.times[left[0]], segment.times[left[-1]])
        self._unacked -= segment.unacked
        self._unacked_bytes -= segment.unacked_bytes
        self._remove(segment)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                # what was held and has gone out from memory meanwhile needs no disk
                group = [w for w in self._queue if not w.durable.done() or w.record.sequence in self._held]
                self._queue = []
                if not group:
                    break
                self._writing = {w.record.sequence for w in group}
                try:
                    segment, places = await loop.run_in_executor(
                        self._pool, self._write, [w.record for w in group]
                    )
                except OSError as error:
                    self._fail(error)
                    self._hold(group)
                    self._hold(self._queue)
                    self._queue = []
                    return
                self._committed(segment, group, places)
                if self.fault:  # it takes again: what was held meanwhile goes before anything newer
                    log.info("buffer_disk_accepts", path=str(self._path))
                    self.fault = ""
                    self._queue = [*self._held.values(), *self._queue]
        finally:
            self._writing = set()
            self._early.clear()
            self._flushing = None

    def _write(self, records: list[Record]) -> tuple[Segment, list[tuple[int, int]]]:
        """In the writer thread: append to the active segment, or to a new one where that is full."""
        if records[-1].sequence > self._floor - _RESERVE // 2:
            self._save_floor(records[-1].sequence + _RESERVE)
        segment = self._active
        if segment is None or segment.size >= self._settings.segment:
            self._close_active()
            segment = Segment(self._path / f"{records[0].sequence:020d}.seg")
            self._fd = self._disk.create(segment.path)
        try:
            places = write_frames(self._disk, self._fd, segment, records)
        except OSError:
            if not segment.sequences:  # leave no empty file behind
                self._close_active()
                segment.path.unlink(missing_ok=True)
                self._active = None
            raise
        self._active = segment
        return segment, places

    def _close_active(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _committed(self, segment: Segment, group: list[_Waiting], places: list[tuple[int, int]]) -> None:
        self._writing = set()
        if not self._segments or self._segments[-1] is not segment:
            before = self._segments[-1] if self._segments else None
            self._segments.append(segment)
            if before is not None and not before.unacked:
                self._remove(before)
        for waiting, (offset, length) in zip(group, places, strict=True):
            record = waiting.record
            segment.add(record.sequence, record.time, offset, length)
            self._unacked += 1
            self._unacked_bytes += length
            if record.sequence in self._early:
                self._early.discard(record.sequence)
                self.ack(record.sequence)
            elif record.sequence in self._held:  # it was held, and may have gone out or be going
                self._unhold(record.sequence)
            else:
                self._enlive(record)
            if not waiting.durable.done():
                waiting.durable.set_result(True)
        self.ready()

    # --- while the disk takes nothing ---

    def _fail(self, error: OSError) -> None:
        if not self.fault:
            log.error("buffer_disk_refuses", path=str(self._path), reason=error.strerror)
        self.fault = error.strerror or type(error).__name__
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._try_again)

    def _hold(self, group: list[_Waiting]) -> None:
        for waiting in group:
            sequence = waiting.record.sequence
            if sequence not in self._held and sequence not in self._early:
                self._held[sequence] = waiting
                self._held_bytes += waiting.size
                self._enlive(waiting.record)
            if not waiting.durable.done():
                waiting.durable.set_result(False)
        while self._held_bytes > self._settings.memory and self._held:
            oldest = self._settings.on_full == "drop-oldest"
            sequence = next(iter(self._held)) if oldest else next(reversed(self._held))
            record = self._held[sequence].record
            self._unhold(sequence)
            self._unlive(sequence)
            if sequence not in self._out:
                self._lost("memory", 1, record.time, record.time)
        self.ready()

    def _unhold(self, sequence: int) -> None:
        waiting = self._held.pop(sequence, None)
        if waiting is not None:
            self._held_bytes -= waiting.size

    def _try_again(self) -> None:
        """Send what is held to the disk, in the order of sequences, before anything newer."""
        self._retry = None
        if self._flushing is not None:
            return
        self._queue = [*self._held.values(), *self._queue]
        if not self._queue:  # the bus has taken it all
            self.fault = ""
        else:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    # --- publishing ---

    def take_live(self) -> Record | None:
        """The next message that is fresh from memory, in order; it is out until acked or released."""
        if not self._live:
            return None
        sequence = next(iter(self._live))
        record = self._live[sequence]
        self._unlive(sequence)
        self._out.add(sequence)
        return record

    @property
    def backlog(self) -> int:
        """Messages that `take_backlog` has still to give."""
        waiting = self._unacked + len(self._held) - len(self._live) - len(self._out)
        return max(waiting, 0)

    async def take_backlog(self) -> Record | None:
        """The oldest message that is neither acked, out, nor in the live lane."""
        loop = asyncio.get_running_loop()
        while (place := self._advance()) is not None:
            segment, index = place
            sequence = segment.sequences[index]
            self._out.add(sequence)
            try:
                return await loop.run_in_executor(self._pool, segment.read, index)
            except (OSError, Corrupt) as error:
                log.error("buffer_record_unreadable", sequence=sequence, reason=str(error))
                self._lost("corrupt", 1, segment.times[index], segment.times[index])
                self.ack(sequence)
        for sequence, waiting in self._held.items():
            if sequence not in self._out and sequence not in self._live:
                self._out.add(sequence)
                return waiting.record
        return None

    def _advance(self) -> tuple[Segment, int] | None:
        first, index = self._cursor
        at = max(bisect_right(self._segments, first, key=lambda s: s.sequences[0]) - 1, 0)
        for segment in self._segments[at:]:
            start = segment.sequences[0]
            for i in range(max(index if start == first else 0, segment.low), len(segment.sequences)):
                sequence = segment.sequences[i]
                if sequence in self._out or sequence in self._live or segment.is_acked(i):
                    continue
                self._cursor = (start, i + 1)
                return segment, i
        return None

    def ack(self, sequence: int) -> None:
        """The bus has it."""
        self._out.discard(sequence)
        self._unhold(sequence)
        self._down = False
        if sequence in self._writing:
            self._early.add(sequence)
            return
        at = bisect_right(self._segments, sequence, key=lambda s: s.sequences[0]) - 1
        if at < 0:
            return
        segment = self._segments[at]
        before = segment.unacked_bytes
        if not segment.ack(sequence):
            return
        self._unacked -= 1
        self._unacked_bytes -= before - segment.unacked_bytes
        if not segment.unacked and segment is not self._active:
            self._remove(segment)
        if self._saver is None:
            self._saver = asyncio.get_running_loop().call_later(_ACKS_S, self._save_acks)

    def release(self, sequence: int) -> None:
        """The bus did not take it: it is backlog again."""
        self._out.discard(sequence)
        self._cursor = (0, 0)
        at = bisect_right(self._segments, sequence, key=lambda s: s.sequences[0]) - 1
        if sequence not in self._held and (at < 0 or self._segments[at].sequences[-1] < sequence):
            now = self._clock.now()  # its segment was dropped while it was out
            self._lost("quota", 1, now, now)

    def demote(self) -> None:
        """The bus is down: only the newest few messages stay in the live lane, the rest is backlog."""
        self._down = True
        self._trim()

    def _enlive(self, record: Record) -> None:
        self._live[record.sequence] = record
        self._live_bytes += len(record.payload)
        self._trim()

    def _trim(self) -> None:
        most = _LIVE_WHILE_DOWN if self._down else len(self._live)
        while len(self._live) > most or (self._live_bytes > _LIVE_BYTES and len(self._live) > 1):
            self._unlive(next(iter(self._live)))
            self._cursor = (0, 0)

    def _unlive(self, sequence: int) -> None:
        record = self._live.pop(sequence, None)
        if record is not None:
            self._live_bytes -= len(record.payload)

    # --- state ---

    def depth(self) -> Depth:
        """What is not yet acknowledged."""
        oldest = min(
            (s.times[s.low] for s in self._segments if s.unacked),
            default=0,
        )
        if self._held:
            first = next(iter(self._held.values())).record.time
            oldest = min(oldest, first) if oldest else first
        waiting = self._writing.union(w.record.sequence for w in self._queue).difference(self._held)
        return Depth(
            messages=self._unacked + len(self._held) + len(waiting),
            bytes=self._unacked_bytes + self._held_bytes,
            oldest=oldest,
            held=len(self._held),
        )

    def take_gaps(self) -> list[Gap]:
        """The gaps since the last call; they are then the caller's to tell."""
        gaps, self._gaps = self._gaps, []
        return gaps

    async def close(self) -> None:
        """Write what waits, remember exactly where the sequence stands, let go of the folder."""
        for timer in (self._retry, self._saver):
            if timer is not None:
                timer.cancel()
        self._retry = self._saver = None
        if self._held:
            self._try_again()
        if self._flushing is not None:
            await self._flushing
        if self._retry is not None:  # the disk still refuses
            self._retry.cancel()
            log.error("buffer_held_messages_lost", count=len(self._held), reason=self.fault)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._shut)
        self._pool.shutdown()

    def _shut(self) -> None:
        self._close_active()
        self._save_acks()
        self._save_floor(self._next)
        for fd in (self._floor_fd, self._acks_fd, self._lock):
            os.close(fd)

    def _remove(self, segment: Segment) -> None:
        self._segments.remove(segment)
        segment.path.unlink(missing_ok=True)

    def _lost(self, reason: str, count: int, first: int, last: int) -> None:
        self.dropped += count
        if self._gaps and self._gaps[-1].reason == reason:
            g = self._gaps[-1]
            self._gaps[-1] = Gap(reason, g.count + count, min(g.first_time, first), max(g.last_time, last))
            return
        log.error("buffer_messages_lost", reason=reason, count=count)
        self._gaps.append(Gap(reason, count, first, last))

    def _save_acks(self) -> None:
        self._saver = None
        low = next((s.sequences[s.low] - 1 for s in self._segments if s.unacked), None)
        if low is None:
            low = self._segments[-1].sequences[-1] if self._segments else 0
        with contextlib.suppress(OSError):  # lazily kept: without it some messages are published twice
            os.pwrite(self._acks_fd, _seal(low), 0)

    def _raise_floor(self) -> None:
        try:
            self._save_floor(self._next + _RESERVE)
        except OSError as error:
            # half a million messages without one write to disk: go on, at the risk that a crash now
            # gives some of these numbers out again
            log.error("buffer_floor_not_saved", reason=error.strerror)

    def _save_floor(self, floor: int) -> None:
        """In place, so that it needs no free space. Raises OSError."""
        os.pwrite(self._floor_fd, _seal(floor), 0)
        os.fdatasync(self._floor_fd)
        self._floor = floor


def _seal(number: int) -> bytes:
    raw = number.to_bytes(8, "little")
    return raw + zlib.crc32(raw).to_bytes(4, "little")


def _load(fd: int) -> int:
    """The number in a `_seal`, 0 where there is none."""
    data = os.pread(fd, _NUMBER.size, 0)
    if len(data) < _NUMBER.size:
        return 0
    number, crc = _NUMBER.unpack(data)
    return int(number) if zlib.crc32(data[:8]) == crc else 0
