"""The data directory: its layout, its lock, and the small JSON files by which processes find each other."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec

from headrace.kernel.errors import Conflict, InputError
from headrace.kernel.messages import os_reason


class Layout:
    """Paths below DIR. `create` makes the folders, for the owner's eyes only."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir.resolve()
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.history = self.root / "history"
        self.records = self.root / "records.sqlite"
        self.bus_file = self.run / "bus.json"
        self.api_file = self.run / "api.json"
        self.node_file = self.run / "node.json"

    def role_file(self, role: str) -> Path:
        """Pid and start of a role; its modification time is the role's heartbeat. api.json is the API's own
        and says where it listens."""
        return self.run / ("api.role.json" if role == "api" else f"{role}.json")

    def create(self) -> None:
        """Raises InputError (node.bad_data_dir) where the folders cannot be made."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for folder in (self.run, self.logs, self.history):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InputError("node.bad_data_dir", path=str(self.root), reason=os_reason(error)) from None


class Lock:
    """Held by the one supervisor of a data directory; the kernel frees it however its holder ends."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.run / "lock"
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises Conflict (node.in_use) naming the pid of the holder."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "?"
            os.close(handle)
            raise Conflict("node.in_use", path=str(self._path.parent.parent), pid=holder) from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._handle = handle

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def write_json(path: Path, value: Any) -> None:
    """Replace `path` whole; readers see the old or the new, never half. Mode 0600."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=2))
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is none (yet)."""
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) else None
