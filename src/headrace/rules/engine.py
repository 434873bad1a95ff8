"""All alarms of a node against the batches as they come: vectorised over the rows, exact in time.

The samples of a batch are laid on one time axis; each tag's column is filled forward from its last value, so
every row is what the plant was at that moment. All conditions are computed as one program over the rows; only
alarms whose condition changes, or for which a delay runs, are then stepped through one by one. The same
samples give the same transitions, however they were split into batches.

Pure: no clock, no I/O. `now` is monotonic time, given from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.kernel.expr import NO_TIME, Column, Point, Program
from headrace.kernel.model import NUMPY_TYPE, Batch, Kind, Quality, Tag
from headrace.rules import machine
from headrace.rules.definitions import Compiled
from headrace.rules.machine import Moved, Status

_FALSE, _TRUE, _UNKNOWN = 0, 1, 2
_JUDGED: tuple[bool | None, ...] = (False, True, None)
_CELLS = 1 << 20  # rows times tags that are laid out at once


class Latest(msgspec.Struct, frozen=True):
    """The newest sample of a tag. `value` None where it had none."""

    time: int
    value: float | bool | str | None
    quality: int


class Moment(msgspec.Struct, frozen=True):
    """A move of an alarm, and what its tags were then."""

    move: machine.Move
    points: dict[str, Point]


class Happened(msgspec.Struct, frozen=True):
    """What an alarm did, its status after that, and what its tags are now. Without moves only `known` has
    changed."""

    alarm: str
    moments: tuple[Moment, ...]
    status: Status
    points: dict[str, Point]


class Engine:
    """The state of all alarms of a node, in memory."""

    def __init__(
        self,
        alarms: Sequence[Compiled],
        tags: Sequence[Tag],
        statuses: Mapping[str, Status],
        latest: Mapping[str, Latest],
        now: int,
    ) -> None:
        self.alarms = list(alarms)
        self.statuses = {c.alarm.id: statuses.get(c.alarm.id, Status()) for c in self.alarms}
        self._program = Program([f for c in self.alarms for f in (c.trigger, c.hold)])
        names = self._program.names
        by_name = {tag.name: tag for tag in tags}
        self._tags = [by_name[name] for name in names]
        self._slots = {name: slot for slot, name in enumerate(names)}
        self._reads = [[self._slots[name] for name in c.names] for c in self.alarms]
        highest = max((tag.id for tag in self._tags), default=-1)
        self._slot_of = np.full(highest + 2, -1, np.int64)  # the last one stands for every higher id
        for slot, tag in enumerate(self._tags):
            self._slot_of[tag.id] = slot
        self._latest = [latest.get(name) for name in names]
        self._armed: dict[int, tuple[int, int]] = {}  # alarm: (waiting since, monotonic time it was seen)
        self._place = {c.alarm.id: index for index, c in enumerate(self.alarms)}
        for index in range(len(self.alarms)):
            self._arm(index, now)

    # --- asking ------------------------------------------------------------------------------------------

    def latest(self) -> dict[str, Latest]:
        """The newest sample of every tag that an alarm reads and that has had one."""
        return {tag.name: last for tag, last in zip(self._tags, self._latest, strict=True) if last}

    def points(self, alarm: str) -> dict[str, Point]:
        """What the tags of an alarm are now."""
        return {self._tags[slot].name: _point(self._latest[slot]) for slot in self._reads[self._place[alarm]]}

    def compiled(self, alarm: str) -> Compiled | None:
        place = self._place.get(alarm)
        return None if place is None else self.alarms[place]

    def reads(self, batch: Batch) -> npt.NDArray[np.int64]:
        """For each row the number of the tag among those that alarms read, -1 for the others."""
        ids = batch.tags
        last = len(self._slot_of) - 1
        inside = np.where((ids >= 0) & (ids < last), ids, last)
        found: npt.NDArray[np.int64] = self._slot_of[inside]
        return found

    # --- time --------------------------------------------------------------------------------------------

    def set(self, alarm: str, status: Status, now: int) -> None:
        """Replace an alarm's status, after a request."""
        self.statuses[alarm] = status
        self._arm(self._place[alarm], now)

    def wait(self, now: int, wall: int, grace: int) -> int | None:
        """Nanoseconds until a delay or a shelf falls due by the clock, None where none runs."""
        left = []
        for index, (waiting, seen) in self._armed.items():
            status = self.statuses[self.alarms[index].alarm.id]
            due = machine.condition_due(status, self.alarms[index].alarm.delays)
            if due is not None:
                left.append(seen + (due - waiting) + grace - now)
            if status.until is not None:
                left.append(status.until - wall)
        return max(0, min(left)) if left else None

    def timeouts(self, now: int, wall: int, grace: int) -> list[Happened]:
        """What falls due although no sample came: a tag that does not change is not sent. `grace` lets
        samples that are on their way come first."""
        found = []
        for index, (waiting, seen) in list(self._armed.items()):
            compiled = self.alarms[index]
            name, delays = compiled.alarm.id, compiled.alarm.delays
            before = self.statuses[name]
            due = machine.condition_due(before, delays)
            if due is not None and now >= seen + (due - waiting) + grace:
                status, moves = machine.elapse(before, delays, due)
            else:
                status, moves = machine.expire(before, wall)
            if status != before:
                self.set(name, status, now)
                points = self.points(name)
                moments = tuple(Moment(move, points) for move in moves)
                found.append(Happened(name, moments, status, points))
        return found

    # --- samples -----------------------------------------------------------------------------------------

    def feed(self, batches: Sequence[Batch], now: int) -> list[Happened]:
        """Take in samples. Those that are not newer than what their tag already had are passed over."""
        samples = _merged([self._samples(batch) for batch in batches])
        if not samples:
            return []
        axis = np.unique(np.concatenate([s.time for s in samples]))
        rows = max(1, _CELLS // max(1, len(self._tags)))
        found: list[Happened] = []
        for start in range(0, len(axis), rows):
            part = axis[start : start + rows]
            found += self._evaluate(part, [s.between(part[0], part[-1]) for s in samples], now)
        return found

    def _samples(self, batch: Batch) -> _Samples:
        slot = self.reads(batch)
        time = batch.times
        before = np.array([last.time if last else -(2**63) for last in self._latest] + [2**63 - 1], np.int64)
        rows = np.flatnonzero(time > before[slot])  # slot -1, a tag that no alarm reads, is the last entry
        return _Samples(batch.kind, slot[rows], time[rows], batch.values[rows], batch.qualities[rows],
                        batch.missing[rows])  # fmt: skip

    def _evaluate(self, axis: npt.NDArray[np.int64], samples: Sequence[_Samples], now: int) -> list[Happened]:
        floor = [last.time if last else None for last in self._latest]
        columns, touched = self._columns(axis, samples)
        previous = list(self._latest)
        for slot in touched:
            column = columns[self._tags[slot].name]
            self._latest[slot] = _latest(column, len(axis) - 1, self._tags[slot].kind)
        results = self._program.run(columns)
        judged = np.stack([_judged(column) for column in results])
        found = []
        for index in self._awake(judged, touched):
            rows = np.unique(np.concatenate([touched[s] for s in self._reads[index] if s in touched]))
            floors = [floor[s] for s in self._reads[index]]
            least = max((f for f in floors if f is not None), default=int(axis[0]))

            def at(row: int, index: int = index) -> dict[str, Point]:
                return {
                    self._tags[s].name: _point(
                        previous[s]
                        if row < 0
                        else _latest(columns[self._tags[s].name], row, self._tags[s].kind)
                    )
                    for s in self._reads[index]
                }

            happened = self._step(index, axis, rows, judged[2 * index : 2 * index + 2], least, at)
            self._arm(index, now)
            if happened is not None:
                found.append(happened)
        return found

    def _columns(
        self, axis: npt.NDArray[np.int64], samples: Sequence[_Samples]
    ) -> tuple[dict[str, Column], dict[int, npt.NDArray[np.int64]]]:
        """Every tag filled forward over the axis, and the rows at which each tag was sampled."""
        columns: dict[str, Column] = {}
        touched: dict[int, npt.NDArray[np.int64]] = {}
        for part in samples:
            for slot, mine in part.by_slot():
                rows = np.searchsorted(axis, part.time[mine])
                # of several samples at one time the first one counts, as if they came in two batches
                first = np.append(True, rows[1:] != rows[:-1])
                mine, rows = mine[first], rows[first]
                columns[self._tags[slot].name] = self._filled(slot, part, mine, rows, len(axis))
                touched[slot] = rows
        for slot, tag in enumerate(self._tags):
            if slot not in touched:
                columns[tag.name] = _constant(self._latest[slot], tag.kind, len(axis))
        return columns, touched

    def _filled(
        self, slot: int, part: _Samples, mine: npt.NDArray[Any], rows: npt.NDArray[Any], n: int
    ) -> Column:
        before = self._latest[slot] or _NOTHING
        kind = self._tags[slot].kind
        if kind is not part.kind:  # the tag's kind was changed while older values were still on their way
            return _constant(before, kind, n)
        source = np.zeros(n, np.int64)
        source[rows] = np.arange(1, len(rows) + 1)
        source = np.maximum.accumulate(source)  # 0: still the value of before
        empty = "" if kind is Kind.TEXT else 0
        first = np.array([empty if before.value is None else before.value], NUMPY_TYPE[kind])
        values = np.concatenate([first, part.value[mine].astype(NUMPY_TYPE[kind], copy=False)])
        missing = np.concatenate([[before.value is None], part.missing[mine]])
        quality = np.concatenate([np.array([before.quality], np.uint16), part.quality[mine]])
        times = np.concatenate([[before.time], part.time[mine]])
        return Column.of(values[source], quality[source], missing[source], times[source])

    def _awake(
        self, judged: npt.NDArray[np.uint8], touched: Mapping[int, npt.NDArray[np.int64]]
    ) -> list[int]:
        """The alarms that cannot be passed over: sampled, and changing or waiting."""
        trigger, hold = judged[0::2], judged[1::2]
        stays_off, stays_on = (trigger == _FALSE).all(axis=1), (hold == _TRUE).all(axis=1)
        found = []
        for index, compiled in enumerate(self.alarms):
            if not any(slot in touched for slot in self._reads[index]):
                continue
            status = self.statuses[compiled.alarm.id]
            same = stays_on[index] if status.latched else stays_off[index]
            if not same or not status.known or index in self._armed:
                found.append(index)
        return found

    def _step(
        self,
        index: int,
        axis: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        judged: npt.NDArray[np.uint8],
        least: int,
        at: Callable[[int], dict[str, Point]],
    ) -> Happened | None:
        """Take one alarm through the rows at which its condition changes, and to the last one."""
        compiled = self.alarms[index]
        name, delays = compiled.alarm.id, compiled.alarm.delays
        start = status = self.statuses[name]
        trigger, hold = judged[0][rows], judged[1][rows]
        change = np.ones(len(rows), np.bool_)
        change[1:-1] = (trigger[1:-1] != trigger[:-2]) | (hold[1:-1] != hold[:-2])
        moments: list[Moment] = []
        for place in np.flatnonzero(change):
            time = max(int(axis[rows[place]]), least)
            made: Moved = machine.observe(status, delays, time, _JUDGED[trigger[place]], _JUDGED[hold[place]])
            status = made[0]
            for move in made[1]:
                # one that fell due before this row shows what the tags were when it did
                of = int(np.searchsorted(axis[rows[: place + 1]], move.time, side="right")) - 1
                moments.append(Moment(move, at(int(rows[of]) if of >= 0 else -1)))
        self.statuses[name] = status
        if moments or status.known != start.known:
            return Happened(name, tuple(moments), status, at(int(rows[-1])))
        return None

    def _arm(self, index: int, now: int) -> None:
        """Remember when, by the monotonic clock, a delay was first seen to run."""
        status = self.statuses[self.alarms[index].alarm.id]
        if status.waiting is None and status.until is None:
            self._armed.pop(index, None)
            return
        waiting = status.waiting if status.waiting is not None else -1
        if index not in self._armed or self._armed[index][0] != waiting:
            self._armed[index] = (waiting, now)


class _Samples(msgspec.Struct, frozen=True):
    """Rows of one batch that matter, by tag and time."""

    kind: Kind
    slot: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    value: npt.NDArray[Any]
    quality: npt.NDArray[np.uint16]
    missing: npt.NDArray[np.bool_]

    def between(self, first: int, last: int) -> _Samples:
        rows = np.flatnonzero((self.time >= first) & (self.time <= last))
        return _Samples(self.kind, self.slot[rows], self.time[rows], self.value[rows], self.quality[rows],
                        self.missing[rows])  # fmt: skip

    def by_slot(self) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """The rows of each tag in order of time (of arrival where times are equal)."""
        order = np.lexsort((self.time, self.slot))
        slots = self.slot[order]
        if not len(slots):
            return []
        starts = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        return [(int(slots[s]), rows) for s, rows in zip(starts, np.split(order, starts[1:]), strict=True)]


def _merged(samples: Sequence[_Samples]) -> list[_Samples]:
    """One entry per kind, without empty ones."""
    kinds: dict[Kind, list[_Samples]] = {}
    for part in samples:
        if len(part.slot):
            kinds.setdefault(part.kind, []).append(part)
    return [
        _Samples(
            kind,
            np.concatenate([p.slot for p in parts]),
            np.concatenate([p.time for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.quality for p in parts]),
            np.concatenate([p.missing for p in parts]),
        )
        for kind, parts in kinds.items()
    ]


_NOTHING = Latest(NO_TIME, None, int(Quality.BAD_NO_DATA))


def _judged(column: Column) -> npt.NDArray[np.uint8]:
    made = column.values.astype(np.uint8)
    if column.unknown is not None:
        made[column.unknown] = _UNKNOWN
    return made


def _point(last: Latest | None) -> Point:
    last = last or _NOTHING
    return Point(last.value, last.quality, None if last.time == NO_TIME else last.time)


def _latest(column: Column, row: int, kind: Kind) -> Latest:
    """The sample that a row of a filled column stands for."""
    assert column.quality is not None and column.times is not None
    unknown = column.unknown is not None and bool(column.unknown[row])
    value = None if unknown else column.values[row]
    if value is not None and kind is not Kind.TEXT:
        value = bool(value) if kind is Kind.BOOL else float(value)
    return Latest(int(column.times[row]), value, int(column.quality[row]))


def _constant(last: Latest | None, kind: Kind, n: int) -> Column:
    last = last or _NOTHING
    empty = "" if kind is Kind.TEXT else 0
    value = np.array(empty if last.value is None else last.value, NUMPY_TYPE[kind])
    column = Column.of(value.reshape(1), [last.quality], [last.value is None], [last.time])
    return Column(
        np.broadcast_to(column.values, n),
        None if column.unknown is None else np.broadcast_to(column.unknown, n),
        np.broadcast_to(column.quality, n) if column.quality is not None else None,
        np.broadcast_to(column.times, n) if column.times is not None else None,
    )
