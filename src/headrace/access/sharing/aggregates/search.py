"""The search for complements, by certificates.

A certificate is a change of the table: it moves one sensitive cell by its protection level, leaves every
published cell and every sum as they are, and makes no cell negative. Who sees only what is published cannot
tell the changed table from the true one; so the certificate proves that the level is kept, without trust in
the program that found it. It also serves against a firm that knows the cells it stands in alone, where it
leaves those alone, and it stays good as long as the cells it changes stay hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from headrace.access.sharing.aggregates.bounds import changes, relations
from headrace.access.sharing.aggregates.rules import Rule, Sensitive, level_against
from headrace.access.sharing.aggregates.shape import Code, Shape
from headrace.access.sharing.aggregates.simplex import Floats, Program
from headrace.kernel.errors import Corrupt

Mask = npt.NDArray[np.bool_]

_LEAST = 1e-6  # of the largest value: how far a cell without a level has to move, not to be known exactly
_NOISE = 1e-11
_SOUND = 1e-9  # how exactly a certificate keeps the sums
_REWARD = 1e5  # of protecting a cell, against losses of at most about 1 a cell
_CLEAN_CELLS = 400

OUTSIDER = ""


class Search:
    """Works on the cells that have contributors, with values divided by the largest."""

    def __init__(
        self,
        shape: Shape,
        rule: Rule,
        amounts: Mapping[Code, Mapping[str, float]],
        primary: Mapping[Code, Sensitive],
        keep_hidden: frozenset[Code],
    ) -> None:
        self._rule = rule
        self.cells = [cell for cell in shape.cells if amounts[cell]]
        self._amounts = [amounts[cell] for cell in self.cells]
        at = {cell: n for n, cell in enumerate(self.cells)}
        values = np.array([sum(a.values()) for a in self._amounts])
        self._scale = max(1e-300, float(values.max(initial=0.0)))
        self._values: Floats = values / self._scale
        self._matrix = relations(shape, at)
        self._levels = {at[cell]: found.level / self._scale for cell, found in primary.items()}
        self._keep: Mask = np.array([cell in keep_hidden for cell in self.cells], np.bool_)
        self._hidden: Mask = self._keep.copy()
        self._hidden[list(self._levels)] = True
        self._alone = [next(iter(a)) if len(a) == 1 else OUTSIDER for a in self._amounts]
        self._views: dict[str, tuple[Mask, Floats]] = {}
        self._proofs: dict[tuple[int, bool], list[Floats]] = {}

    @property
    def hidden(self) -> set[Code]:
        return {cell for cell, is_hidden in zip(self.cells, self._hidden, strict=True) if is_hidden}

    def run(self) -> None:
        """Hide complements until every sensitive cell is protected from everyone, then publish again what is
        not needed. Raises Corrupt (`aggregate.not_protected`)."""
        while self._round():
            pass
        spare = [i for i in np.flatnonzero(self._hidden & ~self._keep).tolist() if i not in self._levels]
        if len(self.cells) <= _CLEAN_CELLS:
            for i in sorted(spare, key=lambda i: (-self._values[i], i)):
                self._hidden[i] = False
                if not self._all_protected():
                    self._hidden[i] = True
        if not self._all_protected():
            raise Corrupt("aggregate.not_protected")

    def _round(self) -> bool:
        """Hide what is needed for each goal that fails; whether anything new was hidden, since new hidden
        cells may make new insiders."""
        before = int(self._hidden.sum())
        for insider in self._insiders():
            programs: list[Program] = []
            for at in self._levels:
                for up, goal in self._goals(insider, at):
                    if not self._proven(insider, at, up, goal, programs):
                        self._hide_for(insider, at, up, goal)
                        programs.clear()
        return int(self._hidden.sum()) > before

    def _all_protected(self) -> bool:
        for insider in self._insiders():
            programs: list[Program] = []
            for at in self._levels:
                for up, goal in self._goals(insider, at):
                    if not self._proven(insider, at, up, goal, programs):
                        return False
        return True

    def _insiders(self) -> list[str]:
        """The outsider, and every firm that stands alone in a hidden cell."""
        alone = {self._alone[i] for i in np.flatnonzero(self._hidden)}
        return [OUTSIDER, *sorted(alone - {OUTSIDER})]

    def _view(self, insider: str) -> tuple[Mask, Floats]:
        """Which cells an insider would not know if they were hidden, and how far each can go down for him."""
        if insider not in self._views:
            free = np.array([not insider or name != insider for name in self._alone], np.bool_)
            own = np.array([a.get(insider, 0.0) if insider else 0.0 for a in self._amounts]) / self._scale
            self._views[insider] = free, np.maximum(self._values - own, 0.0)
        return self._views[insider]

    def _goals(self, insider: str, at: int) -> list[tuple[bool, float]]:
        """(upwards, how far) that the sensitive cell `at` has to be able to move in an insider's eyes."""
        value = float(self._values[at])
        if not insider:
            level = self._levels[at]
            return [(True, max(level, _LEAST)), *([(False, min(level, value))] if min(level, value) else [])]
        amounts = self._amounts[at]
        own = amounts.get(insider, 0.0)
        others = [v for name, v in amounts.items() if name != insider]
        level = level_against(self._rule, others, own) / self._scale
        if level <= _NOISE:
            return []
        rest = value - own / self._scale
        return [(True, level), *([(False, min(level, rest))] if rest > _NOISE else [])]

    def _proven(self, insider: str, at: int, up: bool, goal: float, programs: list[Program]) -> bool:
        """Whether a certificate is known or can be found. `programs`: the insider's program once it is made,
        which stays good until something is hidden."""
        free, room = self._view(insider)
        open_ = self._hidden & free
        if not open_[at]:
            return False
        if any(_serves(proof, at, goal, open_, room) for proof in self._proofs.get((at, up), [])):
            return True
        n = len(self.cells)
        if not programs:
            programs.append(changes(self._matrix, np.where(open_, np.inf, 0.0), np.where(open_, room, 0.0)))
        towards = np.zeros(2 * n)
        towards[at], towards[n + at] = (1.0, -1.0) if up else (-1.0, 1.0)
        x = programs[0].reach(towards, goal)
        return x is not None and self._keep_proof(at, up, goal, x[:n] - x[n:], open_, room)

    def _hide_for(self, insider: str, at: int, up: bool, goal: float) -> None:
        """Hide what has to change for the cell to be able to move so far, at the least loss. What the insider
        stands in alone cannot help: he would know it if it were hidden."""
        free, room = self._view(insider)
        n = len(self.cells)
        # A cell in which one firm stands alone is dearer: it brings an insider who knows it.
        loss = 1e-3 + (self._values + 0.05 * np.array([bool(name) for name in self._alone])) / 2
        loss[self._hidden] = 0.0
        more, less = np.where(free, np.inf, 0.0), np.where(free, room, 0.0)
        more[at], less[at] = (goal, 0.0) if up else (0.0, goal)
        towards = -np.concatenate([loss, loss])
        towards[at if up else n + at] = _REWARD
        _, x = changes(self._matrix, more, less).maximise(towards)
        change = x[:n] - x[n:]
        change[np.abs(change) < _NOISE] = 0.0
        self._hidden |= change != 0
        if not self._keep_proof(at, up, goal, change, self._hidden & free, room):
            raise Corrupt("aggregate.not_protected")

    def _keep_proof(self, at: int, up: bool, goal: float, change: Floats, open_: Mask, room: Floats) -> bool:
        """Take a change as a certificate, if it is one."""
        change = np.where(np.abs(change) < _NOISE, 0.0, change)
        sound = float(np.abs(self._matrix @ change).max(initial=0.0)) <= _SOUND
        right = change[at] > 0 if up else change[at] < 0
        if not (sound and right and _serves(change, at, goal, open_, room)):
            return False
        self._proofs.setdefault((at, up), []).append(change)
        return True


def _serves(proof: Floats, at: int, goal: float, open_: Mask, room: Floats) -> bool:
    """Whether a change, made smaller to move the cell by `goal`, stays in the open cells and their room."""
    share = goal / abs(float(proof[at]))
    if share > 1 + 1e-6:
        return False
    if bool((proof[~open_] != 0).any()):
        return False
    return bool((proof * min(share, 1.0) >= -room - _SOUND).all())
