"""Secret files: readable by their owner alone, whole or not there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path


def create_once(path: Path, make: Callable[[], str]) -> str:
    """The text of the file at `path` without surrounding blanks; made with `make` where there is none. Of
    several processes at once one makes it and all read the same."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        try:
            text = path.read_text("utf-8").strip()
            path.chmod(0o600)  # a copy from elsewhere may have been readable to all
            return text
        except FileNotFoundError:
            draft = _draft(path, make())
            try:
                os.link(draft, path)  # unlike a rename this fails where another process was first
            except FileExistsError:
                pass
            finally:
                draft.unlink()


def replace(path: Path, text: str) -> None:
    """Write `text` in place of whatever is at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _draft(path, text).replace(path)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    return draft
