"""The reader's language for everything the command line prints, typer's own words included."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path
from typing import Any

from headrace.kernel import messages

LANG = messages.reader_language()

_TYPERS_WORDS = {
    "Arguments": "arguments",
    "Options": "options",
    "Commands": "commands",
    "Error": "error",
    "Aborted.": "aborted",
    "Aborted!": "aborted",
    "required": "required",
    "[required]": "required_marked",
    "[default: {}]": "default_marked",
    "Try [blue]'{command_path} {help_option}'[/] for help.": "try_help",
}


def t(key: str, **params: Any) -> str:
    """The row `cli.<key>` of the message table in the reader's language, braces filled."""
    row = _rows()[f"cli.{key}"]
    text = row.zh if LANG == "zh" else row.en
    return text.format(**params) if params else text


@cache
def _rows() -> dict[str, messages.Message]:
    """This room's rows alone: reading every room's would take a quarter of the time that --help has."""
    return messages.read(Path(__file__).with_name("messages.toml"))


def _translate(text: str) -> str:
    key = _TYPERS_WORDS.get(text)
    return t(f"typer.{key}") if key else text  # typer fills the braces itself


# typer takes its words from gettext when it is imported, and ships no catalogue; so this comes first
gettext.gettext = _translate  # type: ignore[assignment]
