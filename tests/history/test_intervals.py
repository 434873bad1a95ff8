"""Interval sets against Python's own sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.history._intervals import IntervalSet

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=30)


def _both(spans: list[tuple[int, int]]) -> tuple[IntervalSet, set[int]]:
    intervals, plain = IntervalSet(), set()
    for first, more in spans:
        intervals.add(first, first + more)
        plain.update(range(first, first + more + 1))
    return intervals, plain


@given(SPANS)
def test_is_a_set(spans: list[tuple[int, int]]) -> None:
    intervals, plain = _both(spans)
    assert [n for n in range(80) if n in intervals] == sorted(plain)
    assert intervals.count() == len(plain)
    pairs = intervals.intervals()
    assert all(one[1] + 1 < two[0] for one, two in pairwise(pairs))
    assert IntervalSet(pairs) == intervals


@given(SPANS, SPANS, st.integers(0, 60), st.integers(0, 8))
def test_overlaps_and_covers(
    one: list[tuple[int, int]], two: list[tuple[int, int]], first: int, more: int
) -> None:
    a, plain_a = _both(one)
    b, plain_b = _both(two)
    assert a.overlaps(b) == bool(plain_a & plain_b)
    assert a.covers(first, first + more) == (set(range(first, first + more + 1)) <= plain_a)


def test_a_long_run_is_one_interval() -> None:
    intervals = IntervalSet()
    for number in range(100_000):
        intervals.add(number)
    assert intervals.intervals() == [(0, 99_999)]
