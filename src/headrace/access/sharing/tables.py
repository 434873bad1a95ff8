"""Published aggregates: fixed tables, and for each edition what it was made of and by what rule it is public.

A table is defined once, before any figure is known, and an indicator stands in one table at a time: two
tables of the same figures would give away by difference what each of them hides. An edition is one period's
cells; a correction is a further edition, in which whatever was hidden stays hidden.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from headrace.access.events import Events
from headrace.access.ids import new_id
from headrace.access.sharing import _tables as t
from headrace.access.sharing.aggregates import Code, Protected, Rule, Shape
from headrace.access.sharing.aggregates.suppress import PublicCell
from headrace.access.sharing.gate import Tabled
from headrace.access.tenancy import Scope
from headrace.kernel.errors import Conflict, NotFound
from headrace.kernel.messages import Text


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed table of one indicator. `publisher`: the organisation that answers for it; `unit` UCUM."""

    id: str
    indicator: str
    publisher: str
    title: Text
    unit: str
    shape: Shape
    rule: Rule
    by: str
    created: int
    retired: int | None = None


class Edition(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a table as everybody sees it. `number` counts corrections from 1; `contributors` and
    `grants`: how many figures it rests on and under how many grants for aggregation; `left_out`: how many
    were not granted."""

    table: str
    period: str
    number: int
    published: int
    by: str
    cells: tuple[PublicCell, ...]
    grants: int
    contributors: int
    left_out: int

    @property
    def public_by(self) -> str:
        """What makes it public, for decisions and for the page that shows it."""
        return f"table:{self.table}/{self.period}/{self.number}"


class Tables:
    """The published tables of a node. Thread-safe. Whether the caller may define or publish
    (`aggregate.publish`) is for the decision point to say before."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._records = events.records

    def define(
        self, indicator: str, publisher: str, title: Text, unit: str, shape: Shape, rule: Rule, *, by: str
    ) -> Definition:
        """Raises InputError (see `Shape.check`), Conflict (`share.table_exists`)."""
        shape.check()
        with self._events.begin() as change:
            same = sa.select(t.table.c.id).where(
                t.table.c.indicator == indicator, t.table.c.retired.is_(None)
            )
            if (other := change.connection.scalar(same)) is not None:
                raise Conflict("share.table_exists", indicator=indicator, table=other)
            definition = Definition(
                id=new_id(), indicator=indicator, publisher=publisher, title=title, unit=unit, shape=shape,
                rule=rule, by=by, created=change.now,
            )  # fmt: skip
            row = {"id": definition.id, "indicator": indicator, "publisher": publisher, "retired": None}
            body = msgspec.json.encode(definition).decode()
            change.connection.execute(sa.insert(t.table).values(**row, created=change.now, body=body))
            detail = {"indicator": indicator}
            change.note("share.table_defined", f"table:{definition.id}", by=by, org=publisher, detail=detail)
        return definition

    def retire(self, id: str, scope: Scope, *, by: str) -> None:
        """No further periods; what is published stays. Raises NotFound (`share.no_table`)."""
        definition = self._owned(id, scope)
        if definition.retired is not None:
            return
        with self._events.begin() as change:
            retired = msgspec.structs.replace(definition, retired=change.now)
            body = msgspec.json.encode(retired).decode()
            change.connection.execute(
                sa.update(t.table).where(t.table.c.id == id).values(retired=change.now, body=body)
            )
            change.note("share.table_retired", f"table:{id}", by=by, org=definition.publisher)

    def hidden_before(self, id: str, period: str) -> frozenset[Code]:
        """The cells that editions of a period hid: `keep_hidden` for a correction."""
        return frozenset(
            cell.code for edition in self.editions(id, period) for cell in edition.cells if cell.value is None
        )

    def publish(self, id: str, period: str, made: Tabled, scope: Scope, *, by: str) -> Edition:
        """Publish what `Gate.table` made for `period` (such as "2026-Q3").

        Raises NotFound (`share.no_table`), Conflict (`share.table_retired`; `share.table_differs`: made for
        another shape or rule; `share.uncovers`: it shows what an earlier edition hid).
        """
        definition = self._owned(id, scope)
        if definition.retired is not None:
            raise Conflict("share.table_retired", table=id)
        protected: Protected = made.protected
        if protected.shape != definition.shape or protected.rule != definition.rule:
            raise Conflict("share.table_differs", table=id)
        empty = {cell.code for cell in protected.cells if not cell.contributors}
        if uncovered := self.hidden_before(id, period) - protected.hidden - empty:
            raise Conflict("share.uncovers", cell=", ".join(min(uncovered)))
        with self._events.begin() as change:
            newest = sa.select(sa.func.max(t.edition.c.number)).where(
                t.edition.c.table == id, t.edition.c.period == period
            )
            number = int(change.connection.scalar(newest) or 0) + 1
            edition = Edition(
                table=id, period=period, number=number, published=change.now, by=by,
                cells=protected.public(), grants=len(made.grants), contributors=made.contributors,
                left_out=len(made.left_out),
            )  # fmt: skip
            row = {"table": id, "period": period, "number": number, "published": change.now, "by": by}
            body = msgspec.json.encode(edition).decode()
            change.connection.execute(sa.insert(t.edition).values(**row, body=body))
            detail = {"period": period, "number": str(number), "grants": ", ".join(made.grants)}
            resource = edition.public_by
            change.note("share.published", resource, by=by, org=definition.publisher, detail=detail)
        return edition

    def get(self, id: str) -> Definition:
        """Definitions are public. Raises NotFound (`share.no_table`)."""
        with self._records.read() as connection:
            body = connection.scalar(sa.select(t.table.c.body).where(t.table.c.id == id))
        if body is None:
            raise NotFound("share.no_table", table=id)
        return msgspec.json.decode(body, type=Definition)

    def page(self, *, limit: int = 100, offset: int = 0) -> tuple[list[Definition], int]:
        """All definitions, the newest first, and how many there are."""
        query = sa.select(t.table.c.body).order_by(t.table.c.created.desc(), t.table.c.id)
        with self._records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(t.table))
            bodies = connection.scalars(query.limit(limit).offset(offset)).all()
        return [msgspec.json.decode(body, type=Definition) for body in bodies], int(total or 0)

    def editions(self, id: str, period: str = "") -> list[Edition]:
        """The editions of a table (of one period), oldest first."""
        query = sa.select(t.edition.c.body).where(t.edition.c.table == id)
        if period:
            query = query.where(t.edition.c.period == period)
        with self._records.read() as connection:
            bodies = connection.scalars(query.order_by(t.edition.c.period, t.edition.c.number)).all()
        return [msgspec.json.decode(body, type=Edition) for body in bodies]

    def _owned(self, id: str, scope: Scope) -> Definition:
        query = sa.select(t.table.c.body).where(t.table.c.id == id, scope.where(t.table.c.publisher))
        with self._records.read() as connection:
            body = connection.scalar(query)
        if body is None:
            raise NotFound("share.no_table", table=id)
        return msgspec.json.decode(body, type=Definition)
