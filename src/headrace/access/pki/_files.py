"""Keys and certificates on disk: replaced whole, private keys for their owner's eyes only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from headrace.kernel.errors import Conflict, NotFound


def write(path: Path, data: bytes, *, private: bool) -> None:
    """Replace `path` whole, durable when it returns. Mode 0600 from its first byte where `private`, else
    0644."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if not private:
            os.fchmod(handle, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make names created or removed in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> bytes:
    """Raises NotFound (`pki.no_file`)."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound("pki.no_file", path=str(path)) from None


def read_private(path: Path) -> bytes:
    """The same for a private key. Raises Conflict (`pki.key_exposed`) where its mode lets others read it:
    such a key has to be taken as known to them."""
    data = read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Conflict("pki.key_exposed", path=str(path))
    return data
