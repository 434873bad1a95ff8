"""The quarantine: messages that could not be taken into history, kept with the reason.

`history/quarantine/NNNN.jsonl`, one JSON object a line, appended and synced before the position moves past
the message. Bounded: once the files together exceed `quota` bytes only reason, size and CRC-32 of further
messages are kept; each is counted all the same.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from headrace.history.files import sync_folder, translated

_log = structlog.get_logger(__name__)

QUOTA = 256 << 20
_ROTATE = 16 << 20


class Quarantined(msgspec.Struct, frozen=True):
    """One message set aside. `payload` is base64, empty where the quota was used up."""

    time: int  # UTC ns when it was set aside
    stream: str
    sequence: int
    subject: str
    code: str
    reason: str
    size: int
    crc: int
    payload: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Quarantined)


class Quarantine:
    """The quarantine in one folder. One process writes it; `entries` works from any."""

    def __init__(self, folder: Path, *, quota: int = QUOTA) -> None:
        self.folder = folder
        self._quota = quota
        self._bytes = 0
        self._known: set[tuple[str, int]] = set()
        for path in self._paths():
            self._bytes += path.stat().st_size
        for entry in self.entries():
            self._known.add((entry.stream, entry.sequence))

    def __len__(self) -> int:
        return len(self._known)

    def add(self, found: Sequence[Quarantined], payloads: Sequence[bytes]) -> int:
        """Set messages aside, durably; how many were new. A message that is here already (it was read again
        after a crash) is not kept twice. Raises Unavailable, and then none of them is kept."""
        lines: list[bytes] = []
        new: list[tuple[str, int]] = []
        for entry, payload in zip(found, payloads, strict=True):
            key = (entry.stream, entry.sequence)
            if key in self._known or key in new:
                continue
            if self._bytes + sum(map(len, lines)) < self._quota:
                entry = msgspec.structs.replace(entry, payload=base64.b64encode(payload).decode())
            lines.append(_encoder.encode(entry) + b"\n")
            new.append(key)
        if lines:
            self._append(b"".join(lines))
            self._known.update(new)
        return len(new)

    def entries(self) -> Iterator[Quarantined]:
        """Everything in quarantine, oldest first."""
        for path in self._paths():
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    try:
                        yield _decoder.decode(line)
                    except msgspec.DecodeError:
                        _log.warning("quarantine_line_unreadable", file=str(path), line=number)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _append(self, data: bytes) -> None:
        paths = self._paths()
        path = paths[-1] if paths else self.folder / "0001.jsonl"
        if paths and path.stat().st_size > _ROTATE:
            path = self.folder / f"{int(path.stem) + 1:04d}.jsonl"
        with translated(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                size = os.fstat(fd).st_size
                try:
                    done = 0
                    while done < len(data):
                        done += os.write(fd, data[done:])
                    os.fsync(fd)
                except OSError:
                    os.ftruncate(fd, size)
                    raise
            finally:
                os.close(fd)
            if new:
                sync_folder(self.folder)
        self._bytes += len(data)


def entry(
    *, time: int, stream: str, sequence: int, subject: str, code: str, reason: str, payload: bytes
) -> Quarantined:
    """What is said of a message; its payload is added while the quota lasts."""
    return Quarantined(time, stream, sequence, subject, code, reason, len(payload), zlib.crc32(payload))
