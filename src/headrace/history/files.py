"""Durable files: a name appears in a folder only when what it names is whole and on disk."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.kernel.errors import Unavailable
from headrace.kernel.messages import os_reason

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TEMPORARY = ".tmp"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSErrors as Unavailable: `history.disk_full` or `history.io_error`. A missing file stays
    FileNotFoundError, which readers answer by looking again."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        code = "history.disk_full" if error.errno in _FULL else "history.io_error"
        raise Unavailable(code, path=str(path), reason=os_reason(error)) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class NewFile:
    """A file in the making, as a binary sink that counts and checksums; `publish` gives it its name.

    Until then it has a temporary name, which the writer of the store removes when it opens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.crc = 0
        self.closed = False
        self._temporary = path.with_name(path.name + TEMPORARY)
        self._file = self._temporary.open("wb")

    def write(self, data: bytes | memoryview) -> int:
        self._file.write(data)
        size = memoryview(data).nbytes
        self.size += size
        self.crc = zlib.crc32(data, self.crc)
        return size

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """What Parquet's writer calls at its end; the file stays open for `publish`."""

    def publish(self) -> None:
        """Durable under its own name, given that the caller then syncs the folder."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self.path)
        self.closed = True

    def discard(self) -> None:
        """Remove what was not published. Idempotent."""
        if not self.closed:
            self.closed = True
            with suppress(OSError):  # what is still buffered may not fit on the disk, and is not wanted
                self._file.close()
            self._temporary.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Durably replace `path`: after a crash it holds the old content or the new, never a part."""
    file = NewFile(path)
    try:
        file.write(data)
        file.publish()
    finally:
        file.discard()
    sync_folder(path.parent)


def checksum(path: Path) -> int:
    """CRC-32 of the whole file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
