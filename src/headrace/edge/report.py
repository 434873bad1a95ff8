"""Report policies: which of the values that were read leave the edge.

Per policy the values that do leave allow the rest to be reconstructed within a stated bound:

- every (the default): all of them;
- band (`absolute`, or `percent` of low..high): holding the last reported value errs by at most the band;
- swing (swinging door): linear interpolation between reported values errs by at most the deviation. A new
  value is kept back as the *held* one as long as the line from the last reported value to it passes within
  the deviation of all values in between; when that breaks, the held value is reported and becomes the new
  anchor. Only real values are ever reported. (The classical door of Bristol 1987 tests the door's opening
  alone, and its held value may then err by up to twice the deviation; testing the line itself does not.)
- trigger: the value is reported in the cycles in which the trigger tag's value changed.

Under each policy a first value, a change of quality, a value that appears or disappears (null) and the first
value after `heartbeat` are always reported. NaN and infinities are values: a change to or from them is
reported, and a swing starts afresh behind them. Swinging doors are for F64 alone.

State is NumPy arrays per value kind; no Python work per point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.kernel.model import NUMPY_TYPE, Batch, Kind

_NEVER = np.iinfo(np.int64).max
_FARTHEST = float(2**63)  # a band this wide never reports; wider ones would not fit an unsigned distance
_EVERY, _BAND, _SWING, _TRIGGER = range(4)

Rows = npt.NDArray[np.intp]


class Policy(msgspec.Struct, frozen=True):
    """What of one tag is reported. At most one of `band`, `swing`, `trigger` is set; none of them is "every
    value". `band` and `swing` are in the tag's engineering units, `heartbeat` in ns (0: none), `trigger` is a
    tag id."""

    band: float | None = None
    swing: float | None = None
    trigger: int | None = None
    heartbeat: int = 0


class Reporter:
    """The policies of the tags of one scan group, and the state that they need.

    `tags`: (tag id, kind, policy) of every tag of the group. A group in which every tag reports every value
    holds no state and passes its batches through untouched.
    """

    def __init__(self, tags: Sequence[tuple[int, Kind, Policy]]) -> None:
        triggers = sorted({p.trigger for _, _, p in tags if p.trigger is not None})
        by_kind: dict[Kind, list[tuple[int, Policy]]] = {}
        for tag, kind, policy in tags:
            if policy != Policy() or tag in triggers:
                by_kind.setdefault(kind, []).append((tag, policy))
        places = {tag: n for n, tag in enumerate(triggers)}
        self._fired = np.zeros(len(triggers), np.bool_)
        self._states = {kind: _State(kind, members, places, self._fired) for kind, members in by_kind.items()}

    @property
    def passes(self) -> bool:
        """True where every value is reported."""
        return not self._states

    def filter(self, batches: Iterable[Batch]) -> list[Batch]:
        """What is to be reported of one whole cycle; empty batches are left out."""
        if not self._states:
            return [b for b in batches if len(b)]
        batches = list(batches)
        self._fired[:] = False
        for batch in batches:
            if state := self._states.get(batch.kind):
                state.watch(batch)
        out: list[Batch] = []
        for batch in batches:
            state = self._states.get(batch.kind)
            out += state.filter(batch) if state else [batch]
        return [b for b in out if len(b)]

    def flush(self) -> list[Batch]:
        """The held values of swinging doors, which are thereby reported: before a loss and at the end."""
        return [b for state in self._states.values() if (b := state.flush()) is not None]


class _State:
    """State of the tags of one kind, one row each."""

    def __init__(
        self,
        kind: Kind,
        members: Sequence[tuple[int, Policy]],
        places: dict[int, int],
        fired: npt.NDArray[np.bool_],
    ) -> None:
        n = len(members)
        self._kind = kind
        self._fired = fired
        self._tag = np.fromiter((tag for tag, _ in members), np.int32, n)
        self._row_of = np.full(int(self._tag.max()) + 1, -1, np.int32)
        self._row_of[self._tag] = np.arange(n, dtype=np.int32)
        policies = [policy for _, policy in members]
        self._mode = np.fromiter((_mode(p) for p in policies), np.int8, n)
        self._band = np.fromiter((p.band or p.swing or 0.0 for p in policies), np.float64, n)
        self._heartbeat = np.fromiter((p.heartbeat or _NEVER for p in policies), np.int64, n)
        self._trigger = np.fromiter(
            (places[p.trigger] if p.trigger is not None else -1 for p in policies), np.int32, n
        )
        self._fires = np.fromiter((places.get(tag, -1) for tag, _ in members), np.int32, n)
        self._any_fires = bool((self._fires >= 0).any())
        self._any_swing = bool((self._mode == _SWING).any())
        # last reported (for a tag that fires: last read, apart)
        self._known = np.zeros(n, np.bool_)
        self._value = np.zeros(n, NUMPY_TYPE[kind])
        self._time = np.zeros(n, np.int64)
        self._quality = np.zeros(n, np.uint16)
        self._missing = np.zeros(n, np.bool_)
        self._seen = np.zeros(n, np.bool_)
        self._read = np.zeros(n, NUMPY_TYPE[kind])
        if self._any_swing:
            self._upper = np.full(n, np.inf)
            self._lower = np.full(n, -np.inf)
            self._held = np.zeros(n, np.bool_)
            self._held_value = np.zeros(n, np.float64)
            self._held_time = np.zeros(n, np.int64)

    def watch(self, batch: Batch) -> None:
        """Note which triggers fire: their value is there and differs from the one last read."""
        if not self._any_fires:
            return
        rows = self._rows(batch.tags)
        at = np.flatnonzero((rows >= 0) & (self._fires[rows] >= 0) & ~batch.missing)
        rows, values = rows[at], batch.values[at]
        changed = ~self._seen[rows] | _differs(values, self._read[rows])
        self._fired[self._fires[rows[changed]]] = True
        self._seen[rows] = True
        self._read[rows] = values

    def filter(self, batch: Batch) -> list[Batch]:
        rows = self._rows(batch.tags)
        at = np.flatnonzero(rows >= 0)
        if not len(at):
            return [batch]
        rows = rows[at]
        values, times = batch.values[at], batch.times[at]
        qualities, missing = batch.qualities[at], batch.missing[at]
        mode = self._mode[rows]
        turned = ~self._known[rows] | (qualities != self._quality[rows]) | (missing != self._missing[rows])
        beat = (times - self._time[rows]) >= self._heartbeat[rows]
        far = self._exceeds(values, rows) & ~missing
        report = turned | (mode == _EVERY) | ((mode == _BAND) & (far | beat))
        if len(self._fired):
            follows = mode == _TRIGGER
            report |= follows & (self._fired[self._trigger[rows]] | beat)
        out: list[Batch] = []
        if self._any_swing:
            swing = mode == _SWING
            before, now = self._swing(rows, values, times, missing, swing, turned, beat)
            report |= now
            if len(before):
                out.append(self._release(before))
        told = rows[report]
        self._known[told] = True
        self._value[told] = values[report]
        self._time[told] = times[report]
        self._quality[told] = qualities[report]
        self._missing[told] = missing[report]
        if self._any_swing:
            self._anchor(told)
            self._narrow(rows, values, times, missing, report)
        if report.all():
            return [*out, batch]
        keep = np.ones(len(batch), np.bool_)
        keep[at] = report
        return [*out, batch.take(keep)]

    def flush(self) -> Batch | None:
        if not self._any_swing:
            return None
        rows = np.flatnonzero(self._held)
        if not len(rows):
            return None
        return self._release(rows)

    def _rows(self, tags: npt.NDArray[np.int32]) -> Rows:
        """The row of each tag, -1 where it has none."""
        inside = tags < len(self._row_of)
        return np.where(inside, self._row_of[np.where(inside, tags, 0)], -1).astype(np.intp)

    def _exceeds(self, values: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.bool_]:
        """Is the value farther than the band from the last reported one?"""
        last = self._value[rows]
        if self._kind in (Kind.BOOL, Kind.TEXT):
            return np.asarray(values != last, np.bool_)
        if self._kind is Kind.F64:
            with np.errstate(invalid="ignore", over="ignore"):
                far = ~(np.abs(values - last) <= self._band[rows])
            return np.asarray(far, np.bool_) & _differs(values, last)
        # integers: the wrapped difference, read as unsigned, is the exact distance over the whole range
        with np.errstate(over="ignore"):
            distance = np.where(values > last, values - last, last - values).view(np.uint64)
        return np.asarray(distance > np.minimum(self._band[rows], _FARTHEST).astype(np.uint64), np.bool_)

    def _swing(
        self,
        rows: Rows,
        values: npt.NDArray[Any],
        times: npt.NDArray[np.int64],
        missing: npt.NDArray[np.bool_],
        swing: npt.NDArray[np.bool_],
        turned: npt.NDArray[np.bool_],
        beat: npt.NDArray[np.bool_],
    ) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """(rows whose held value must be reported first, mask of the new values to report now)."""
        slope = self._slope(rows, values, times)
        finite = ~missing & np.isfinite(values)
        anchored = ~self._missing[rows] & np.isfinite(self._value[rows])
        held = self._held[rows]
        stepped = times <= np.where(held, self._held_time[rows], self._time[rows])  # the clock was set back
        open_ = (slope <= self._upper[rows]) & (slope >= self._lower[rows]) & ~stepped
        same = ~turned & ~finite & ~_differs(values, self._value[rows])  # still the same NaN, inf or null
        breaks = ~same & (turned | ~finite | ~anchored | ~open_)
        ends = swing & held & (breaks | (beat & ~open_))
        # where a door closes, the new one starts at the held value and the new value is held in its turn,
        # unless it must be reported for a reason of its own
        own = turned | ~finite | ~anchored | ~held | stepped
        return rows[ends], swing & (beat | (breaks & own))

    def _slope(
        self, rows: Rows, values: npt.NDArray[Any], times: npt.NDArray[np.int64], shift: float = 0.0
    ) -> npt.NDArray[np.float64]:
        """Slope, in units per ns, from the anchor to the value shifted by `shift` deviations."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rise = values - self._value[rows]
            slope: npt.NDArray[np.float64] = (rise + shift * self._band[rows]) / (times - self._time[rows])
            return slope

    def _release(self, rows: Rows) -> Batch:
        """The held values as a batch; they become the last reported ones."""
        values = self._held_value[rows]
        self._value[rows] = values
        self._time[rows] = self._held_time[rows]
        self._anchor(rows)
        return Batch.of(self._kind, self._tag[rows], self._held_time[rows], values, self._quality[rows])

    def _anchor(self, rows: Rows) -> None:
        self._held[rows] = False
        self._upper[rows] = np.inf
        self._lower[rows] = -np.inf

    def _narrow(
        self,
        rows: Rows,
        values: npt.NDArray[Any],
        times: npt.NDArray[np.int64],
        missing: npt.NDArray[np.bool_],
        report: npt.NDArray[np.bool_],
    ) -> None:
        """Hold the values that were not reported and narrow their doors by them."""
        at = np.flatnonzero((self._mode[rows] == _SWING) & ~report & ~missing)
        at = at[np.isfinite(values[at])]
        kept, v, t = rows[at], values[at], times[at]
        self._held[kept] = True
        self._held_value[kept] = v
        self._held_time[kept] = t
        self._upper[kept] = np.minimum(self._upper[kept], self._slope(kept, v, t, +1.0))
        self._lower[kept] = np.maximum(self._lower[kept], self._slope(kept, v, t, -1.0))


def _mode(policy: Policy) -> int:
    if policy.trigger is not None:
        return _TRIGGER
    if policy.swing is not None:
        return _SWING
    return _BAND if policy.band is not None else _EVERY


def _differs(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Element-wise: not the same value; NaN is the same as NaN."""
    different: npt.NDArray[np.bool_] = np.asarray(a != b, np.bool_)
    if a.dtype == np.float64:
        different &= ~(np.isnan(a) & np.isnan(b))
    return different
