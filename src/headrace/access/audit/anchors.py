"""Heads of the log kept in a file outside the database, until the ledger of the node anchors them.

One JSON line a head, appended and synced. Whoever can write the database but not this file (another user,
another disk, a printed page) cannot cut off or rewrite the past unseen.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from headrace.access.audit.record import Head
from headrace.kernel.errors import Corrupt, Unavailable


class AnchorFile:
    """The file at `path`, made with its first head, readable by its owner alone. One process writes it."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def add(self, head: Head) -> bool:
        """Append `head` unless it is the newest one already, or the empty log; durable when it returns.

        Raises Unavailable (`audit.anchors_unwritable`), Corrupt.
        """
        known = self.heads()
        if head.sequence == 0 or (known and known[-1] == head):
            return False
        line = msgspec.json.encode(head) + b"\n"
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._cut_torn_line(fd)
                os.write(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
            if not known:
                sync_folder(self.path.parent)
        except OSError as error:
            raise Unavailable("audit.anchors_unwritable", path=str(self.path), reason=str(error)) from error
        return True

    def heads(self) -> list[Head]:
        """All heads in the file, [] where there is none. A line without its end (a crash while writing)
        does not count. Raises Corrupt (`audit.anchors_unreadable`), Unavailable."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Unavailable("audit.anchors_unwritable", path=str(self.path), reason=str(error)) from error
        found = []
        for number, line in enumerate(raw.split(b"\n")[:-1], 1):
            try:
                found.append(msgspec.json.decode(line, type=Head))
            except msgspec.DecodeError as error:
                raise Corrupt(
                    "audit.anchors_unreadable", path=str(self.path), line=number, reason=str(error)
                ) from error
        return found

    def _cut_torn_line(self, fd: int) -> None:
        raw = self.path.read_bytes()
        if raw and not raw.endswith(b"\n"):
            os.truncate(self.path, raw.rfind(b"\n") + 1)
            os.fsync(fd)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
