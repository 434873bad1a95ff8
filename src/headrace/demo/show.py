"""What the reader sees in the terminal, in their language: progress, the running plant, the report of a
check."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text as Line

from headrace.demo.check import Report, Step
from headrace.demo.client import Api
from headrace.kernel import messages
from headrace.kernel.errors import Unavailable

_STAGES = ("devices", "configuration", "node", "console")
_PRIORITY = {"urgent": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
_RANK = {priority: str(rank) for rank, priority in enumerate(_PRIORITY, 1)}  # as the console's marks say it
_MOST_ALARMS = 8
_REFRESH_S = 1.0


class Status(msgspec.Struct, frozen=True):
    """What the running plant tells of itself."""

    values_per_s: float = 0.0
    connected: int = 0
    connections: int = 0
    tags: int = 0
    alarms: tuple[tuple[str, str, str], ...] = ()  # (priority, title, state)


def status(api: Api, lang: str) -> Status:
    """Ask the node. Raises Unavailable."""
    connections = [c for edge in api.get("/gateway")["edges"] for c in edge["connections"]]
    alarms = [a for a in api.get("/alarms", limit=200)["items"] if a["state"] != "normal"]
    machines = api.get("/machines")
    return Status(
        values_per_s=sum(c["values_per_s"] or 0.0 for c in connections),
        connected=sum(c["state"] == "connected" for c in connections),
        connections=len(connections),
        tags=sum(m["tags"] for m in machines),
        alarms=tuple((a["priority"], _title(a, lang), a["state"]) for a in alarms),
    )


class Display:
    """A live panel; where the output is no terminal, plain lines instead."""

    def __init__(self, lang: str, console: Console | None = None) -> None:
        self.lang = lang
        self.console = console or Console()
        self.stage = ""
        self.done: list[tuple[str, str]] = []
        self.address = ""
        self.token = ""
        self.data = ""
        self.steps: list[Step] = []
        self.checking = False
        self.status: Status | None = None
        self._live: Live | None = None
        self._asked = 0.0
        self._spinner = Spinner("dots")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The panel is live inside."""
        if not self.console.is_terminal:
            yield
            return
        with Live(
            self._render(), console=self.console, refresh_per_second=8, transient=self.checking
        ) as live:
            self._live = live
            try:
                yield
            finally:
                live.update(self._render())
                self._live = None

    def tick(self) -> None:
        """A moment of waiting."""
        if self._live is not None:
            self._live.update(self._render())
        time.sleep(0.1)

    def begin(self, stage: str) -> None:
        """Show that `stage` (devices, configuration, node, console) is being worked on."""
        self.stage = stage

    def finish(self, stage: str, **params: Any) -> None:
        """Show that `stage` is done."""
        text = self.text(f"demo.stage.{stage}_done", **params)
        self.done.append((stage, text))
        self.stage = ""
        self._plain(f"✓ {text}")

    def opened(self, url: str, token: str, data: str) -> None:
        """The address is known."""
        self.address, self.token, self.data = f"{url}/#token={token}", token, data
        if not self.checking:
            self._plain(f"{self.text('demo.ui.address')}  {self.address}")
            self._plain(self.text("demo.ui.stop"))

    def poll(self, api: Api) -> None:
        """Bring the status up to date, about once a second."""
        if time.monotonic() - self._asked < _REFRESH_S:
            return
        self._asked = time.monotonic()
        try:
            self.status = status(api, self.lang)
        except Unavailable:
            self.status = None

    def step(self, step: Step) -> None:
        """A step of the check has ended."""
        self.steps.append(step)
        mark = "✓" if step.ok else "✗"
        self._plain(f"{mark} {self.text(f'demo.step.{step.id}')}: {self.text(step.code, **step.params)}")

    def text(self, code: str, **params: Any) -> str:
        return messages.render(code, self.lang, **params)

    def _plain(self, text: str) -> None:
        if self._live is None:
            self.console.print(Line(text), soft_wrap=True)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        progress = Table.grid(padding=(0, 1))
        for _, text in self.done:
            progress.add_row(Line("✓", style="green"), Line(text))
        if self.stage:
            self._spinner.text = ""
            progress.add_row(self._spinner, Line(self.text(f"demo.stage.{self.stage}")))
        parts.append(progress)
        if self.checking:
            parts.append(step_table(self.steps, self.lang))
        elif self.address:
            parts += self._running()
        return Panel(Group(*parts), title=self.text("demo.ui.title"), border_style="dim", padding=(1, 2))

    def _running(self) -> list[RenderableType]:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Line(self.text("demo.ui.address"), style="dim"), Line(self.address, style="bold", overflow="fold")
        )
        grid.add_row(Line(self.text("demo.ui.data"), style="dim"), Line(self.data, overflow="fold"))
        if self.status is None:
            grid.add_row(Line(self.text("demo.ui.live"), style="dim"), Line(self.text("demo.ui.waiting")))
            return [Line(), grid, Line(), Line(self.text("demo.ui.stop"), style="dim")]
        s = self.status
        live = self.text(
            "demo.ui.status",
            rate=f"{s.values_per_s:.0f}",
            tags=s.tags,
            connected=s.connected,
            connections=s.connections,
        )
        grid.add_row(Line(self.text("demo.ui.live"), style="dim"), Line(live))
        alarms = Line(self.text("demo.ui.no_alarms"))
        if s.alarms:
            lines = [
                Line.assemble(
                    (f" {_RANK.get(p, '')} ", f"{_PRIORITY.get(p, '')} reverse"),
                    f" {title}",
                    (f"  {self.text(f'demo.alarm.{state}')}", "dim"),
                )
                for p, title, state in s.alarms[:_MOST_ALARMS]
            ]
            if (rest := len(s.alarms) - _MOST_ALARMS) > 0:
                lines.append(Line(self.text("demo.ui.more_alarms", count=rest), style="dim"))
            alarms = Line("\n").join(lines)
        grid.add_row(Line(self.text("demo.ui.alarms", count=len(s.alarms)), style="dim"), alarms)
        return [Line(), grid, Line(), Line(self.text("demo.ui.stop"), style="dim")]


def step_table(steps: list[Step] | tuple[Step, ...], lang: str) -> Table:
    """The outcome of each step."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for step in steps:
        style = "green" if step.ok else "bold red"
        table.add_row(
            Line("✓" if step.ok else "✗", style=style),
            Line(messages.render(f"demo.step.{step.id}", lang)),
            Line(messages.render(step.code, lang, **step.params), overflow="fold"),
            Line(f"{step.seconds:.1f} s", style="dim", justify="right"),
        )
    return table


def verdict(report: Report, lang: str) -> str:
    """One line on the whole check."""
    code = "demo.check.passed" if report.ok else "demo.check.failed"
    failed = sum(not s.ok for s in report.steps)
    return messages.render(code, lang, seconds=report.seconds, count=len(report.steps), failed=failed)


def _title(alarm: dict[str, Any], lang: str) -> str:
    title = alarm.get("title")
    return title.get(lang) or alarm["id"] if isinstance(title, dict) else str(title or alarm["id"])
