"""Whether the server's disk was full and has room again.

After a failed write a NATS file store refuses everything until the server is started anew, though its API
goes on answering. So a disk that filled up is remembered, and once it has room the server is restarted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from headrace.bus.config import MIB

log = structlog.get_logger(__name__)

_FULL = 16 * MIB  # less room than the largest message and its block may need
_ROOM = 32 * MIB
_REFUSED = b"critical write error"


class DiskWatch:
    """Ask `recovered` every few seconds. `folder`: the store; `server_log`: what the server writes."""

    def __init__(self, folder: Path, server_log: Path) -> None:
        self._folder = folder
        self._log = server_log
        self._read = self._size()
        self._refused = False

    def recovered(self) -> bool:
        """True once after each time that the disk had no room and has some again."""
        free = shutil.disk_usage(self._folder).free
        if (free < _FULL or self._said_refused()) and not self._refused:
            self._refused = True
            log.error("bus_disk_full", folder=str(self._folder), free=free)
        if self._refused and free >= _ROOM:
            self._refused = False
            return True
        return False

    def _said_refused(self) -> bool:
        """Whether the server has logged a refused write since the last look; its log may itself be cut."""
        size = self._size()
        start, self._read = (self._read if size >= self._read else 0), size
        if size == start:
            return False
        try:
            with self._log.open("rb") as file:
                file.seek(start)
                return _REFUSED in file.read(size - start)
        except OSError:
            return False

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0
