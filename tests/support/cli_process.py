"""The `headrace` command: in this process, where it answers fast, or as a process in a chosen language."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from headrace.cli.main import main


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


class _Output(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


def headrace(*arguments: str | Path) -> Done:
    """Run a command here, in the language this process began with (English under pytest, see conftest)."""
    out, err = _Output(), _Output()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Done(code, out.text(), err.text())


def headrace_process(
    *arguments: str | Path, lang: str = "en", cwd: Path | None = None, module: str = "headrace.cli"
) -> subprocess.CompletedProcess[str]:
    """Run it as a process; settings of the caller's own environment do not reach it."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "LC_"))}
    environ |= {"HEADRACE_LANG": lang, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environ,
        cwd=cwd,
        timeout=60,
    )
