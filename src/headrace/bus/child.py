"""Child processes that do not outlive their parent, and the end of those that did."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil
import structlog

log = structlog.get_logger(__name__)

_LAUNCHER = Path(__file__).with_name("_exec.py")


async def spawn(
    command: Sequence[str],
    *,
    output: IO[bytes] | int,
    environ: Mapping[str, str] | None = None,
    on_parent_death: signal.Signals = signal.SIGKILL,
) -> asyncio.subprocess.Process:
    """Start `command` (absolute path first) in a session of its own, so that Ctrl-C in the terminal reaches
    the parent only; it gets `on_parent_death` when this process dies, however it dies (Linux)."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCHER),
        str(os.getpid()),
        str(int(on_parent_death)),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=dict(environ) if environ is not None else None,
        start_new_session=True,
    )


async def end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after `grace_s`; returns once the process is gone."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        log.warning("child_killed", pid=process.pid, grace_s=grace_s)
        process.kill()
        await process.wait()
    except ProcessLookupError:
        await process.wait()


def end_orphan(pid: int, mark: str, grace_s: float = 5.0) -> bool:
    """End the process `pid` of an earlier run if `mark` stands in its command line: a pid alone may long
    belong to somebody else. True where there was one."""
    try:
        process = psutil.Process(pid)
        if not any(mark in part for part in process.cmdline()):
            return False
        log.warning("orphan_ended", pid=process.pid, mark=mark)
        process.terminate()
        try:
            process.wait(grace_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(grace_s)
        return True
    except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False
