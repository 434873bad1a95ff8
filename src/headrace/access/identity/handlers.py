"""A firm's legal representative (法定代表人) authorises handlers (经办人) for named matters and a period.

Towards an authority a firm acts through its legal representative or through handlers authorised in writing
(民法典 art. 61, 165). An authorisation gives the role "firm-handler" in the firm, limited to its matters, and
lapses when the period ends, when it is revoked, or when whoever gave it is no longer legal representative.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.events import Events
from headrace.access.identity._tables import account, authorisation
from headrace.access.identity.accounts import AccountKind, AccountState
from headrace.access.identity.roles import REPRESENTATIVE, roles_of
from headrace.access.ids import new_id
from headrace.access.tenancy import OrgKind, Scope
from headrace.access.tenancy._tables import in_force, org
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, Denied, InputError, NotFound

LONGEST_S = 3 * 366 * 86_400
_MATTER = re.compile(r"^[a-z]+(-[a-z]+)*(\.([a-z]+(-[a-z]+)*|\*))?$", re.A)


class Authorisation(msgspec.Struct, frozen=True, kw_only=True):
    """`handler` (account) may act for `firm` in `matters` ("subsidy", "identifier.register") during
    [since, until), UTC ns. `document`: the signed letter of authorisation, by number or id."""

    id: str
    firm: str
    representative: str
    handler: str
    matters: tuple[str, ...]
    document: str
    since: int
    until: int
    created: int
    revoked: int | None = None
    revoked_by: str = ""
    revoke_reason: str = ""

    def covers(self, matter: str) -> bool:
        """Whether `matter` is among the matters, or below one of them."""
        return covers(self.matters, matter)


def covers(matters: Sequence[str], matter: str) -> bool:
    """ "subsidy" covers itself and "subsidy.apply"; "subsidy.apply" covers only itself."""
    group = matter.partition(".")[0]
    return any(m in (matter, group, f"{group}.*") for m in matters)


class Handlers:
    """The authorisations in records. Thread-safe."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._clock = events.clock

    def authorise(
        self,
        firm: str,
        handler: str,
        matters: Sequence[str],
        *,
        representative: str,
        document: str,
        until: int,
        since: int | None = None,
    ) -> Authorisation:
        """Given by the legal representative in person: no role, no token and no administrator can do it.

        Raises Denied (`identity.not_representative`); NotFound (`identity.unknown_account`: no active person
        whose home is the firm or in it); InputError (`identity.bad_matter`, `identity.no_document`,
        `identity.bad_period`); Conflict (`identity.authorises_self`, `identity.not_a_firm`).
        """
        wrong = next((m for m in matters if not _MATTER.match(m)), None)
        if wrong is not None or not matters:
            raise InputError("identity.bad_matter", value=wrong or "")
        if not document.strip():
            raise InputError("identity.no_document")
        if handler == representative:
            raise Conflict("identity.authorises_self")
        with self._events.begin() as change:
            start = change.now if since is None else since
            if not max(start, change.now) < until <= start + LONGEST_S * NS_PER_S:
                raise InputError("identity.bad_period", years=LONGEST_S // (366 * 86_400))
            held = roles_of(change.connection, representative, change.now)
            if not any(h.role == REPRESENTATIVE and h.org == firm and not h.via for h in held):
                raise Denied("identity.not_representative")
            kind = change.connection.scalar(sa.select(org.c.kind).where(org.c.id == firm))
            if kind in (OrgKind.PLANT, OrgKind.LINE, OrgKind.MACHINE):
                raise Conflict("identity.not_a_firm")
            scope = Scope.of([firm])
            person = sa.select(account.c.id).where(
                account.c.id == handler,
                account.c.kind == AccountKind.PERSON.value,
                account.c.state != AccountState.DISABLED.value,
                scope.where(account.c.home),
            )
            if change.connection.scalar(person) is None:
                raise NotFound("identity.unknown_account", account=handler)
            made = Authorisation(
                id=new_id(),
                firm=firm,
                representative=representative,
                handler=handler,
                matters=tuple(sorted(set(matters))),
                document=document.strip(),
                since=start,
                until=until,
                created=change.now,
            )
            values = msgspec.structs.asdict(made) | {
                "matters": msgspec.json.encode(made.matters).decode(),
                "revoked_by": None,
                "revoke_reason": None,
            }
            change.connection.execute(sa.insert(authorisation).values(**values))
            detail = {"handler": handler, "matters": " ".join(made.matters), "document": made.document}
            change.note("handler.authorised", made.id, by=representative, org=firm, detail=detail)
        return made

    def revoke(self, id: str, scope: Scope, *, by: str, reason: str) -> None:
        """At once in all processes, also by the handler. Raises NotFound (`identity.unknown_authorisation`),
        InputError (`identity.no_reason`)."""
        if not reason.strip():
            raise InputError("identity.no_reason")
        with self._events.begin() as change:
            seen = sa.or_(scope.where(authorisation.c.firm), authorisation.c.handler == by)
            values = {"revoked": change.now, "revoked_by": by, "revoke_reason": reason.strip()}
            row = change.connection.execute(
                sa.update(authorisation)
                .where(authorisation.c.id == id, authorisation.c.revoked.is_(None), seen)
                .values(**values)
                .returning(authorisation.c.firm)
            ).first()
            if row is None:
                raise NotFound("identity.unknown_authorisation", authorisation=id)
            change.note("handler.revoked", id, by=by, org=row.firm, detail={"reason": reason.strip()})

    def find(self, scope: Scope, *, handler: str = "", past: bool = False) -> list[Authorisation]:
        """Of firms in scope, the latest first; `past`: those that are over, too."""
        chosen = [scope.where(authorisation.c.firm)]
        if handler:
            chosen.append(authorisation.c.handler == handler)
        if not past:
            now = self._clock.now()
            later = sa.and_(authorisation.c.revoked.is_(None), authorisation.c.since > now)
            chosen.append(sa.or_(in_force(authorisation, now), later))
        query = sa.select(authorisation).where(*chosen)
        with self._events.records.read() as connection:
            rows = connection.execute(
                query.order_by(authorisation.c.created.desc(), authorisation.c.id)
            ).all()
        return [_authorisation(row) for row in rows]


def _authorisation(row: sa.Row[Any]) -> Authorisation:
    values = dict(row._mapping)
    values["matters"] = tuple(msgspec.json.decode(row.matters))
    return Authorisation(
        **values | {"revoked_by": row.revoked_by or "", "revoke_reason": row.revoke_reason or ""}
    )
