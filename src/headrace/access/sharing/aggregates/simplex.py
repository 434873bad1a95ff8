"""A linear program of the one form that is needed here, solved exactly enough and without a dependency.

    maximise c·x   where   A x = 0,   0 <= x <= u   (u may be infinite)

x = 0 is feasible, so there is no first phase. Bounded-variable primal simplex on a dense tableau (Chvátal,
Linear Programming, 1983, chapter 8): rows begin with a basic variable fixed at zero that leaves at the first
chance. The entries of A are 0 and ±1, so the tableau stays small and the arithmetic benign. A solved program
is the start of the next one with another objective.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_EPS = 1e-9
_PATIENCE = 30  # steps without gain, after which the smallest index is taken (Bland), which cannot cycle
_NONE = -1


class Program:
    """`a`: shape (rows, n); `upper`: shape (n,)."""

    def __init__(self, a: Floats, upper: Floats) -> None:
        self._t = a.astype(np.float64, copy=True)
        self._upper = upper.astype(np.float64, copy=True)
        rows, n = self._t.shape
        self._basis = np.full(rows, _NONE)
        self._basic = np.zeros(rows)  # values of the basic variables
        self._room = np.zeros(rows)  # their upper bounds
        self._at_upper = np.zeros(n, np.bool_)
        self._is_basic = np.zeros(n, np.bool_)

    def maximise(self, c: Floats) -> tuple[float, Floats]:
        """The largest c·x and an x that has it, shape (n,); (inf, the x from which it grows without end)."""
        return self._run(c, np.inf)

    def reach(self, c: Floats, enough: float) -> Floats | None:
        """An x with c·x = `enough` (within rounding), None where there is none. Cheaper than the largest."""
        value, x = self._run(c, enough)
        return x if value >= enough else None

    def _run(self, c: Floats, enough: float) -> tuple[float, Floats]:
        held = self._basis >= 0
        costs = np.where(held, c[np.where(held, self._basis, 0)], 0.0)
        z = c - costs @ self._t
        z[self._is_basic] = 0.0
        value = float(c @ self._x())
        if value >= enough:
            x = self._x() * (enough / value)  # x = 0 is feasible, so is all between
            return enough, x
        stuck = self._upper <= _EPS
        stalled = 0
        while True:
            gain = np.where(self._at_upper, -z, z)
            gain[self._is_basic | stuck] = 0.0
            better = np.flatnonzero(gain > _EPS)
            if not len(better):
                return value, self._x()
            j = int(better[0] if stalled > _PATIENCE else better[np.argmax(gain[better])])
            step, row = self._ratio(j, stalled > _PATIENCE)
            missing = (enough - value) / gain[j]
            if missing <= step and np.isfinite(missing):
                return enough, self._x(j, missing)
            if np.isinf(step):
                return np.inf, self._x()
            value += float(gain[j]) * step
            stalled = 0 if step > _EPS else stalled + 1
            z = self._move(j, step, row, z)

    def _ratio(self, j: int, bland: bool) -> tuple[float, int]:
        """How far variable `j` can move, and the row whose variable stops it (_NONE: its own bound does)."""
        slope = self._t[:, j] * (-1.0 if self._at_upper[j] else 1.0)
        limits = np.full(len(slope), np.inf)
        down, up = slope > _EPS, slope < -_EPS
        limits[down] = self._basic[down] / slope[down]
        limits[up] = (self._room[up] - self._basic[up]) / -slope[up]
        np.maximum(limits, 0.0, out=limits)
        least = float(limits.min()) if len(limits) else np.inf
        if self._upper[j] <= least:
            return float(self._upper[j]), _NONE
        if np.isinf(least):
            return np.inf, _NONE
        ties = np.flatnonzero(limits <= least + _EPS)
        best = np.argmin(self._basis[ties]) if bland else np.argmax(np.abs(slope[ties]))
        row = int(ties[best])
        return float(limits[row]), row

    def _move(self, j: int, step: float, row: int, z: Floats) -> Floats:
        sign = -1.0 if self._at_upper[j] else 1.0
        slope = self._t[:, j] * sign
        self._basic -= step * slope
        if row == _NONE:
            self._at_upper[j] = not self._at_upper[j]
            return z
        leaving = self._basis[row]
        if leaving >= 0:
            self._is_basic[leaving] = False
            self._at_upper[leaving] = slope[row] < 0
        self._basic[row] = self._upper[j] - step if self._at_upper[j] else step
        self._basis[row], self._room[row] = j, self._upper[j]
        self._is_basic[j], self._at_upper[j] = True, False
        self._t[row] /= self._t[row, j]
        factors = self._t[:, j].copy()
        factors[row] = 0.0
        busy = np.flatnonzero(np.abs(factors) > 1e-12)
        if len(busy):
            self._t[busy] -= np.outer(factors[busy], self._t[row])
        reduced: Floats = z - z[j] * self._t[row]
        return reduced

    def _x(self, j: int = _NONE, step: float = 0.0) -> Floats:
        """The present x, or the one `step` further in the direction of variable `j`."""
        x = np.where(self._at_upper, self._upper, 0.0)
        x[self._is_basic] = 0.0
        basic = self._basic
        if j != _NONE:
            sign = -1.0 if self._at_upper[j] else 1.0
            basic = basic - step * sign * self._t[:, j]
            x[j] += sign * step
        held = self._basis >= 0
        x[self._basis[held]] = np.clip(basic[held], 0.0, None)
        return x
