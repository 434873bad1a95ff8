"""Grid, back-off, statistics and phases."""

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace.edge.schedule import Backoff, Grid, Ring, Spread, phases
from headrace.kernel.clock import NS_PER_MS, NS_PER_S


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**12),
    st.lists(st.integers(0, 5 * 10**9), min_size=1, max_size=50),
)
def test_grid_never_drifts_and_counts_every_slot(every, origin, durations):
    grid, now, run = Grid(every, origin), origin, 0
    for duration in durations:
        now = max(now, grid.due)
        slot = grid.begin(now)
        run += 1
        assert (slot - origin) % every == 0 and slot <= now < slot + every
        now += duration
    assert (grid.due - origin) // every == run + grid.skips


def test_resume_is_due_at_once_and_counts_nothing():
    grid = Grid(100, 5)
    grid.begin(5)
    grid.resume(1_234)
    assert grid.due == 1_205 and grid.skips == 0
    grid.begin(1_234)
    assert grid.due == 1_305


def test_backoff_doubles_to_its_bound_with_jitter():
    backoff = Backoff(random.Random(1))
    waits = [backoff.next() for _ in range(2_000)]
    for n, wait in enumerate(waits[:10]):
        full = min(NS_PER_S // 2 << n, 30 * NS_PER_S)
        assert full / 2 <= wait <= full
    assert max(waits) <= 30 * NS_PER_S and len(set(waits[10:])) > 1_000
    backoff.reset()
    assert backoff.next() <= NS_PER_S // 2


def test_ring():
    ring = Ring(100)
    assert ring.spread() == Spread()
    for n in range(1, 301):
        ring.add(n * NS_PER_MS)
    assert ring.spread() == Spread(last=300.0, p50=251.0, p95=296.0, max=300.0)


def test_phases_stay_within_what_fills_messages():
    linger = 100 * NS_PER_MS
    few = phases([50.0] * 6, linger)
    assert few[0] == 0 and max(few) < linger / 2
    many = phases([10_000.0] * 16, linger)
    assert len(set(many)) == 16 and NS_PER_S * 0.9 < max(many) < NS_PER_S
    assert phases([], linger) == []
