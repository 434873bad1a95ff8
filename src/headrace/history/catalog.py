"""The tag catalogue: which variables this node has ever had, and the id that stands for each in batches.

Lives in records (table `tag`), because history outlives a configuration: a tag that is taken out of
`headrace.toml` keeps its id, its metadata and its values.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel.errors import InputError
from headrace.kernel.messages import Text
from headrace.kernel.model import Kind, Tag
from headrace.records import Records

_tag = sa.Table(
    "tag",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("title_zh", sa.Text),
    sa.Column("title_en", sa.Text),
    sa.Column("unit", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("writable", sa.Boolean),
    sa.Column("low", sa.Float(53)),
    sa.Column("high", sa.Float(53)),
    sa.Column("search", sa.Text),
)
_CHUNK = 500  # names per IN (...), below every database's limit on parameters


class TagSpec(msgspec.Struct, frozen=True):
    """A Tag before it has an id: what the configuration says of it."""

    name: str
    kind: Kind
    title: Text | None = None
    unit: str = ""
    source: str = ""
    writable: bool = False
    low: float | None = None
    high: float | None = None


class TagCatalog:
    """The catalogue in one records database; processes and threads may share it."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def migrate(self) -> None:
        """Create or update the table. Idempotent."""
        self._records.migrate(["history"])

    def sync(self, specs: Sequence[TagSpec]) -> list[Tag]:
        """Make the catalogue say what `specs` say; the Tags of `specs`, in their order.

        A new name gets an id; a known one keeps its own and takes the new metadata; names that are not in
        `specs` stay as they are. Raises InputError (`history.tag_twice`) where a name stands twice, and
        (`history.tag_kind_changed`) where a name has another kind than before: its past values could not be
        read as what it is now, so the new variable needs a new name.
        """
        seen: set[str] = set()
        for spec in specs:
            if spec.name in seen:
                raise InputError("history.tag_twice", tag=spec.name)
            seen.add(spec.name)
        with self._records.begin() as connection:
            known = {row.name: row for row in _named(connection, [s.name for s in specs])}
            changed, new = [], []
            for spec in specs:
                row = known.get(spec.name)
                wanted = _columns(spec)
                if row is None:
                    new.append(wanted)
                elif row.kind != wanted["kind"]:
                    raise InputError(
                        "history.tag_kind_changed", tag=spec.name, before=row.kind, after=spec.kind.value
                    )
                elif any(getattr(row, key) != value for key, value in wanted.items()):
                    changed.append({"b_id": row.id, **{f"b_{k}": v for k, v in wanted.items()}})
            if new:
                connection.execute(sa.insert(_tag), new)
            if changed:
                settings: Any = {k: sa.bindparam(f"b_{k}") for k in _columns(specs[0])}
                connection.execute(
                    sa.update(_tag).where(_tag.c.id == sa.bindparam("b_id")).values(settings), changed
                )
            if new or changed:
                known = {row.name: row for row in _named(connection, [s.name for s in specs])}
        return [_of(known[spec.name]) for spec in specs]

    def all(self) -> list[Tag]:
        """Every tag, by id."""
        with self._records.read() as connection:
            return [_of(row) for row in connection.execute(sa.select(_tag).order_by(_tag.c.id))]

    def get(self, name: str) -> Tag | None:
        """The tag of that exact name."""
        with self._records.read() as connection:
            row = connection.execute(sa.select(_tag).where(_tag.c.name == name)).first()
        return _of(row) if row is not None else None

    def search(
        self, text: str = "", *, machine: str | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[list[Tag], int]:
        """A page of the tags, by name, and how many there are in all.

        Every word of `text` must stand somewhere in name, either title or unit. Chinese has no word breaks,
        so matching is by substring; width and case make no difference (ｐＨ finds pH).
        """
        where = [_tag.c.search.contains(word, autoescape=True) for word in _fold(text).split()]
        if machine is not None:
            where.append(_tag.c.machine == machine)
        with self._records.read() as connection:
            total = connection.execute(
                sa.select(sa.func.count()).select_from(_tag).where(*where)
            ).scalar_one()
            page = sa.select(_tag).where(*where).order_by(_tag.c.name).limit(limit).offset(offset)
            return [_of(row) for row in connection.execute(page)], int(total)


def _named(connection: sa.Connection, names: Sequence[str]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(names), _CHUNK):
        some = sa.select(_tag).where(_tag.c.name.in_(names[start : start + _CHUNK]))
        rows.extend(connection.execute(some))
    return rows


def _columns(spec: TagSpec) -> dict[str, Any]:
    title = spec.title
    said = [spec.name, title.zh if title else "", title.en if title else "", spec.unit]
    return {
        "name": spec.name,
        "machine": spec.name.partition("/")[0],
        "kind": spec.kind.value,
        "title_zh": title.zh if title else None,
        "title_en": title.en if title else None,
        "unit": spec.unit,
        "source": spec.source,
        "writable": spec.writable,
        "low": spec.low,
        "high": spec.high,
        "search": _fold("\n".join(said)),
    }


def _of(row: Any) -> Tag:
    title = Text(zh=row.title_zh, en=row.title_en) if row.title_zh is not None else None
    return Tag(
        id=row.id,
        name=row.name,
        kind=Kind(row.kind),
        title=title,
        unit=row.unit,
        source=row.source,
        writable=bool(row.writable),
        low=row.low,
        high=row.high,
    )


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
