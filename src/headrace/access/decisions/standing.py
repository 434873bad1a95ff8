"""Standing grants: an automatic rule is approved once, when it is activated; its later writes run under that
grant, and under nothing else.

A grant names the rule by the hash of its whole definition, the role of the process that runs it, and for each
tag the bounds of what it may write. A changed rule has another hash and needs another activation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from headrace.access.decisions._tables import standing as table
from headrace.access.decisions._tables import target as targets
from headrace.access.decisions.approvals import DEFAULT_S, Approval, Approvals, stored
from headrace.access.decisions.model import PLAIN, Context, Resource, Standing
from headrace.access.decisions.point import DecisionPoint
from headrace.access.events import Events
from headrace.access.identity import Principal
from headrace.access.ids import new_id
from headrace.access.tenancy import Directories, Scope
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Conflict, InputError, NotFound

ACTION = "rule.activate"
SERVICES = ("edge", "rules")
MAX_DAYS = 366

Value = float | int | bool | str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rule may write to one tag: numbers from `low` to `high`, both included, or one of `values`."""

    tag: str
    low: float | None = None
    high: float | None = None
    values: tuple[Value, ...] = ()

    @property
    def bounded(self) -> bool:
        low, high = self.low, self.high
        if low is None or high is None:
            return bool(self.values) and low is None and high is None
        return math.isfinite(low) and math.isfinite(high) and low <= high

    def admits(self, value: Value) -> bool:
        """Whether `value` is within the bounds; True and 1 are not the same, nor are "1" and 1."""
        if any(type(v) is type(value) and v == value for v in self.values):
            return True
        if isinstance(value, bool | str) or self.low is None or self.high is None:
            return False
        return self.low <= value <= self.high


class Activation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is approved: rule, definition, process, targets, and for how long."""

    rule: str
    rule_hash: str  # SHA-256 of the whole definition
    service: str  # edge | rules
    targets: tuple[Target, ...]
    days: float


class StandingGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as stored; in force during [start, end) until revoked. Times are UTC ns."""

    id: str
    rule: str
    rule_hash: str
    owner: str
    service: str
    approval: str
    requester: str
    approver: str
    start: int
    end: int
    revoked: int | None
    revoked_by: str
    revoke_reason: str
    targets: tuple[Target, ...]

    def in_force(self, at: int) -> bool:
        return self.revoked is None and self.start <= at < self.end


class StandingGrants:
    """The standing grants in records. Thread-safe. Every write asks the records, so a revoked grant ends with
    the next write on every role."""

    def __init__(
        self, events: Events, point: DecisionPoint, approvals: Approvals, directories: Directories
    ) -> None:
        self._events = events
        self._point = point
        self._approvals = approvals
        self._directories = directories

    def request(
        self,
        principal: Principal,
        activation: Activation,
        rule: Resource,
        *,
        reason: str,
        expires_s: float = DEFAULT_S,
    ) -> Approval:
        """Ask for the approval of an activation. `rule`: the rule as a resource (kind "rule").

        The tags need not be looked up here: a write outside the rule's organisation is not covered when it is
        decided. Raises InputError (`standing.no_targets`, `standing.unbounded`, `standing.tag_twice`,
        `standing.bad_service`, `standing.bad_period`) and as `Approvals.request`.
        """
        _check(activation)
        return self._approvals.request(
            principal, ACTION, rule, msgspec.to_builtins(activation), reason=reason, expires_s=expires_s
        )

    def activate(
        self,
        principal: Principal,
        approval: str,
        activation: Activation,
        rule: Resource,
        context: Context = PLAIN,
    ) -> StandingGrant:
        """Use the approval and put the grant in force; earlier grants of the same rule end. One transaction.
        Raises as `request` and as `Approvals.use`."""
        _check(activation)
        with self._events.begin() as change:
            payload = msgspec.to_builtins(activation)
            self._approvals.use(principal, approval, rule, payload, context, within=change)
            asked = stored(change.connection, approval, change.now)
            earlier = sa.and_(
                table.c.rule == activation.rule, table.c.owner == rule.owner, table.c.revoked.is_(None)
            )
            change.connection.execute(
                sa.update(table)
                .where(earlier, table.c.end > change.now)
                .values(revoked=change.now, revoked_by=principal.id, revoke_reason="replaced")
            )
            row = {
                "id": new_id(),
                "rule": activation.rule,
                "rule_hash": activation.rule_hash,
                "owner": rule.owner,
                "service": activation.service,
                "approval": approval,
                "requester": asked.requester,
                "approver": asked.decider,
                "start": change.now,
                "end": change.now + round(activation.days * 86_400 * NS_PER_S),
                "revoke_reason": "",
            }
            change.connection.execute(sa.insert(table).values(**row))
            change.connection.execute(
                sa.insert(targets),
                [
                    {"standing": row["id"], "tag": t.tag, "bounds": msgspec.json.encode(t).decode()}
                    for t in activation.targets
                ],
            )
            found = _grants(change.connection, table.c.id == row["id"])[0]
            detail = {"rule": found.rule, "rule_hash": found.rule_hash, "approval": approval}
            change.note("standing.activated", found.id, by=principal.id, org=found.owner, detail=detail)
        return found

    def covering(self, service: str, rule: str, rule_hash: str, tag: str, value: Value) -> Standing | None:
        """The grant in force now that covers this write by a process with role `service`: evidence for the
        decision (Context.standing); None where there is none."""
        now = self._events.clock.now()
        query = (
            sa.select(table, targets.c.bounds)
            .join(targets, targets.c.standing == table.c.id)
            .where(
                table.c.rule == rule,
                table.c.rule_hash == rule_hash,
                table.c.service == service,
                table.c.revoked.is_(None),
                table.c.start <= now,
                table.c.end > now,
                targets.c.tag == tag,
            )
        )
        with self._events.records.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            if msgspec.json.decode(row.bounds, type=Target).admits(value):
                return Standing(row.id, row.owner, tag, row.service, row.start, row.end)
        return None

    def revoke(self, principal: Principal, id: str, *, reason: str) -> StandingGrant:
        """End a grant now. Raises NotFound (`standing.unknown`), Conflict (`standing.revoked`), Refusal."""
        with self._events.begin() as change:
            scoped = sa.and_(table.c.id == id, Scope.of(principal.orgs).where(table.c.owner))
            found = _grants(change.connection, scoped)
            if not found:
                raise NotFound("standing.unknown")
            if found[0].revoked is not None:
                raise Conflict("standing.revoked")
            resource = Resource.owned(self._directories.now(), found[0].owner, "rule", found[0].rule)
            self._point.require(principal, "standing.revoke", resource)
            change.connection.execute(
                sa.update(table)
                .where(table.c.id == id)
                .values(revoked=change.now, revoked_by=principal.id, revoke_reason=reason.strip())
            )
            change.note(
                "standing.revoked",
                id,
                by=principal.id,
                org=found[0].owner,
                detail={"rule": found[0].rule, "reason": reason.strip()},
            )
            return _grants(change.connection, table.c.id == id)[0]

    def page(
        self, principal: Principal, *, in_force: bool = False, limit: int = 100, offset: int = 0
    ) -> tuple[list[StandingGrant], int]:
        """The grants of the principal's organisations, newest first, and how many there are in all."""
        now = self._events.clock.now()
        where = Scope.of(principal.orgs).where(table.c.owner)
        if in_force:
            where = sa.and_(where, table.c.revoked.is_(None), table.c.start <= now, table.c.end > now)
        with self._events.records.read() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(table).where(where)) or 0
            return _grants(connection, where, limit, offset), total


def _check(activation: Activation) -> None:
    if activation.service not in SERVICES:
        raise InputError("standing.bad_service")
    if not 1 / 24 <= activation.days <= MAX_DAYS:
        raise InputError("standing.bad_period", days=MAX_DAYS)
    if not activation.targets:
        raise InputError("standing.no_targets")
    seen: set[str] = set()
    for target in activation.targets:
        if target.tag in seen:
            raise InputError("standing.tag_twice", tag=target.tag)
        seen.add(target.tag)
        if not target.bounded:
            raise InputError("standing.unbounded", tag=target.tag)


def _grants(
    connection: sa.Connection, where: sa.ColumnElement[bool], limit: int = 1, offset: int = 0
) -> list[StandingGrant]:
    rows: Sequence[sa.Row[tuple[object, ...]]] = connection.execute(
        sa.select(table).where(where).order_by(table.c.start.desc(), table.c.id).limit(limit).offset(offset)
    ).all()
    bounds: dict[str, list[Target]] = {}
    ids = [row.id for row in rows]
    query = sa.select(targets).where(targets.c.standing.in_(ids)).order_by(targets.c.tag)
    for row in connection.execute(query):
        bounds.setdefault(row.standing, []).append(msgspec.json.decode(row.bounds, type=Target))
    return [
        msgspec.convert(
            {
                **{str(name): value for name, value in row._mapping.items()},
                "revoked_by": row.revoked_by or "",
                "targets": tuple(bounds.get(row.id, ())),
            },
            StandingGrant,
        )
        for row in rows
    ]
