"""The live table: newest wins, kinds stay exact, changes are told once."""

import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.api.live import LiveValues
from headrace.history import LastValues
from headrace.kernel.model import Batch, Kind, Quality, Tag

TAGS = [
    Tag(id=7, name="oven/zone1/temperature", kind=Kind.F64, unit="Cel"),
    Tag(id=2, name="oven/zone1/on", kind=Kind.BOOL),
    Tag(id=3, name="bath/count", kind=Kind.U64),
    Tag(id=9, name="bath/recipe", kind=Kind.TEXT),
    Tag(id=4, name="gone/x", kind=Kind.F64),
]


def table() -> LiveValues:
    return LiveValues(TAGS, {t.name for t in TAGS if t.machine != "gone"})


def batch(kind: Kind, points: list[tuple[int, int, Any, int]]) -> Batch:
    tags, times, values, qualities = zip(*points, strict=True)
    return Batch.of(kind, tags, times, list(values), qualities)


def values(live: LiveValues, since: int = 0, machine: str | None = None) -> dict[str, Any]:
    frame = live.frame(5.0, since=since, machine=machine)
    if frame is None:
        return {}
    assert frame.startswith(b"event: values\ndata: ")
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 3
    data = msgspec.json.decode(frame.split(b"data: ", 1)[1])
    assert data["t"] == 5.0
    return data["v"]  # type: ignore[no-any-return]


def test_before_any_point_everything_waits() -> None:
    found = values(table())
    assert found["oven/zone1/temperature"] == [None, Quality.BAD_WAITING, None]
    assert len(found) == len(TAGS)


def test_each_kind_comes_through_exactly() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 2_000_000, 21.5, 0)]))
    live.take(batch(Kind.BOOL, [(2, 2_000_000, True, 0)]))
    live.take(batch(Kind.U64, [(3, 2_000_000, 2**64 - 1, 0)]))
    live.take(batch(Kind.TEXT, [(9, 2_000_000, "灰色", 0)]))
    assert values(live) == {
        "oven/zone1/temperature": [21.5, 0, 2.0],
        "oven/zone1/on": [True, 0, 2.0],
        "bath/count": [str(2**64 - 1), 0, 2.0],
        "bath/recipe": ["灰色", 0, 2.0],
        "gone/x": [None, Quality.BAD_WAITING, None],
    }


def test_nan_is_a_value_and_null_is_none() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 1, math.nan, 0)]))
    assert values(live)["oven/zone1/temperature"][0] == "NaN"
    live.take(Batch.of(Kind.F64, [7], [2], [0.0], [0x8005], missing=np.array([True])))
    assert values(live)["oven/zone1/temperature"][:2] == [None, 0x8005]


def test_older_points_change_nothing() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 100, 1.0, 0)]))
    tick = live.next_tick()
    live.take(batch(Kind.F64, [(7, 99, 2.0, 0)]))
    assert values(live, since=tick) == {}
    assert live.number("oven/zone1/temperature") == 1.0
    assert live.number("bath/recipe") is None
    assert live.number("no/such") is None


@given(st.lists(st.tuples(st.sampled_from([7, 4]), st.integers(1, 20), st.floats(0, 9)), min_size=1))
def test_of_repeated_tags_the_newest_counts(points: list[tuple[int, int, float]]) -> None:
    live = table()
    live.take(batch(Kind.F64, [(tag, time, value, 0) for tag, time, value in points]))
    newest: dict[int, tuple[int, float]] = {}
    for tag, time, value in points:
        if time >= newest.get(tag, (0, 0.0))[0]:
            newest[tag] = (time, value)
    for tag, (_, value) in newest.items():
        assert live.number({7: "oven/zone1/temperature", 4: "gone/x"}[tag]) == value


def test_changes_are_told_by_tick_and_by_machine() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 1, 1.0, 0)]))
    first = live.next_tick()
    assert values(live, since=first) == {}
    live.take(batch(Kind.U64, [(3, 1, 5, 0)]))
    second = live.next_tick()
    assert list(values(live, since=first)) == ["bath/count"]
    assert values(live, since=first, machine="oven") == {}
    assert list(values(live, since=first, machine="bath")) == ["bath/count"]
    assert values(live, since=second) == {}
    assert set(values(live, machine="bath")) == {"bath/count", "bath/recipe"}
    assert live.frame(0.0, since=0, machine="nowhere") == b'event: values\ndata: {"t":0.0,"v":{}}\n\n'


def test_unknown_ids_are_counted_and_left() -> None:
    live = table()
    live.take(batch(Kind.F64, [(1000, 1, 1.0, 0), (0, 1, 1.0, 0), (7, 1, 3.0, 0)]))
    assert live.unknown == 2
    assert live.points == 3
    assert live.number("oven/zone1/temperature") == 3.0
    LiveValues([], []).take(batch(Kind.F64, [(1, 1, 1.0, 0)]))


def test_stale_hides_nothing_bad_and_is_taken_back() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 1, 1.0, 0)]))
    live.take(batch(Kind.BOOL, [(2, 1, True, 0x8005)]))
    tick = live.next_tick()
    live.mark_stale(np.ones(len(TAGS), np.bool_))
    found = values(live, since=tick)
    assert found["oven/zone1/temperature"] == [1.0, Quality.UNCERTAIN_LAST_USABLE, 1e-06]
    assert found["oven/zone1/on"][1] == 0x8005
    tick = live.next_tick()
    live.mark_stale(np.ones(len(TAGS), np.bool_))
    assert values(live, since=tick) == {}, "nothing changed"
    live.mark_stale(np.zeros(len(TAGS), np.bool_))
    assert values(live, since=tick)["oven/zone1/temperature"][1] == 0


def test_seed_gives_way_to_what_is_newer() -> None:
    live = table()
    live.take(batch(Kind.F64, [(7, 100, 1.0, 0)]))
    live.seed(
        LastValues(
            tag=np.array([7, 9, 3, 500], np.int32),
            time=np.array([50, 60, 70, 80], np.int64),
            quality=np.array([0, 0, 0x8005, 0], np.uint16),
            kind=[Kind.F64, Kind.TEXT, Kind.U64, Kind.F64],
            value=[9.0, "blue", None, 1.0],
        )
    )
    found = values(live)
    assert found["oven/zone1/temperature"][0] == 1.0
    assert found["bath/recipe"][0] == "blue"
    assert found["bath/count"][:2] == [None, 0x8005]
