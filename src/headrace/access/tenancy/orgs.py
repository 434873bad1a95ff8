"""Organisations: made, changed, moved, closed, and found within a Scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.ids import new_id
from headrace.access.tenancy._tables import org, reach
from headrace.access.tenancy.credit_code import is_credit_code
from headrace.access.tenancy.kinds import AREAS, TITLES, WITHIN_FIRM, OrgKind, OrgState, may_stand
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Conflict, InputError, NotFound
from headrace.kernel.messages import Text


class Org(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation as it is. `tenant`: the organisation within which access runs down the tree, itself or
    its firm. `code`: unified social credit code, "" where it has none. Times are UTC ns."""

    id: str
    kind: OrgKind
    title: Text
    parent: str = ""
    tenant: str
    code: str = ""
    state: OrgState = OrgState.ACTIVE
    created: int
    changed: int
    version: int


class Orgs:
    """The organisations in records. Thread-safe.

    Whoever asks with a Scope gets NotFound (`tenancy.unknown_org`) for what is outside it, in the same words
    as for what does not exist. Whether the caller may make the change is for the decision point to say.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._records = events.records

    def create(
        self,
        kind: OrgKind,
        title: Text,
        scope: Scope,
        *,
        by: str,
        parent: str = "",
        code: str = "",
        within: Change | None = None,
    ) -> Org:
        """A new organisation under `parent` ("": at the top), within the transaction `within` if given. A
        region or zone may be named as the parent by anyone; any other parent has to be in scope.

        Raises InputError (`tenancy.misplaced`, `tenancy.bad_credit_code`, `tenancy.no_title`), NotFound
        (`tenancy.unknown_org`: the parent), Conflict (`tenancy.code_taken`, `tenancy.org_not_active`: the
        parent).
        """
        if not title.zh.strip() or not title.en.strip():
            raise InputError("tenancy.no_title")
        if code and not is_credit_code(code):
            raise InputError("tenancy.bad_credit_code", value=code)
        if within is None:
            with self._events.begin() as change:
                return self._create(change, kind, title, scope, by, parent, code)
        return self._create(within, kind, title, scope, by, parent, code)

    def _create(
        self, change: Change, kind: OrgKind, title: Text, scope: Scope, by: str, parent: str, code: str
    ) -> Org:
        above = _place(change.connection, parent, scope) if parent else None
        if not may_stand(kind, OrgKind(above.kind) if above is not None else None):
            raise _misplaced(kind, above)
        if above is not None and above.state != OrgState.ACTIVE:
            raise Conflict("tenancy.org_not_active", org=parent)
        if code and change.connection.scalar(sa.select(org.c.id).where(org.c.code == code)) is not None:
            raise Conflict("tenancy.code_taken", value=code)
        new = new_id()
        tenant = above.tenant if above is not None and kind in WITHIN_FIRM else new
        row = {
            "id": new,
            "kind": kind.value,
            "parent": parent or None,
            "tenant": tenant,
            "title_zh": title.zh.strip(),
            "title_en": title.en.strip(),
            "code": code or None,
            "state": OrgState.ACTIVE.value,
            "created": change.now,
            "changed": change.now,
            "version": 1,
        }
        change.connection.execute(sa.insert(org).values(**row))
        reached_by = [new]
        if tenant != new:
            reached_by += change.connection.scalars(
                sa.select(reach.c.above).where(reach.c.below == parent)
            ).all()
        change.connection.execute(sa.insert(reach), [{"above": a, "below": new} for a in reached_by])
        change.note("org.created", new, by=by, org=new, detail={"kind": kind.value})
        return _org(_row(change.connection, new))

    def get(self, id: str, scope: Scope) -> Org:
        """Raises NotFound."""
        with self._records.read() as connection:
            return _org(_row(connection, id, scope))

    def find(
        self,
        scope: Scope,
        *,
        kind: OrgKind | None = None,
        parent: str | None = None,
        search: str = "",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Org], int]:
        """Those in scope by kind and title, and how many there are in all. `search`: part of a title or the
        whole code; upper and lower case are the same."""
        chosen = [scope.where(org.c.id)]
        if kind is not None:
            chosen.append(org.c.kind == kind.value)
        if parent is not None:
            chosen.append(org.c.parent == parent)
        if search:
            text = search.strip()
            chosen.append(
                sa.or_(
                    org.c.title_zh.icontains(text, autoescape=True),
                    org.c.title_en.icontains(text, autoescape=True),
                    org.c.code == text.upper(),
                )
            )
        order = (org.c.kind, org.c.title_en, org.c.id)
        with self._records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(org).where(*chosen)) or 0
            rows = connection.execute(
                sa.select(org).where(*chosen).order_by(*order).limit(limit).offset(offset)
            ).all()
        return [_org(row) for row in rows], total

    def above(self, id: str, scope: Scope) -> Sequence[tuple[str, OrgKind, Text]]:
        """From the top down to `id`: ids, kinds and titles. A firm may know its zone and its region by name;
        nothing else of them is in its scope."""
        with self._records.read() as connection:
            row = _row(connection, id, scope)
            path = _path(connection, row)
        return [(r.id, OrgKind(r.kind), Text(r.title_zh, r.title_en)) for r in reversed(path)]

    def rename(self, id: str, title: Text, scope: Scope, *, by: str) -> Org:
        """Raises NotFound, InputError (`tenancy.no_title`)."""
        if not title.zh.strip() or not title.en.strip():
            raise InputError("tenancy.no_title")
        with self._events.begin() as change:
            _row(change.connection, id, scope)
            _update(change, id, title_zh=title.zh.strip(), title_en=title.en.strip())
            change.note("org.renamed", id, by=by, org=id)
            return _org(_row(change.connection, id))

    def set_state(self, id: str, state: OrgState, scope: Scope, *, by: str) -> Org:
        """Suspend, take up again, or close. Closing and suspending hold for all that is below within the
        tenant, because roles count only where the organisation and its firm are active.

        Raises NotFound, Conflict (`tenancy.org_closed`: it was closed, and that is for good).
        """
        with self._events.begin() as change:
            row = _row(change.connection, id, scope)
            if row.state == OrgState.CLOSED and state is not OrgState.CLOSED:
                raise Conflict("tenancy.org_closed", org=id)
            _update(change, id, state=state.value)
            change.note(f"org.{state.value}", id, by=by, org=id)
            return _org(_row(change.connection, id))

    def move(self, id: str, parent: str, scope: Scope, *, by: str) -> Org:
        """Put an organisation under another parent. What belongs to a firm stays in it.

        Raises NotFound; InputError (`tenancy.misplaced`); Conflict (`tenancy.leaves_tenant`,
        `tenancy.moves_below_itself`).
        """
        with self._events.begin() as change:
            connection = change.connection
            row = _row(connection, id, scope)
            kind = OrgKind(row.kind)
            inside = kind in WITHIN_FIRM
            target = _place(connection, parent, scope)
            if not may_stand(kind, OrgKind(target.kind)):
                raise _misplaced(kind, target)
            if inside and target.tenant != row.tenant:
                raise Conflict("tenancy.leaves_tenant", org=id)
            if any(step.id == id for step in _path(connection, target)):
                raise Conflict("tenancy.moves_below_itself", org=id)
            _update(change, id, parent=parent)
            if inside:
                _reach_again(connection, id, parent)
            change.note("org.moved", id, by=by, org=id, detail={"parent": parent})
            return _org(_row(connection, id))


def _reach_again(connection: sa.Connection, id: str, parent: str) -> None:
    """Replace what reaches `id` and all below it, after it has moved under `parent`."""
    moved = connection.scalars(sa.select(reach.c.below).where(reach.c.above == id)).all()
    outside = reach.c.above.not_in(moved)
    connection.execute(sa.delete(reach).where(reach.c.below.in_(moved), outside))
    upper = connection.scalars(sa.select(reach.c.above).where(reach.c.below == parent)).all()
    connection.execute(sa.insert(reach), [{"above": a, "below": b} for a in upper for b in moved])


def _update(change: Change, id: str, **values: Any) -> None:
    change.connection.execute(
        sa.update(org).where(org.c.id == id).values(changed=change.now, version=org.c.version + 1, **values)
    )


def _row(connection: sa.Connection, id: str, scope: Scope | None = None) -> sa.Row[Any]:
    query = sa.select(org).where(org.c.id == id)
    if scope is not None:
        query = query.where(scope.where(org.c.id))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound("tenancy.unknown_org", org=id)
    return row


def _place(connection: sa.Connection, parent: str, scope: Scope) -> sa.Row[Any]:
    """The row of a parent-to-be. Regions and zones are known to all; what stands inside others is not."""
    row = _row(connection, parent)
    return row if OrgKind(row.kind) in AREAS else _row(connection, parent, scope)


def _path(connection: sa.Connection, row: sa.Row[Any]) -> list[sa.Row[Any]]:
    """The row and those above it, upwards."""
    path = [row]
    while path[-1].parent is not None:
        path.append(_row(connection, path[-1].parent))
    return path


def _org(row: sa.Row[Any]) -> Org:
    return Org(
        id=row.id,
        kind=OrgKind(row.kind),
        title=Text(row.title_zh, row.title_en),
        parent=row.parent or "",
        tenant=row.tenant,
        code=row.code or "",
        state=OrgState(row.state),
        created=row.created,
        changed=row.changed,
        version=row.version,
    )


def _misplaced(kind: OrgKind, above: sa.Row[Any] | None) -> InputError:
    place = TITLES[OrgKind(above.kind)] if above is not None else Text("顶层", "the top")
    return InputError("tenancy.misplaced", kind=TITLES[kind], parent=place)
