"""The log: each accepted message as one self-validating frame, durable before anyone is told so.

A folder `log/` holds generations `00000001.log`, `00000002.log`, …; only the newest grows. A file is

    "HEADRACE" · u32 version · u32 generation · frame · frame · …
    frame = u32 length of what follows the CRC · u32 CRC-32 of it · u16 length of meta · meta · payload

little-endian; meta is MessagePack of FrameMeta, payload the wire message exactly as it came off the bus.

`committed` in the same folder is one memory-mapped u64, generation << 40 | length, which the writer sets
after fdatasync. A reader in another process takes whole generations below that one, and this one up to that
length; so what it has once seen is on disk. The word needs no syncing itself: when the writer opens the log
it validates the frames and sets it anew.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from headrace.history.files import sync_folder, translated
from headrace.kernel.errors import Corrupt

LOG_VERSION = 1
_FILE = struct.Struct("<8sII")
_FRAME = struct.Struct("<II")
_META = struct.Struct("<H")
_MAGIC = b"HEADRACE"
_MAX_FRAME = 1 << 30
_LENGTH_BITS = 40
HEADER_SIZE = _FILE.size


class FrameMeta(msgspec.Struct, frozen=True, array_like=True):
    """What a frame says of its payload. `stream`, `position`: where on the bus; the rest is its Header."""

    stream: str
    position: int
    node: str
    source: str
    sequence: int
    kind: str


class Frame(msgspec.Struct, frozen=True):
    """One message as read from the log; `end` is the offset behind it."""

    meta: FrameMeta
    payload: memoryview
    end: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FrameMeta)


def frame(meta: FrameMeta, payload: bytes) -> bytes:
    """One frame, ready to append."""
    said = _encoder.encode(meta)
    body = _META.pack(len(said)) + said
    crc = zlib.crc32(payload, zlib.crc32(body))
    return b"".join((_FRAME.pack(len(body) + len(payload), crc), body, payload))


def frames(data: memoryview, base: int) -> Iterator[Frame]:
    """The frames of `data`, which begins at file offset `base`, up to the first that is not whole."""
    at, size = 0, len(data)
    while at + _FRAME.size <= size:
        length, crc = _FRAME.unpack_from(data, at)
        start = at + _FRAME.size
        end = start + length
        if not _META.size <= length <= _MAX_FRAME or end > size or zlib.crc32(data[start:end]) != crc:
            return
        (said,) = _META.unpack_from(data, start)
        middle = start + _META.size + said
        try:
            meta = _decoder.decode(data[start + _META.size : middle])
        except (msgspec.DecodeError, ValueError):
            return
        yield Frame(meta, data[middle:end], base + end)
        at = end


def log_path(folder: Path, generation: int) -> Path:
    return folder / f"{generation:08d}.log"


def generations(folder: Path) -> list[int]:
    """The generations that have a file, in order."""
    return sorted(int(p.stem) for p in folder.glob("*.log") if p.stem.isdigit())


class CommitWord:
    """The shared u64 that says how far the log is on disk."""

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.path = folder / "committed"
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        fd = os.open(self.path, flags, 0o644)
        try:
            if write and os.fstat(fd).st_size < 8:
                os.posix_fallocate(fd, 0, 8)  # a sparse page would fault when the disk is full
            self._map = mmap.mmap(fd, 8, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        finally:
            os.close(fd)
        # One aligned 8-byte item: stored and loaded whole, so no reader sees half of it.
        self._word = memoryview(self._map).cast("Q")

    def get(self) -> tuple[int, int]:
        """(generation, length)."""
        word = self._word[0]
        return word >> _LENGTH_BITS, word & ((1 << _LENGTH_BITS) - 1)

    def set(self, generation: int, length: int) -> None:
        self._word[0] = generation << _LENGTH_BITS | length

    def close(self) -> None:
        self._word.release()
        self._map.close()


class LogWriter:
    """The one process that appends to one generation. Not thread-safe: the Store serialises."""

    def __init__(self, folder: Path, generation: int, word: CommitWord, fd: int, size: int) -> None:
        self.generation = generation
        self.size = size  # bytes that are committed
        self._path = log_path(folder, generation)
        self._word = word
        self._fd = fd
        self._dirty = False  # a failed append may have left bytes behind the committed ones

    @classmethod
    def create(cls, folder: Path, generation: int, word: CommitWord) -> LogWriter:
        """A new generation, durable under its name, empty. Raises Unavailable."""
        path = log_path(folder, generation)
        with translated(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                _write_all(fd, _FILE.pack(_MAGIC, LOG_VERSION, generation), 0)
                os.fsync(fd)
                sync_folder(folder)
            except OSError:
                os.close(fd)
                path.unlink(missing_ok=True)
                raise
        return cls(folder, generation, word, fd, HEADER_SIZE)

    @classmethod
    def recover(cls, folder: Path, generation: int, word: CommitWord, end: int) -> LogWriter:
        """Go on with a generation after a stop or a crash, behind its last whole frame: what stands after
        `end` is cut off. Raises Unavailable."""
        path = log_path(folder, generation)
        with translated(path):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_size < HEADER_SIZE:  # cut in its first write: nothing was committed to it
                    _write_all(fd, _FILE.pack(_MAGIC, LOG_VERSION, generation), 0)
                os.ftruncate(fd, end)
                os.fsync(fd)
            except OSError:
                os.close(fd)
                raise
        return cls(folder, generation, word, fd, end)

    def append(self, data: Sequence[bytes]) -> None:
        """Write whole frames and make them durable with one fdatasync. Raises Unavailable, and then the log
        holds what it held before."""
        with translated(self._path):
            self.settle()
            whole = b"".join(data)
            self._dirty = True
            try:
                _write_all(self._fd, whole, self.size)
                os.fdatasync(self._fd)
            except OSError:
                # A page that failed to reach the disk may pass for clean afterwards: nothing of this
                # attempt is kept, and the next one writes all of it again.
                self._truncate()
                raise
            self._dirty = False
        self.size += len(whole)
        self.publish()

    def settle(self) -> None:
        """Cut off what a failed append left. The log must be settled before its generation ends."""
        if self._dirty:
            os.ftruncate(self._fd, self.size)
            self._dirty = False

    def publish(self) -> None:
        """Let readers see what is committed."""
        self._word.set(self.generation, self.size)

    def close(self) -> None:
        os.close(self._fd)

    def _truncate(self) -> None:
        try:
            self.settle()
        except OSError:
            return  # stays dirty, and is settled before the next append


def read_log(path: Path, start: int = HEADER_SIZE, stop: int | None = None) -> tuple[list[Frame], int, int]:
    """The whole frames from offset `start` (up to `stop`), the offset behind the last one, the file's size.

    Raises Corrupt (`history.not_a_log`), FileNotFoundError.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if start <= HEADER_SIZE and size >= HEADER_SIZE:
            magic, version, _ = _FILE.unpack(file.read(HEADER_SIZE))
            if magic != _MAGIC or version != LOG_VERSION:
                raise Corrupt("history.not_a_log", path=str(path))
        start = max(start, HEADER_SIZE)
        stop = size if stop is None else min(stop, size)
        if stop <= start:
            return [], start, size
        data = os.pread(file.fileno(), stop - start, start)
    found = list(frames(memoryview(data), start))
    return found, found[-1].end if found else start, size


def _write_all(fd: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, offset)
        rest = rest[done:]
        offset += done
