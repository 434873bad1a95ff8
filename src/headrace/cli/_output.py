"""What is printed where, and what becomes of an error."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from headrace.cli._words import LANG, t
from headrace.kernel import messages
from headrace.kernel.errors import ConfigError, HeadraceError, InputError

FAILED = 1
USAGE = 2


class UsageFault(InputError):
    """The command line itself was wrong: exit code 2."""


def emit(value: Any) -> None:
    """`value` as one line of JSON on standard output."""
    import msgspec

    sys.stdout.buffer.write(msgspec.json.encode(value, enc_hook=str) + b"\n")
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """A result for people, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Progress and remarks, on standard error, so that output can be piped."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def in_both(code: str, params: dict[str, Any]) -> dict[str, Any]:
    """An error as --json shows it."""
    both = {lang: messages.render(code, lang, **params) for lang in messages.LANGS}
    return {"code": code, "params": {k: _plain(v) for k, v in params.items()}, **both}


def problems_in_both(error: ConfigError) -> list[dict[str, Any]]:
    """Every fault of a configuration as --json shows it."""
    return [{"file": p.file, "key": p.key, **in_both(p.code, p.params)} for p in error.problems]


def fail(error: HeadraceError, *, json: bool) -> NoReturn:
    """Tell `error` on standard error and exit."""
    if json:
        import msgspec

        body: dict[str, Any] = {"error": in_both(error.code, error.params)}
        if isinstance(error, ConfigError):
            body["problems"] = problems_in_both(error)
        note(msgspec.json.encode(body, enc_hook=str).decode())
    else:
        note(t("cli.error_is", text=error.text(LANG)))
        if isinstance(error, ConfigError) and len(error.problems) > 1:
            note(messages.render(error.code, LANG, **error.params))
    leave(USAGE if isinstance(error, UsageFault) else FAILED)


def leave(code: int) -> NoReturn:
    """Exit; a reader of our output who has gone is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _plain(value: Any) -> Any:
    if isinstance(value, messages.Text):
        return {lang: value.get(lang) for lang in messages.LANGS}
    return value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)
