"""The reader's language for everything the command line prints, typer's own words included."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Any

from headrace.kernel import messages

LANG = messages.reader_language()

_TYPERS_WORDS = {
    "Arguments": "cli.typer.arguments",
    "Options": "cli.typer.options",
    "Commands": "cli.typer.commands",
    "Error": "cli.typer.error",
    "Aborted.": "cli.typer.aborted",
    "Aborted!": "cli.typer.aborted",
    "required": "cli.typer.required",
    "[required]": "cli.typer.required_marked",
    "[default: {}]": "cli.typer.default_marked",
    "Try [blue]'{command_path} {help_option}'[/] for help.": "cli.typer.try_help",
}


def t(code: str, **params: Any) -> str:
    """The row `code` of this room's messages in the reader's language, braces filled."""
    row = _rows()[code]
    text = row.zh if LANG == "zh" else row.en
    return text.format(**params) if params else text


@cache
def _rows() -> dict[str, messages.Message]:
    """This room's rows alone: reading every room's would take a quarter of the time that --help has."""
    return messages.read(Path(__file__).with_name("messages.toml"))


def _translate(text: str) -> str:
    code = _TYPERS_WORDS.get(text)
    return t(code) if code else text  # typer fills the braces itself


# typer takes its words from gettext when it is imported, and ships no catalogue; so this comes first
gettext.gettext = _translate  # type: ignore[assignment]
