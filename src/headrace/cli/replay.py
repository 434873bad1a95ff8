"""`headrace replay FILE`: a recording served as a real device, and the configuration that reads it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from headrace.cli._options import Json
from headrace.cli._output import emit, note, say
from headrace.cli._words import t

import typer  # isort: skip


class Protocol(StrEnum):
    """What a recording can be served as."""

    MODBUS = "modbus"


def register(app: typer.Typer, command: type, group: type) -> None:
    """Add the command to `app`."""
    app.command("replay", cls=command, help=t("cli.replay.help"))(replay)


def replay(
    file: Annotated[Path, typer.Argument(help=t("cli.replay.file"), show_default=False)],
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help=t("cli.replay.protocol"))
    ] = Protocol.MODBUS,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=t("cli.replay.port"))] = 5020,
    host: Annotated[str, typer.Option("--host", help=t("cli.replay.host"))] = "127.0.0.1",
    speed: Annotated[float, typer.Option("--speed", min=0.001, help=t("cli.replay.speed"))] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help=t("cli.replay.loop"))] = False,
    hold: Annotated[bool, typer.Option("--hold/--no-hold", help=t("cli.replay.hold"))] = True,
    time_column: Annotated[
        str | None, typer.Option("--time-column", help=t("cli.replay.time_column"), show_default=False)
    ] = None,
    linger: Annotated[
        float | None, typer.Option("--linger", min=0, help=t("cli.replay.linger"), show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    import asyncio
    import logging
    import signal

    import structlog

    from headrace.drivers.modbus.replay import Progress, configuration, load, serve

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    recording = load(file, time_column)

    def started(bound: int) -> None:
        text = configuration(recording, bound, speed, host=host)
        if json:
            emit(
                {
                    "event": "started",
                    "host": host,
                    "port": bound,
                    "rows": len(recording.times),
                    "config": text,
                }
            )
        else:
            say(text)
            note(t("cli.replay.started", file=str(file), host=host, port=bound, rows=len(recording.times)))

    shown = 0

    def progress(now: Progress) -> None:
        nonlocal shown
        if now.finished or now.served - shown >= max(1, now.rows // 20):
            shown = now.served
            if not json:
                note(t("cli.replay.progress", served=now.served, rows=now.rows))

    async def run() -> Progress:
        stop = asyncio.Event()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, stop.set)
        return await serve(
            recording,
            port,
            speed,
            loop,
            hold=hold,
            host=host,
            stop=stop,
            linger_s=linger,
            started=started,
            on_progress=progress,
        )

    end = asyncio.run(run())
    if json:
        emit(
            {"event": "ended", "rows": end.rows, "served": end.served, "held": end.held, "missed": end.missed}
        )
    else:
        note(t("cli.replay.ended", served=end.served, rows=end.rows, missed=end.missed, held=end.held))
