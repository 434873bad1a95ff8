"""`headrace run ROLE`: one role in this process, for whoever supervises it."""

from __future__ import annotations

from typing import Annotated

from headrace.cli._options import CONFIG, DATA, Config, Data
from headrace.cli._output import UsageFault
from headrace.cli._words import t

import typer  # isort: skip


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the command to `app`."""
    app.command("run", cls=command, help=t("cli.run.help"))(run)


def run(
    role: Annotated[str, typer.Argument(help=t("cli.run.role"), show_default=False)],
    config: Config = CONFIG,
    data: Data = DATA,
) -> None:
    from headrace.node.roles import ROLES, run_role

    if role not in ROLES:
        raise UsageFault("node.unknown_role", role=role, known=", ".join(ROLES))
    raise typer.Exit(run_role(role, config, data))
