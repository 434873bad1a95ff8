"""What a database reports, as errors that a user can read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from headrace.kernel.errors import Corrupt, HeadraceError, Unavailable

_SQLITE = {
    sqlite3.SQLITE_BUSY: "records.locked",
    sqlite3.SQLITE_LOCKED: "records.locked",
    sqlite3.SQLITE_FULL: "records.disk_full",
    sqlite3.SQLITE_CORRUPT: "records.corrupt",
    sqlite3.SQLITE_NOTADB: "records.corrupt",
    sqlite3.SQLITE_IOERR: "records.io_error",
    sqlite3.SQLITE_READONLY: "records.cannot_open",
    sqlite3.SQLITE_CANTOPEN: "records.cannot_open",
    sqlite3.SQLITE_PERM: "records.cannot_open",
}
# SQLSTATE, PostgreSQL documentation appendix A
_POSTGRESQL = {
    "53100": "records.disk_full",
    "55P03": "records.locked",  # lock_not_available: lock_timeout
    "40001": "records.locked",  # serialization_failure
    "40P01": "records.locked",  # deadlock_detected
    "XX001": "records.corrupt",
    "XX002": "records.corrupt",
    "58030": "records.io_error",
    "25006": "records.cannot_open",  # read_only_sql_transaction
}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turns what the database `name` refuses into HeadraceErrors; everything else passes unchanged."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if found := _error(error.orig, name):
            raise found from error
        raise
    except sa.exc.TimeoutError as error:
        raise Unavailable("records.locked", database=name, reason="pool") from error
    except sqlite3.Error as error:
        if found := _error(error, name):
            raise found from error
        raise
    except OSError as error:
        raise Unavailable("records.cannot_open", database=name, reason=str(error)) from error


def _error(cause: BaseException | None, name: str) -> HeadraceError | None:
    reason = str(cause).strip().partition("\n")[0]
    if isinstance(cause, sqlite3.Error):
        code = _SQLITE.get((getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF)
    else:
        # pg8000 gives the server's fields as a dict (C is the SQLSTATE), or no such fields where there was
        # no server to give them
        fields = cause.args[0] if cause is not None and cause.args else None
        code = _POSTGRESQL.get(fields.get("C", "")) if isinstance(fields, dict) else "records.unreachable"
    if code is None:
        return None
    kind = Corrupt if code == "records.corrupt" else Unavailable
    return kind(code, database=name, reason=reason)
