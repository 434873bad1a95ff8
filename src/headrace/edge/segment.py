"""Segment files of the buffer: how a record lies on disk, and what can be read back after a crash.

File: 8 bytes of magic, then records. Record (little-endian): mark 4 bytes, CRC-32 (ISO-HDLC) u32 of all that
follows it, body length u32, sequence u64, time i64 (UTC ns), subject length u16, body = subject, payload.
The mark lets a reader find the next record behind a damaged one, where the damage hit the length.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import msgspec

from headrace.kernel.errors import Corrupt

MAGIC = b"HRBUF\x00\x01\n"
_MARK = b"\xf5HR\n"
_HEAD = struct.Struct("<4sIIQqH")
_CRC_FROM = 8  # the checksum covers everything behind itself


class Record(msgspec.Struct, frozen=True):
    """A message to be published. `time` is when it was made, UTC ns."""

    sequence: int
    time: int
    subject: str
    payload: bytes


class Disk:
    """The calls that write; a seam, so that tests can fill the disk."""

    def create(self, path: Path) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.sync_folder(path.parent)
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """All of `data`, durable when it returns. Raises OSError; the file may then hold a part of it."""
        view = memoryview(data)
        while view:
            n = os.pwrite(fd, view, offset)
            view, offset = view[n:], offset + n
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def frame(record: Record) -> bytes:
    """The record as it stands in a segment."""
    subject = record.subject.encode()
    size = len(subject) + len(record.payload)
    head = _HEAD.pack(_MARK, 0, size, record.sequence, record.time, len(subject))
    crc = zlib.crc32(record.payload, zlib.crc32(subject, zlib.crc32(head[_CRC_FROM:])))
    return b"".join((_MARK, crc.to_bytes(4, "little"), head[_CRC_FROM:], subject, record.payload))


def unframe(data: bytes | memoryview) -> Record:
    """The record that `frame` made. Raises Corrupt (`batch.unreadable`)."""
    if not data or _check(memoryview(data), 0) != len(data):
        raise Corrupt("batch.unreadable", reason="checksum")
    _, _, _, sequence, time, subject = _HEAD.unpack_from(data)
    body = bytes(data[_HEAD.size :])
    return Record(sequence, time, body[:subject].decode(), body[subject:])


def _check(data: memoryview, at: int) -> int:
    """The size of the whole record at `at`, 0 where there is none that is sound."""
    if at + _HEAD.size > len(data):
        return 0
    mark, crc, size, _, _, subject = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + size
    if mark != _MARK or end > len(data) or subject > size:
        return 0
    return end - at if zlib.crc32(data[at + _CRC_FROM : end]) == crc else 0


class Segment:
    """One file and its index, in the order of sequences. `low`: the records before this index are acked;
    `acked`: sequences from there on that are acked too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = len(MAGIC)
        self.sequences = array("Q")
        self.times = array("q")
        self.offsets = array("Q")
        self.lengths = array("L")
        self.low = 0
        self.acked: set[int] = set()
        self.unacked_bytes = 0

    def add(self, sequence: int, time: int, offset: int, length: int) -> None:
        """Note a record that has been written at `offset`."""
        self.sequences.append(sequence)
        self.times.append(time)
        self.offsets.append(offset)
        self.lengths.append(length)
        self.size = offset + length
        self.unacked_bytes += length

    @property
    def unacked(self) -> int:
        return len(self.sequences) - self.low - len(self.acked)

    def is_acked(self, index: int) -> bool:
        return index < self.low or self.sequences[index] in self.acked

    def ack(self, sequence: int) -> bool:
        """False where the segment does not hold the sequence, or it has been acked before."""
        index = bisect_left(self.sequences, sequence)
        if index == len(self.sequences) or self.sequences[index] != sequence or self.is_acked(index):
            return False
        self.acked.add(sequence)
        self.unacked_bytes -= self.lengths[index]
        while self.low < len(self.sequences) and self.sequences[self.low] in self.acked:
            self.acked.discard(self.sequences[self.low])
            self.low += 1
        return True

    def read(self, index: int) -> Record:
        """Raises OSError and Corrupt."""
        with self.path.open("rb") as file:
            file.seek(self.offsets[index])
            return unframe(file.read(self.lengths[index]))


class Damage(msgspec.Struct, frozen=True):
    """A range of a segment that is no record."""

    start: int
    end: int


def scan(path: Path) -> tuple[Segment, list[Damage]]:
    """The sound records of a segment and what lies between and behind them. Raises OSError."""
    segment = Segment(path)
    damage: list[Damage] = []
    size = path.stat().st_size
    if size == 0:
        return segment, damage
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        data = memoryview(view)
        try:
            at = len(MAGIC) if view[: len(MAGIC)] == MAGIC else 0
            bad: int | None = None if at else 0
            while at < size:
                length = _check(data, at)
                if length:
                    if bad is not None:
                        damage.append(Damage(bad, at))
                        bad = None
                    _, _, _, sequence, time, _ = _HEAD.unpack_from(data, at)
                    # a sequence that does not rise is a stale copy of an old file's block
                    if not segment.sequences or sequence > segment.sequences[-1]:
                        segment.add(sequence, time, at, length)
                    at += length
                    continue
                bad = at if bad is None else bad
                found = view.find(_MARK, at + 1)
                at = size if found < 0 else found
            if bad is not None:
                damage.append(Damage(bad, size))
        finally:
            data.release()
    return segment, damage


def write_frames(disk: Disk, fd: int, segment: Segment, records: Sequence[Record]) -> list[tuple[int, int]]:
    """Append and make durable; (offset, length) of each record. After an OSError the file is as before."""
    frames = [frame(r) for r in records]
    begin = segment.size
    data = b"".join(frames)
    if begin == len(MAGIC):  # the file is new
        data, at = MAGIC + data, 0
    else:
        at = begin
    try:
        disk.write(fd, data, at)
    except OSError:
        disk.truncate(fd, at)
        raise
    places: list[tuple[int, int]] = []
    for f in frames:
        places.append((begin, len(f)))
        begin += len(f)
    return places
