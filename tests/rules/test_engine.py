"""The engine: however samples are split into batches, the transitions are those of one sample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.kernel.config import Duration
from headrace.kernel.expr import Point, evaluate, symbols_of
from headrace.kernel.messages import Text
from headrace.kernel.model import Batch, Kind, Quality, Tag
from headrace.rules import Alarm, compile_alarm, machine
from headrace.rules.engine import Engine, Happened
from headrace.rules.machine import Status
from headrace.rules.settling import Settling

TAGS = [
    Tag(3, "a/x/t", Kind.F64, unit="Cel"),
    Tag(5, "a/y/t", Kind.F64, unit="Cel"),
    Tag(8, "a/z/run", Kind.BOOL),
    Tag(9, "a/z/mode", Kind.TEXT),
]
BAD = int(Quality.BAD_COMMUNICATION)


def alarm(id_: str, when: str, hysteresis: float = 0.0, on: int = 0, off: int = 0) -> Alarm:
    return Alarm(id_, when, Text(id_, id_), hysteresis=hysteresis, delay_on=Duration(on),
                 delay_off=Duration(off))  # fmt: skip


ALARMS = [
    compile_alarm(a, symbols_of(TAGS))
    for a in (
        alarm("plain", "a/x/t > 5"),
        alarm("hysteresis", "a/x/t > 5", 2.0),
        alarm("low", "a/x/t < 3", 1.5, 2, 3),
        alarm("delays", "a/x/t > 5", 1.0, 3, 2),
        alarm("two", "a/x/t > a/y/t && a/z/run", 1.0, 0, 2),
        alarm("mode", "a/z/mode == 'hot' || a/z/run && a/y/t >= 6", 0.5, 1, 0),
        alarm("quality", "!good(a/x/t)", 0, 2, 0),
    )
]
KIND = {tag.id: tag.kind for tag in TAGS}
EMPTY: dict[Kind, Any] = {Kind.F64: 0.0, Kind.BOOL: False, Kind.TEXT: ""}

Sample = tuple[int, int, Any, int]  # time, tag, value, quality


@st.composite
def recordings(draw: st.DrawFn) -> list[Sample]:
    time, out = 0, []
    for _ in range(draw(st.integers(1, 25))):
        time += draw(st.integers(1, 3))
        for tag in draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=4, unique_by=lambda t: t.id)):
            value = {
                Kind.F64: st.sampled_from([0.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 7.0, float("nan")]),
                Kind.BOOL: st.booleans(),
                Kind.TEXT: st.sampled_from(["hot", "cold"]),
            }[tag.kind]
            quality = draw(st.sampled_from([0, 0, 0, 0x4000, BAD]))
            out.append((time, tag.id, draw(value), quality))
    return out


def batches(samples: list[Sample]) -> list[Batch]:
    """One batch per kind, as an edge would make of one moment or many."""
    made = []
    for kind in EMPTY:
        rows = [s for s in samples if KIND[s[1]] is kind]
        if rows:
            missing = np.array([s[3] == BAD for s in rows])
            made.append(
                Batch.of(
                    kind,
                    [s[1] for s in rows],
                    [s[0] for s in rows],
                    [s[2] for s in rows],
                    [s[3] for s in rows],
                    missing=missing,
                )
            )
    return made


Moves = list[tuple[str, int, str, dict[str, Any]]]


def moves_of(happened: list[Happened]) -> Moves:
    return [
        (h.alarm, m.move.time, m.move.after.value, {n: repr(p.value) for n, p in m.points.items()})
        for h in happened
        for m in h.moments
    ]


def by_alarm(moves: Moves) -> dict[str, Moves]:
    return {c.alarm.id: [m for m in moves if m[0] == c.alarm.id] for c in ALARMS}


def one_by_one(samples: list[Sample]) -> Moves:
    """The reference: every moment by itself, every alarm by the scalar evaluator."""
    names = {tag.id: tag.name for tag in TAGS}
    points: dict[str, Point] = {}
    statuses = {c.alarm.id: Status() for c in ALARMS}
    out: Moves = []
    for time in sorted({s[0] for s in samples}):
        before = dict(points)
        touched = set()
        for _, tag, value, quality in (s for s in samples if s[0] == time):
            points[names[tag]] = Point(None if quality == BAD else value, quality, time)
            touched.add(names[tag])
        for compiled in ALARMS:
            if not touched & set(compiled.names):
                continue
            id_ = compiled.alarm.id
            trigger: Any = evaluate(compiled.trigger, points)
            hold: Any = evaluate(compiled.hold, points)
            statuses[id_], moves = machine.observe(statuses[id_], compiled.alarm.delays, time, trigger, hold)
            for move in moves:
                seen = before if move.time < time else points
                values = {n: repr(seen[n].value if n in seen else None) for n in compiled.names}
                out.append((id_, move.time, move.after.value, values))
    return out


@settings(deadline=None, max_examples=50)
@given(recordings(), st.data())
def test_splits_change_nothing(samples: list[Sample], data: st.DataObject) -> None:
    expected = by_alarm(one_by_one(samples))
    whole = Engine(ALARMS, TAGS, {}, {}, 0)
    assert by_alarm(moves_of(whole.feed(batches(samples), 0))) == expected

    times = sorted({s[0] for s in samples})
    cuts = sorted(data.draw(st.sets(st.sampled_from(times))))
    parts = Engine(ALARMS, TAGS, {}, {}, 0)
    moves: Moves = []
    for low, high in zip([0, *cuts], [*cuts, times[-1]], strict=True):
        moves += moves_of(parts.feed(batches([s for s in samples if low < s[0] <= high]), 0))
    assert by_alarm(moves) == expected
    assert repr(parts.latest()) == repr(whole.latest())
    assert parts.statuses == whole.statuses


@settings(deadline=None, max_examples=30)
@given(recordings(), st.data())
def test_splits_anywhere_change_nothing_behind_the_settling(
    samples: list[Sample], data: st.DataObject
) -> None:
    """Messages cut in the middle of a moment, delivered one after the other, some of them twice."""
    expected = by_alarm(one_by_one(samples))
    engine, settling = Engine(ALARMS, TAGS, {}, {}, 0), Settling(10)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(samples)))))
    now, sequence, moves = 0, 0, []
    for low, high in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        for batch in batches(samples[low:high]) * data.draw(st.integers(1, 2)):
            sequence += 1
            settling.add(sequence, batch, now)
        now += data.draw(st.integers(0, 3))  # the rest of a moment comes within the time of settling
        moves += moves_of(engine.feed(settling.release(now), now))
        assert settling.position <= sequence
    moves += moves_of(engine.feed(settling.release(now + 10), now + 10))
    assert by_alarm(moves) == expected
    assert settling.empty and settling.position == sequence


@settings(deadline=None, max_examples=25)
@given(recordings(), st.data())
def test_a_restart_changes_nothing(samples: list[Sample], data: st.DataObject) -> None:
    expected = by_alarm(one_by_one(samples))
    engine = Engine(ALARMS, TAGS, {}, {}, 0)
    moves: Moves = []
    for time in sorted({s[0] for s in samples}):
        moves += moves_of(engine.feed(batches([s for s in samples if s[0] == time]), 0))
        if data.draw(st.booleans()):
            engine = Engine(ALARMS, TAGS, engine.statuses, engine.latest(), 0)
    assert by_alarm(moves) == expected


def test_late_and_repeated_samples_are_passed_over() -> None:
    engine = Engine(ALARMS, TAGS, {}, {}, 0)
    assert moves_of(engine.feed(batches([(10, 3, 4.0, 0)]), 0)) == []
    assert engine.feed(batches([(9, 3, 9.0, 0), (10, 3, 9.0, 0)]), 0) == []
    assert engine.latest()["a/x/t"].value == 4.0
    assert engine.feed(batches([(11, 99, 1.0, 0)]) if 99 in KIND else [], 0) == []


def test_tags_that_no_alarm_reads_cost_nothing() -> None:
    engine = Engine(ALARMS, TAGS, {}, {}, 0)
    batch = Batch.of(Kind.F64, [1, 2, 4, 5000], [1] * 4, [1.0] * 4, [0] * 4)
    assert (engine.reads(batch) == -1).all()
    assert engine.feed([batch], 0) == [] and engine.latest() == {}


def test_a_batch_longer_than_one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    samples = [(t, 3, float(v), 0) for t, v in enumerate(rng.choice([1.0, 4.0, 6.0], 500), 1)]
    expected = by_alarm(one_by_one(samples))
    monkeypatch.setattr("headrace.rules.engine._CELLS", 64)
    assert by_alarm(moves_of(Engine(ALARMS, TAGS, {}, {}, 0).feed(batches(samples), 0))) == expected


def test_the_clock_fires_what_silent_tags_do_not() -> None:
    engine = Engine(ALARMS, TAGS, {}, {}, 0)
    moves = moves_of(engine.feed(batches([(100, 3, 9.0, 0), (100, 5, 0.0, 0)]), 1000))
    assert {m[0] for m in moves} == {"plain", "hysteresis"}
    assert engine.wait(1000, 0, 7) == 10
    assert engine.timeouts(1009, 0, 7) == []
    (late,) = engine.timeouts(1010, 0, 7)
    assert (late.alarm, late.moments[0].move.time) == ("delays", 103)
    assert engine.wait(1010, 0, 7) is None and engine.timeouts(9999, 0, 7) == []


def test_a_kind_that_changed_is_ignored_until_it_fits() -> None:
    engine = Engine(ALARMS, TAGS, {}, {}, 0)
    engine.feed([Batch.of(Kind.I64, [3], [1], [9], [0])], 0)
    assert engine.statuses["plain"].active is False
    assert moves_of(engine.feed(batches([(2, 3, 9.0, 0)]), 0))[0][:3] == ("plain", 2, "active-unack")
