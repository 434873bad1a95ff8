"""Grants in records: given, revoked, found. A change is signed, logged and told to every process at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa
import structlog

from headrace.access.events import Events
from headrace.access.ids import new_id
from headrace.access.sharing import _tables as t
from headrace.access.sharing.signing import Keys, Signature
from headrace.access.sharing.terms import (
    KIND,
    Grant,
    GrantState,
    Subject,
    Terms,
    Use,
    check_terms,
    compatible,
    revocation_statement,
    statement,
)
from headrace.access.tenancy import Directories, Ownership, Scope
from headrace.kernel.errors import Conflict, Denied, HeadraceError, NotFound

_log = structlog.get_logger(__name__)

Owns = Callable[[str, Subject, str], bool]
"""(organisation, subject, resource) -> whether the resource is that organisation's to give."""

_LONGEST_PAGE = 1000


def owned_by(directories: Directories, ownership: Ownership) -> Owns:
    """By tenancy: what lies with the organisation itself or below it in its own tenant. A field belongs to
    whom its identifier belongs to."""

    def owns(org: str, subject: Subject, resource: str) -> bool:
        kind, directory = KIND[subject], directories.now()
        name = resource.partition("#")[0] if subject is Subject.FIELD else resource
        owner = directory.owner(kind, name) if kind == "tag" else ownership.owner(kind, name)
        return bool(owner) and org in directory.above(owner)

    return owns


class Grants:
    """All grants of a node. Thread-safe. Whether the caller may give or revoke (`grant.manage`) is for the
    decision point to say before; that the resource is the owner's is checked here again."""

    def __init__(self, events: Events, keys: Keys, owns: Owns) -> None:
        self._events = events
        self._records = events.records
        self._keys = keys
        self._owns = owns

    def give(self, terms: Terms, *, by: str, basis: str = "") -> Grant:
        """Sign and store a grant; it takes effect when this returns, or at `terms.start`.

        Raises InputError (see `check_terms`), Denied (`share.not_yours`), Conflict (`share.mixed_grids`: with
        another grant of the same series to the same grantee, finer values would follow from both), NotFound
        (`share.no_key`), Corrupt.
        """
        check_terms(terms, self._events.clock.now())
        for resource in terms.resources:
            if not self._owns(terms.owner, terms.subject, resource):
                raise Denied("share.not_yours", resource=resource)
        self._keys.ensure(terms.owner, by=by)
        with self._events.begin() as change:
            now, connection = change.now, change.connection
            self._check_grids(connection, terms, now)
            id = new_id()
            signature = self._keys.sign(terms.owner, statement(id, terms, by, basis, now))
            grant = Grant(id=id, terms=terms, by=by, basis=basis, created=now, signature=signature)
            connection.execute(sa.insert(t.grant).values(**_row(grant)))
            items = [{"grant": id, "resource": r, "subject": terms.subject.value} for r in terms.resources]
            connection.execute(sa.insert(t.item), items)
            _bump(connection)
            detail = {"grantee": terms.grantee, "use": terms.use.value, "purpose": terms.purpose.value,
                      "resources": ", ".join(terms.resources), "basis": basis,
                      "signature": signature.value}  # fmt: skip
            change.note("share.granted", f"grant:{id}", by=by, org=terms.owner, detail=detail)
        return grant

    def revoke(self, id: str, scope: Scope, *, by: str, reason: str) -> Grant:
        """End a grant now; no read under it begins after this returns. Idempotent.

        `scope` has to hold the owner, else NotFound (`share.no_grant_id`).
        """
        known = self.get(id, scope, as_grantee=False)
        if known.revoked is not None:
            return known
        with self._events.begin() as change:
            now, connection = change.now, change.connection
            row = connection.execute(sa.select(t.grant.c.body).where(t.grant.c.id == id)).one()
            known = msgspec.json.decode(row.body, type=Grant)
            if known.revoked is not None:
                return known
            owner = known.terms.owner
            grant = msgspec.structs.replace(
                known,
                revoked=now,
                revoked_by=by,
                revoke_reason=reason,
                revocation=self._try_to_sign(owner, revocation_statement(id, owner, by, reason, now)),
            )
            connection.execute(sa.update(t.grant).where(t.grant.c.id == id).values(**_row(grant)))
            _bump(connection)
            detail = {"grantee": known.terms.grantee, "reason": reason}
            change.note("share.revoked", f"grant:{id}", by=by, org=owner, detail=detail)
        return grant

    def get(self, id: str, scope: Scope, *, as_grantee: bool = True) -> Grant:
        """A grant whose owner (or grantee) is in scope. Raises NotFound (`share.no_grant_id`)."""
        parties = [scope.where(t.grant.c.owner)]
        if as_grantee:
            parties.append(scope.where(t.grant.c.grantee))
        query = sa.select(t.grant.c.body).where(t.grant.c.id == id, sa.or_(*parties))
        with self._records.read() as connection:
            body = connection.scalar(query)
        if body is None:
            raise NotFound("share.no_grant_id", grant=id)
        return msgspec.json.decode(body, type=Grant)

    def page(
        self,
        scope: Scope,
        *,
        side: str = "",
        state: GrantState | None = None,
        use: Use | None = None,
        resource: str = "",
        other: str = "",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Grant], int]:
        """A page of the grants with a party in scope, the newest first, and how many there are. `side`:
        "given" or "received" only; `other`: the party on the other side."""
        c, now = t.grant.c, self._events.clock.now()
        given = sa.and_(scope.where(c.owner), c.grantee == other if other else sa.true())
        received = sa.and_(scope.where(c.grantee), c.owner == other if other else sa.true())
        where = [given if side == "given" else received if side == "received" else sa.or_(given, received)]
        if state is not None:
            where.append(_in_state(state, now))
        if use is not None:
            where.append(c.use == use.value)
        if resource:
            where.append(c.id.in_(sa.select(t.item.c.grant).where(t.item.c.resource == resource)))
        page = sa.select(c.body).where(*where).order_by(c.created.desc(), c.id)
        with self._records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(t.grant).where(*where))
            bodies = connection.scalars(page.limit(max(1, min(limit, _LONGEST_PAGE))).offset(offset)).all()
        return [msgspec.json.decode(body, type=Grant) for body in bodies], int(total or 0)

    def is_genuine(self, grant: Grant) -> bool:
        """Whether its owner signed exactly these terms."""
        said = statement(grant.id, grant.terms, grant.by, grant.basis, grant.created)
        return self._keys.verify(grant.terms.owner, grant.signature, said)

    def in_force(self, now: int) -> tuple[int, list[Grant]]:
        """The version of the whole, and every grant not revoked and not over, its period begun or not."""
        query = sa.select(t.grant.c.body).where(t.grant.c.revoked.is_(None), t.grant.c.end > now)
        with self._records.read() as connection:
            number = connection.scalar(sa.select(t.version.c.number)) or 0
            bodies = connection.scalars(query).all()
        return int(number), [msgspec.json.decode(body, type=Grant) for body in bodies]

    def version(self) -> int:
        """Moves with every grant given or revoked by any process."""
        with self._records.read() as connection:
            return int(connection.scalar(sa.select(t.version.c.number)) or 0)

    def past(self, subject: Subject, resource: str, grantees: Sequence[str]) -> list[Grant]:
        """Grants of one resource to any of `grantees` that ended, for telling why there is none now."""
        query = (
            sa.select(t.grant.c.body)
            .join(t.item, t.item.c.grant == t.grant.c.id)
            .where(t.item.c.subject == subject.value, t.item.c.resource == resource)
            .where(t.grant.c.grantee.in_(list(grantees)))
            .order_by(t.grant.c.created.desc())
            .limit(20)
        )
        with self._records.read() as connection:
            bodies = connection.scalars(query).all()
        return [msgspec.json.decode(body, type=Grant) for body in bodies]

    def _check_grids(self, connection: sa.Connection, terms: Terms, now: int) -> None:
        if terms.resolution is None:
            return
        same = sa.select(t.item.c.grant).where(
            t.item.c.subject == terms.subject.value, t.item.c.resource.in_(terms.resources)
        )
        query = sa.select(t.grant.c.body).where(
            t.grant.c.id.in_(same),
            t.grant.c.grantee == terms.grantee,
            t.grant.c.revoked.is_(None),
            t.grant.c.end > now,
        )
        for body in connection.scalars(query):
            other = msgspec.json.decode(body, type=Grant)
            if other.terms.resolution and not compatible(other.terms.resolution, terms.resolution):
                raise Conflict("share.mixed_grids", grant=other.id)

    def _try_to_sign(self, owner: str, message: bytes) -> Signature | None:
        try:
            return self._keys.sign(owner, message)
        except HeadraceError as error:
            _log.warning("revocation_not_signed", owner=owner, code=error.code)
            return None


def _row(grant: Grant) -> dict[str, object]:
    terms = grant.terms
    return {
        "id": grant.id,
        "owner": terms.owner,
        "grantee": terms.grantee,
        "subject": terms.subject.value,
        "use": terms.use.value,
        "start": terms.start,
        "end": terms.end,
        "created": grant.created,
        "revoked": grant.revoked,
        "body": msgspec.json.encode(grant).decode(),
    }


def _bump(connection: sa.Connection) -> None:
    connection.execute(sa.update(t.version).values(number=t.version.c.number + 1))


def _in_state(state: GrantState, now: int) -> sa.ColumnElement[bool]:
    c = t.grant.c
    match state:
        case GrantState.REVOKED:
            return c.revoked.is_not(None)
        case GrantState.WAITING:
            return sa.and_(c.revoked.is_(None), c.start > now)
        case GrantState.ACTIVE:
            return sa.and_(c.revoked.is_(None), c.start <= now, c.end > now)
        case GrantState.EXPIRED:
            return sa.and_(c.revoked.is_(None), c.end <= now)
