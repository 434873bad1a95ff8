"""Which external identity is which account: found out by a reviewer, kept as data, never guessed.

Somebody who arrives for the first time is put down as pending, with the proposal of the first rule that fits.
Nothing is created and nobody is let in until a reviewer links the identity to an account. Coming for another
organisation than was reviewed makes it pending again.
"""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from headrace.access.events import Change, Events
from headrace.access.federation._tables import identity as _identity
from headrace.access.federation.config import Provider, Rule
from headrace.access.federation.external import External
from headrace.access.identity.accounts import AccountState, account_row, end_sessions
from headrace.access.ids import new_id
from headrace.access.tenancy._tables import org as _org
from headrace.access.tenancy.scope import Scope
from headrace.kernel.errors import Conflict, Denied, NotFound

_log = structlog.get_logger(__name__)


class LinkState(enum.StrEnum):
    PENDING = "pending"
    LINKED = "linked"
    REFUSED = "refused"
    ENDED = "ended"


class Link(msgspec.Struct, frozen=True):
    """An external identity and what became of it. `org`, `role`, `rule`: the proposal for the reviewer ("" or
    None where no rule fits); `wish`: the account whose holder, signed in, says that this is them too."""

    id: str
    provider: str
    subject: str
    state: LinkState
    name: str
    org_code: str
    org: str | None
    role: str
    rule: str
    attributes: dict[str, tuple[str, ...]]
    wish: str | None
    account: str | None
    first_seen: int
    last_seen: int
    decided: int | None
    decided_by: str | None
    note: str
    version: int


class Links:
    """The links in records. Thread-safe."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def arrive(self, found: External, provider: Provider, *, wish: str | None = None) -> Link:
        """Note the arrival. Only a Link in state LINKED lets anyone in, as its `account`. Raises Denied
        (`federation.refused`, `federation.ended`, `federation.account_gone`)."""
        with self._events.begin() as change:
            link = self._arrive(change, found, provider, wish)
        if link.state is LinkState.REFUSED:
            raise Denied("federation.refused")
        if link.state is LinkState.ENDED:
            raise Denied("federation.ended")
        if link.state is LinkState.LINKED:
            with self._events.records.read() as connection:
                if account_row(connection, str(link.account)).state == AccountState.DISABLED:
                    raise Denied("federation.account_gone")
        return link

    def _arrive(self, change: Change, found: External, provider: Provider, wish: str | None) -> Link:
        where = sa.and_(_identity.c.provider == found.provider, _identity.c.subject == found.subject)
        row = change.connection.execute(sa.select(_identity).where(where)).first()
        rule, org = self._proposal(change.connection, found, provider)
        facts: dict[str, Any] = {
            "name": found.name,
            "org_code": found.org_code,
            "org": org,
            "role": rule.role if rule else "",
            "rule": rule.id if rule else "",
            "attributes": msgspec.json.encode(found.attributes).decode(),
            "last_seen": change.now,
        }
        if row is None:
            id_ = new_id()
            facts |= {
                "id": id_,
                "provider": found.provider,
                "subject": found.subject,
                "wish": wish,
                "state": LinkState.PENDING,
                "first_seen": change.now,
                "note": "",
                "version": 1,
            }
            change.connection.execute(sa.insert(_identity).values(**facts))
            change.note("federation.arrived", id_, by=wish or "", org=org or "")
            return self._link(change.connection, id_)
        if row.state == LinkState.LINKED and row.org_code != found.org_code:
            facts |= {"state": LinkState.PENDING, "version": row.version + 1, "wish": row.account}
            change.note("federation.org_changed", row.id, by="", org=row.org or "")
        elif row.state == LinkState.PENDING and wish is not None:
            facts |= {"wish": wish}
        changed = sa.update(_identity).where(_identity.c.id == row.id)
        change.connection.execute(changed.values(**facts))
        return self._link(change.connection, row.id)

    def approve(
        self, id: str, account: str, scope: Scope, *, by: str, version: int, within: Change | None = None
    ) -> Link:
        """Link to `account`. Both the account's home and the proposed organisation have to be in scope;
        nobody approves a link to their own account. `version` is the one the reviewer saw. The membership
        that the proposal speaks of is the caller's to add, in the transaction `within`. Raises NotFound
        (`federation.no_identity`, `identity.unknown_account`), Conflict (`federation.own_link`,
        `federation.seen_other`, `federation.account_gone`)."""
        if by == account:
            raise Conflict("federation.own_link")
        if within is None:
            with self._events.begin() as change:
                return self._approve(change, id, account, scope, by, version)
        return self._approve(within, id, account, scope, by, version)

    def _approve(self, change: Change, id: str, account: str, scope: Scope, by: str, version: int) -> Link:
        row = self._row(change.connection, id, scope)
        if row.version != version or row.state != LinkState.PENDING:
            raise Conflict("federation.seen_other")
        if account_row(change.connection, account, scope).state == AccountState.DISABLED:
            raise Conflict("federation.account_gone")
        self._decide(change, row, LinkState.LINKED, by=by, note="", account=account)
        return self._link(change.connection, id)

    def refuse(self, id: str, scope: Scope, *, by: str, note: str, version: int) -> Link:
        """Say no; the person is told so from now on. Raises NotFound, Conflict (`federation.seen_other`)."""
        with self._events.begin() as change:
            row = self._row(change.connection, id, scope)
            if row.version != version or row.state != LinkState.PENDING:
                raise Conflict("federation.seen_other")
            self._decide(change, row, LinkState.REFUSED, by=by, note=note, account=None)
            return self._link(change.connection, id)

    def end(self, id: str, scope: Scope, *, by: str, note: str = "") -> Link:
        """Cut a link, and with it the sessions of its account. Raises NotFound (`federation.no_identity`),
        Conflict (`federation.seen_other`)."""
        with self._events.begin() as change:
            row = self._row(change.connection, id, scope)
            if row.state != LinkState.LINKED:
                raise Conflict("federation.seen_other")
            self._decide(change, row, LinkState.ENDED, by=by, note=note, account=row.account)
            end_sessions(change, row.account, by=by, reason="federation-ended")
            return self._link(change.connection, id)

    def reopen(self, id: str, scope: Scope, *, by: str) -> Link:
        """Make a refused or ended identity pending again."""
        with self._events.begin() as change:
            row = self._row(change.connection, id, scope)
            if row.state not in (LinkState.REFUSED, LinkState.ENDED):
                raise Conflict("federation.seen_other")
            self._decide(change, row, LinkState.PENDING, by=by, note="", account=None)
            return self._link(change.connection, id)

    def find(
        self,
        scope: Scope,
        *,
        state: LinkState | None = None,
        account: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Link], int]:
        """Those whose proposed organisation is in scope, latest seen first, and how many. Identities without
        one are for reviewers of the whole node."""
        query = sa.select(_identity).where(_visible(scope))
        if state is not None:
            query = query.where(_identity.c.state == state)
        if account is not None:
            query = query.where(_identity.c.account == account)
        page = query.order_by(_identity.c.last_seen.desc(), _identity.c.id).limit(limit).offset(offset)
        with self._events.records.read() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            return [_as_link(row) for row in connection.execute(page)], total

    def _proposal(
        self, connection: sa.Connection, found: External, provider: Provider
    ) -> tuple[Rule | None, str | None]:
        rule = next((r for r in provider.rules or () if _fits(r, found)), None)
        if rule is None:
            return None, None
        where = _org.c.code == found.org_code if rule.org == "by-code" else _org.c.id == rule.org
        return rule, connection.scalar(sa.select(_org.c.id).where(where, _org.c.state == "active"))

    def _decide(
        self, change: Change, row: sa.Row[Any], state: LinkState, *, by: str, note: str, account: str | None
    ) -> None:
        values = {"state": state, "account": account, "decided": change.now, "decided_by": by, "note": note,
                  "version": row.version + 1}  # fmt: skip
        change.connection.execute(sa.update(_identity).where(_identity.c.id == row.id).values(**values))
        detail = {"provider": row.provider, "account": account or "", "state": state.value}
        change.note(f"federation.{state.value}", row.id, by=by, org=row.org or "", detail=detail)

    def _row(self, connection: sa.Connection, id: str, scope: Scope) -> sa.Row[Any]:
        query = sa.select(_identity).where(_identity.c.id == id, _visible(scope))
        row = connection.execute(query).first()
        if row is None:
            raise NotFound("federation.no_identity", id=id)
        return row

    def _link(self, connection: sa.Connection, id: str) -> Link:
        return _as_link(connection.execute(sa.select(_identity).where(_identity.c.id == id)).one())


def _visible(scope: Scope) -> sa.ColumnElement[bool]:
    return scope.where(_identity.c.org)


def _fits(rule: Rule, found: External) -> bool:
    return all(set(found.attributes.get(name, ())) & set(values) for name, values in rule.when.items())


def _as_link(row: sa.Row[Any]) -> Link:
    values = {name: getattr(row, name) for name in Link.__struct_fields__}
    values["state"] = LinkState(row.state)
    values["attributes"] = {k: tuple(v) for k, v in json.loads(row.attributes).items()}
    return Link(**values)
