"""The gate: the only way from an owner's data to another organisation.

A read names who asks and what for. The gate finds the grant that covers it, fetches, writes down what was
read, and only then hands it over: what cannot be written down is not handed over. Revocation works from the
next read on, in every process: each read asks records whether any grant has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from headrace.access import decisions
from headrace.access.audit import Act, AuditLog, Outcome
from headrace.access.identity import Principal
from headrace.access.sharing.aggregates import Contribution, Protected, Rule, Shape, protect
from headrace.access.sharing.grants import Grants
from headrace.access.sharing.reads import Read, Reads
from headrace.access.sharing.terms import (
    KIND,
    Grant,
    GrantState,
    Purpose,
    Subject,
    Use,
    Window,
    actions,
    window,
)
from headrace.kernel.errors import Denied, HeadraceError

_log = structlog.get_logger(__name__)


class _Sized(Protocol):
    def __len__(self) -> int: ...


T = TypeVar("T", bound=_Sized)

_ORDER = ("share.too_fine", "share.aggregate_not_granted", "share.outside_period", "share.other_purpose",
          "share.aggregation_only", "share.waiting", "share.ended")  # fmt: skip
"""Why a read was refused: of several grants that do not cover it, the reason of the nearest one is told."""


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads another's data. `orgs`: the organisations in whose name; a grant to one of them counts."""

    actor: str
    name: str = ""
    orgs: tuple[str, ...]
    request: str = ""
    address: str = ""

    @classmethod
    def of(cls, principal: Principal, *, request: str = "", address: str = "") -> Visitor:
        return cls(
            actor=principal.id, name=principal.name, orgs=principal.orgs, request=request, address=address
        )


class SeriesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a series: buckets of `every` ns (0: single values) with `aggregates`, in [start, end) ns.
    `resource`: `<node>/<tag>`."""

    resource: str
    start: int
    end: int
    purpose: Purpose
    every: int = 0
    aggregates: tuple[str, ...] = ("mean",)


class Served(msgspec.Struct, Generic[T], frozen=True):
    """What came through, under which grant, and as which entry of the audit log. `window`: of a series, the
    part that was granted, which may be smaller than what was asked for."""

    data: T
    grant: str
    sequence: int
    window: Window | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A firm's figure for a table: where it stands (`cell`: one code per dimension), whose it is, and under
    which holding it counts as one contributor (its owner alone where "")."""

    resource: str
    owner: str
    cell: tuple[str, ...]
    holding: str = ""


class Tabled(msgspec.Struct, frozen=True, kw_only=True):
    """A protected table and what it rests on: `contributors` figures under `grants`. `left_out`: resources
    without a grant for aggregation in force; `missing`: granted, but without a value."""

    protected: Protected
    grants: tuple[str, ...]
    contributors: int
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


class Gate:
    """One for a process. Thread-safe."""

    def __init__(self, grants: Grants, reads: Reads, log: AuditLog) -> None:
        self._grants = grants
        self._reads = reads
        self._log = log
        self._lock = threading.Lock()
        self._version = -1
        self._by_resource: dict[tuple[Subject, str], list[Grant]] = {}

    # --- through -------------------------------------------------------------------------------------------

    def series(self, visitor: Visitor, asked: SeriesRequest, fetch: Callable[[Window], T]) -> Served[T]:
        """What of a series is granted. `fetch` reads exactly the window it is given; its len is counted as
        points. Raises Denied (one of `share.*`), and what `fetch` raises."""
        grant, part = self._find_series(visitor, asked)
        data = fetch(part)
        self._still(grant)
        read = self._read_of(visitor, grant, asked.resource, asked.purpose, len(data))
        read = msgspec.structs.replace(read, start=part.start, end=part.end, every=part.every)
        return Served(data, grant.id, self._record(visitor, [read])[0], part)

    def read(
        self, visitor: Visitor, subject: Subject, resource: str, purpose: Purpose, fetch: Callable[[], T]
    ) -> Served[T]:
        """An indicator's values, a field or a document. Raises as `series` does."""
        grant = self._find(visitor, subject, resource, purpose, Use.READ)
        data = fetch()
        self._still(grant)
        read = self._read_of(visitor, grant, resource, purpose, len(data))
        return Served(data, grant.id, self._record(visitor, [read])[0])

    def table(
        self,
        visitor: Visitor,
        table: str,
        shape: Shape,
        sources: Sequence[Source],
        purpose: Purpose,
        rule: Rule,
        fetch: Callable[[Sequence[str]], Mapping[str, float]],
        *,
        keep_hidden: frozenset[tuple[str, ...]] = frozenset(),
    ) -> Tabled:
        """A protected table of indicators whose owners granted them for aggregation. The single figures that
        `fetch` gives (by resource) do not leave this method. Every owner finds the read in its list.

        Raises InputError (see `aggregates.protect`), and what `fetch` raises.
        """
        granted: dict[str, Grant] = {}
        for source in sources:
            try:
                found = self._find(
                    visitor, Subject.INDICATOR, source.resource, purpose, Use.AGGREGATE, quiet=True
                )
            except Denied:
                continue
            if found.terms.owner == source.owner:
                granted[source.resource] = found
        values = fetch(list(granted))
        used = [s for s in sources if s.resource in granted and s.resource in values]
        contributions = [Contribution(s.holding or s.owner, s.cell, values[s.resource]) for s in used]
        protected = protect(shape, contributions, rule, keep_hidden=keep_hidden)
        reads = [
            msgspec.structs.replace(
                self._read_of(visitor, granted[s.resource], s.resource, purpose, 1), table=table
            )
            for s in used
        ]
        self._record(visitor, reads)
        return Tabled(
            protected=protected,
            grants=tuple(sorted({granted[s.resource].id for s in used})),
            contributors=len(used),
            left_out=tuple(s.resource for s in sources if s.resource not in granted),
            missing=tuple(r for r in granted if r not in values),
        )

    # --- asked by others -----------------------------------------------------------------------------------

    def holds(self, grant_id: str) -> bool:
        """Whether a grant is in force now; a long stream under a grant asks before each batch."""
        now = self._log.clock.now()
        self._refresh(now)
        return any(
            grant.id == grant_id and grant.state(now) is GrantState.ACTIVE
            for grants in self._by_resource.values()
            for grant in grants
        )

    def evidence(
        self, visitor: Visitor, subject: Subject, resource: str, action: str
    ) -> decisions.Grant | None:
        """The grant of this very resource that opens `action` to the visitor, as the decision point takes it;
        None where there is none. A decision does not replace `series` and `read`, which do the recording."""
        now = self._log.clock.now()
        for grant in self._candidates(visitor, subject, resource, now):
            opened, terms = actions(grant.terms), grant.terms
            if action in opened and grant.state(now) is GrantState.ACTIVE:
                kind, period = KIND[subject], (terms.start, terms.end)
                return decisions.Grant(grant.id, terms.owner, terms.grantee, opened, kind, resource, *period)
        return None

    # --- inside --------------------------------------------------------------------------------------------

    def _find_series(self, visitor: Visitor, asked: SeriesRequest) -> tuple[Grant, Window]:
        now = self._log.clock.now()
        refusals: list[Denied] = []
        for grant in self._candidates(visitor, Subject.SERIES, asked.resource, now):
            try:
                self._fits(grant, asked.purpose, Use.READ, now)
                part = window(grant.terms, asked.start, asked.end, asked.every, asked.aggregates, now)
            except Denied as refusal:
                refusals.append(refusal)
                continue
            return grant, part
        raise self._refuse(visitor, Subject.SERIES, asked.resource, asked.purpose, refusals, now)

    def _find(
        self,
        visitor: Visitor,
        subject: Subject,
        resource: str,
        purpose: Purpose,
        use: Use,
        *,
        quiet: bool = False,
    ) -> Grant:
        now = self._log.clock.now()
        refusals: list[Denied] = []
        for grant in self._candidates(visitor, subject, resource, now):
            try:
                self._fits(grant, purpose, use, now)
            except Denied as refusal:
                refusals.append(refusal)
                continue
            return grant
        if quiet:
            raise Denied("share.no_grant", resource=resource)
        raise self._refuse(visitor, subject, resource, purpose, refusals, now)

    def _fits(self, grant: Grant, purpose: Purpose, use: Use, now: int) -> None:
        terms = grant.terms
        if grant.state(now) is GrantState.WAITING:
            raise Denied("share.waiting")
        if terms.use is not use:
            raise Denied("share.aggregation_only" if use is Use.READ else "share.no_grant", resource="")
        if terms.purpose is not purpose:
            raise Denied("share.other_purpose", purpose=purpose.value, granted=terms.purpose.value)

    def _still(self, grant: Grant) -> None:
        """Refuse what was revoked while it was being fetched."""
        if not self.holds(grant.id):
            raise Denied("share.ended")

    def _candidates(self, visitor: Visitor, subject: Subject, resource: str, now: int) -> list[Grant]:
        self._refresh(now)
        found = self._by_resource.get((subject, resource), [])
        return [g for g in found if g.terms.grantee in visitor.orgs and now < g.terms.end]

    def _refresh(self, now: int) -> None:
        """Take in all that has changed by now. A grant whose signature does not hold does not count."""
        if self._grants.version() == self._version:
            return
        number, grants = self._grants.in_force(now)
        known = {g.id: g for some in self._by_resource.values() for g in some}
        by_resource: dict[tuple[Subject, str], list[Grant]] = {}
        for grant in grants:
            if known.get(grant.id) != grant and not self._grants.is_genuine(grant):
                _log.error("grant_not_genuine", grant=grant.id, owner=grant.terms.owner)
                continue
            for resource in grant.terms.resources:
                by_resource.setdefault((grant.terms.subject, resource), []).append(grant)
        with self._lock:
            self._version, self._by_resource = number, by_resource

    def _refuse(
        self,
        visitor: Visitor,
        subject: Subject,
        resource: str,
        purpose: Purpose,
        refusals: list[Denied],
        now: int,
    ) -> HeadraceError:
        """The refusal to raise, written down. Who was never granted anything of this hears the same words
        whether it exists or not."""
        past = [] if refusals else self._grants.past(subject, resource, visitor.orgs)
        owner = past[0].terms.owner if past else ""
        if any(g.state(now) in (GrantState.REVOKED, GrantState.EXPIRED) for g in past):
            refusals = [Denied("share.ended")]
        told = min(
            (r for r in refusals if r.code in _ORDER),
            key=lambda r: _ORDER.index(r.code),
            default=Denied("share.no_grant", resource=resource),
        )
        if refusals and not past:
            owner = self._by_resource[(subject, resource)][0].terms.owner
        act = Act(
            actor=visitor.actor,
            actor_name=visitor.name,
            actor_org=visitor.orgs[0] if visitor.orgs else "",
            action="share.read",
            outcome=Outcome.DENIED,
            resource=f"{KIND[subject]}:{resource}",
            org=owner,
            reason=told.code,
            request=visitor.request,
            address=visitor.address,
            details={"purpose": purpose.value},
        )
        self._log.append([act])
        return told

    @staticmethod
    def _read_of(visitor: Visitor, grant: Grant, resource: str, purpose: Purpose, points: int) -> Read:
        return Read(
            sequence=0,
            time=0,
            grant=grant.id,
            owner=grant.terms.owner,
            grantee=grant.terms.grantee,
            actor=visitor.actor,
            actor_name=visitor.name,
            subject=grant.terms.subject,
            resource=resource,
            use=grant.terms.use,
            purpose=purpose,
            points=points,
        )

    def _record(self, visitor: Visitor, reads: Sequence[Read]) -> list[int]:
        common: dict[str, Any] = {"request": visitor.request, "address": visitor.address}
        return self._reads.record(reads, **common)
