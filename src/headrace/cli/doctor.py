"""`headrace doctor`: is this computer ready to run a node?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from headrace.cli._options import CONFIG, DATA, Config, Data, Json
from headrace.cli._output import FAILED, emit, say
from headrace.cli._words import LANG, t
from headrace.kernel.errors import HeadraceError

import typer  # isort: skip

_LEAST_FREE = 2 << 30
_NAMES = {
    "python": "cli.doctor.python",
    "bus": "cli.doctor.bus",
    "drivers": "cli.doctor.drivers",
    "data": "cli.doctor.data",
    "disk": "cli.doctor.disk",
    "config": "cli.doctor.config",
}


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    ok: bool
    detail: str


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the command to `app`."""
    app.command("doctor", cls=command, help=t("cli.doctor.help"))(doctor)


def doctor(config: Config = CONFIG, data: Data = DATA, json: Json = False) -> None:
    findings = list(_findings(config, data))
    well = all(f.ok for f in findings)
    if json:
        emit({"ok": well, "checks": [f._asdict() for f in findings]})
    else:
        for f in findings:
            say(f"{'✓' if f.ok else '✗'} {t(_NAMES[f.name])}: {f.detail}")
    if not well:
        raise typer.Exit(FAILED)


def _findings(config: Path, data: Path) -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), platform.python_version())
    yield _try("bus", _bus)
    yield _try("drivers", _drivers)
    yield _try("data", lambda: _writable(data))
    yield _disk(data)
    if config.exists():
        yield _try("config", lambda: _configured(config))


def _try(name: str, check: Callable[[], Any]) -> Finding:
    try:
        return Finding(name, True, str(check()))
    except HeadraceError as error:
        return Finding(name, False, error.text(LANG))


def _bus() -> Path:
    from headrace.bus.server import find_binary

    return find_binary()


def _drivers() -> str:
    from headrace import drivers

    names = sorted(drivers.names())
    for name in names:
        drivers.load(name)
    return ", ".join(names)


def _writable(data: Path) -> str:
    from headrace.kernel.errors import InputError

    place = _existing(data)
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError("node.bad_data_dir", path=str(data), reason="EACCES")
    return str(data.resolve())


def _disk(data: Path) -> Finding:
    free = shutil.disk_usage(_existing(data)).free
    return Finding("disk", free >= _LEAST_FREE, t("cli.doctor.free", gib=f"{free / (1 << 30):.1f}"))


def _configured(config: Path) -> str:
    from headrace.node import load

    load(config)
    return str(config)


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path
