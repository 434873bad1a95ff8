"""Following the log from any process: what is committed and not yet sealed, as batches in memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from headrace.history.log import HEADER_SIZE, CommitWord, generations, log_path, read_log
from headrace.kernel.model import Batch, decode


class Chunk(msgspec.Struct, frozen=True):
    """One message of the head."""

    stream: str
    position: int
    batch: Batch


class HeadFollower:
    """Reads each committed frame once. Not thread-safe: the Reader serialises."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "log"
        self._word: CommitWord | None = None
        self._offsets: dict[int, int] = {}
        self._chunks: dict[int, list[Chunk]] = {}

    def follow(self, log_from: int) -> tuple[list[Chunk], list[Chunk]]:
        """(all chunks of the head in order of arrival, those among them that are new since the last call).

        Raises FileNotFoundError where a generation from `log_from` on is gone: there is a newer manifest.
        """
        for number in [n for n in self._offsets if n < log_from]:
            del self._offsets[number], self._chunks[number]
        new: list[Chunk] = []
        for number, stop in self._visible(log_from):
            start = self._offsets.get(number, HEADER_SIZE)
            if stop is not None and stop <= start:
                self._offsets.setdefault(number, start)
                self._chunks.setdefault(number, [])
                continue
            found, end, _ = read_log(log_path(self._folder, number), start, stop)
            fresh = [
                Chunk(one.meta.stream, one.meta.position, decode(pa.py_buffer(one.payload))[1])
                for one in found
            ]
            self._offsets[number] = end
            self._chunks.setdefault(number, []).extend(fresh)
            new += fresh
        return [chunk for number in sorted(self._chunks) for chunk in self._chunks[number]], new

    def close(self) -> None:
        """Idempotent."""
        if self._word is not None:
            self._word.close()
            self._word = None

    def _visible(self, log_from: int) -> Iterator[tuple[int, int | None]]:
        """The generations that may be read and up to where; None: to the end."""
        generation, length = self._committed()
        more = generation < log_from or self._more_than(generation, length)
        # Where more stands in the log than the word says, the writer is at it just now, or it has died. If it
        # is gone, each whole frame will stay when it comes back, so each may be read.
        if more and not self._writer_lives():
            for number in generations(self._folder):
                if number >= log_from:
                    yield number, None
            return
        for number in range(log_from, generation):
            yield number, None
        if generation >= log_from:
            yield generation, length

    def _committed(self) -> tuple[int, int]:
        if self._word is None:
            try:
                self._word = CommitWord(self._folder, write=False)
            except (FileNotFoundError, ValueError):  # not made yet, or made and still empty
                return 0, 0
        return self._word.get()

    def _more_than(self, generation: int, length: int) -> bool:
        try:
            return log_path(self._folder, generation).stat().st_size > length
        except FileNotFoundError:
            return False

    def _writer_lives(self) -> bool:
        try:
            fd = os.open(self._root / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
