"""Sets of integers that mostly run on, kept as closed intervals: which messages have been counted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence


class IntervalSet:
    """A set of integers. Consecutive members merge, so one source that loses nothing is one interval,
    however long it runs; a replay out of order makes more of them until it has closed the gaps."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[Sequence[int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._starts, value) - 1
        return at >= 0 and value <= self._ends[at]

    def add(self, first: int, last: int | None = None) -> None:
        """Add `first`..`last`, both included."""
        last = first if last is None else last
        starts, ends = self._starts, self._ends
        if ends and first == ends[-1] + 1:  # the common case: the next one of its source
            ends[-1] = last
            return
        at = bisect_right(starts, first)
        if at and ends[at - 1] >= first - 1:
            at -= 1
            first = starts[at]
        stop = bisect_right(starts, last + 1)
        if stop > at:
            last = max(last, ends[stop - 1])
        starts[at:stop] = [first]
        ends[at:stop] = [last]

    def intervals(self) -> list[tuple[int, int]]:
        """Disjoint, not touching, in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def count(self) -> int:
        """How many members."""
        return sum(self._ends) - sum(self._starts) + len(self._starts)

    def covers(self, first: int, last: int) -> bool:
        """Whether all of `first`..`last` are members."""
        at = bisect_right(self._starts, first) - 1
        return at >= 0 and last <= self._ends[at]

    def overlaps(self, other: IntervalSet) -> bool:
        """Whether any member stands in both."""
        for first, last in other.intervals():
            at = bisect_right(self._starts, last) - 1
            if at >= 0 and self._ends[at] >= first:
                return True
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and self.intervals() == other.intervals()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"IntervalSet({self.intervals()})"
