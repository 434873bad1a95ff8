"""Queries over segments and log together: exact, without a seam, while a writer seals and merges."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.history import HistorySettings, Reader, Store
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.kernel.errors import InputError
from headrace.kernel.model import Batch, Header, Kind

Make = Callable[..., tuple]
FOREVER = (-(2**63), 2**63 - 1)
MINUTE, HOUR = 60 * NS_PER_S, 3600 * NS_PER_S


def test_an_empty_folder_reads_as_empty(tmp_path: Path) -> None:
    with Reader(tmp_path / "nothing") as reader:
        assert len(reader.raw(1, *FOREVER)) == 0
        assert reader.buckets([1], 0, 10**18, MINUTE) == {}
        assert reader.last().value == []
        assert reader.stats().points == 0
        assert reader.gaps(1, 0, 10 * MINUTE, MINUTE)[0].end == 10 * MINUTE
        Store.open(tmp_path / "nothing").close()
        reader.refresh()
        assert reader.position("DATA") == 0


def test_raw_is_half_open_ordered_and_limited(store: Store, message: Make) -> None:
    t = 1_000
    for number, at in enumerate((50, 10, 30, 20, 40), 1):
        store.append("DATA", [message(number, time=t + at)])
        if number in (2, 4):
            store.seal()
    with Reader(store.root) as reader:
        assert (reader.raw(1, t + 10, t + 50).time - t).tolist() == [10, 20, 30, 40]
        assert reader.raw(1, t + 10, t + 51).value.tolist() == [2.1, 4.1, 3.1, 5.1, 1.1]
        for limit in range(7):
            assert (reader.raw(1, 0, 2**60, limit=limit).time - t).tolist() == [10, 20, 30, 40, 50][:limit]
        assert len(reader.raw(99, *FOREVER)) == 0
        with pytest.raises(InputError) as caught:
            reader.raw(1, 2, 1)
        assert caught.value.code == "history.bad_range"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.F64, np.array([0x7FF8000000000001, 0x8000000000000000, 3], np.uint64).view(np.float64)),
        (Kind.I64, np.array([-(2**63), 2**63 - 1, 2**53 + 1])),
        (Kind.U64, np.array([2**64 - 1, 0, 1], np.uint64)),
        (Kind.BOOL, np.array([True, False, True])),
        (Kind.TEXT, ["运行", "", "a\nb"]),
    ],
)
def test_every_kind_from_log_and_segment(store: Store, kind: Kind, values: Any) -> None:
    missing = np.array([False, False, True])
    for number in (1, 2):
        batch = Batch.of(kind, [1, 2, 3], [number] * 3, values, [0, 0x4090, 0x8005])
        if kind is not Kind.TEXT:
            batch = Batch.of(kind, [1, 2, 3], [number] * 3, values, [0, 0x4090, 0x8005], missing=missing)
        store.append("DATA", [(number, Header("plant", "edge", number), batch)])
        if number == 1:
            store.seal()
    with Reader(store.root) as reader:
        for tag, quality in ((1, 0), (2, 0x4090), (3, 0x8005)):
            found = reader.raw(tag, *FOREVER)
            assert found.kind is kind and found.time.tolist() == [1, 2]
            assert found.quality.tolist() == [quality] * 2
            if kind is not Kind.TEXT and tag == 3:
                assert found.missing.all()
            elif kind is Kind.F64:
                assert found.value.view(np.uint64).tolist() == [values.view(np.uint64)[tag - 1]] * 2
            else:
                assert found.value.tolist() == [values[tag - 1]] * 2
        last = reader.last()
        assert last.tag.tolist() == [1, 2, 3] and last.time.tolist() == [2, 2, 2]
        assert last.kind == [kind] * 3
        if kind is not Kind.TEXT:
            assert last.value[2] is None
        if kind in (Kind.I64, Kind.U64):
            assert last.value[0] == values[0]


def test_last_goes_by_time_then_arrival(store: Store, message: Make) -> None:
    store.append("DATA", [message(1, tags=[1, 1, 2], time=5, values=[1.0, 2.0, 3.0])])
    with Reader(store.root) as reader:
        assert reader.last([1, 2]).value == [2.0, 3.0]
        store.append("DATA", [message(2, tags=[1, 2], time=4, values=[8.0, 8.0])])
        store.append("DATA", [message(3, tags=[2], time=5, values=[9.0])])
        store.seal()
        reader.refresh()
        assert reader.last([1, 2, 77]).value == [2.0, 9.0]
        with Reader(store.root) as fresh:
            assert fresh.last().value == [2.0, 9.0]


def test_gaps(store: Store, message: Make) -> None:
    for number, (second, quality) in enumerate([(0, 0), (30, 0), (200, 0x8005), (400, 0), (1000, 0)], 1):
        store.append("DATA", [message(number, tags=[1], time=second * NS_PER_S, quality=quality)])
        if number == 2:
            store.seal()
    expected = [(30, 400, 0x8005), (400, 1000, None), (1000, 1200, None)]
    with Reader(store.root) as reader:
        for longer in (45 * NS_PER_S, 60 * NS_PER_S, 150 * NS_PER_S):
            found = reader.gaps(1, 0, 1200 * NS_PER_S, longer)
            assert [(g.start // NS_PER_S, g.end // NS_PER_S, g.quality) for g in found] == expected
        assert reader.gaps(1, 0, 1200 * NS_PER_S, 599 * NS_PER_S)[0].start == 400 * NS_PER_S
        assert reader.gaps(1, 0, 1200 * NS_PER_S, 600 * NS_PER_S) == []


POINT = st.tuples(st.integers(1, 3), st.integers(0, 3 * 7200), st.integers(-100, 100), st.booleans())


@pytest.mark.parametrize("every", [7, 60, 90, 3600, 7200])
def test_buckets_equal_brute_force(tmp_path_factory: pytest.TempPathFactory, every: int) -> None:
    """Late, out-of-order, sealed, merged and fresh points; any range; any bucket."""

    @hypothesis_settings(max_examples=8, deadline=None)
    @given(
        st.lists(st.lists(POINT, min_size=1, max_size=25), min_size=1, max_size=9),
        st.integers(0, 22_000),
        st.integers(0, 22_000),
        st.integers(0, 5),
    )
    def check(messages: list[list[tuple[int, int, int, bool]]], one: int, two: int, shift: int) -> None:
        root = tmp_path_factory.mktemp("h")
        store = Store.open(root, clock=ManualClock(), settings=HistorySettings(fan_out=2))
        for number, points in enumerate(messages, 1):
            tags, times, values, good = zip(*points, strict=True)
            quality = [0 if g else 0x8005 for g in good]
            batch = Batch.of(
                Kind.F64, tags, [t * NS_PER_S for t in times], [float(v) for v in values], quality
            )
            store.append("DATA", [(number, Header("n", "s", number), batch)])
            if number % 2 == 0:
                store.seal()
            if number % 3 == 0:
                store.maintain()
                store.maintain()
        start, end, origin = min(one, two), max(one, two), shift * 60
        expected: dict[tuple[int, int], list[Any]] = {}
        for points in messages:
            for tag, at, value, good in points:
                if start <= at < end:
                    bucket = (at - origin) // every * every + origin
                    expected.setdefault((tag, bucket), []).append((at, value) if good else None)
        with Reader(root) as reader:
            found = reader.buckets(
                [1, 2, 3, 4], start * NS_PER_S, end * NS_PER_S, every * NS_PER_S, origin=origin * NS_PER_S
            )
        store.close()
        have = {}
        for tag, buckets in found.items():
            assert buckets.mean is not None
            for i, at in enumerate((buckets.time // NS_PER_S).tolist()):
                have[tag, at] = [
                    int(buckets.count[i]),
                    int(buckets.bad[i]),
                    *(getattr(buckets, n)[i] for n in ("min", "max", "sum", "first", "last")),
                ]
        assert have.keys() == expected.keys()
        for key, points in expected.items():
            good = [p for p in points if p is not None]
            assert have[key][:2] == [len(good), len(points) - len(good)]
            if good:
                values = [p[1] for p in good]
                ordered = sorted(enumerate(good), key=lambda p: (p[1][0], p[0]))
                assert have[key][2:] == [
                    min(values),
                    max(values),
                    sum(values),
                    ordered[0][1][1],
                    ordered[-1][1][1],
                ]
            else:
                assert np.isnan(have[key][2])

    check()


def test_only_what_was_asked_for(store: Store, message: Make) -> None:
    store.append("DATA", [message(1)])
    with Reader(store.root) as reader:
        found = reader.buckets([1], *FOREVER, HOUR, ["mean", "max"])[1]
        assert found.min is None and found.first is None
        assert found.max is not None and found.mean is not None
        for bad, code in ((["median"], "bad_aggregate"),):
            with pytest.raises(InputError) as caught:
                reader.buckets([1], *FOREVER, HOUR, bad)
            assert caught.value.code == f"history.{code}"
        with pytest.raises(InputError) as caught:
            reader.buckets([1], 0, 1, 0)
        assert caught.value.code == "history.bad_every"


@pytest.mark.fault
def test_no_seam_while_a_writer_seals_200_times(tmp_path: Path, message: Make) -> None:
    """Whatever the writer is doing, a query sees messages 1..n, each once, with n between what was committed
    before the refresh and after it; and n never falls."""
    settings = HistorySettings(fan_out=4, seal_rows=1_000)
    store = Store.open(tmp_path / "h", settings=settings)
    committed = [0]
    over = threading.Event()
    failures: list[str] = []
    queries = [0]

    def read() -> None:
        seen = 0
        with Reader(store.root) as reader:
            while not (over.is_set() and seen == committed[0]):
                low = committed[0]
                reader.refresh()
                raw = reader.raw(3, *FOREVER)  # on a newer snapshot where a merge took a file away
                high = committed[0] + 1  # one may be committed and not yet counted
                numbers = np.round(raw.value - 0.3).astype(int).tolist()
                count = len(numbers)
                if numbers != list(range(1, count + 1)) or not max(low, seen) <= count <= high:
                    failures.append(f"{low=} {high=} {seen=} {count=}")
                    return
                buckets = reader.buckets([3], *FOREVER, MINUTE, ["sum"])
                total = int(buckets[3].count.sum()) if buckets else 0
                if total < count:
                    failures.append(f"{count} points, {total} in buckets")
                    return
                seen = count
                queries[0] += 1

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    maintained = threading.Event()

    def maintain() -> None:
        while not maintained.is_set():
            store.maintain()
            time.sleep(0.001)

    keeper = threading.Thread(target=maintain)
    keeper.start()
    for number in range(1, 401):
        store.append("DATA", [message(number)])
        committed[0] = number
        if number % 2 == 0:
            store.seal()
    maintained.set()
    keeper.join()
    over.set()
    for thread in readers:
        thread.join(30)
    assert not failures
    assert queries[0] > 20
    store.close()


def test_a_reader_without_a_writer_sees_whole_frames(tmp_path: Path, message: Make) -> None:
    """After a power cut the commit word may be behind the log; nobody writes, so all whole frames count."""
    store = Store.open(tmp_path / "h")
    store.append("DATA", [message(1)])
    word = (store.root / "log" / "committed").read_bytes()
    store.append("DATA", [message(2)])
    with Reader(store.root) as reader:
        (store.root / "log" / "committed").write_bytes(word)
        with Reader(store.root) as other:
            assert len(other.raw(1, *FOREVER)) == 1  # the writer lives: only what it vouches for
        store.close()
        reader.refresh()
        assert len(reader.raw(1, *FOREVER)) == 2


def test_a_year_of_minutes_of_one_tag(tmp_path: Path) -> None:
    """525,600 minute buckets out of rollups in under 100 ms."""
    n_tags, minutes = 4, 525_600
    store = Store.open(tmp_path / "h", clock=ManualClock(), settings=HistorySettings(seal_rows=20_000_000))
    times = np.repeat(np.arange(minutes, dtype=np.int64) * MINUTE, n_tags)
    tags = np.tile(np.arange(1, n_tags + 1), minutes)
    batch = Batch.of(Kind.F64, tags, times, np.sin(times / 1e15) + tags, np.zeros(len(tags)))
    store.append("DATA", [(1, Header("n", "s", 1), batch)])
    store.compact()
    with Reader(store.root) as reader:
        took = []
        for _ in range(5):
            begin = time.thread_time()  # of this thread: what else runs on the machine does not count
            found = reader.buckets([2], 0, minutes * MINUTE, MINUTE, ["min", "max", "mean"])[2]
            took.append(time.thread_time() - begin)
        assert len(found) == minutes
        begin = time.thread_time()
        hours = reader.buckets([2], 0, minutes * MINUTE, HOUR, ["mean"])[2]
        assert len(hours) == minutes // 60 and time.thread_time() - begin < 0.1
    store.close()
    assert min(took) < 0.1, took


def test_last_values_of_20k_tags_take_under_20_ms(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "h")
    tags = np.arange(20_000)
    store.append(
        "DATA", [(1, Header("n", "s", 1), Batch.of(Kind.F64, tags, tags, tags / 7, np.zeros(20_000)))]
    )
    with Reader(store.root) as reader:
        took = []
        for _ in range(5):
            begin = time.thread_time()
            found = reader.last()
            took.append(time.thread_time() - begin)
    assert len(found.value) == 20_000 and found.value[7] == 1.0
    assert min(took) < 0.02, took
    store.close()
