"""`headrace up`: a whole node under one supervisor."""

from __future__ import annotations

import sys

from headrace.cli._options import CONFIG, DATA, Config, Data, Json
from headrace.cli._output import emit, say
from headrace.cli._words import LANG, t

import typer  # isort: skip


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the command to `app`."""
    app.command("up", cls=command, help=t("cli.up.help"))(up)


def up(config: Config = CONFIG, data: Data = DATA, json: Json = False) -> None:
    import asyncio
    import signal

    from headrace.kernel import messages
    from headrace.node import Progress, Supervisor

    def observe(progress: Progress) -> None:
        if json:
            emit({"event": progress.code.rpartition(".")[2], **progress.params})
        else:
            say(messages.render(progress.code, LANG, **progress.params))

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(sign, stop.set)
        await Supervisor(config, data, observer=observe, log_files=True).run(stop)

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(run())
