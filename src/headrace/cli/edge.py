"""`headrace edge plan|status`: what the edge would ask its devices, and how it fares."""

from __future__ import annotations

from typing import Any

from headrace.cli._options import CONFIG, DATA, Config, Data, Json
from headrace.cli._output import emit, say
from headrace.cli._words import LANG, t

import typer  # isort: skip


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the group to `app`."""
    sub = typer.Typer(cls=group, help=t("cli.edge.help"), no_args_is_help=True)
    sub.command("plan", cls=command, help=t("cli.edge.plan.help"))(plan)
    sub.command("status", cls=command, help=t("cli.edge.status.help"))(status)
    app.add_typer(sub, name="edge", cls=group)


def plan(config: Config = CONFIG, json: Json = False) -> None:
    from headrace.edge import EDGE, plan_report
    from headrace.node import load

    settings = load(config)
    reports = plan_report(settings[EDGE], settings.file)
    requests = sum(r.count for r in reports)
    one_per_tag = sum(r.one_per_tag for r in reports)
    ratio = one_per_tag / requests if requests else 0.0
    if json:
        emit(
            {
                "tags": sum(r.tags for r in reports),
                "requests": requests,
                "one_per_tag": one_per_tag,
                "ratio": ratio,
                "connections": reports,
            }
        )
        return
    for report in reports:
        figures = {"tags": report.tags, "requests": report.count, "one_per_tag": report.one_per_tag}
        say(
            t(
                "cli.edge.plan.line",
                name=report.name,
                driver=report.driver,
                ratio=f"{report.ratio:.1f}",
                **figures,
            )
        )
        for r in report.requests:
            where = f"{r.area}:{r.start}+{r.length}"
            say(
                t("cli.edge.plan.request", where=where, tags=r.tags, gap=r.gap_units, every=f"{r.every_ms:g}")
            )
    say(t("cli.edge.plan.total", requests=requests, one_per_tag=one_per_tag, ratio=f"{ratio:.1f}"))


def status(data: Data = DATA, json: Json = False) -> None:
    from headrace.cli._api import running_node

    found = running_node(data).get("/gateway")
    if json:
        emit(found)
        return
    for edge in found.get("edges", []):
        buffer: dict[str, Any] = edge.get("buffer") or {}
        depth = buffer.get("depth_messages", 0)
        lag = edge.get("lag_ms")
        say(
            t("cli.edge.status.line", source=edge.get("source"), depth=depth, lag="–" if lag is None else lag)
        )
        for connection in edge.get("connections", []):
            error = connection.get("error") or {}
            say(
                t(
                    "cli.edge.status.connection",
                    name=connection.get("name"),
                    driver=connection.get("driver"),
                    state=connection.get("state"),
                    endpoint=connection.get("endpoint") or "",
                    rate=f"{connection.get('values_per_s') or 0:.0f}",
                    error=error.get(LANG, ""),
                ).rstrip()
            )
