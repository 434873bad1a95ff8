"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headrace.cli._words import t  # before typer: see _words

import typer  # isort: skip

Config = Annotated[Path, typer.Option("--config", "-c", help=t("cli.opt.config"), show_default=True)]
Data = Annotated[Path, typer.Option("--data", help=t("cli.opt.data"), show_default=True)]
Json = Annotated[bool, typer.Option("--json", help=t("cli.opt.json"))]

CONFIG = Path("headrace.toml")
DATA = Path("headrace-data")
