"""The plan, told: what `headrace edge plan` prints and the console shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from headrace.edge.config import Connection, EdgeSettings, resolve
from headrace.edge.plan import make_plan
from headrace.kernel.clock import NS_PER_MS
from headrace.kernel.ports import Block, Span


class Request(msgspec.Struct, frozen=True):
    """One request of a scan; lengths in the area's units, of which `gap_units` belong to no tag."""

    area: str
    start: int
    length: int
    tags: int
    gap_units: int
    every_ms: float


class PlanReport(msgspec.Struct, frozen=True):
    """The requests of one connection: `count` of them where one per tag would be `one_per_tag`, which is
    `ratio` times as many. `isolated`: tags that are not read, because the device has no such address."""

    name: str
    driver: str
    tags: int
    count: int
    one_per_tag: int
    ratio: float
    requests: list[Request]
    isolated: list[str] = []


def plan_report(edge: EdgeSettings, file: Path) -> list[PlanReport]:
    """The plans that a configuration comes to, before any device has been met. Raises ConfigError."""
    return [
        report(c, [(every, make_plan(spans(c), c.limits, points=p).blocks) for every, p in groups(c)])
        for c in resolve(edge, file)
    ]


def spans(connection: Connection) -> list[Span]:
    """Where each point of the connection lies, in the order of its points."""
    return [p.layout.span for p in connection.points]


def groups(connection: Connection) -> list[tuple[int, list[int]]]:
    """(interval ns, indexes of the points that are read at it), the shortest interval first."""
    by_every: dict[int, list[int]] = {}
    for index, point in enumerate(connection.points):
        by_every.setdefault(point.every, []).append(index)
    return sorted(by_every.items())


def report(
    connection: Connection, plans: Iterable[tuple[int, Sequence[Block]]], isolated: Iterable[int] = ()
) -> PlanReport:
    """The report of plans by interval (ns); `isolated` are indexes of points."""
    where = spans(connection)
    requests = [
        Request(
            area=b.span.area,
            start=b.span.start,
            length=b.span.length,
            tags=len(b.points),
            gap_units=b.span.length - _used(where[p] for p in b.points),
            every_ms=every / NS_PER_MS,
        )
        for every, blocks in plans
        for b in blocks
    ]
    read = sum(r.tags for r in requests)
    return PlanReport(
        name=connection.name,
        driver=connection.settings.driver,
        tags=len(connection.points),
        count=len(requests),
        one_per_tag=read,
        ratio=round(read / len(requests), 2) if requests else 0.0,
        requests=requests,
        isolated=[connection.points[i].tag.name for i in isolated],
    )


def _used(points: Iterable[Span]) -> int:
    """How many units these spans cover together."""
    used, reached = 0, -1
    for span in sorted(points, key=lambda s: (s.start, s.end)):
        begin = max(span.start, reached)
        if span.end > begin:
            used += span.end - begin
            reached = span.end
    return used
