"""`headrace history query|export|compact|stats|fsck`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headrace.cli._options import DATA, Data, Json
from headrace.cli._output import FAILED, UsageFault, emit, note, say
from headrace.cli._words import LANG, t

import typer  # isort: skip

if TYPE_CHECKING:
    from headrace.history import Stats

_AGGREGATES = ("count", "min", "max", "mean", "sum", "first", "last")

Tag = Annotated[str, typer.Option("--tag", help=t("cli.history.tag"), show_default=False)]
Tags = Annotated[list[str] | None, typer.Option("--tag", help=t("cli.history.tags"), show_default=False)]
From = Annotated[str, typer.Option("--from", help=t("cli.history.from"))]
To = Annotated[str, typer.Option("--to", help=t("cli.history.to"))]


class Format(StrEnum):
    """What an export is written as."""

    PARQUET = "parquet"
    CSV = "csv"


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the group to `app`."""
    sub = typer.Typer(cls=group, help=t("cli.history.help"), no_args_is_help=True)
    sub.command("query", cls=command, help=t("cli.history.query.help"))(query)
    sub.command("export", cls=command, help=t("cli.history.export.help"))(export)
    sub.command("compact", cls=command, help=t("cli.history.compact.help"))(compact)
    sub.command("stats", cls=command, help=t("cli.history.stats.help"))(stats)
    sub.command("fsck", cls=command, help=t("cli.history.fsck.help"))(fsck)
    app.add_typer(sub, name="history", cls=group)


def query(
    tag: Tag,
    from_: From = "-1h",
    to: To = "now",
    every: Annotated[str, typer.Option("--every", help=t("cli.history.every"), show_default=False)] = "",
    agg: Annotated[str, typer.Option("--agg", help=t("cli.history.agg"))] = "mean",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help=t("cli.history.limit"), show_default=False)
    ] = None,
    data: Data = DATA,
    json: Json = False,
) -> None:
    from headrace.cli import _series

    start, end = _span(from_, to)
    wanted = tuple(name.strip() for name in agg.split(",") if name.strip())
    if every and (unknown := [name for name in wanted if name not in _AGGREGATES] or not wanted):
        first = unknown[0] if isinstance(unknown, list) else agg
        raise UsageFault("cli.bad_aggregate", value=first, known=", ".join(_AGGREGATES))
    found = _series.fetch(data, tag, start, end, _width(every), wanted, limit)
    if json:
        emit(found)
        return
    from headrace.kernel.clock import iso

    if not found["points"]:
        note(t("cli.history.nothing", tag=tag))
    for time, *rest in found["points"]:
        *values, quality = rest
        shown = "\t".join("–" if v is None else v if isinstance(v, str) else repr(v) for v in values)
        say(f"{iso(time)}\t{shown}\t{quality:#06x}")


def export(
    output: Annotated[Path, typer.Argument(help=t("cli.history.export.output"), show_default=False)],
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help=t("cli.history.tags"), show_default=False)
    ] = None,
    from_: From = "-1h",
    to: To = "now",
    format: Annotated[
        Format | None, typer.Option("--format", help=t("cli.history.export.format"), show_default=False)
    ] = None,
    data: Data = DATA,
    json: Json = False,
) -> None:
    from headrace.cli import _series
    from headrace.history import export as write

    start, end = _span(from_, to)
    tags = _series.tags_named(data, tag)
    done = write(_history(data), tags, start, end, output, format=format.value if format else None)
    if json:
        emit(done)
    else:
        say(t("cli.history.export.done", path=done.path, points=f"{done.points:,}", bytes=f"{done.bytes:,}"))


def compact(data: Data = DATA, json: Json = False) -> None:
    from headrace.history import Reader
    from headrace.history import compact as run

    folder = _history(data)
    run(folder)
    with Reader(folder) as reader:
        found = reader.stats()
    if json:
        emit(found)
    else:
        say(_stats_line(found))


def stats(data: Data = DATA, json: Json = False) -> None:
    from headrace.history import Reader

    with Reader(_history(data)) as reader:
        found = reader.stats()
    if json:
        emit(found)
        return
    say(_stats_line(found))


def fsck(data: Data = DATA, json: Json = False) -> None:
    from headrace.history import fsck as check
    from headrace.kernel import messages

    report = check(_history(data))
    if json:
        emit(report)
    else:
        for finding in (*report.findings, *report.notes):
            say(f"{finding.file}: {messages.render(finding.code, LANG, **finding.params)}")
        counts = {"segments": report.segments, "rollups": report.rollups, "messages": report.messages}
        points = f"{report.points + report.head_points:,}"
        say(t("cli.history.fsck.well" if report.ok else "cli.history.fsck.unwell", points=points, **counts))
    if not report.ok:
        raise typer.Exit(FAILED)


def _history(data: Path) -> Path:
    from headrace.kernel.errors import NotFound

    folder = data / "history"
    if not folder.is_dir():
        raise NotFound("cli.no_history", path=str(folder))
    return folder


def _stats_line(found: Stats) -> str:
    return t(
        "cli.history.stats.done",
        points=f"{found.points:,}",
        head=f"{found.head_points:,}",
        segments=f"{found.segment_bytes:,}",
        rollups=f"{found.rollup_bytes:,}",
        each=f"{found.bytes_per_point:.2f}",
    )


def _span(from_: str, to: str) -> tuple[int, int]:
    """[start, end) in UTC ns. Raises UsageFault."""
    from headrace.kernel.clock import SystemClock

    now = SystemClock().now()
    start, end = _moment(from_, now), _moment(to, now)
    if start >= end:
        raise UsageFault("cli.empty_span", start=from_, end=to)
    return start, end


def _moment(text: str, now: int) -> int:
    from headrace.kernel.clock import parse_time
    from headrace.kernel.config import duration

    try:
        if text == "now":
            return now
        if text[:1] in "+-" and not text[1:].isdigit():
            moment = now + (1 if text[0] == "+" else -1) * int(duration(text[1:]))
        else:
            moment = parse_time(text)
        if not -(2**63) <= moment < 2**63:
            raise OverflowError(moment)
        return moment
    except (ValueError, OverflowError):
        raise UsageFault("cli.bad_time", value=text) from None


def _width(every: str) -> int:
    from headrace.kernel.config import duration

    if not every:
        return 0
    try:
        width = int(duration(every))
    except ValueError:
        width = 0
    if width < 1_000_000:
        raise UsageFault("cli.bad_every", value=every)
    return width
