"""Logging of a process: JSON lines to DIR/logs/<name>.log, and for people where there is a terminal."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

import structlog

_BYTES = 10 << 20
_KEPT = 3


def configure(name: str, folder: Path, *, human: bool) -> None:
    """Send structlog and the standard library's logging of this process to `folder`/`name`.log, rotated at
    10 MB, three kept. `human`: readable lines to stderr as well."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        folder / f"{name}.log", maxBytes=_BYTES, backupCount=_KEPT, encoding="utf-8"
    )
    file.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.dict_tracebacks,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [file]
    root.setLevel(logging.INFO)
    if human:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
                ],
                foreign_pre_chain=shared,
            )
        )
        root.addHandler(terminal)
    for noisy in ("nats", "alembic", "sqlalchemy", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
