"""Each room's own line of Alembic migrations, run without an Alembic environment or ini file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from headrace.kernel.errors import Conflict, NotFound

_ROOMS = Path(__file__).resolve().parent.parent


class Room(msgspec.Struct, frozen=True):
    """Where a room keeps its migrations, and the table in which its version stands."""

    name: str
    folder: Path

    @property
    def version_table(self) -> str:
        return "version_" + self.name.replace(".", "_")

    @classmethod
    def find(cls, name: str) -> Room:
        """`name`: "rules" is headrace/rules/migrations; "my_app.migrations" is that package.

        Raises NotFound (`records.no_migrations`).
        """
        if "." not in name:
            folder = _ROOMS / name / "migrations"
        else:
            try:
                spec = importlib.util.find_spec(name)
            except ModuleNotFoundError:
                spec = None
            places = spec.submodule_search_locations if spec else None
            folder = Path(next(iter(places))) if places else Path()
        if not name or not folder.is_dir() or folder == Path():
            raise NotFound("records.no_migrations", room=name)
        return cls(name, folder)

    def script(self) -> ScriptDirectory:
        return ScriptDirectory(str(self.folder), version_locations=[str(self.folder)])


def version(connection: sa.Connection, room: Room) -> str | None:
    """The revision the database stands at; None where the room has no tables yet."""
    return MigrationContext.configure(
        connection, opts={"version_table": room.version_table}
    ).get_current_revision()


def upgrade(connection: sa.Connection, room: Room) -> tuple[str | None, str | None]:
    """To the newest revision; gives the revisions before and after."""
    script = room.script()
    return _run(connection, room, script, lambda at, _: script._upgrade_revs("head", at))


def downgrade(connection: sa.Connection, room: Room, revision: str) -> tuple[str | None, str | None]:
    """Back to `revision` ("base": nothing). Raises NotFound where the room has no such revision."""
    script = room.script()
    known = {r.revision for r in script.walk_revisions()} | {"base"}
    if revision not in known:
        raise NotFound("records.no_revision", room=room.name, revision=revision)
    return _run(connection, room, script, lambda at, _: script._downgrade_revs(revision, at))


def _run(
    connection: sa.Connection,
    room: Room,
    script: ScriptDirectory,
    steps: Callable[[Any, MigrationContext], Any],
) -> tuple[str | None, str | None]:
    before = version(connection, room)
    if before is not None and before not in {r.revision for r in script.walk_revisions()}:
        raise Conflict("records.newer", room=room.name, version=before, newest=script.get_current_head())
    context = MigrationContext.configure(
        connection, opts={"version_table": room.version_table, "fn": steps, "transactional_ddl": True}
    )
    with Operations.context(context):
        context.run_migrations()
    return before, version(connection, room)
