"""Report policies: the stated error bounds as properties, and what is always reported."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.edge.report import Policy, Reporter
from headrace.kernel.clock import NS_PER_S
from headrace.kernel.model import Batch, Kind, Quality

T0 = 1_700_000_000 * NS_PER_S


def point(tag, second, value, quality=0, kind=Kind.F64):
    missing = np.array([value is None])
    return Batch.of(
        kind,
        [tag],
        [T0 + round(second * NS_PER_S)],
        [0 if value is None else value],
        [quality],
        missing=missing,
    )


def rows(batches):
    """(tag, second, value, quality) of every row, in order; a null value is None."""
    out = []
    for b in batches:
        for tag, time, value, quality, missing in zip(
            b.tags, b.times, b.values, b.qualities, b.missing, strict=True
        ):
            out.append((int(tag), (int(time) - T0) / NS_PER_S, None if missing else value, int(quality)))
    return out


def run(policy, values, *, step=1.0, kind=Kind.F64, flush=True):
    reporter = Reporter([(5, kind, policy)])
    out = []
    for n, value in enumerate(values):
        out += rows(reporter.filter([point(5, n * step, value, kind=kind)]))
    return out + (rows(reporter.flush()) if flush else [])


finite = st.floats(-1e6, 1e6)


def test_every_value_passes_untouched():
    reporter = Reporter([(1, Kind.F64, Policy())])
    batch = point(1, 0, 1.5)
    assert reporter.passes and reporter.filter([batch])[0] is batch
    assert reporter.filter([point(1, 1, 1.5)])[0].values.tolist() == [1.5]


@settings(max_examples=100, deadline=None)
@given(st.lists(finite, min_size=1, max_size=60), st.floats(0, 1e5))
def test_band_error_is_bounded(values, band):
    told = run(Policy(band=band), values)
    assert told[0][1:3] == (0.0, values[0])
    for n, value in enumerate(values):
        last = [v for _, s, v, _ in told if s <= n][-1]
        assert abs(value - last) <= band
    for (_, _, a, _), (_, _, b, _) in pairwise(told):
        assert abs(a - b) > band


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 5)), min_size=1, max_size=80),
    st.floats(0, 30),
    st.sampled_from((0, 3, 20)),
)
def test_swing_error_is_bounded(steps, deviation, heartbeat):
    reporter = Reporter([(5, Kind.F64, Policy(swing=deviation, heartbeat=heartbeat * NS_PER_S))])
    second, level, fed, told = 0.0, 0.0, [], []
    for rise, pause in steps:
        second, level = second + pause, level + rise
        fed.append((round(second * NS_PER_S) / NS_PER_S, level))
        told += rows(reporter.filter([point(5, second, level)]))
    told += rows(reporter.flush())
    times, values = np.array([r[1] for r in told]), np.array([r[2] for r in told])
    assert (np.diff(times) > 0).all()
    assert {(t, v) for t, v in zip(times, values, strict=True)} <= set(fed)  # only real values
    assert times[0] == fed[0][0] and times[-1] == fed[-1][0]  # the last held value is flushed
    rebuilt = np.interp([t for t, _ in fed], times, values)
    errors = np.abs(rebuilt - [v for _, v in fed])
    assert errors.max() <= deviation + 1e-6 * max(1.0, np.abs(values).max())
    if heartbeat:
        assert max(np.diff([t for t, _ in fed]), default=0) + heartbeat + 1e-9 >= max(
            np.diff(times), default=0
        )


def test_swing_needs_two_points_for_a_ramp():
    told = run(Policy(swing=0.1), [float(n) for n in range(100)])
    assert [r[1] for r in told] == [0.0, 99.0]


def test_swing_around_values_that_are_no_numbers():
    told = run(
        Policy(swing=1.0), [0.0, 0.1, math.nan, math.nan, 5.0, 5.1, math.inf, math.inf, -math.inf, 2.0]
    )
    assert [r[1] for r in told] == [0, 1, 2, 4, 5, 6, 8, 9]


def test_swing_when_the_clock_is_set_back():
    reporter = Reporter([(5, Kind.F64, Policy(swing=1.0))])
    told = []
    for second, value in ((10, 0.0), (11, 0.1), (12, 0.2), (3, 0.3), (4, 0.4)):
        told += rows(reporter.filter([point(5, second, value)]))
    told += rows(reporter.flush())
    assert [r[1] for r in told] == [10, 12, 3, 4]


def test_band_around_values_that_are_no_numbers():
    told = run(Policy(band=1.0), [0.0, math.nan, math.nan, math.inf, math.inf, -math.inf, 0.5, 0.6])
    assert [r[1] for r in told] == [0, 1, 3, 5, 6]


def test_heartbeat_of_a_band():
    told = run(Policy(band=10.0, heartbeat=5 * NS_PER_S), [1.0] * 12)
    assert [r[1] for r in told] == [0, 5, 10]


@pytest.mark.parametrize("policy", [Policy(band=10.0), Policy(swing=10.0), Policy(trigger=9)])
def test_quality_and_nulls_are_always_reported(policy):
    reporter = Reporter([(5, Kind.F64, policy), (9, Kind.F64, Policy())])
    told = []
    feed = [(1.0, 0), (1.0, 0), (1.0, Quality.UNCERTAIN), (1.0, Quality.UNCERTAIN), (None, Quality.BAD)]
    feed += [(None, Quality.BAD), (None, Quality.BAD_TIMEOUT), (1.0, 0), (1.0, 0)]
    for n, (value, quality) in enumerate(feed):
        told += rows(reporter.filter([point(9, n, 3.0), point(5, n, value, quality)]))
    own = [(r[1], r[2], r[3]) for r in told if r[0] == 5]
    changes = [(0, 1.0, 0), (2, 1.0, 0x4000), (4, None, 0x8000), (6, None, 0x800A), (7, 1.0, 0)]
    if policy.swing:  # the value held at 1 s and 3 s ends its line before the change
        changes = sorted([*changes, (1, 1.0, 0), (3, 1.0, 0x4000)], key=lambda r: r[0])
    assert own == changes


def test_trigger_reports_the_group_when_its_tag_changes():
    tags = [(1, Kind.U64, Policy()), (2, Kind.F64, Policy(trigger=1)), (3, Kind.TEXT, Policy(trigger=1))]
    reporter = Reporter([*tags, (4, Kind.F64, Policy())])
    told = []
    for n, count in enumerate([7, 7, 8, 8, 8, 9]):
        f = Batch.of(Kind.F64, [2, 4], [T0 + n * NS_PER_S] * 2, [float(n), float(n)], [0, 0])
        told += rows(
            reporter.filter([f, point(3, n, str(n), kind=Kind.TEXT), point(1, n, count, kind=Kind.U64)])
        )
    assert [r[1] for r in told if r[0] == 2] == [0, 2, 5]
    assert [r[2] for r in told if r[0] == 3] == ["0", "2", "5"]
    assert [r[1] for r in told if r[0] == 1] == [r[1] for r in told if r[0] == 4] == [0, 1, 2, 3, 4, 5]


def test_integers_are_compared_exactly():
    big = 2**63
    told = run(Policy(band=1.0), [big, big + 1, big + 2, 0, 1, 2, 2**64 - 1], kind=Kind.U64)
    assert [r[1] for r in told] == [0, 2, 3, 5, 6]
    told = run(Policy(band=0.0), [-(2**63), 2**63 - 1, 2**63 - 1, 0], kind=Kind.I64)
    assert [r[1] for r in told] == [0, 1, 3]


def test_text_and_bool_report_changes():
    assert [r[2] for r in run(Policy(band=0.0), ["a", "a", "b"], kind=Kind.TEXT)] == ["a", "b"]
    assert [r[1] for r in run(Policy(band=0.0), [True, True, False], kind=Kind.BOOL)] == [0, 2]


def test_ten_thousand_tags_take_little_time():
    import time

    n = 10_000
    policies = [Policy(band=0.5), Policy(swing=0.5), Policy()]
    reporter = Reporter([(i, Kind.F64, policies[i % 3]) for i in range(n)])
    rng = np.random.default_rng(1)
    values = np.zeros(n)
    best = math.inf
    for cycle in range(20):
        values = values + rng.normal(0, 0.2, n)
        batch = Batch.of(Kind.F64, np.arange(n), np.full(n, T0 + cycle * NS_PER_S), values, np.zeros(n, int))
        begun = time.process_time()
        reporter.filter([batch])
        best = min(best, time.process_time() - begun)
    assert best < 0.02
