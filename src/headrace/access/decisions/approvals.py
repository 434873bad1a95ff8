"""Two-person approval: one asks for an exact act, another one approves it, the first does it once.

    requested ─ approve → approved ─ use → used          every state but `used` and `refused` ends in
        └────── refuse ─→ refused                          `expired` when its time is over

An approval is bound to the action, the resource, its owner and the hash of exactly what will be done; it
serves the person who asked, once, until it expires. Who may approve: whoever could do the act (with approval)
and gives a recent second factor, other than the one who asked.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.access.decisions._tables import approval as table
from headrace.access.decisions.model import (
    PLAIN,
    Approved,
    Context,
    Decision,
    Request,
    Resource,
    action_title,
    canonical,
    payload_hash,
)
from headrace.access.decisions.point import DecisionPoint, Refusal
from headrace.access.events import Change, Events
from headrace.access.identity import Principal, PrincipalKind
from headrace.access.ids import new_id
from headrace.access.tenancy import Directories, Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, Denied, InputError, NotFound
from headrace.kernel.messages import Text


class ApprovalState(enum.StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    USED = "used"


STATE_TITLES = {
    ApprovalState.REQUESTED: Text("待批准", "requested"),
    ApprovalState.APPROVED: Text("已批准", "approved"),
    ApprovalState.REFUSED: Text("已拒绝", "refused"),
    ApprovalState.EXPIRED: Text("已过期", "expired"),
    ApprovalState.USED: Text("已使用", "used"),
}
_APPROVE, _REFUSE, _USE = Text("批准", "approved"), Text("拒绝", "refused"), Text("使用", "used")

MAX_HOURS = 72
DEFAULT_S = 3600.0


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """An approval as it is now. `payload`: canonical JSON of exactly what will be done, for the eyes of who
    approves. `requester`, `decider`: ids of accounts. `ended`: when it was used, refused or found expired.
    `edition`: digest of the policies under which it was asked for. Times are UTC ns."""

    id: str
    state: ApprovalState
    action: str
    kind: str
    resource: str
    machine: str
    owner: str
    payload: str
    payload_hash: str
    reason: str
    requester: str
    requested: int
    expires: int
    decider: str
    decided: int | None
    note: str
    ended: int | None
    edition: str

    @property
    def evidence(self) -> Approved:
        """What a decision needs of it (Context.approval)."""
        return Approved(
            id=self.id,
            state=self.state,
            action=self.action,
            kind=self.kind,
            resource=self.resource,
            owner=self.owner,
            payload_hash=self.payload_hash,
            requester=self.requester,
            approver=self.decider if self.state is ApprovalState.APPROVED else "",
            expires=self.expires,
        )


class Approvals:
    """The approvals in records. Thread-safe; several processes may use the same records."""

    def __init__(self, events: Events, point: DecisionPoint, directories: Directories) -> None:
        self._events = events
        self._point = point
        self._directories = directories

    def request(
        self,
        principal: Principal,
        action: str,
        resource: Resource,
        payload: Any,
        *,
        reason: str,
        expires_s: float = DEFAULT_S,
    ) -> Approval:
        """Ask for approval of `action` on `resource` with `payload` (what JSON can hold).

        Raises Refusal where not even an approval would make it allowed, or where the principal may not ask;
        Conflict (`approval.not_needed`); InputError (`approval.no_reason`, `approval.bad_period`,
        `approval.bad_payload`).
        """
        if not reason.strip():
            raise InputError("approval.no_reason")
        if not 60 <= expires_s <= MAX_HOURS * 3600:
            raise InputError("approval.bad_period", hours=MAX_HOURS)
        try:
            text, digest = canonical(payload), payload_hash(action, resource, payload)
        except (TypeError, ValueError) as error:
            raise InputError("approval.bad_payload", reason=str(error)) from None
        if principal.kind is not PrincipalKind.ACCOUNT:
            raise Refusal(self._point.decide(principal, action, resource))
        self._point.require(principal, "approval.request", resource)
        possible = self._point.allowed_once_approved(principal, action, resource)
        if not possible.allowed:
            raise Refusal(possible)
        if self._without_approval(principal, action, resource).allowed:
            raise Conflict("approval.not_needed", action=action_title(action))
        with self._events.begin() as change:
            row = {
                "id": new_id(),
                "state": ApprovalState.REQUESTED.value,
                "action": action,
                "kind": resource.kind,
                "resource": resource.id,
                "machine": resource.machine,
                "owner": resource.owner,
                "payload": text,
                "payload_hash": digest,
                "reason": reason.strip(),
                "requester": principal.account,
                "requested": change.now,
                "expires": change.now + round(expires_s * NS_PER_S),
                "note": "",
                "edition": possible.edition,
            }
            change.connection.execute(sa.insert(table).values(**row))
            found = stored(change.connection, str(row["id"]), change.now)
            self._note(change, found, principal)
        return found

    def approve(self, principal: Principal, id: str, *, note: str = "") -> Approval:
        """A second person says yes. Raises NotFound, Conflict (`approval.wrong_state`, `approval.expired`),
        Denied (`approval.same_person`), Refusal where the principal could not do the act itself."""
        return self._decide(principal, id, ApprovalState.APPROVED, _APPROVE, note)

    def refuse(self, principal: Principal, id: str, *, note: str = "") -> Approval:
        """Somebody who could approve says no, or the one who asked takes it back. An approval that was given
        can be refused until it is used. Raises as `approve`."""
        return self._decide(principal, id, ApprovalState.REFUSED, _REFUSE, note)

    def use(
        self,
        principal: Principal,
        id: str,
        resource: Resource,
        payload: Any,
        context: Context = PLAIN,
        *,
        within: Change | None = None,
    ) -> Decision:
        """Decide on the act with this approval and use it up, in one transaction (`within`, if given): of
        several attempts at once one succeeds. Gives the decision that allows the act, now and once.

        Raises NotFound (`approval.unknown`), Conflict (`approval.wrong_state`, `approval.expired`,
        `approval.other_act`), Denied (`approval.other_person`), Refusal.
        """
        if within is not None:
            return self._use(within, principal, id, resource, payload, context)
        with self._events.begin() as change:
            return self._use(change, principal, id, resource, payload, context)

    def get(self, id: str, principal: Principal) -> Approval:
        """One approval that concerns the principal's organisations or that it asked for. Raises NotFound."""
        with self._events.records.read() as connection:
            return _visible(connection, id, principal, self._events.clock.now())

    def page(
        self, principal: Principal, *, state: ApprovalState | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[list[Approval], int]:
        """Approvals that concern the principal's organisations or that it asked for, newest first, and how
        many there are in all. What is over its time counts as expired."""
        now = self._events.clock.now()
        where = sa.and_(_open_to(principal), _in_state(state, now) if state else sa.true())
        with self._events.records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(table).where(where)) or 0
            rows = connection.execute(
                sa.select(table)
                .where(where)
                .order_by(table.c.requested.desc(), table.c.id)
                .limit(limit)
                .offset(offset)
            )
            return [_approval(row, now) for row in rows], total

    def expire(self) -> int:
        """Write down what has run out since the last call; gives how many. States are right without it: it
        makes the events that the audit log needs."""
        now = self._events.clock.now()
        over = sa.and_(table.c.state.in_(_LIVE), table.c.expires <= now)
        with self._events.records.read() as connection:
            if connection.scalar(sa.select(table.c.id).where(over).limit(1)) is None:
                return 0
        with self._events.begin() as change:
            rows = change.connection.execute(sa.select(table).where(over)).all()
            values = {"state": ApprovalState.EXPIRED.value, "ended": change.now}
            change.connection.execute(sa.update(table).where(over).values(**values))
            for row in rows:
                self._note(change, _approval(row, now), None)
        return len(rows)

    def _without_approval(self, principal: Principal, action: str, resource: Resource) -> Decision:
        stepped_up = msgspec.structs.replace(principal, second_factor=self._events.clock.now())
        return self._point.decide_many([Request(stepped_up, action, resource)])[0]

    def _decide(self, principal: Principal, id: str, state: ApprovalState, step: Text, note: str) -> Approval:
        with self._events.begin() as change:
            found = _visible(change.connection, id, principal, change.now)
            fitting = _LIVE if state is ApprovalState.REFUSED else (ApprovalState.REQUESTED.value,)
            _require(found, fitting, step)
            own = found.requester == principal.account
            if own and state is ApprovalState.APPROVED:
                raise Denied("approval.same_person")
            if not own:
                resource = self._resource(found)
                self._point.require(principal, "approval.give", resource)
                able = self._point.allowed_once_approved(principal, found.action, resource)
                if not able.allowed:
                    raise Refusal(able)
            values = {
                "state": state.value,
                "decider": principal.account,
                "decided": change.now,
                "note": note.strip(),
                "ended": change.now if state is ApprovalState.REFUSED else None,
            }
            change.connection.execute(sa.update(table).where(table.c.id == id).values(**values))
            found = stored(change.connection, id, change.now)
            self._note(change, found, principal)
        return found

    def _use(
        self,
        change: Change,
        principal: Principal,
        id: str,
        resource: Resource,
        payload: Any,
        context: Context,
    ) -> Decision:
        found = _visible(change.connection, id, principal, change.now)
        _require(found, (ApprovalState.APPROVED.value,), _USE)
        if found.requester != principal.account:
            raise Denied("approval.other_person")
        try:
            digest = payload_hash(found.action, resource, payload)
        except (TypeError, ValueError) as error:
            raise InputError("approval.bad_payload", reason=str(error)) from None
        if digest != found.payload_hash:
            raise Conflict("approval.other_act")
        context = msgspec.structs.replace(context, approval=found.evidence, payload_hash=digest)
        decision = self._point.require(principal, found.action, resource, context)
        changed = change.connection.execute(
            sa.update(table)
            .where(table.c.id == id, table.c.state == ApprovalState.APPROVED.value)
            .values(state=ApprovalState.USED.value, ended=change.now)
        )
        if changed.rowcount != 1:
            raise Conflict("approval.wrong_state", state=STATE_TITLES[ApprovalState.USED], step=_USE)
        self._note(change, stored(change.connection, id, change.now), principal)
        return decision

    def _resource(self, found: Approval) -> Resource:
        """The resource as it is owned now; what has moved out of the approver's reach is not theirs."""
        return Resource.owned(
            self._directories.now(), found.owner, found.kind, found.resource, machine=found.machine
        )

    def _note(self, change: Change, found: Approval, principal: Principal | None) -> None:
        state = found.state
        change.note(
            f"approval.{state.value}",
            found.id,
            by=principal.id if principal else "",
            org=found.owner,
            detail={
                "action": found.action,
                "resource": found.resource,
                "payload_hash": found.payload_hash,
                "reason": found.reason,
                "note": found.note,
            },
        )


_LIVE = (ApprovalState.REQUESTED.value, ApprovalState.APPROVED.value)


def _approval(row: Any, now: int) -> Approval:
    values = {str(name): value for name, value in row._mapping.items()}
    if values["state"] in _LIVE and values["expires"] <= now:
        values["state"] = ApprovalState.EXPIRED.value
    values["decider"] = values["decider"] or ""
    return msgspec.convert(values, Approval)


def stored(connection: sa.Connection, id: str, now: int) -> Approval:
    """The approval as the transaction of `connection` sees it. Raises NotFound (`approval.unknown`)."""
    row = connection.execute(sa.select(table).where(table.c.id == id)).first()
    if row is None:
        raise NotFound("approval.unknown")
    return _approval(row, now)


def _open_to(principal: Principal) -> sa.ColumnElement[bool]:
    mine = table.c.requester == principal.account if principal.account else sa.false()
    return sa.or_(mine, Scope.of(principal.orgs).where(table.c.owner))


def _visible(connection: sa.Connection, id: str, principal: Principal, now: int) -> Approval:
    row = connection.execute(sa.select(table).where(table.c.id == id, _open_to(principal))).first()
    if row is None:
        raise NotFound("approval.unknown")
    return _approval(row, now)


def _in_state(state: ApprovalState, now: int) -> sa.ColumnElement[bool]:
    if state is ApprovalState.EXPIRED:
        run_out = sa.and_(table.c.state.in_(_LIVE), table.c.expires <= now)
        return sa.or_(table.c.state == state.value, run_out)
    if state.value in _LIVE:
        return sa.and_(table.c.state == state.value, table.c.expires > now)
    return table.c.state == state.value


def _require(found: Approval, states: tuple[str, ...], step: Text) -> None:
    if found.state is ApprovalState.EXPIRED:
        raise Conflict("approval.expired")
    if found.state.value not in states:
        raise Conflict("approval.wrong_state", state=STATE_TITLES[found.state], step=step)
