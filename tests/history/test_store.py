"""The store: durable, idempotent, and the same after any stop."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headrace.history import HistorySettings, Reader, Store, fsck
from headrace.history.files import NewFile
from headrace.history.log import generations, log_path
from headrace.kernel.clock import NS_PER_S, ManualClock
from headrace.kernel.config import Duration
from headrace.kernel.errors import Conflict, Corrupt, InputError, Unavailable
from headrace.kernel.model import Kind, encode

Make = Callable[..., tuple]
_WRITE = NewFile.write
FOREVER = (-(2**63), 2**63 - 1)


def _values(store: Store, tag: int = 1) -> list[float]:
    with Reader(store.root) as reader:
        return reader.raw(tag, *FOREVER).value.tolist()


def test_append_is_visible_before_and_after_sealing(store: Store, message: Make) -> None:
    assert store.position("DATA") == 0
    done = store.append("DATA", [message(1), message(2)])
    assert (done.messages, done.points, done.duplicates) == (2, 10, 0)
    assert store.position("DATA") == 2 and store.purgeable("DATA") == 0
    assert _values(store) == [1.1, 2.1]
    store.seal()
    assert store.purgeable("DATA") == 2
    assert _values(store) == [1.1, 2.1]
    store.append("DATA", [message(3)])
    assert _values(store) == [1.1, 2.1, 3.1]
    assert fsck(store.root).ok


def test_the_wire_bytes_are_kept_as_they_came(store: Store, message: Make) -> None:
    one = message(1)
    payload = encode(one[1], one[2])
    store.append("DATA", [one], [payload])
    assert payload in log_path(store.root / "log", 1).read_bytes()


def test_redelivery_counts_once(store: Store, message: Make) -> None:
    store.append("DATA", [message(1), message(2)])
    assert store.append("DATA", [message(1), message(2)]).duplicates == 2  # same stream sequences
    again = store.append("DATA", [(3, *message(1)[1:]), (4, *message(2)[1:]), (5, *message(3)[1:])])
    assert (again.messages, again.duplicates) == (1, 2)  # sent again under new ones
    within = store.append("DATA", [(6, *message(4)[1:]), (7, *message(4)[1:])])
    assert (within.messages, within.duplicates) == (1, 1)
    store.seal()
    assert store.append("DATA", [(8, *message(2)[1:])]).duplicates == 1
    assert store.append("DATA", [message(9, source="other", sequence=2)]).messages == 1
    assert _values(store) == [1.1, 2.1, 3.1, 4.1, 9.1]
    assert store.position("DATA") == 9
    assert fsck(store.root).ok


def test_a_source_may_replay_out_of_order(store: Store, message: Make) -> None:
    order = [5, 6, 7, 1, 2, 8, 3, 4, 2, 5]
    for position, sequence in enumerate(order, 1):
        store.append("DATA", [(position, *message(sequence)[1:])])
        if position % 3 == 0:
            store.seal()
    assert _values(store) == [n + 0.1 for n in range(1, 9)]
    store.compact()
    assert _values(store) == [n + 0.1 for n in range(1, 9)]
    report = fsck(store.root)
    assert report.ok and report.messages == 8 and report.points == 40


def test_an_equal_point_of_another_message_is_another_point(store: Store, message: Make) -> None:
    store.append("DATA", [message(1, time=7), message(2, time=7, values=[1.1] * 5)])
    store.seal()
    store.append("DATA", [message(3, time=7, values=[0.5] * 5)])
    assert _values(store) == [1.1, 1.1, 0.5]
    store.compact()
    assert _values(store) == [1.1, 1.1, 0.5]


def test_reopening_gives_the_same(
    tmp_path: Path, clock: ManualClock, settings: HistorySettings, message: Make
) -> None:
    root = tmp_path / "h"
    number = itertools.count(1)
    for _ in range(6):
        store = Store.open(root, clock=clock, settings=settings)
        n = next(number)
        assert store.position("DATA") == n - 1
        assert store.append("DATA", [(n, *message(n - 1 or 1)[1:])]).duplicates == (n > 1)
        n = next(number)
        store.append("DATA", [message(n)])
        if n % 4 == 0:
            store.seal()
        store.close()
    with Reader(root) as reader:
        assert reader.raw(1, *FOREVER).value.tolist() == [1.1, *(n + 0.1 for n in range(2, 13, 2))]
        assert reader.last([1]).value == [12.1]
    assert fsck(root).ok


def test_one_writer_at_a_time(store: Store) -> None:
    with pytest.raises(Conflict) as caught:
        Store.open(store.root)
    assert caught.value.code == "history.in_use"


def test_bad_input_is_refused_whole(store: Store, message: Make) -> None:
    for tags in ([-1], [1 << 24]):
        with pytest.raises(InputError) as caught:
            store.append("DATA", [message(1), message(2, tags=tags)])
        assert caught.value.code == "history.bad_tag"
    with pytest.raises(InputError):
        store.append("../DATA", [message(1)])
    assert store.position("DATA") == 0
    assert _values(store) == []


def test_position_moves_past_what_is_no_part_of_history(store: Store, message: Make) -> None:
    store.append("DATA", [], upto=4)
    assert store.position("DATA") == 4
    store.append("DATA", [message(5)], upto=9)
    store.seal()
    assert store.purgeable("DATA") == 9


def test_maintain_seals_by_age_and_by_rows(store: Store, clock: ManualClock, message: Make) -> None:
    assert not store.due() and not store.maintain()
    store.append("DATA", [message(1)])
    clock.advance(59)
    assert not store.due()
    clock.advance(2)
    assert store.due()
    store.maintain()
    assert store.state().segments == 1 and store.state().head_rows == 0
    tags = np.arange(100_000)
    store.append("DATA", [message(2, tags=tags, values=tags * 1.0)])
    assert store.due()
    store.maintain()
    assert store.state().segments == 2


def test_levels_merge_four_by_four(store: Store, message: Make) -> None:
    for n in range(1, 33):
        store.append("DATA", [message(n)])
        store.seal()
        while store.maintain():
            pass
    with Reader(store.root) as reader:
        levels = {(s.every, s.level): s.files for s in reader.stats().levels}
    minute, hour = 60 * NS_PER_S, 3600 * NS_PER_S
    assert levels == {(0, 2): 2, (minute, 2): 2, (hour, 2): 2}
    assert _values(store) == [n + 0.1 for n in range(1, 33)]
    assert fsck(store.root, sample=-1).ok


def test_merging_stops_at_max_rows(tmp_path: Path, clock: ManualClock, message: Make) -> None:
    settings = HistorySettings(fan_out=4, max_rows=100_000)
    store = Store.open(tmp_path / "h", clock=clock, settings=settings)
    tags = np.arange(30_000)
    for n in range(1, 8):
        store.append("DATA", [message(n, tags=tags, values=tags + n / 10)])
        store.seal()
        while store.maintain():
            pass
    with Reader(store.root) as reader:
        levels = {s.level: (s.files, s.points) for s in reader.stats().levels if s.every == 0}
        assert levels == {1: (2, 180_000), 0: (1, 30_000)}
        assert reader.raw(7, *FOREVER).value.tolist() == [7 + n / 10 for n in range(1, 8)]
    store.close()


def test_retention_drops_whole_segments_and_keeps_rollups(
    tmp_path: Path, clock: ManualClock, message: Make
) -> None:
    settings = HistorySettings(retention=Duration(3600 * NS_PER_S))
    store = Store.open(tmp_path / "h", clock=clock, settings=settings)
    store.append("DATA", [message(1)])
    store.seal()
    clock.advance(3000)
    store.append("DATA", [message(2, time=clock.now())])
    store.seal()
    assert not store.due()
    clock.advance(700)
    assert store.due()
    store.maintain()
    assert _values(store) == [2.1]
    with Reader(store.root) as reader:
        assert reader.stats().dropped == 5
        found = reader.buckets([1], 0, clock.now(), 3600 * NS_PER_S)
        assert int(found[1].count.sum()) == 2
    assert store.append("DATA", [(3, *message(1)[1:])]).duplicates == 1
    assert fsck(store.root).ok
    store.close()


def test_leavings_of_a_crash_are_removed(tmp_path: Path, clock: ManualClock, message: Make) -> None:
    root = tmp_path / "h"
    store = Store.open(root, clock=clock)
    store.append("DATA", [message(1)])
    store.seal()
    store.close()
    strays = ["segments/f64-raw-X-1-2-L0.parquet", "rollups/y.parquet.tmp", "last/last-9.arrow"]
    for name in strays:
        (root / name).write_bytes(b"half")
    report = fsck(root)
    assert report.ok and len(report.notes) == 2
    Store.open(root, clock=clock).close()
    assert not any((root / name).exists() for name in strays)
    assert fsck(root).notes == []


def test_without_a_manifest_nothing_is_touched(tmp_path: Path, clock: ManualClock, message: Make) -> None:
    root = tmp_path / "h"
    store = Store.open(root, clock=clock)
    store.append("DATA", [message(1)])
    store.seal()
    store.close()
    manifest = root / "manifest.json"
    whole = manifest.read_bytes()
    before = sorted(p.name for p in (root / "segments").iterdir())
    for broken, code in (
        (None, "no_manifest"),
        (whole[:40], "bad_manifest"),
        (b'{"format":99}', "newer_format"),
    ):
        manifest.unlink(missing_ok=True)
        if broken is not None:
            manifest.write_bytes(broken)
        with pytest.raises(Corrupt) as caught:
            Store.open(root, clock=clock)
        assert caught.value.code == f"history.{code}"
        assert not fsck(root).ok
        assert sorted(p.name for p in (root / "segments").iterdir()) == before
    manifest.write_bytes(whole)
    Store.open(root, clock=clock).close()


def test_a_torn_tail_is_cut_and_comes_again(tmp_path: Path, clock: ManualClock, message: Make) -> None:
    root = tmp_path / "h"
    store = Store.open(root, clock=clock)
    store.append("DATA", [message(1), message(2)])
    store.close()
    path = log_path(root / "log", 1)
    with path.open("ab") as file:
        file.write(path.read_bytes()[16:100])  # the beginning of a frame
    assert [note.code for note in fsck(root).notes] == ["history.fsck_torn"]
    store = Store.open(root, clock=clock)
    assert store.position("DATA") == 2
    store.append("DATA", [message(3)])
    assert _values(store) == [1.1, 2.1, 3.1]
    store.close()


def test_damage_inside_the_log_is_set_aside_and_read_again(
    tmp_path: Path, clock: ManualClock, message: Make
) -> None:
    root = tmp_path / "h"
    store = Store.open(root, clock=clock)
    store.append("DATA", [message(1)])
    intact = log_path(root / "log", 1).stat().st_size
    store.append("DATA", [message(2)])
    store.append("DATA", [message(3)])
    store.close()
    path = log_path(root / "log", 1)
    data = bytearray(path.read_bytes())
    data[intact + 40] ^= 0xFF
    assert fsck(root).ok
    path.write_bytes(data)
    report = fsck(root)
    assert not report.ok and [(f.file, f.code) for f in report.findings] == [(str(path), "history.fsck_log")]
    assert report.findings[0].params["at"] == intact
    store = Store.open(root, clock=clock)
    assert store.position("DATA") == 1  # the bus still has 2 and 3: nothing was sealed
    assert [p.read_bytes() for p in (root / "damaged").iterdir()] == [bytes(data)]
    store.append("DATA", [message(2), message(3)])
    assert _values(store) == [1.1, 2.1, 3.1]
    store.close()


def test_a_failed_seal_changes_nothing_and_is_made_up_for(
    store: Store, message: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills at each step of sealing in turn; appends go on, readers see all, the next seal works."""
    for n in range(1, 4):
        store.append("DATA", [message(n)])
    written = 0
    for failing in range(1, 12):
        calls = itertools.count(1)

        def write(self: object, data: bytes, calls=calls, failing=failing, write=_WRITE) -> int:
            if next(calls) == failing:
                raise OSError(28, "No space left on device")
            return write(self, data)

        with monkeypatch.context() as patch:
            patch.setattr("headrace.history.files.NewFile.write", write)
            try:
                store.seal()
            except Unavailable as error:
                assert error.code == "history.disk_full"
                written += 1
            else:
                break
        n = 3 + failing
        store.append("DATA", [message(n)])
        assert _values(store) == [k + 0.1 for k in range(1, n + 1)]
        assert not list((store.root / "segments").glob("*.tmp"))
    assert written >= 4
    store.seal()
    assert store.state().head_rows == 0
    assert generations(store.root / "log") == [store._generations[-1].writer.generation]
    assert fsck(store.root).ok


def test_a_merge_that_meets_damage_leaves_the_inputs(store: Store, clock: ManualClock, message: Make) -> None:
    for n in range(1, 5):
        store.append("DATA", [message(n)])
        store.seal()
    path = sorted((store.root / "segments").iterdir())[2]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(Corrupt):
        store.maintain()
    assert len(list((store.root / "segments").iterdir())) == 4
    assert not store.due()  # it does not try again at once
    store.append("DATA", [message(5)])
    store.seal()
    path.write_bytes(whole)
    clock.advance(61)
    while store.maintain():
        pass
    assert _values(store) == [n + 0.1 for n in range(1, 6)]
    assert fsck(store.root).ok


def test_last_values_are_rebuilt_from_segments(tmp_path: Path, clock: ManualClock, message: Make) -> None:
    root = tmp_path / "h"
    store = Store.open(root, clock=clock)
    store.append("DATA", [message(1), message(2, kind=Kind.TEXT, tags=[9], values=["运行"])])
    store.seal()
    store.append("DATA", [message(3)])
    store.close()
    for path in (root / "last").iterdir():
        path.write_bytes(b"broken")
    assert [f.code for f in fsck(root).findings] == ["history.bad_last_values"]
    store = Store.open(root, clock=clock)
    store.seal()
    with Reader(root) as reader:
        assert reader.last([1, 9]).value == [3.1, "运行"]
    assert fsck(root).ok
    store.close()
