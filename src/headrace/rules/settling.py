"""Samples wait here a moment, so that those of one cycle are judged together.

One scan of a device is several messages (one per kind of value), and a plant has several edges. A condition
on two tags must not see the new value of one beside the old value of the other. So samples are held for a
short while after they came, and then let go in whole instants of source time: up to and including the newest
time among those that have waited long enough.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from headrace.kernel.model import Batch


class _Held(msgspec.Struct):
    sequence: int
    batch: Batch
    arrived: int


class Settling:
    """`wait`: nanoseconds of monotonic time for which samples are held."""

    def __init__(self, wait: int, position: int = 0) -> None:
        self._wait = wait
        self._held: list[_Held] = []
        self._last = position

    @property
    def position(self) -> int:
        """The last stream sequence of which, and of all before it, nothing is held any more."""
        return min((held.sequence for held in self._held), default=self._last + 1) - 1

    @property
    def empty(self) -> bool:
        return not self._held

    def add(self, sequence: int, batch: Batch | None, now: int) -> None:
        """A message; None where nothing in it matters."""
        self._last = sequence
        if batch is not None and len(batch):
            self._held.append(_Held(sequence, batch, now))

    def left(self, now: int) -> int | None:
        """Nanoseconds until the first of them may go, None where there is none."""
        return max(0, self._held[0].arrived + self._wait - now) if self._held else None

    def release(self, now: int) -> list[Batch]:
        """What may go now; the rest stays."""
        ripe = [held for held in self._held if now - held.arrived >= self._wait]
        if not ripe:
            return []
        horizon = max(int(held.batch.times.max()) for held in ripe)
        out: list[Batch] = []
        stay: list[_Held] = []
        for held in self._held:
            early: Any = held.batch.times <= horizon
            if early.all():
                out.append(held.batch)
            elif not early.any():
                stay.append(held)
            else:
                out.append(held.batch.take(np.flatnonzero(early)))
                stay.append(_Held(held.sequence, held.batch.take(np.flatnonzero(~early)), held.arrived))
        self._held = stay
        return out
