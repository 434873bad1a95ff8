"""What a grant says, and which reads it covers. Pure.

A grant names its resources one by one, never by a pattern: what comes into being later is not shared by it.
A series granted at a resolution is served in whole buckets of the grant's own grid: buckets cut by the edges
of a request, shifted grids, or a bucket that is still filling would give finer values by difference.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from headrace.access.audit import canonical
from headrace.access.sharing.signing import Signature
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.errors import Denied, InputError
from headrace.kernel.messages import Text

MAX_RESOURCES = 500
MAX_YEARS = 5
_LONGEST_NOTE = 500
AGGREGATES = ("count", "bad", "min", "max", "sum", "mean", "first", "last")


class Subject(enum.StrEnum):
    """The kinds of things that can be granted. Ids: of an indicator and a document their own; of a series
    `<node>/<tag>` (tenancy.tag_resource); of a field `<identifier>#<field>`."""

    INDICATOR = "indicator"
    SERIES = "series"
    FIELD = "field"
    DOCUMENT = "document"


KIND = {
    Subject.INDICATOR: "indicator",
    Subject.SERIES: "tag",
    Subject.FIELD: "identifier",
    Subject.DOCUMENT: "document",
}
"""The kind under which decisions and ownership know a Subject."""


class Use(enum.StrEnum):
    """READ: the grantee sees the values. AGGREGATE: they may go into protected tables and nowhere else; the
    grantee never sees them. Neither follows from the other."""

    READ = "read"
    AGGREGATE = "aggregate"


class Purpose(enum.StrEnum):
    """What data may be used for. A read names its purpose, and it has to be the grant's."""

    STATISTICS = "statistics"
    DIAGNOSIS = "diagnosis"
    SUPPLY_CHAIN = "supply-chain"
    MATCHING = "matching"
    POLICY = "policy"
    TRACEABILITY = "traceability"
    MAINTENANCE = "maintenance"
    EMERGENCY = "emergency"
    RESEARCH = "research"


PURPOSE_TITLES = {
    Purpose.STATISTICS: Text("统计", "Statistics"),
    Purpose.DIAGNOSIS: Text("诊断评估", "Diagnosis"),
    Purpose.SUPPLY_CHAIN: Text("供应链协同", "Supply chain"),
    Purpose.MATCHING: Text("供需对接", "Matching"),
    Purpose.POLICY: Text("政策兑现", "Policy and subsidies"),
    Purpose.TRACEABILITY: Text("质量追溯", "Traceability"),
    Purpose.MAINTENANCE: Text("设备运维", "Maintenance"),
    Purpose.EMERGENCY: Text("应急处置", "Emergency"),
    Purpose.RESEARCH: Text("科学研究", "Research"),
}


class Resolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How finely a series may be read. `every` ns per bucket, 0 for every single value; one bucket starts at
    `origin` (UTC ns); `aggregates` out of AGGREGATES, for buckets only. `min`, `max`, `first` and `last` are
    single values as they were measured, so they are not there unless granted."""

    every: int
    origin: int = 0
    aggregates: tuple[str, ...] = ("count", "mean")


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is granted. `owner` and `grantee` are organisations; reading is allowed in [start, end), of
    values with times in [data_start, data_end) (None: no bound), all UTC ns. `note`: the purpose in the
    owner's words. `resolution`: of a series, and only of one."""

    owner: str
    grantee: str
    subject: Subject
    resources: tuple[str, ...]
    purpose: Purpose
    start: int
    end: int
    use: Use = Use.READ
    note: str = ""
    data_start: int | None = None
    data_end: int | None = None
    resolution: Resolution | None = None


class GrantState(enum.StrEnum):
    WAITING = "waiting"  # its period has not begun
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as stored. `by`: the account that gave it; `basis`: by what right, such as the handler's
    authorisation. `revocation`: the owner's signature under the revocation, None where the key could not be
    used then: a revocation never waits for a key."""

    id: str
    terms: Terms
    by: str
    basis: str
    created: int
    signature: Signature
    revoked: int | None = None
    revoked_by: str = ""
    revoke_reason: str = ""
    revocation: Signature | None = None

    def state(self, now: int) -> GrantState:
        """At `now`, UTC ns."""
        if self.revoked is not None and self.revoked <= now:
            return GrantState.REVOKED
        if now < self.terms.start:
            return GrantState.WAITING
        return GrantState.ACTIVE if now < self.terms.end else GrantState.EXPIRED


def statement(id: str, terms: Terms, by: str, basis: str, created: int) -> bytes:
    """What the owner signs. 64-bit times stand in it as text."""
    raw: dict[str, Any] = _texts(msgspec.to_builtins(terms))
    raw |= {"basis": basis, "by": by, "created": str(created), "format": "headrace-grant", "id": id}
    return canonical({**raw, "version": 1}).encode()


def revocation_statement(id: str, owner: str, by: str, reason: str, at: int) -> bytes:
    """What the owner signs when revoking."""
    raw = {"by": by, "format": "headrace-grant-revocation", "id": id, "owner": owner, "reason": reason}
    return canonical({**raw, "revoked": str(at), "version": 1}).encode()


def _texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_terms(terms: Terms, now: int) -> None:
    """Raises InputError where the terms make no sense: `share.bad_parties`, `share.bad_period`,
    `share.bad_resources`, `share.bad_resolution`, `share.bad_note`."""
    if not terms.owner or not terms.grantee or terms.owner == terms.grantee:
        raise InputError("share.bad_parties", owner=terms.owner, grantee=terms.grantee)
    longest = MAX_YEARS * 366 * 86_400 * NS_PER_S
    data = (terms.data_start, terms.data_end)
    if not terms.start < terms.end or terms.end <= now or terms.end - terms.start > longest:
        raise InputError("share.bad_period", years=MAX_YEARS)
    if None not in data and not data[0] < data[1]:  # type: ignore[operator]
        raise InputError("share.bad_period", years=MAX_YEARS)
    for resource in terms.resources:
        field = terms.subject is not Subject.FIELD or all(resource.partition("#")[::2])
        if not resource or any(c in resource for c in "*?>\x00") or not field:
            raise InputError("share.bad_resources", resource=resource, most=MAX_RESOURCES)
    if not 0 < len(set(terms.resources)) == len(terms.resources) <= MAX_RESOURCES:
        raise InputError("share.bad_resources", resource=len(terms.resources), most=MAX_RESOURCES)
    if len(terms.note) > _LONGEST_NOTE:
        raise InputError("share.bad_note", most=_LONGEST_NOTE)
    resolution = terms.resolution
    if (resolution is not None) != (terms.subject is Subject.SERIES):
        raise InputError("share.bad_resolution", subject=terms.subject.value)
    if resolution is not None:
        known = set(resolution.aggregates) <= set(AGGREGATES)
        if resolution.every < 0 or not known or (resolution.every and not resolution.aggregates):
            raise InputError("share.bad_resolution", subject=terms.subject.value)


def compatible(a: Resolution, b: Resolution) -> bool:
    """Whether the grids of two grants of one series to one grantee nest in each other, so that nothing finer
    than the finer one follows from both."""
    if not a.every or not b.every:
        return True
    fine, coarse = sorted((a, b), key=lambda r: r.every)
    return coarse.every % fine.every == 0 and (coarse.origin - fine.origin) % fine.every == 0


def actions(terms: Terms) -> frozenset[str]:
    """The words of policies that the grant opens. Live values only where every single value is granted."""
    if terms.use is Use.AGGREGATE:
        return frozenset({"indicator.aggregate"})
    match terms.subject:
        case Subject.SERIES:
            raw = terms.resolution is not None and terms.resolution.every == 0
            return frozenset({"history.read", "tag.read"} if raw else {"history.read"})
        case Subject.INDICATOR:
            return frozenset({"indicator.read"})
        case Subject.FIELD:
            return frozenset({"identifier.read"})
        case Subject.DOCUMENT:
            return frozenset({"document.read"})


class Window(msgspec.Struct, frozen=True):
    """What of a series is served: the points or whole buckets of `every` ns (0: single values) in
    [start, end), on the grid of `origin`."""

    start: int
    end: int
    every: int
    origin: int
    aggregates: tuple[str, ...]


def window(terms: Terms, start: int, end: int, every: int, aggregates: tuple[str, ...], now: int) -> Window:
    """The part of a request that the grant covers: whole buckets of its grid that ended before `now`.

    Raises Denied: `share.too_fine` (single values, or buckets that are no multiple of the granted ones),
    `share.aggregate_not_granted`, `share.outside_period` (nothing of the request is left).
    """
    resolution = terms.resolution
    assert resolution is not None
    low = start if terms.data_start is None else max(start, terms.data_start)
    high = end if terms.data_end is None else min(end, terms.data_end)
    high = min(high, now)
    if resolution.every:
        if every <= 0 or every % resolution.every:
            raise Denied("share.too_fine", every=resolution.every / NS_PER_S)
        if missing := [a for a in aggregates if a not in resolution.aggregates]:
            raise Denied(
                "share.aggregate_not_granted",
                aggregate=", ".join(missing),
                granted=", ".join(resolution.aggregates),
            )
        low = resolution.origin + -((resolution.origin - low) // resolution.every) * resolution.every
        high = resolution.origin + (high - resolution.origin) // resolution.every * resolution.every
    if low >= high:
        raise Denied("share.outside_period")
    return Window(low, high, every, resolution.origin, aggregates)
