"""Assembles the commands, and turns every error into words and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from headrace import __version__
from headrace.cli._words import LANG, t  # before typer: see _words

import typer  # isort: skip
from typer import core as typer_core  # isort: skip

from headrace.cli import config, demo, doctor, edge, history, replay, run, up
from headrace.cli._output import FAILED, USAGE, UsageFault, fail, leave, note, say
from headrace.kernel import messages
from headrace.kernel.errors import HeadraceError


class _Worded:
    """Usage line and --help in the reader's language; mixed into typer's command classes."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = t("cli.opt.help")
        return option

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        pieces = self.collect_usage_pieces(ctx)  # type: ignore[attr-defined]
        formatter.write_usage(ctx.command_path, " ".join(pieces), prefix=t("cli.usage") + " ")


class Command(_Worded, typer_core.TyperCommand):
    """A command whose help is in the reader's language."""


class Group(_Worded, typer_core.TyperGroup):
    """A group of commands, likewise."""


def _version(wanted: bool) -> None:
    if wanted:
        say(f"headrace {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """The whole command in the reader's language."""
    app = typer.Typer(
        cls=Group,
        help=t("cli.help"),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    @app.callback()
    def headrace(
        version: Annotated[
            bool, typer.Option("--version", help=t("cli.opt.version"), callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    for module in (up, demo, run, config, edge, history, replay, doctor):
        module.register(app, Command, Group)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Never returns: exits with 0, 1 (failed), 2 (asked wrongly) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    json = "--json" in given
    try:
        code = build()(args=given, prog_name="headrace", standalone_mode=False)
    except HeadraceError as error:
        fail(error, json=json)
    except (KeyboardInterrupt, typer.Abort):
        note(t("cli.interrupted"))
        leave(130)
    except BrokenPipeError:
        leave(FAILED)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer's parser
            if type(error).__name__ == "NoArgsIsHelpError":
                leave(USAGE)
            fail(_usage_fault(error), json=json)
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        note(messages.render("cli.internal", LANG, kind=type(error).__name__, text=str(error)))
        leave(FAILED)
    leave(code if isinstance(code, int) else 0)


def _usage_fault(error: Any) -> UsageFault:
    """What typer's parser complains of, as a row of our table."""
    name = type(error).__name__
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "headrace"
    if name == "NoSuchOption":
        return UsageFault("cli.no_such_option", option=error.option_name, command=command)
    if name == "MissingParameter":
        missing = error.param.opts[0] if error.param is not None else ""
        if error.param is not None and error.param.param_type_name == "argument":
            missing = str(error.param.name).upper()
        return UsageFault("cli.missing", name=missing, command=command)
    if name == "BadParameter":
        hint = error.param.opts[0] if getattr(error, "param", None) is not None else ""
        return UsageFault("cli.bad_value", name=hint, reason=error.message, command=command)
    if "No such command" in error.message:
        wrong = error.message.split("'")[1] if "'" in error.message else error.message
        known = ", ".join(context.command.list_commands(context)) if context is not None else ""
        return UsageFault("cli.no_such_command", name=wrong, known=known)
    return UsageFault("cli.usage_fault", reason=error.format_message(), command=command)


__all__ = ["LANG", "build", "main"]

if __name__ == "__main__":
    main()
