"""One database with its engines: `begin` for writing, `read` for reading, `migrate` at start.

SQLite runs with a write-ahead log, so readers never wait for the writer; with `synchronous=FULL`, so that a
committed transaction survives power loss; with foreign keys on. A write transaction takes the write lock at
its start (`BEGIN IMMEDIATE`): of two writers one waits, none fails half-way through with a stale snapshot.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from headrace.kernel.errors import InputError
from headrace.records._faults import translated
from headrace.records._migrations import Room, downgrade, upgrade, version

_log = structlog.get_logger(__name__)

_MIGRATE_WAIT_S = 120.0
_ADVISORY_LOCK = 0x48454144  # "HEAD": PostgreSQL's lock number for migrations


class Records:
    """An open database. Threads may share it; processes open their own.

    Every method raises Unavailable (`records.locked`, `records.disk_full`, `records.unreachable`,
    `records.io_error`, `records.cannot_open`) or Corrupt (`records.corrupt`). Violated constraints stay
    `sqlalchemy.exc.IntegrityError`, for the room that knows what they mean.
    """

    def __init__(self, name: str, writer: sa.Engine, reader: sa.Engine) -> None:
        self.name = name  # the file, or the URL without its password
        self._writer = writer
        self._reader = reader

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self._writer.dialect.name

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A connection in a write transaction: committed at the end, rolled back on an exception."""
        with translated(self.name), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state and cannot write."""
        with translated(self.name), self._reader.begin() as connection:
            yield connection

    def migrate(self, rooms: Sequence[str]) -> None:
        """Bring the tables of each room up to the newest migration that is installed.

        All in one transaction under one lock: several processes may start at the same moment, and a failed
        migration leaves nothing behind. Raises Conflict (`records.newer`) where the database was written by
        a newer version. A room is the name of one of ours, or the dotted name of a package of migrations.
        """
        found = [Room.find(name) for name in rooms]
        with translated(self.name), self._migrating() as connection:
            for room in found:
                before, after = upgrade(connection, room)
                if before != after:
                    _log.info("migrated", room=room.name, before=before, after=after, database=self.name)

    def downgrade(self, room: str, revision: str) -> None:
        """Take one room's tables back to `revision`, or to nothing with "base"."""
        found = Room.find(room)
        with translated(self.name), self._migrating() as connection:
            before, after = downgrade(connection, found, revision)
        _log.info("migrated", room=room, before=before, after=after, database=self.name)

    def version(self, room: str) -> str | None:
        """The newest migration of `room` that this database has, None where it has none."""
        found = Room.find(room)
        with translated(self.name), self._reader.begin() as connection:
            return version(connection, found)

    def close(self) -> None:
        """Idempotent. Connections still in use are closed when they are given back."""
        self._writer.dispose()
        if self._reader is not self._writer:
            self._reader.dispose()

    @contextmanager
    def _migrating(self) -> Iterator[sa.Connection]:
        """A write transaction that excludes other migrations.

        SQLite checks foreign keys at its end instead of on the way, because altering a table there means
        rebuilding it; the switch works only outside a transaction.
        """
        if self.dialect != "sqlite":
            with self._writer.begin() as connection:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
                yield connection
            return
        with self._writer.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            busy = raw.execute("PRAGMA busy_timeout").fetchone()[0]
            raw.execute("PRAGMA foreign_keys = OFF")
            raw.execute(f"PRAGMA busy_timeout = {round(_MIGRATE_WAIT_S * 1000)}")
            try:
                with connection.begin():
                    yield connection
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                    if broken:
                        raise sa.exc.IntegrityError(
                            "PRAGMA foreign_key_check", None, sqlite3.IntegrityError(tuple(broken))
                        )
            finally:
                raw.execute("PRAGMA foreign_keys = ON")
                raw.execute(f"PRAGMA busy_timeout = {busy}")


def open_records(path_or_url: str | Path, *, busy_timeout_s: float = 10.0) -> Records:
    """Open (and create, where it is a file that does not exist) the database.

    `path_or_url`: a file for SQLite, `sqlite:////abs/path`, or `postgresql+pg8000://user:pw@host/db`.
    `busy_timeout_s`: how long a writer waits for another one before `records.locked`.
    Raises InputError (`records.bad_url`), Unavailable or Corrupt.
    """
    text = str(path_or_url)
    if "://" not in text:
        return _sqlite(Path(text), busy_timeout_s)
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise InputError("records.bad_url", url=_without_password(text)) from None
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return _sqlite(Path(url.database), busy_timeout_s)
    if url.get_backend_name() == "postgresql":
        return _postgresql(url, busy_timeout_s)
    raise InputError("records.bad_url", url=url.render_as_string())


def _without_password(text: str) -> str:
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _sqlite(path: Path, busy_timeout_s: float) -> Records:
    path = path.absolute()
    url = sa.URL.create("sqlite", database=str(path))

    def engine(*, read_only: bool) -> sa.Engine:
        made = sa.create_engine(url, connect_args={"timeout": busy_timeout_s}, pool_size=4, max_overflow=16)

        def connected(raw: sqlite3.Connection, _record: Any) -> None:
            raw.isolation_level = None  # transactions are begun below, so that DDL is inside them too
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA foreign_keys = ON")
            if read_only:
                raw.execute("PRAGMA query_only = ON")

        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

        sa.event.listen(made, "connect", connected)
        sa.event.listen(made, "begin", begun)
        return made

    with translated(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_ahead_log(path, busy_timeout_s)
    return Records(str(path), engine(read_only=False), engine(read_only=True))


def _write_ahead_log(path: Path, wait_s: float) -> None:
    """Switch the file to WAL, which stays so. SQLite does not wait for the lock that this one step needs,
    so several processes that create the file at the same moment have to try again."""
    deadline = time.monotonic() + wait_s
    raw = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
    try:
        while True:
            try:
                mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode == "wal":
                    return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                if time.monotonic() > deadline:
                    raise
            else:
                raise OSError(f"the file system does not allow a write-ahead log (mode {mode})")
            time.sleep(0.02)
    finally:
        raw.close()


def _postgresql(url: sa.URL, busy_timeout_s: float) -> Records:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+pg8000")
    try:
        writer = sa.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "startup_params": {"TimeZone": "UTC", "lock_timeout": str(round(busy_timeout_s * 1000))}
            },
        )
    except ImportError as error:
        raise InputError("records.no_driver", driver=url.drivername, reason=str(error)) from None
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Records(url.render_as_string(), writer, reader)
