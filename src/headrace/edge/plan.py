"""The read planner: which requests fetch a set of points at the least cost. Pure functions, no I/O.

A request costs `request_cost` plus its length in units, so a gap that is shorter than `request_cost` is
cheaper to read through than to split at. `make_plan` finds the cheapest division exactly:

- A point that lies inside another point rides in that point's request and is set aside; what remains are
  proper intervals, whose starts and ends both increase. An exchange argument shows that some cheapest
  division cuts their sorted sequence into runs, so dynamic programming over prefixes finds it.
- cost[j] = min over i of (cost[i] - start[i]) + end[j] + request_cost. Every limit (length, holes, gaps not
  allowed) only ever moves the left edge of the permitted i to the right, so the minimum is a sliding-window
  minimum and the whole plan takes O(n log n) for sorting and O(n) after it.

A Hole is what the run has taught: a range that no request may cover whole. `Bisection` finds holes by
splitting requests that the device refuses, in O(k log n) extra requests for k illegal places among n points.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import msgspec

from headrace.kernel.errors import InputError
from headrace.kernel.ports import Block, Limits, Span


class Hole(msgspec.Struct, frozen=True):
    """A range of `area` that no request may cover whole, because the device refused it. Where `end` equals
    `start` it is a boundary that no request may cross. `probe` are the points (indexes) whose common request
    tells whether the hole is still there."""

    area: str
    start: int
    end: int
    probe: tuple[int, ...]

    def spoils(self, span: Span) -> bool:
        """True where a request for `span` would cover the hole."""
        if span.area != self.area:
            return False
        if self.start == self.end:
            return span.start < self.start < span.end
        return span.start <= self.start and span.end >= self.end


class Plan(msgspec.Struct, frozen=True):
    """`blocks` cover every point exactly once, except the `isolated` points, which lie on holes."""

    blocks: tuple[Block, ...]
    isolated: tuple[int, ...] = ()


def cost(blocks: Sequence[Block], limits: Limits) -> float:
    """What these requests cost, in units of transfer."""
    return sum(limits.request_cost + b.span.length for b in blocks)


def make_plan(
    spans: Sequence[Span],
    limits: Limits,
    *,
    points: Sequence[int] | None = None,
    holes: Collection[Hole] = (),
) -> Plan:
    """The cheapest plan for `points` (indexes into `spans`; all of them by default).

    Raises InputError: `edge.unknown_area` for an area without a limit, `edge.point_too_long` for a point
    that no request can hold, `edge.empty_point` for a length below one.
    """
    by_area: dict[str, list[int]] = {}
    for index in range(len(spans)) if points is None else points:
        by_area.setdefault(spans[index].area, []).append(index)
    blocks: list[Block] = []
    isolated: list[int] = []
    for area, members in sorted(by_area.items()):
        check_area(area, max(spans[i].length for i in members), min(spans[i].length for i in members), limits)
        local = [h for h in holes if h.area == area]
        if local:
            spoiled = {i for i in members if any(h.spoils(spans[i]) for h in local)}
            isolated += sorted(spoiled)
            members = [i for i in members if i not in spoiled]
        blocks += _divide(area, members, spans, limits, local)
    return Plan(tuple(blocks), tuple(isolated))


def check_area(area: str, longest: int, shortest: int, limits: Limits) -> None:
    """Raises InputError where points of these lengths cannot be read from `area`."""
    if area not in limits.max_units:
        raise InputError("edge.unknown_area", area=area, known=", ".join(sorted(limits.max_units)))
    if longest > limits.max_units[area]:
        raise InputError("edge.point_too_long", length=longest, limit=limits.max_units[area], area=area)
    if shortest < 1:
        raise InputError("edge.empty_point", area=area)


def _divide(
    area: str, members: list[int], spans: Sequence[Span], limits: Limits, holes: Sequence[Hole]
) -> list[Block]:
    carriers, riders = _proper(members, spans)
    n = len(carriers)
    start = [spans[i].start for i in carriers]
    end = [spans[i].end for i in carriers]
    longest = limits.max_units[area]
    # (from this end on, a request must start here or later), in the order of ends
    fences = sorted((h.end + 1, h.start) if h.start == h.end else (h.end, h.start + 1) for h in holes)
    fence, floor = 0, -1  # next fence; the least start that is allowed
    best = [0.0] * (n + 1)  # best[j]: cheapest for the first j carriers
    first = [0] * (n + 1)  # first[j]: where the last request of that division begins
    window: deque[int] = deque()  # candidates i, best[i] - start[i] increasing
    for j in range(n):
        key = best[j] - start[j]
        while window and best[window[-1]] - start[window[-1]] > key:
            window.pop()
        window.append(j)
        while fence < len(fences) and fences[fence][0] <= end[j]:
            floor = max(floor, fences[fence][1])
            fence += 1
        if not limits.gaps and j and start[j] > end[j - 1]:
            floor = max(floor, start[j])
        least = max(floor, end[j] - longest)
        while start[window[0]] < least:
            window.popleft()
        i = window[0]
        best[j + 1] = best[i] - start[i] + end[j] + limits.request_cost
        first[j + 1] = i
    blocks: list[Block] = []
    j = n
    while j:
        i = first[j]
        blocks.append(_block(carriers[i:j], riders, spans))
        j = i
    blocks.reverse()
    return blocks


def _proper(members: list[int], spans: Sequence[Span]) -> tuple[list[int], dict[int, list[int]]]:
    """Carriers (sorted, no one inside another) and, by carrier, the points that ride inside it."""
    carriers: list[int] = []
    riders: dict[int, list[int]] = {}
    # the longer of two points with the same start comes first, so that it carries the other
    for index in sorted(members, key=lambda i: (spans[i].start, -spans[i].end, i)):
        if carriers and spans[index].end <= spans[carriers[-1]].end:
            riders.setdefault(carriers[-1], []).append(index)
        else:
            carriers.append(index)
    return carriers, riders


class Bisection:
    """The search for what a device refuses, begun with the blocks that it answered with an address fault.

    Ask `requests`, put them to the device, tell `learn` which of them it refused, and repeat until `done`.
    A refused block is split between two points until single points are left: those are holes. Where both
    halves are answered but their union was not, the hole is the gap between them, or (no gap) a boundary:
    the device has a shorter limit than it says, or an edge inside its memory. `accepted` are the blocks that
    were answered; together with the points on holes they cover what the faulty blocks covered.
    """

    def __init__(self, spans: Sequence[Span], refused: Sequence[Block]) -> None:
        self._spans = spans
        self.holes: list[Hole] = []
        self.accepted: list[Block] = []
        self._tries: list[tuple[Block, ...]] = []  # the two halves of a refused block, or what lay inside
        for block in refused:
            self._refuse(block)

    @property
    def done(self) -> bool:
        return not self._tries

    @property
    def requests(self) -> tuple[Block, ...]:
        """The next blocks to try, at most twice as many as were refused last time."""
        return tuple(block for group in self._tries for block in group)

    def learn(self, refused: Collection[int]) -> None:
        """`refused`: indexes into `requests` that the device answered with an address fault."""
        tries, self._tries = self._tries, []
        index = 0
        for group in tries:
            bad = [index + n in refused for n in range(len(group))]
            index += len(group)
            for block, is_bad in zip(group, bad, strict=True):
                if is_bad:
                    self._refuse(block)
                else:
                    self.accepted.append(block)
            if len(group) == 2 and not any(bad):
                self.holes.append(self._between(*group))

    def _refuse(self, block: Block) -> None:
        carriers, riders = _proper(list(block.points), self._spans)
        if len(carriers) > 1:
            half = len(carriers) // 2
            self._tries.append(
                (_block(carriers[:half], riders, self._spans), _block(carriers[half:], riders, self._spans))
            )
            return
        span = self._spans[carriers[0]]
        self.holes.append(Hole(span.area, span.start, span.end, (carriers[0],)))
        inside = [p for p in riders.get(carriers[0], ()) if self._spans[p] != span]
        if inside:  # points on a part of the refused range may be legal by themselves
            self._tries.append((_block(*_proper(inside, self._spans), self._spans),))

    def _between(self, left: Block, right: Block) -> Hole:
        last = max(left.points, key=lambda p: self._spans[p].end)
        first = min(right.points, key=lambda p: self._spans[p].start)
        area, a, b = left.span.area, left.span.end, right.span.start
        if a <= b:
            return Hole(area, a, b, (last, first))
        # the halves overlap, so the fault can only be in asking for both: forbid their union
        return Hole(area, self._spans[last].start, self._spans[first].end, (last, first))


def probe(hole: Hole, spans: Sequence[Span]) -> Block:
    """The one request that tells whether `hole` is still there."""
    start = min(spans[p].start for p in hole.probe)
    end = max(spans[p].end for p in hole.probe)
    return Block(Span(hole.area, start, end - start), hole.probe)


def _block(carriers: list[int], riders: dict[int, list[int]], spans: Sequence[Span]) -> Block:
    start, end = spans[carriers[0]].start, spans[carriers[-1]].end
    held = tuple(p for c in carriers for p in (c, *riders.get(c, ())))
    return Block(Span(spans[carriers[0]].area, start, end - start), held)
