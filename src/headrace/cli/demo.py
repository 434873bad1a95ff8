"""`headrace demo`: a coating workshop with everything real but the machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headrace.cli._options import Json
from headrace.cli._words import LANG, t

import typer  # isort: skip


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the command to `app`."""
    app.command("demo", cls=command, help=t("cli.demo.help"))(demo)


def demo(
    data: Annotated[Path | None, typer.Option("--data", help=t("cli.demo.data"), show_default=False)] = None,
    check: Annotated[bool, typer.Option("--check", help=t("cli.demo.check"))] = False,
    open_browser: Annotated[bool, typer.Option("--open", help=t("cli.demo.open"))] = False,
    port: Annotated[int | None, typer.Option("--port", help=t("cli.demo.port"), show_default=False)] = None,
    seed: Annotated[int, typer.Option("--seed", help=t("cli.demo.seed"))] = 1,
    speed: Annotated[float, typer.Option("--speed", min=0.01, help=t("cli.demo.speed"))] = 1.0,
    for_s: Annotated[float | None, typer.Option("--for", help=t("cli.demo.for"), show_default=False)] = None,
    json: Json = False,
) -> None:
    from headrace.demo import run_demo

    code = run_demo(
        data,
        check=check,
        open_browser=open_browser,
        lang=LANG,
        seed=seed,
        json=json,
        speed=speed,
        port=port,
        for_s=for_s,
    )
    raise typer.Exit(code)
