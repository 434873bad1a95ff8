"""`headrace config check`: every fault of a configuration at once."""

from __future__ import annotations

from headrace.cli._options import CONFIG, Config, Json
from headrace.cli._output import FAILED, emit, problems_in_both, say
from headrace.cli._words import t

import typer  # isort: skip


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the group to `app`."""
    sub = typer.Typer(cls=group, help=t("cli.config.help"), no_args_is_help=True)
    sub.command("check", cls=command, help=t("cli.config.check.help"))(check)
    app.add_typer(sub, name="config", cls=group)


def check(config: Config = CONFIG, json: Json = False) -> None:
    from headrace.edge import EDGE, tag_specs
    from headrace.kernel.errors import ConfigError
    from headrace.node import NODE, load

    try:
        settings = load(config)
    except ConfigError as error:
        if not json:
            raise
        emit({"ok": False, "file": str(config), "problems": problems_in_both(error)})
        raise typer.Exit(FAILED) from None
    edge = settings[EDGE]
    tags, connections = len(tag_specs(edge, settings.file)), len(edge.connections)
    if json:
        node = settings[NODE].name
        emit({"ok": True, "file": str(config), "node": node, "tags": tags, "connections": connections})
    else:
        say(t("cli.config.right", file=str(config), tags=tags, connections=connections))
