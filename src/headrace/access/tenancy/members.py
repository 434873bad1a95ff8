"""Who belongs to an organisation, in which role, from when to when; and mandates between organisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from headrace.access.events import Change, Events
from headrace.access.ids import new_id
from headrace.access.tenancy._tables import in_force, mandate, membership, org
from headrace.access.tenancy.kinds import AREAS, MANDATE_HOLDERS, TITLES, MandateKind, OrgKind
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Conflict, InputError, NotFound


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """`member` (id of an account, a machine or a service) holds `role` in `org` during [since, until);
    `until` None is without end. Revoked for good where `revoked` is set. Times are UTC ns."""

    id: str
    member: str
    org: str
    role: str
    since: int
    until: int | None
    by: str
    revoked: int | None = None
    revoked_by: str = ""


class Mandate(msgspec.Struct, frozen=True, kw_only=True):
    """The members of `holder` who have one of `roles` there hold it in `body` too. `basis`: the document or
    clause that says so."""

    id: str
    kind: MandateKind
    holder: str
    body: str
    roles: tuple[str, ...]
    since: int
    until: int | None
    basis: str
    by: str
    revoked: int | None = None
    revoked_by: str = ""


class RoleRule(Protocol):
    """Whether a role may be given: the decision point knows which there are and which exclude others."""

    def __call__(self, role: str, kind: OrgKind, held: Sequence[str]) -> None:
        """`held`: the roles that the member has anywhere on this node. Raises InputError or Conflict."""
        ...


class Members:
    """Memberships and mandates in records. Thread-safe. Outside the Scope nothing exists, see `Orgs`."""

    def __init__(self, events: Events, *, rule: RoleRule) -> None:
        self._events = events
        self._records = events.records
        self._rule = rule

    def add(
        self,
        member: str,
        org_id: str,
        role: str,
        scope: Scope,
        *,
        by: str,
        since: int | None = None,
        until: int | None = None,
        within: Change | None = None,
    ) -> Membership:
        """Give `role` in `org_id` from `since` (now) until `until` (without end).

        Raises NotFound, InputError (`tenancy.empty_period`, or what the rule says), Conflict
        (`tenancy.already_member`, or what the rule says).
        """
        if within is not None:
            return self._add(within, member, org_id, role, scope, by, since, until)
        with self._events.begin() as change:
            return self._add(change, member, org_id, role, scope, by, since, until)

    def _add(
        self,
        change: Change,
        member: str,
        org_id: str,
        role: str,
        scope: Scope,
        by: str,
        since: int | None,
        until: int | None,
    ) -> Membership:
        connection, start = change.connection, change.now if since is None else since
        _period(start, until)
        kind = _kind(connection, org_id, scope)
        # A membership that begins later counts too: an exclusion must not be got round by dates.
        lasting = sa.and_(
            membership.c.revoked.is_(None),
            sa.or_(membership.c.until.is_(None), membership.c.until > change.now),
            membership.c.member == member,
        )
        held = connection.execute(sa.select(membership.c.role, membership.c.org).where(lasting)).all()
        if any(row.role == role and row.org == org_id for row in held):
            raise Conflict("tenancy.already_member", role=role)
        self._rule(role, kind, sorted({row.role for row in held}))
        made = Membership(id=new_id(), member=member, org=org_id, role=role, since=start, until=until, by=by)
        row = msgspec.structs.asdict(made) | {"revoked_by": None}
        connection.execute(sa.insert(membership).values(**row))
        detail = {"role": role, "org": org_id}
        change.note("membership.added", member, by=by, org=org_id, detail=detail)
        return made

    def revoke(self, id: str, scope: Scope, *, by: str) -> Membership:
        """End a membership at once. Raises NotFound (`tenancy.unknown_membership`), also where it was
        revoked before."""
        with self._events.begin() as change:
            chosen = sa.and_(membership.c.id == id, membership.c.revoked.is_(None))
            row = change.connection.execute(
                sa.select(membership).where(chosen, scope.where(membership.c.org))
            ).first()
            if row is None:
                raise NotFound("tenancy.unknown_membership", membership=id)
            change.connection.execute(
                sa.update(membership).where(chosen).values(revoked=change.now, revoked_by=by)
            )
            detail = {"role": row.role, "org": row.org}
            change.note("membership.revoked", row.member, by=by, org=row.org, detail=detail)
        return msgspec.structs.replace(_membership(row), revoked=change.now, revoked_by=by)

    def find(
        self,
        scope: Scope,
        *,
        org: str | None = None,
        member: str | None = None,
        past: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Membership], int]:
        """Memberships in scope, the latest first, and how many in all; `past`: those that are over too."""
        chosen = [scope.where(membership.c.org)]
        if org is not None:
            chosen.append(membership.c.org == org)
        if member is not None:
            chosen.append(membership.c.member == member)
        if not past:
            ends = sa.or_(membership.c.until.is_(None), membership.c.until > self._events.clock.now())
            chosen += [membership.c.revoked.is_(None), ends]
        query = sa.select(membership).where(*chosen).order_by(membership.c.since.desc(), membership.c.id)
        with self._records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(membership).where(*chosen)) or 0
            rows = connection.execute(query.limit(limit).offset(offset)).all()
        return [_membership(row) for row in rows], total

    def mandate(
        self,
        kind: MandateKind,
        holder: str,
        body: str,
        roles: Sequence[str],
        scope: Scope,
        *,
        basis: str,
        by: str,
        since: int | None = None,
        until: int | None = None,
    ) -> Mandate:
        """Let `holder` act upon the region or zone `body`, which is in scope, in `roles`. Never upon a firm:
        that takes the firm's own grant.

        Raises NotFound, InputError (`tenancy.empty_period`, `tenancy.no_basis`, `tenancy.bad_mandate`).
        """
        if not basis.strip() or not roles:
            raise InputError("tenancy.no_basis")
        with self._events.begin() as change:
            start = change.now if since is None else since
            _period(start, until)
            body_kind = _kind(change.connection, body, scope)
            holder_kind = _kind(change.connection, holder, Scope.whole_node())
            fits = holder_kind is MANDATE_HOLDERS[kind]
            if not fits:  # the error names the kind, which is not for those who cannot see the organisation
                _kind(change.connection, holder, scope)
            if not fits or body_kind not in AREAS:
                raise InputError("tenancy.bad_mandate", holder=TITLES[holder_kind], body=TITLES[body_kind])
            made = Mandate(
                id=new_id(),
                kind=kind,
                holder=holder,
                body=body,
                roles=tuple(sorted(set(roles))),
                since=start,
                until=until,
                basis=basis.strip(),
                by=by,
            )
            row = msgspec.structs.asdict(made) | {
                "kind": kind.value,
                "roles": msgspec.json.encode(made.roles).decode(),
                "revoked_by": None,
            }
            change.connection.execute(sa.insert(mandate).values(**row))
            change.note("mandate.given", made.id, by=by, org=body, detail={"holder": holder})
        return made

    def revoke_mandate(self, id: str, scope: Scope, *, by: str) -> None:
        """By the body's side or the holder's. Raises NotFound (`tenancy.unknown_mandate`)."""
        with self._events.begin() as change:
            chosen = sa.and_(mandate.c.id == id, mandate.c.revoked.is_(None))
            seen = sa.or_(scope.where(mandate.c.body), scope.where(mandate.c.holder))
            row = change.connection.execute(sa.select(mandate).where(chosen, seen)).first()
            if row is None:
                raise NotFound("tenancy.unknown_mandate", mandate=id)
            change.connection.execute(
                sa.update(mandate).where(chosen).values(revoked=change.now, revoked_by=by)
            )
            change.note("mandate.revoked", id, by=by, org=row.body, detail={"holder": row.holder})

    def mandates(self, scope: Scope) -> list[Mandate]:
        """Those in force now of which the holder or the body is in scope."""
        seen = sa.or_(scope.where(mandate.c.body), scope.where(mandate.c.holder))
        query = sa.select(mandate).where(in_force(mandate, self._events.clock.now()), seen)
        with self._records.read() as connection:
            rows = connection.execute(query.order_by(mandate.c.since, mandate.c.id)).all()
        return [_mandate(row) for row in rows]


def _period(since: int, until: int | None) -> None:
    if until is not None and until <= since:
        raise InputError("tenancy.empty_period")


def _kind(connection: sa.Connection, id: str, scope: Scope) -> OrgKind:
    kind = connection.scalar(sa.select(org.c.kind).where(org.c.id == id, scope.where(org.c.id)))
    if kind is None:
        raise NotFound("tenancy.unknown_org", org=id)
    return OrgKind(kind)


def _membership(row: sa.Row[Any]) -> Membership:
    values = dict(row._mapping)
    return Membership(**values | {"revoked_by": row.revoked_by or ""})


def _mandate(row: sa.Row[Any]) -> Mandate:
    values = dict(row._mapping)
    values["kind"] = MandateKind(row.kind)
    values["roles"] = tuple(msgspec.json.decode(row.roles))
    return Mandate(**values | {"revoked_by": row.revoked_by or ""})
