"""`headrace demo`: everything on one screen, and nothing left behind."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec
from rich.console import Console
from rich.text import Text as Line

from headrace.demo.check import Report, run_check
from headrace.demo.plant import Plant
from headrace.demo.show import Display, step_table, verdict
from headrace.kernel import messages
from headrace.kernel.errors import HeadraceError

DEFAULT_DATA = Path("headrace-data") / "demo"


class _StopError(Exception):
    """Asked to stop."""


def run_demo(
    data: Path | None = None,
    *,
    check: bool = False,
    open_browser: bool = False,
    lang: str = "en",
    seed: int = 1,
    json: bool = False,
    speed: float = 1.0,
    port: int | None = None,
    for_s: float | None = None,
) -> int:
    """Start the workshop and the node below `data` (default ./headrace-data/demo), show them until Ctrl-C or
    SIGTERM, stop both.

    `check`: instead of waiting, verify the path and return; `json`: print the report as one JSON object.
    `port`: of the console; None is 8088, or a free one where that is taken. `speed`: simulated seconds per
    second. `for_s`: stop by itself after so long. Returns the exit code: 0, or 1 where a step of the check or
    the start failed.
    """
    folder = (data or DEFAULT_DATA).resolve()
    console = Console(stderr=json, highlight=False)
    display = Display(lang, console)
    display.checking = check
    plant = Plant(folder, seed=seed, speed=speed)
    report: Report | None = None
    failure: HeadraceError | None = None
    with _stoppable():
        try:
            plant.claim()
            with display.running():
                report = _session(plant, display, check, open_browser, port, for_s)
        except HeadraceError as error:
            failure = error
        except _StopError:
            pass
        finally:
            with _unstoppable():
                console.print(Line(display.text("demo.ui.stopping"), style="dim"))
                plant.stop()
    if failure is not None:
        console.print(Line(failure.text(lang), style="red"))
        if json:
            _print_json({"ok": False, "error": {"code": failure.code, "text": failure.text(lang)}})
        return 1
    if report is None:
        console.print(Line(display.text("demo.ui.stopped")))
        return 1 if check else 0
    if json:
        _print_json(
            msgspec.to_builtins(report) | {"text": [_told(s.code, s.params, lang) for s in report.steps]}
        )
    elif console.is_terminal:
        console.print(step_table(report.steps, lang))
    console.print(Line(verdict(report, lang), style="green" if report.ok else "red"))
    return 0 if report.ok else 1


def _session(
    plant: Plant, display: Display, check: bool, open_browser: bool, port: int | None, for_s: float | None
) -> Report | None:
    display.begin("devices")
    record = plant.start_devices(display.tick)
    ports = display.text("demo.ui.and").join(str(p) for p in record.ports.values())
    display.finish("devices", count=len(record.ports), ports=ports)
    display.begin("configuration")
    plant.configure(port)
    display.finish("configuration", file=str(plant.file))
    display.begin("node")
    api = plant.start_node(display.tick)
    display.finish("node", url=api.url)
    display.opened(api.url, plant.token(), str(plant.data))
    if check:
        return run_check(api, plant.data, display.step, display.tick)
    if open_browser:
        webbrowser.open(display.address)
    until = time.monotonic() + for_s if for_s is not None else None
    while until is None or time.monotonic() < until:
        plant.watch()
        display.poll(api)
        display.tick()
    return None


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise _StopError inside; the handlers before are put back after."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _StopError

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _unstoppable() -> Iterator[None]:
    """A second Ctrl-C does not cut the stopping short, which would leave processes behind."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(code: str, params: dict[str, object], lang: str) -> str:
    return messages.render(code, lang, **params)


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
